//! The key-value store of a module.

use std::{collections::VecDeque, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{AccessError, host::Host};

/// Keys in one page of a listing: few calls, and little memory.
const PAGE: u32 = 200;

/// The key-value store of this module: shared by all invocations of its tasks, whatever their version and
/// host, and seen by no other module. A task that uses it says `needs(kv = "what for")`.
///
/// Keys are text of 1 to 512 bytes. Values are anything with serde's derives, kept as JSON, or bytes. A
/// whole number in JSON is also what [`increment`](Self::increment) counts with. Each call is a trip to the
/// broker, and counts against the limit `kv_calls`.
///
/// ```
/// use std::time::Duration;
/// use celeriac_guest::testing::FakeContext;
///
/// let ctx = FakeContext::new();
/// let store = ctx.store();
/// store.set_for("greeting", &["hello", "world"], Duration::from_secs(60))?;
/// assert_eq!(store.get::<Vec<String>>("greeting")?.unwrap(), ["hello", "world"]);
///
/// assert_eq!(store.increment("visits", 1)?, 1);
/// assert_eq!(store.get::<i64>("visits")?, Some(1));
///
/// let keys: Vec<String> = store.keys("").collect::<Result<_, _>>()?;
/// assert_eq!(keys, ["greeting", "visits"]);
/// # Ok::<(), celeriac_guest::AccessError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    host: &'a Host,
}

impl<'a> Store<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// The value of a key, read from JSON; none when the key is not there, or its time is over.
    ///
    /// # Errors
    /// As every call here; also `Invalid` when the value is no JSON of a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AccessError> {
        let Some(value) = self.get_bytes(key)? else {
            return Ok(None);
        };
        serde_json::from_slice(&value)
            .map(Some)
            .map_err(|error| invalid(key, "cannot be read", &error))
    }

    /// The value of a key as it is.
    ///
    /// # Errors
    /// Any [`AccessError`].
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        self.host.kv_get(key)
    }

    /// Sets a key for ever, as JSON.
    ///
    /// # Errors
    /// As every call here; also `Invalid` when the value has no JSON form.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), AccessError> {
        self.set_bytes(key, &json(key, value)?, None)
    }

    /// Sets a key, as JSON, that is gone after `ttl`.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_for<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<(), AccessError> {
        self.set_bytes(key, &json(key, value)?, Some(ttl))
    }

    /// Sets a key to bytes, for `ttl` or for ever.
    ///
    /// # Errors
    /// Any [`AccessError`].
    pub fn set_bytes(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), AccessError> {
        self.host.kv_set(key, value, ttl)
    }

    /// Removes a key, and says whether it was there.
    ///
    /// # Errors
    /// Any [`AccessError`].
    pub fn delete(&self, key: &str) -> Result<bool, AccessError> {
        self.host.kv_delete(key)
    }

    /// Adds to the whole number under a key, and returns the sum. A key that is not there counts as 0. It is
    /// done at most once: after `Unavailable` it may have been done.
    ///
    /// # Errors
    /// As every call here; also `Invalid` when the value is no whole number, and beyond 2^53.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, AccessError> {
        self.host.kv_increment(key, by, None)
    }

    /// As [`increment`](Self::increment); a key that this call makes is gone after `ttl`, so that it counts
    /// what happens in a window of time. One that is there keeps its own time.
    ///
    /// ```
    /// # use celeriac_guest::testing::FakeContext;
    /// # use std::time::Duration;
    /// # let ctx = FakeContext::new();
    /// let calls = ctx.store().increment_for("calls:ada", 1, Duration::from_secs(60))?;
    /// assert!(calls <= 100, "too many calls this minute");
    /// # Ok::<(), celeriac_guest::AccessError>(())
    /// ```
    ///
    /// # Errors
    /// As [`increment`](Self::increment).
    pub fn increment_for(&self, key: &str, by: i64, ttl: Duration) -> Result<i64, AccessError> {
        self.host.kv_increment(key, by, Some(ttl))
    }

    /// Sets a key to `value` (none: removes it) if it has the value `expected` (none: is not there), in one
    /// step, and says whether it did. What is compared is the JSON text: use one type for one key.
    ///
    /// ```
    /// # use celeriac_guest::testing::FakeContext;
    /// # let ctx = FakeContext::new();
    /// let store = ctx.store();
    /// assert!(store.compare_and_set("leader", None, Some("me"))?);
    /// assert!(!store.compare_and_set("leader", None, Some("you"))?);
    /// assert!(store.compare_and_set("leader", Some("me"), None)?);
    /// # Ok::<(), celeriac_guest::AccessError>(())
    /// ```
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn compare_and_set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        expected: Option<&T>,
        value: Option<&T>,
    ) -> Result<bool, AccessError> {
        self.swap(key, (expected, value), None)
    }

    /// As [`compare_and_set`](Self::compare_and_set); what is set is gone after `ttl`. A lock that its owner
    /// cannot forget to give back.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn compare_and_set_for<T: Serialize + ?Sized>(
        &self,
        key: &str,
        expected: Option<&T>,
        value: Option<&T>,
        ttl: Duration,
    ) -> Result<bool, AccessError> {
        self.swap(key, (expected, value), Some(ttl))
    }

    /// As [`compare_and_set`](Self::compare_and_set), with bytes as they are, and a `ttl` or none.
    ///
    /// # Errors
    /// Any [`AccessError`].
    pub fn compare_and_set_bytes(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl: Option<Duration>,
    ) -> Result<bool, AccessError> {
        self.host.kv_compare_and_set(key, expected, value, ttl)
    }

    fn swap<T: Serialize + ?Sized>(
        &self,
        key: &str,
        (expected, value): (Option<&T>, Option<&T>),
        ttl: Option<Duration>,
    ) -> Result<bool, AccessError> {
        let expected = expected.map(|expected| json(key, expected)).transpose()?;
        let value = value.map(|value| json(key, value)).transpose()?;
        self.compare_and_set_bytes(key, expected.as_deref(), value.as_deref(), ttl)
    }

    /// The keys that start with `prefix`, in the order of their bytes, asked for a page at a time. Keys that
    /// come and go meanwhile may be among them or not.
    pub fn keys(&self, prefix: &str) -> Keys<'a> {
        Keys {
            host: self.host,
            prefix: prefix.to_owned(),
            page: VecDeque::new(),
            last: None,
            is_over: false,
        }
    }
}

/// The keys of a store; see [`Store::keys`].
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    host: &'a Host,
    prefix: String,
    page: VecDeque<String>,
    /// The last key given out.
    last: Option<String>,
    is_over: bool,
}

impl Iterator for Keys<'_> {
    type Item = Result<String, AccessError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.is_over {
            match self.host.kv_list(&self.prefix, self.last.as_deref(), PAGE) {
                Ok(page) => {
                    self.is_over = page.len() < PAGE as usize;
                    self.page = page.into();
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        let key = self.page.pop_front()?;
        self.last = Some(key.clone());
        Some(Ok(key))
    }
}

fn json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, AccessError> {
    serde_json::to_vec(value).map_err(|error| invalid(key, "has no JSON form", &error))
}

fn invalid(key: &str, what: &str, error: &serde_json::Error) -> AccessError {
    AccessError::Invalid(format!("the value of key `{key}` {what}: {error}"))
}
