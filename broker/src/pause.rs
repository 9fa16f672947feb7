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
}

impl Pausable {
    /// What must hold before an engine is asked.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        match self {
            Self::Queue(queue) => check_name("queue", queue),
            Self::Host(_) => Ok(()),
        }
    }
}

impl fmt::Display for Pausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
            Self::Host(host) => write!(f, "host:{host}"),
        }
    }
}

impl FromStr for Pausable {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("queue", queue)) => Ok(Self::Queue(queue.to_owned())),
            Some(("host", host)) => Ok(Self::Host(host.to_owned().into())),
            _ => Err(BrokerError::invalid(
                "name of what is paused",
                text,
                "queue:NAME or host:NAME",
            )),
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
        for text in ["queue:images", "host:vm-1"] {
            assert_eq!(text.parse::<Pausable>().unwrap().to_string(), text);
        }
        assert!("images".parse::<Pausable>().is_err());
    }
}
