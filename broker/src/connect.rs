//! From a URL to a broker, and whether that broker may be used.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    Broker, BrokerError, Caps, DeadLetters, Verdict,
    embedded::{Durability, EmbeddedBroker, EmbeddedOptions},
    redis::{RedisBroker, RedisOptions},
};

/// What both engines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The largest payloads.
    pub caps: Caps,
    /// How long a result is kept after the end of its invocation, unless the caller said otherwise.
    pub result_ttl: Duration,
    /// How long failures are kept, and how many.
    pub dead_letters: DeadLetters,
    /// What an accepted invocation survives in the embedded store; Redis decides for itself.
    pub durability: Durability,
}

impl Default for StoreOptions {
    /// The engines' own: 8 MiB of input and output, a day of results.
    fn default() -> Self {
        let RedisOptions {
            caps,
            result_ttl,
            dead_letters,
            ..
        } = RedisOptions::default();
        Self {
            caps,
            result_ttl,
            dead_letters,
            durability: Durability::default(),
        }
    }
}

/// Connects to `redis://…`, `rediss://…` or `embedded:DIRECTORY`, with the usual options.
///
/// # Errors
/// As `connect_with`.
pub async fn connect(url: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    connect_with(url, StoreOptions::default()).await
}

/// Connects to `redis://…`, `rediss://…` or `embedded:DIRECTORY`.
///
/// # Errors
/// `Invalid` for any other URL; else what the engine says: `Unavailable`, `Unfit`, `Damaged`.
pub async fn connect_with(
    url: &str,
    StoreOptions {
        caps,
        result_ttl,
        dead_letters,
        durability,
    }: StoreOptions,
) -> Result<Arc<dyn Broker>, BrokerError> {
    if url.starts_with("redis://") || url.starts_with("rediss://") {
        let options = RedisOptions {
            caps,
            result_ttl,
            dead_letters,
            ..RedisOptions::default()
        };
        return Ok(RedisBroker::connect(url, options).await?);
    }
    match url.strip_prefix("embedded:") {
        Some(directory) if !directory.is_empty() => {
            let options = EmbeddedOptions {
                caps,
                result_ttl,
                dead_letters,
                durability,
                ..EmbeddedOptions::default()
            };
            open_embedded(PathBuf::from(directory), options).await
        }
        // Only the scheme: the rest may hold a password.
        _ => Err(BrokerError::invalid(
            "broker URL",
            url.split(':').next().unwrap_or_default(),
            "redis://HOST, rediss://HOST or embedded:DIRECTORY",
        )),
    }
}

/// Opening a database waits for the disk: not on a thread of the runtime.
async fn open_embedded(
    directory: PathBuf,
    options: EmbeddedOptions,
) -> Result<Arc<dyn Broker>, BrokerError> {
    let address = format!("embedded:{}", directory.display());
    let opened = tokio::task::spawn_blocking(move || EmbeddedBroker::open(&directory, options));
    match opened.await {
        Ok(broker) => Ok(broker?),
        Err(error) => Err(BrokerError::Unavailable {
            address,
            reason: error.to_string(),
        }),
    }
}

/// Refuses a broker that would lose invocations, and logs what is risky. Hosts call it when they start.
///
/// # Errors
/// `Unfit` with the remedy of the first check that is bad; `Unavailable`.
pub async fn require_fit(broker: &dyn Broker) -> Result<(), BrokerError> {
    for check in broker.check().await? {
        match check.verdict {
            Verdict::Good => {}
            Verdict::Warning => tracing::warn!(
                check = check.name,
                found = check.found,
                remedy = check.remedy,
                "a risk in the broker's set-up"
            ),
            Verdict::Bad => {
                return Err(BrokerError::Unfit {
                    address: broker.address(),
                    reason: check.found,
                    remedy: check.remedy,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_other_urls_without_showing_what_they_hold() {
        for url in [
            "http://user:secret@host",
            "embedded:",
            "redis",
            "rediss:secret",
        ] {
            let error = connect(url).await.unwrap_err().to_string();
            assert!(error.contains("embedded:DIRECTORY"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
