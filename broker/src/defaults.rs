//! What the author of a task says about its invocations, where their callers say nothing.

use serde::{Deserialize, Serialize};

use crate::{Priority, TaskOptions};

/// The defaults of a task that a broker applies when it accepts an invocation. The others (retries, limits) are the
/// host's to apply, who has the manifest.
///
/// Both engines keep it as one text: the queue, and behind a blank one JSON object with the rest, where there is any. So
/// a task without any costs nothing more than its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDefaults {
    /// The queue.
    pub queue: Option<String>,
    pub(crate) rest: Rest,
}

/// What is beside the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rest {
    /// The band, where it is not the normal one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) band: Option<u8>,
    /// Milliseconds from when it may start until it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
    /// Milliseconds from when it may start until it must have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<u64>,
    /// Milliseconds that its result is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
}

impl From<&TaskOptions> for TaskDefaults {
    fn from(options: &TaskOptions) -> Self {
        let priority = options.priority.filter(|priority| !priority.is_normal());
        Self {
            queue: options.queue.clone(),
            rest: Rest {
                band: priority.map(Priority::band),
                expires: options.expires_ms,
                deadline: options.deadline_ms,
                ttl: options.result_ttl_ms,
            },
        }
    }
}

impl TaskDefaults {
    /// As it is kept.
    pub(crate) fn to_text(&self) -> String {
        let queue = self.queue.as_deref().unwrap_or_default();
        if self.rest == Rest::default() {
            return queue.to_owned();
        }
        let rest = serde_json::to_string(&self.rest).unwrap_or_default();
        format!("{queue} {rest}")
    }

    /// From what is kept. What is damaged reads as nothing, as a call without defaults is better than none.
    pub(crate) fn read(text: &str) -> Self {
        let (queue, rest) = text.split_once(' ').unwrap_or((text, ""));
        Self {
            queue: Some(queue.to_owned()).filter(|queue| !queue.is_empty()),
            rest: serde_json::from_str(rest).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        let all = TaskOptions {
            queue: Some("mail".to_owned()),
            priority: Some(Priority::Low),
            expires_ms: Some(1),
            deadline_ms: Some(2),
            result_ttl_ms: Some(3),
            ..TaskOptions::default()
        };
        let rest = TaskOptions {
            queue: None,
            ..all.clone()
        };
        let queue = TaskOptions {
            queue: all.queue.clone(),
            priority: Some(Priority::Normal),
            ..TaskOptions::default()
        };
        for (options, text) in [
            (all, r#"mail {"band":2,"expires":1,"deadline":2,"ttl":3}"#),
            (rest, r#" {"band":2,"expires":1,"deadline":2,"ttl":3}"#),
            (queue, "mail"),
            (TaskOptions::default(), ""),
        ] {
            let defaults = TaskDefaults::from(&options);
            assert_eq!(defaults.to_text(), text);
            assert_eq!(TaskDefaults::read(text), defaults);
        }
    }
}
