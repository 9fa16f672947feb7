//! The key-value store of a module: what may be a key, how much fits, and what is refused.
//!
//! Every module name has a store of its own, and a call names exactly one: there is no call that sees two.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{BUILT_IN_MODULE, BrokerError, Caps, check_name};

/// The longest key, in bytes. Keys stand in two indexes, so that they cost more than values do.
pub const MAX_KEY_BYTES: usize = 512;

/// The largest value, in bytes: what is larger belongs into files or a database.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The most keys that one call lists: a page of the longest keys is half a megabyte.
pub const MAX_PAGE: u32 = 1000;

/// The longest time to live: ten years. Whoever wants longer wants for ever.
const MAX_TTL_MS: u64 = 10 * 365 * 86_400_000;

/// What a module's store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValueStats {
    /// Keys that have not expired.
    pub keys: u64,
    /// Their bytes and those of their values.
    pub bytes: u64,
}

/// Checks the name of a module that has a store: `images`, never `images@1.2.0`, since all versions share one.
///
/// # Errors
/// `Invalid`.
pub fn check_module(module: &str) -> Result<(), BrokerError> {
    check_name("module name", module)?;
    if module == BUILT_IN_MODULE {
        let expected = "the name of a module, and not `celeriac`, which is the host itself";
        return Err(BrokerError::invalid("module name", module, expected));
    }
    Ok(())
}

/// The store of the tokens that the HTTP gateway takes. No module can be called so, and no task can name it.
pub const TOKEN_STORE: &str = "@tokens";

/// Checks what an engine is asked to look into: the store of a module, or of tokens.
pub(crate) fn check_store(store: &str) -> Result<(), BrokerError> {
    match store {
        TOKEN_STORE => Ok(()),
        module => check_module(module),
    }
}

/// Checks a key.
///
/// # Errors
/// `Invalid` unless it has 1 to 512 bytes and no control characters.
pub fn check_key(key: &str) -> Result<(), BrokerError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.contains(char::is_control) {
        return Ok(());
    }
    let expected = format!("1 to {MAX_KEY_BYTES} bytes of text without control characters");
    Err(BrokerError::invalid("key", key, expected))
}

/// Checks everything that a listing needs checked; how many keys it gets at most.
pub(crate) fn check_list(
    module: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<usize, BrokerError> {
    check_store(module)?;
    check_bound("prefix", prefix)?;
    check_bound("cursor", after.unwrap_or_default())?;
    Ok(limit.min(MAX_PAGE) as usize)
}

/// Checks what a listing asks for: a prefix or a cursor, either of which may be empty.
fn check_bound(what: &'static str, text: &str) -> Result<(), BrokerError> {
    if text.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    let expected = format!("at most {MAX_KEY_BYTES} bytes");
    Err(BrokerError::invalid(what, text, expected))
}

/// Checks the size of a value.
pub(crate) fn check_value(module: &str, value: &[u8]) -> Result<(), BrokerError> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    Err(BrokerError::KeyValueLimit {
        module: module.to_owned(),
        what: "bytes of one value",
        limit: MAX_VALUE_BYTES as u64,
        remedy: "keep a reference to it instead".to_owned(),
    })
}

/// A time to live in milliseconds that both engines take: at least one, at most ten years.
pub(crate) fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis())
        .unwrap_or(MAX_TTL_MS)
        .clamp(1, MAX_TTL_MS)
}

/// Checks everything that a write of `key` needs checked.
pub(crate) fn check_write(
    module: &str,
    key: &str,
    value: Option<&[u8]>,
) -> Result<(), BrokerError> {
    check_store(module)?;
    check_key(key)?;
    value.map_or(Ok(()), |value| check_value(module, value))
}

/// The first text that is greater than every text with this prefix; none when there is no such text.
/// UTF-8 has no byte 0xff, so that only the empty prefix has none.
pub(crate) fn after_prefix(prefix: &str) -> Option<Vec<u8>> {
    let (last, rest) = prefix.as_bytes().split_last()?;
    let mut end = rest.to_vec();
    end.push(last.saturating_add(1));
    Some(end)
}

/// What a compare-and-set is to do.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The value that the key must have; none: it must not be there.
    pub(crate) expected: Option<Bytes>,
    /// The value that it gets; none: it is removed.
    pub(crate) value: Option<Bytes>,
    /// For how long; none: for ever.
    pub(crate) ttl: Option<Duration>,
}

/// What keeps a write from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The module has as many keys as it may.
    Keys,
    /// The module's keys and values would have more bytes than they may.
    Bytes,
    /// What stands there is not a whole number.
    NotANumber,
    /// The sum does not fit into 64 bits.
    Overflow,
}

impl Refusal {
    /// As the caller sees it.
    pub(crate) fn into_error(self, module: &str, key: &str, caps: Caps) -> BrokerError {
        let full = |what, limit, setting: &str| BrokerError::KeyValueLimit {
            module: module.to_owned(),
            what,
            limit,
            remedy: format!(
                "delete keys or give them a time to live, or raise `{setting}` on every host"
            ),
        };
        let number = |reason| BrokerError::NotANumber {
            key: key.to_owned(),
            reason,
        };
        match self {
            Self::Keys => full("keys", caps.kv_keys, "caps.kv_keys"),
            Self::Bytes => full("bytes of keys and values", caps.kv_bytes, "caps.kv_bytes"),
            Self::NotANumber => number("its value is not a whole number in plain decimal digits"),
            Self::Overflow => number("the sum does not fit into 64 bits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_1_to_512_bytes_without_control_characters() {
        for key in ["a", "user:1/é", &"k".repeat(512)] {
            check_key(key).unwrap();
        }
        for key in ["", "a\nb", "a\0", "\u{7f}", "\u{85}", &"k".repeat(513)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn a_store_belongs_to_a_plain_module_name() {
        check_module("images").unwrap();
        for name in ["images@1.2.0", "celeriac", "a:b", "", "A", "a b", "a/b"] {
            assert!(check_module(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(after_prefix(""), None);
        assert_eq!(after_prefix("ab").unwrap(), b"ac");
        let end = after_prefix("aé").unwrap();
        assert_eq!(end, "aê".as_bytes());
        assert!("aé\u{10ffff}".as_bytes() < end.as_slice());
    }

    #[test]
    fn times_to_live_stay_within_what_clocks_can_hold() {
        assert_eq!(ttl_ms(Duration::ZERO), 1);
        assert_eq!(ttl_ms(Duration::from_millis(5)), 5);
        assert_eq!(ttl_ms(Duration::MAX), MAX_TTL_MS);
    }
}
