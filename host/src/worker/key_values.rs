//! The key-value store of a module, kept by the broker.
//!
//! Guests have threads without I/O: each call runs on the runtime that talks to the broker, and goes on there when
//! the guest is stopped meanwhile.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use celeriac_broker::{Broker, BrokerError, check_module};
use tokio::runtime::Handle;

use crate::engine::{AccessError, KeyValues};

/// What a guest hears when the broker is the matter. Where it is and why it fails is none of its business.
const UNAVAILABLE: &str =
    "the key-value store does not answer now; the same call may succeed later";

/// The store of one module.
pub struct BrokerKeyValues {
    broker: Arc<dyn Broker>,
    module: Arc<str>,
    /// The threads that talk to the broker.
    runtime: Handle,
    /// Whether its failure is logged already: once for each time that it begins to fail.
    is_failing: AtomicBool,
}

impl BrokerKeyValues {
    /// The store of the module with this name, whatever its version; `runtime` has the broker's connections.
    ///
    /// # Errors
    /// `Invalid` when it is not the name of a module.
    pub fn new(
        broker: Arc<dyn Broker>,
        module: &str,
        runtime: Handle,
    ) -> Result<Self, BrokerError> {
        check_module(module)?;
        Ok(Self {
            broker,
            module: module.into(),
            runtime,
            is_failing: AtomicBool::new(false),
        })
    }

    /// Runs a call where the broker can be talked to.
    async fn ask<T, F>(
        &self,
        call: impl FnOnce(Arc<dyn Broker>, Arc<str>) -> F,
    ) -> Result<T, AccessError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BrokerError>> + Send + 'static,
    {
        let asked = call(Arc::clone(&self.broker), Arc::clone(&self.module));
        match self.runtime.spawn(asked).await {
            Ok(Ok(answer)) => {
                self.is_failing.store(false, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.refused(&error)),
            // The host is being taken down.
            Err(_) => Err(AccessError::Unavailable(UNAVAILABLE.to_owned())),
        }
    }

    fn refused(&self, error: &BrokerError) -> AccessError {
        match error {
            BrokerError::KeyValueLimit { .. } => AccessError::Limit(error.to_string()),
            BrokerError::Invalid { .. } | BrokerError::NotANumber { .. } => {
                AccessError::Invalid(error.to_string())
            }
            _ => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, module = %self.module, "a key-value store cannot be used");
                }
                AccessError::Unavailable(UNAVAILABLE.to_owned())
            }
        }
    }
}

impl fmt::Debug for BrokerKeyValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerKeyValues")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

fn ttl(ttl_ms: Option<u64>) -> Option<Duration> {
    ttl_ms.map(Duration::from_millis)
}

#[async_trait]
impl KeyValues for BrokerKeyValues {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        let key = key.to_owned();
        let value = self
            .ask(|broker, module| async move { broker.kv_get(&module, &key).await })
            .await?;
        Ok(value.map(Vec::from))
    }

    async fn set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), AccessError> {
        let (key, value) = (key.to_owned(), Bytes::copy_from_slice(value));
        self.ask(
            |broker, module| async move { broker.kv_set(&module, &key, value, ttl(ttl_ms)).await },
        )
        .await
    }

    async fn delete(&self, key: &str) -> Result<bool, AccessError> {
        let key = key.to_owned();
        self.ask(|broker, module| async move { broker.kv_delete(&module, &key).await })
            .await
    }

    async fn increment(&self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, AccessError> {
        let key = key.to_owned();
        self.ask(|broker, module| async move {
            broker.kv_increment(&module, &key, by, ttl(ttl_ms)).await
        })
        .await
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, AccessError> {
        let key = key.to_owned();
        let [expected, value] = [expected, value].map(|bytes| bytes.map(Bytes::copy_from_slice));
        self.ask(|broker, module| async move {
            let swap = broker.kv_compare_and_set(&module, &key, expected, value, ttl(ttl_ms));
            swap.await
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, AccessError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.ask(|broker, module| async move {
            let page = broker.kv_list(&module, &prefix, after.as_deref(), limit);
            page.await
        })
        .await
    }
}
