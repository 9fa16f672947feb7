//! What operators bound across all hosts: state of the broker, for everybody to read.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{BrokerError, check_name};

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LimitScope {
    /// A queue: `queue:images`.
    Queue(String),
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
        }
    }
}

impl FromStr for LimitScope {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        match text.split_once(':') {
            Some(("queue", queue)) => {
                check_name("queue", queue)?;
                Ok(Self::Queue(queue.to_owned()))
            }
            _ => Err(BrokerError::invalid(
                "scope of a limit",
                text,
                "`queue:NAME`",
            )),
        }
    }
}

impl Serialize for LimitScope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is bounded; what is none is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limit {
    /// So many may wait, for a host or for a time; what is submitted beyond is refused with `Overloaded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<u64>,
}

/// A limit that is set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limited {
    /// What it is about.
    pub scope: LimitScope,
    /// The limit.
    #[serde(flatten)]
    pub limit: Limit,
}

impl Limit {
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
        let scope: LimitScope = "queue:images".parse().unwrap();
        assert_eq!(scope.to_string(), "queue:images");
        for text in ["images", "queue:", "queue:A", "tasks:a/b", ""] {
            assert!(text.parse::<LimitScope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_read_as_it_is_written() {
        let limit = Limit { max_queue: Some(5) };
        assert_eq!(
            Limit::read(limit.to_json().unwrap().as_bytes()).unwrap(),
            limit
        );
        assert!(Limit::read(b"{\"unheard_of\":1}").is_err());
    }
}
