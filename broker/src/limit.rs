//! What operators bound across all hosts: state of the broker, for everybody to read.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{BrokerError, check_name, priority::check_sharing_key, span};

/// The longest time that a rate counts over: a day.
const MAX_RATE_MS: u64 = 86_400_000;

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LimitScope {
    /// A queue: `queue:images`.
    Queue(String),
    /// A task by its module's name, whatever the version: `task:images/resize`.
    Task(String, String),
    /// A concurrency key: `key:tenant-17`.
    Key(String),
    /// Each concurrency key that has no limit of its own: `key:*`.
    EachKey,
}

impl LimitScope {
    /// The queue that it is about, if it is about one.
    pub(crate) fn queue(&self) -> Option<&str> {
        match self {
            Self::Queue(queue) => Some(queue),
            _ => None,
        }
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
            Self::Task(module, task) => write!(f, "task:{module}/{task}"),
            Self::Key(key) => write!(f, "key:{key}"),
            Self::EachKey => f.write_str("key:*"),
        }
    }
}

impl FromStr for LimitScope {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let expected = "`queue:NAME`, `task:MODULE/TASK`, `key:KEY` or `key:*`";
        let invalid = || BrokerError::invalid("scope of a limit", text, expected);
        match text.split_once(':').ok_or_else(invalid)? {
            ("queue", queue) => {
                check_name("queue", queue)?;
                Ok(Self::Queue(queue.to_owned()))
            }
            ("task", task) => {
                let (module, task) = task.split_once('/').ok_or_else(invalid)?;
                check_name("module name", module)?;
                check_name("task name", task)?;
                Ok(Self::Task(module.to_owned(), task.to_owned()))
            }
            ("key", "*") => Ok(Self::EachKey),
            ("key", key) => {
                check_sharing_key("concurrency key", key)?;
                Ok(Self::Key(key.to_owned()))
            }
            _ => Err(invalid()),
        }
    }
}

impl Serialize for LimitScope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// So many starts in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub count: u32,
    /// In so many milliseconds, a day at most.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400_000))]
    pub per_ms: u64,
}

impl Rate {
    /// The largest burst of a limit that says none: what a second allows, at least one.
    fn burst(self) -> u32 {
        let second = u64::from(self.count) * 1000 / self.per_ms.max(1);
        u32::try_from(second).unwrap_or(u32::MAX).max(1)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = span::show(std::time::Duration::from_millis(self.per_ms));
        write!(f, "{}/{per}", self.count)
    }
}

impl FromStr for Rate {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let read = || {
            let (count, per) = text.split_once('/')?;
            let count = count.trim().parse().ok().filter(|count| *count > 0)?;
            let per = match per.trim() {
                unit @ ("s" | "m" | "h" | "d") => span::parse(&format!("1{unit}")),
                span => span::parse(span),
            };
            let per_ms = u64::try_from(per?.as_millis()).ok()?;
            (1..=MAX_RATE_MS)
                .contains(&per_ms)
                .then_some(Self { count, per_ms })
        };
        let expected = "so many in so long, a day at most, such as `100/1m` or `5/s`";
        read().ok_or_else(|| BrokerError::invalid("rate", text, expected))
    }
}

/// What is bounded; what is none is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limit {
    /// So many may run at once, on all hosts together.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// So many attempts may start in so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// So many may start at once after a pause; without it what the rate allows in a second, at least one.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// So many may wait in a queue, for a host or for a time; what is submitted beyond is refused with `Overloaded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<u64>,
}

/// A limit that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limited {
    /// What it is about.
    pub scope: LimitScope,
    /// The limit.
    #[serde(flatten)]
    pub limit: Limit,
    /// How many run that count against its concurrency.
    pub running: u64,
}

impl Limit {
    /// Whether it holds anything back that waits.
    pub(crate) const fn holds_back(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }

    /// As it is kept for `scope`: with a burst where there is a rate.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn checked(mut self, scope: &LimitScope) -> Result<Self, BrokerError> {
        let invalid = |what, expected: &str| Err(BrokerError::invalid(what, "0", expected));
        if self.concurrency == Some(0) {
            return invalid("concurrency", "at least 1");
        }
        if self.burst == Some(0) || (self.burst.is_some() && self.rate.is_none()) {
            return invalid("burst", "at least 1, and a rate along with it");
        }
        if let Some(Rate { count, per_ms }) = self.rate
            && (count == 0 || !(1..=MAX_RATE_MS).contains(&per_ms))
        {
            let got = format!("{count} in {per_ms} ms");
            let expected = "at least 1, in a millisecond to a day";
            return Err(BrokerError::invalid("rate", &got, expected));
        }
        if self.max_queue.is_some() && scope.queue().is_none() {
            let expected = "a scope `queue:NAME`: only queues are bounded";
            let scope = scope.to_string();
            return Err(BrokerError::invalid("scope of a bound", &scope, expected));
        }
        if let Some(rate) = self.rate {
            self.burst = Some(self.burst.unwrap_or_else(|| rate.burst()));
        }
        Ok(self)
    }

    /// As it is stored.
    pub(crate) fn to_json(self) -> Result<String, BrokerError> {
        serde_json::to_string(&self).map_err(|error| damaged(&error))
    }

    /// From what is stored.
    pub(crate) fn read(json: &[u8]) -> Result<Self, BrokerError> {
        serde_json::from_slice(json).map_err(|error| damaged(&error))
    }
}

fn damaged(error: &serde_json::Error) -> BrokerError {
    BrokerError::Damaged {
        what: "a limit".to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for text in [
            "queue:images",
            "task:images/resize",
            "key:tenant:17",
            "key:*",
        ] {
            assert_eq!(text.parse::<LimitScope>().unwrap().to_string(), text);
        }
        for text in [
            "images",
            "queue:",
            "queue:A",
            "tasks:a/b",
            "task:a",
            "task:a@1/b",
            "key:",
            "key:a b",
        ] {
            assert!(text.parse::<LimitScope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        let rate = "100/1m".parse::<Rate>().unwrap();
        assert_eq!((rate.count, rate.per_ms, rate.burst()), (100, 60_000, 1));
        assert_eq!(rate.to_string(), "100/1m");
        assert_eq!("5/s".parse::<Rate>().unwrap().burst(), 5);
        for text in ["100", "0/s", "-1/s", "5/0s", "5/2d", "5/x", "/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_read_as_it_is_written() {
        let queue = LimitScope::Queue("a".to_owned());
        let limit = Limit {
            concurrency: Some(5),
            rate: "10/s".parse().ok(),
            max_queue: Some(7),
            ..Limit::default()
        };
        let limit = limit.checked(&queue).unwrap();
        assert_eq!(limit.burst, Some(10));
        assert_eq!(
            Limit::read(limit.to_json().unwrap().as_bytes()).unwrap(),
            limit
        );
        assert!(Limit::read(b"{\"unheard_of\":1}").is_err());
        assert!(limit.checked(&LimitScope::EachKey).is_err());
        let none = Limit {
            concurrency: Some(0),
            ..Limit::default()
        };
        assert!(none.checked(&queue).is_err());
        for (count, per_ms) in [(0, 1000), (1, 0), (1, MAX_RATE_MS + 1)] {
            let rate = Some(Rate { count, per_ms });
            let limit = Limit {
                rate,
                ..Limit::default()
            };
            assert!(limit.checked(&queue).is_err(), "{count} in {per_ms}");
        }
    }
}
