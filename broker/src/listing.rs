//! Listing invocations: what is asked for, and a page of what was found.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    BrokerError, ModuleRef, State, Status, TaskRef, check_name, priority::check_sharing_key,
};

/// The most invocations on one page.
pub const MAX_LISTED: usize = 500;

/// Which invocations are meant. Everything that is set must hold; nothing set means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Where they stand; empty: anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Their queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Their task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskFilter>,
    /// Their concurrency key or their fairness key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Accepted at least this long ago, by the broker's clock, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<u64>,
    /// Accepted at most this long ago, by the broker's clock, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than_ms: Option<u64>,
    /// Accepted at this moment or later: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Accepted before this moment: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

impl Filter {
    /// Every state but the terminal ones.
    pub const UNFINISHED: [State; 4] = [
        State::Blocked,
        State::Scheduled,
        State::Queued,
        State::Running,
    ];

    /// Those in one of these states.
    #[must_use]
    pub fn states(mut self, states: impl IntoIterator<Item = State>) -> Self {
        self.states = states.into_iter().collect();
        self
    }

    /// Those in this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Those of this task.
    #[must_use]
    pub fn task(mut self, task: TaskFilter) -> Self {
        self.task = Some(task);
        self
    }

    /// Those with this concurrency key or this fairness key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Those accepted at least this long ago.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Those accepted at most this long ago.
    #[must_use]
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer_than_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The first moment, and the one after the last, that they may have been accepted at.
    pub(crate) fn window(&self, now: u64) -> (u64, u64) {
        let newer = self.newer_than_ms.map(|age| now.saturating_sub(age));
        let older = self
            .older_than_ms
            .map(|age| now.saturating_sub(age).saturating_add(1));
        let first = newer.into_iter().chain(self.since_ms).max();
        let end = older.into_iter().chain(self.until_ms).min();
        (first.unwrap_or(0), end.unwrap_or(u64::MAX))
    }

    /// Whether it is in one of the states and of the task. The engines look at queue, key and time themselves.
    pub(crate) fn admits(&self, status: &Status) -> bool {
        let in_state = self.states.is_empty() || self.states.contains(&status.state);
        in_state && self.task.as_ref().is_none_or(|task| task.is(&status.task))
    }

    /// Whether it asks for all there are.
    pub(crate) fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// What must hold before an engine is asked.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        if let Some(key) = &self.key {
            check_sharing_key("key", key)?;
        }
        match &self.queue {
            Some(queue) => check_name("queue", queue),
            None => Ok(()),
        }
    }
}

/// Which tasks are meant: `images` for all of a module, `images/resize` for one, in whichever version it was
/// called; `images@1.2.0/resize` for calls of exactly that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFilter {
    module: ModuleRef,
    task: Option<String>,
}

impl TaskFilter {
    /// Whether this is a task that is meant.
    pub fn is(&self, task: &TaskRef) -> bool {
        let is_module = match &self.module {
            ModuleRef::Name(name) => match &task.module {
                ModuleRef::Name(called) | ModuleRef::Version(called, _) => called == name,
                ModuleRef::Digest(called, _) => called.as_ref() == Some(name),
            },
            exactly => *exactly == task.module,
        };
        is_module && self.task.as_ref().is_none_or(|name| *name == task.task)
    }
}

impl FromStr for TaskFilter {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains('/') {
            return Ok(Self {
                module: text.parse()?,
                task: None,
            });
        }
        let TaskRef { module, task } = text.parse()?;
        Ok(Self {
            module,
            task: Some(task),
        })
    }
}

impl fmt::Display for TaskFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(f, "{}/{task}", self.module),
            None => self.module.fmt(f),
        }
    }
}

impl Serialize for TaskFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One page of what a filter asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// What is asked for.
    pub filter: Filter,
    /// The `cursor` of the page before; none for the first.
    pub cursor: Option<String>,
    /// The most invocations on the page, up to `MAX_LISTED`.
    pub limit: usize,
}

impl List {
    /// How many fit on the page.
    pub(crate) fn room(&self) -> usize {
        self.limit.clamp(1, MAX_LISTED)
    }
}

/// A page of invocations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Those that were found.
    pub invocations: Vec<Status>,
    /// Where the next page begins. A page may be short, or empty, and not be the last: only none means that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// That a cursor is none.
pub(crate) fn bad_cursor(cursor: &str) -> BrokerError {
    BrokerError::invalid("cursor", cursor, "the `cursor` of the page before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_meant_in_every_version_unless_one_is_named() {
        let means = |filter: &str, task: &str| {
            let filter: TaskFilter = filter.parse().unwrap();
            assert_eq!(filter.to_string().parse::<TaskFilter>().unwrap(), filter);
            filter.is(&task.parse().unwrap())
        };
        assert!(means("images", "images@1.2.0/resize"));
        assert!(means("images/resize", "images@1.2.0/resize"));
        assert!(!means("images/resize", "images/crop") && !means("image", "images/resize"));
        assert!(means("images@1.2.0", "images@1.2.0/resize"));
        assert!(!means("images@1.2.0/resize", "images/resize"));
        assert!("images/".parse::<TaskFilter>().is_err());
    }

    #[test]
    fn ages_and_moments_narrow_each_other() {
        let mut filter = Filter::default();
        assert_eq!(filter.window(1000), (0, u64::MAX));
        filter.newer_than_ms = Some(100);
        filter.older_than_ms = Some(10);
        assert_eq!(filter.window(1000), (900, 991));
        filter.since_ms = Some(950);
        filter.until_ms = Some(960);
        assert_eq!(filter.window(1000), (950, 960));
    }
}
