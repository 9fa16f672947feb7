//! A key-value store in memory, with a clock that the test moves.

use std::{collections::BTreeMap, ops::Bound, time::Duration};

use crate::AccessError;

/// The longest key, as a host has it.
const KEY_BYTES: usize = 512;

/// Whole numbers beyond it do not travel exactly.
const EXACT: u64 = 1 << 53;

type Answer<T> = Result<T, AccessError>;

/// What a fake host keeps for a module.
#[derive(Debug, Default)]
pub(crate) struct FakeStore {
    /// Value, and when it is gone; none: never.
    entries: BTreeMap<String, (Vec<u8>, Option<Duration>)>,
    /// The time that has passed.
    now: Duration,
}

impl FakeStore {
    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.entries
            .retain(|_, (_, ends)| ends.is_none_or(|ends| ends > now));
    }

    pub(crate) fn get(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        check(key)?;
        Ok(self.entries.get(key).map(|(value, _)| value.clone()))
    }

    pub(crate) fn set(&mut self, key: &str, value: &[u8], ttl: Option<Duration>) -> Answer<()> {
        check(key)?;
        let ends = self.ends(ttl)?;
        self.entries.insert(key.to_owned(), (value.to_vec(), ends));
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &str) -> Answer<bool> {
        check(key)?;
        Ok(self.entries.remove(key).is_some())
    }

    pub(crate) fn increment(&mut self, key: &str, by: i64, ttl: Option<Duration>) -> Answer<i64> {
        check(key)?;
        let invalid = || {
            AccessError::Invalid(format!(
                "key `{key}` holds no whole number, or too large a one"
            ))
        };
        let (old, ends) = match self.entries.get(key) {
            None => (0, self.ends(ttl)?),
            Some((value, ends)) => {
                let text = std::str::from_utf8(value).map_err(|_| invalid())?;
                let number: i64 = text.parse().map_err(|_| invalid())?;
                if number.to_string() != text {
                    return Err(invalid());
                }
                (number, *ends)
            }
        };
        let sum = old.checked_add(by);
        let sum = sum.filter(|sum| sum.unsigned_abs() <= EXACT && by.unsigned_abs() <= EXACT);
        let sum = sum.ok_or_else(invalid)?;
        self.entries
            .insert(key.to_owned(), (sum.to_string().into_bytes(), ends));
        Ok(sum)
    }

    pub(crate) fn compare_and_set(
        &mut self,
        key: &str,
        (expected, value): (Option<&[u8]>, Option<&[u8]>),
        ttl: Option<Duration>,
    ) -> Answer<bool> {
        if self.get(key)?.as_deref() != expected {
            return Ok(false);
        }
        match value {
            Some(value) => self.set(key, value, ttl)?,
            None => drop(self.entries.remove(key)),
        }
        Ok(true)
    }

    pub(crate) fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Vec<String> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let keys = self.entries.range::<str, _>((from, Bound::Unbounded));
        let keys = keys
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix));
        keys.take(limit as usize).cloned().collect()
    }

    fn ends(&self, ttl: Option<Duration>) -> Answer<Option<Duration>> {
        match ttl {
            Some(Duration::ZERO) => Err(AccessError::Invalid(
                "a time to live is more than 0 seconds".to_owned(),
            )),
            Some(ttl) => Ok(self.now.checked_add(ttl)),
            None => Ok(None),
        }
    }
}

fn check(key: &str) -> Answer<()> {
    if (1..=KEY_BYTES).contains(&key.len()) && !key.contains(char::is_control) {
        return Ok(());
    }
    Err(AccessError::Invalid(format!(
        "a key has 1 to {KEY_BYTES} bytes of text without control characters"
    )))
}
