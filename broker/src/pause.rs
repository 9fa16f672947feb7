//! What is paused: nothing more is taken from it, or by it, until it is resumed. What runs goes on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BrokerError, HostId, check_name};

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pausable {
    /// A queue: no host takes anything from it.
    Queue(String),
    /// A host: it takes nothing from any queue.
    Host(HostId),
    /// A task by its module's name, whatever the version: no host starts it, and what waits behind it goes on.
    Task(String, String),
}

impl Pausable {
    /// What must hold before an engine is asked.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        match self {
            Self::Queue(queue) => check_name("queue", queue),
            Self::Host(_) => Ok(()),
            Self::Task(module, task) => {
                check_name("module name", module)?;
                check_name("task name", task)
            }
        }
    }
}

impl fmt::Display for Pausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
            Self::Host(host) => write!(f, "host:{host}"),
            // As the scope of its limit: what holds it back is the same.
            Self::Task(module, task) => write!(f, "task:{module}/{task}"),
        }
    }
}

impl FromStr for Pausable {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "queue:NAME, host:NAME or task:MODULE/TASK";
        let invalid = || BrokerError::invalid("name of what is paused", text, expected);
        match text.split_once(':').ok_or_else(invalid)? {
            ("queue", queue) => Ok(Self::Queue(queue.to_owned())),
            ("host", host) => Ok(Self::Host(host.to_owned().into())),
            ("task", task) => {
                let (module, task) = task.split_once('/').ok_or_else(invalid)?;
                Ok(Self::Task(module.to_owned(), task.to_owned()))
            }
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Pausable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pausable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Something that is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// What.
    pub what: Pausable,
    /// Since when: milliseconds since the Unix epoch.
    pub since_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        for text in ["queue:images", "host:vm-1", "task:images/resize"] {
            assert_eq!(text.parse::<Pausable>().unwrap().to_string(), text);
        }
        for text in ["images", "task:images", "tasks:a/b"] {
            assert!(text.parse::<Pausable>().is_err(), "{text}");
        }
        let version = Pausable::Task("images@1.2.0".to_owned(), "resize".to_owned());
        assert!(version.check().is_err());
    }
}
