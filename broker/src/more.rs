//! What a stored invocation says beyond the common: one JSON object, absent from a plain invocation.

use serde::{Deserialize, Serialize};

use crate::{BrokerError, Header, InvocationId, Priority, Unique, once};

/// The features that an invocation uses, as the engines keep them beside its record: decided here, once, when it is
/// submitted, and never changed. An invocation that uses none has none, so that it costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct More {
    /// Its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idem: Option<Idem>,
    /// Its unique key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<Unique>,
    /// The band, where the caller says one, or the task one that is not the normal one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) band: Option<u8>,
    /// The fairness key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fair: Option<String>,
    /// The concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The invocation that has called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<InvocationId>,
    /// The schedule that submitted it, a time of which may wait for its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<String>,
    /// The dead letter whose place it takes, where it has a unique key: it takes that over, if the letter holds it still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_of: Option<InvocationId>,
}

/// An idempotency key with what tells inputs apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idem {
    pub(crate) key: String,
    pub(crate) print: String,
}

impl More {
    /// What these options ask for.
    pub(crate) fn of(header: &Header, input: &[u8]) -> Self {
        let options = &header.options;
        Self {
            idem: options.idempotency_key.as_ref().map(|key| Idem {
                key: key.clone(),
                print: once::fingerprint(header, input),
            }),
            unique: options.unique.clone(),
            band: options.priority.map(Priority::band),
            fair: options.fairness_key.clone(),
            key: options.concurrency_key.clone(),
            parent: options.parent.map(|parent| parent.id),
            schedule: options.schedule.clone(),
            retry_of: options.retry_of.filter(|_| options.unique.is_some()),
        }
    }

    /// Its idempotency key.
    pub(crate) fn idempotency_key(&self) -> Option<&str> {
        self.idem.as_ref().map(|idem| idem.key.as_str())
    }

    /// Its unique key.
    pub(crate) fn unique_key(&self) -> Option<&str> {
        self.unique.as_ref().map(|unique| unique.key.as_str())
    }

    /// Whether its concurrency key or its fairness key is this one.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        [&self.key, &self.fair]
            .into_iter()
            .any(|own| own.as_deref() == Some(key))
    }

    /// As it is stored; empty when there is nothing to say.
    ///
    /// # Errors
    /// `Damaged`: it cannot be written.
    pub(crate) fn to_json(&self) -> Result<String, BrokerError> {
        if *self == Self::default() {
            return Ok(String::new());
        }
        serde_json::to_string(self).map_err(|error| BrokerError::Damaged {
            what: "what an invocation uses".to_owned(),
            reason: error.to_string(),
        })
    }

    /// From what is stored. What is damaged reads as nothing: an invocation without its features is better than one
    /// that stands in the way of all others.
    pub(crate) fn read(json: Option<&[u8]>) -> Self {
        let read = json.map(serde_json::from_slice).transpose();
        read.unwrap_or_else(|error| {
            tracing::error!(%error, "what an invocation uses is damaged in the store");
            None
        })
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_invocation_has_nothing_to_say() {
        let header = Header {
            task: "text/run".parse().unwrap(),
            content_type: crate::JSON.to_owned(),
            options: crate::Options::default(),
        };
        assert_eq!(More::of(&header, b"1").to_json().unwrap(), "");
        assert_eq!(More::read(None), More::default());
    }

    #[test]
    fn what_is_damaged_reads_as_nothing() {
        for damaged in ["", "{", "[]", "{\"unheard_of\":1}"] {
            assert_eq!(More::read(Some(damaged.as_bytes())), More::default());
        }
    }
}
