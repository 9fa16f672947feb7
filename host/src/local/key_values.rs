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

/// What there is. Counted along, so that no call looks at all of it.
#[derive(Debug, Default)]
struct Entries {
    by_key: BTreeMap<String, Entry>,
    /// Of keys and values.
    bytes: u64,
    /// When the next key expires, or earlier; none: never.
    soonest: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    /// None: never.
    ends: Option<Instant>,
}

impl Entries {
    /// Removes what has expired.
    fn purge(&mut self) {
        let now = Instant::now();
        if self.soonest.is_none_or(|soonest| soonest > now) {
            return;
        }
        self.by_key
            .retain(|_, entry| entry.ends.is_none_or(|ends| ends > now));
        let size = |(key, entry): (&String, &Entry)| (key.len() + entry.value.len()) as u64;
        self.bytes = self.by_key.iter().map(size).sum();
        self.soonest = self.by_key.values().filter_map(|entry| entry.ends).min();
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(entry) = self.by_key.remove(key) else {
            return false;
        };
        self.bytes -= (key.len() + entry.value.len()) as u64;
        true
    }

    /// Sets a key where there is room for it.
    fn put(
        &mut self,
        caps: Caps,
        key: &str,
        value: Vec<u8>,
        ends: Option<Instant>,
    ) -> Result<(), AccessError> {
        let old = self.by_key.get(key);
        let old = old.map(|entry| (key.len() + entry.value.len()) as u64);
        let keys = self.by_key.len() as u64 + u64::from(old.is_none());
        let bytes = self.bytes - old.unwrap_or(0) + (key.len() + value.len()) as u64;
        if old.is_none() && keys > caps.kv_keys {
            return Err(full("keys", caps.kv_keys, "caps.kv_keys"));
        }
        if bytes > self.bytes && bytes > caps.kv_bytes {
            let what = "bytes of keys and values";
            return Err(full(what, caps.kv_bytes, "caps.kv_bytes"));
        }
        self.bytes = bytes;
        self.soonest = [self.soonest, ends].into_iter().flatten().min();
        self.by_key.insert(key.to_owned(), Entry { value, ends });
        Ok(())
    }
}

fn full(what: &str, limit: u64, setting: &str) -> AccessError {
    AccessError::Limit(format!(
        "the key-value store takes at most {limit} {what}: delete keys or give them a time to live, or raise \
         `{setting}`"
    ))
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

    /// The entries that have not expired.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.purge();
        entries
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
        let entries = self.entries();
        Ok(entries.by_key.get(key).map(|entry| entry.value.clone()))
    }

    async fn set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), AccessError> {
        let mut entries = self.entries();
        entries.put(self.caps, key, value.to_vec(), ends(ttl_ms))
    }

    async fn delete(&self, key: &str) -> Result<bool, AccessError> {
        Ok(self.entries().remove(key))
    }

    async fn increment(&self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, AccessError> {
        let mut entries = self.entries();
        let invalid = |reason: &str| {
            AccessError::Invalid(format!("key `{key}` cannot be incremented: {reason}"))
        };
        let (sum, ends) = match entries.by_key.get(key) {
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
        entries.put(self.caps, key, sum.to_string().into_bytes(), ends)?;
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
        if entries.by_key.get(key).map(|entry| entry.value.as_slice()) != expected {
            return Ok(false);
        }
        match value {
            Some(value) => entries.put(self.caps, key, value.to_vec(), ends(ttl_ms))?,
            None => {
                entries.remove(key);
            }
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
        let keys = entries.by_key.range::<str, _>((from, Bound::Unbounded));
        let keys = keys
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix));
        Ok(keys.take(limit.min(MAX_PAGE) as usize).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_exactly_and_forgets_what_has_expired() {
        let store = LocalKeyValues::new(Caps {
            kv_keys: 2,
            kv_bytes: 8,
            ..Caps::default()
        });
        store.set("a", b"123", None).await.unwrap();
        store.set("b", b"12", Some(1)).await.unwrap();
        while store.get("b").await.unwrap().is_some() {}
        assert!(store.list("", None, 10).await.unwrap() == ["a"]);
        store.set("c", b"123", None).await.unwrap();
        for (key, value) in [("a", "1234"), ("d", "")] {
            let refused = store.set(key, value.as_bytes(), None).await;
            assert!(matches!(refused, Err(AccessError::Limit(_))), "{key}");
        }
        store.set("a", b"1", None).await.unwrap();
        assert_eq!(store.increment("a", 99, None).await.unwrap(), 100);
        assert!(store.delete("c").await.unwrap() && !store.delete("c").await.unwrap());
        assert!(
            store
                .compare_and_set("c", None, Some(b"123"), None)
                .await
                .unwrap()
        );
        assert!(!store.compare_and_set("c", None, None, None).await.unwrap());
    }
}
