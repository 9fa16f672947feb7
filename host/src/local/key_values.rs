//! The key-value store of a run without a broker: in memory, for this run alone.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use celeriac_broker::{Caps, MAX_PAGE};

use crate::engine::{AccessError, KeyValues};

/// A store that begins empty and ends with the run. It refuses what a broker would.
#[derive(Debug)]
pub struct LocalKeyValues {
    caps: Caps,
    entries: Mutex<Entries>,
}

type Entries = BTreeMap<String, Entry>;

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    /// None: never.
    ends: Option<Instant>,
}

impl Default for LocalKeyValues {
    fn default() -> Self {
        Self::new(Caps::default())
    }
}

impl LocalKeyValues {
    /// An empty store that holds as much as these allow a module.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            entries: Mutex::default(),
        }
    }

    /// The entries that have not expired. Looking at all of them is cheap: one run fills it.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.retain(|_, entry| entry.ends.is_none_or(|ends| ends > now));
        entries
    }

    /// Sets a key where there is room for it.
    fn put(
        &self,
        entries: &mut Entries,
        key: &str,
        value: Vec<u8>,
        ends: Option<Instant>,
    ) -> Result<(), AccessError> {
        let others = entries.iter().filter(|(other, _)| *other != key);
        let (mut keys, mut bytes) = (1, (key.len() + value.len()) as u64);
        for (other, entry) in others {
            keys += 1;
            bytes += (other.len() + entry.value.len()) as u64;
        }
        let full = |what: &str, limit: u64, setting: &str| {
            let message = format!(
                "the key-value store takes at most {limit} {what}: delete keys or give them a time to live, or \
                 raise `{setting}`"
            );
            Err(AccessError::Limit(message))
        };
        if keys > self.caps.kv_keys {
            return full("keys", self.caps.kv_keys, "caps.kv_keys");
        }
        if bytes > self.caps.kv_bytes {
            return full(
                "bytes of keys and values",
                self.caps.kv_bytes,
                "caps.kv_bytes",
            );
        }
        entries.insert(key.to_owned(), Entry { value, ends });
        Ok(())
    }
}

fn ends(ttl_ms: Option<u64>) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_millis(ttl_ms?))
}

/// A whole number in the one way that it is written, as brokers have it.
fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[async_trait]
impl KeyValues for LocalKeyValues {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        Ok(self.entries().get(key).map(|entry| entry.value.clone()))
    }

    async fn set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), AccessError> {
        self.put(&mut self.entries(), key, value.to_vec(), ends(ttl_ms))
    }

    async fn delete(&self, key: &str) -> Result<bool, AccessError> {
        Ok(self.entries().remove(key).is_some())
    }

    async fn increment(&self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, AccessError> {
        let mut entries = self.entries();
        let invalid = |reason: &str| {
            AccessError::Invalid(format!("key `{key}` cannot be incremented: {reason}"))
        };
        let (sum, ends) = match entries.get(key) {
            None => (by, ends(ttl_ms)),
            Some(entry) => {
                let old = number(&entry.value).ok_or_else(|| {
                    invalid("its value is not a whole number in plain decimal digits")
                })?;
                let sum = old.checked_add(by);
                let sum = sum.ok_or_else(|| invalid("the sum does not fit into 64 bits"))?;
                (sum, entry.ends)
            }
        };
        self.put(&mut entries, key, sum.to_string().into_bytes(), ends)?;
        Ok(sum)
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, AccessError> {
        let mut entries = self.entries();
        if entries.get(key).map(|entry| entry.value.as_slice()) != expected {
            return Ok(false);
        }
        match value {
            Some(value) => self.put(&mut entries, key, value.to_vec(), ends(ttl_ms))?,
            None => drop(entries.remove(key)),
        }
        Ok(true)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, AccessError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = self.entries();
        let keys = entries.range::<str, _>((from, Bound::Unbounded));
        let keys = keys
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix));
        Ok(keys.take(limit.min(MAX_PAGE) as usize).cloned().collect())
    }
}
