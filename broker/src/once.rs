//! Once: keys that keep an invocation from being submitted twice.
//!
//! An *idempotency key* makes a submit repeatable: the same key with the same input is the same invocation. A *unique
//! key* makes an invocation the only one of its kind for a while. Both are checked in the step that submits, before
//! anything of the invocation is written: what is refused leaves nothing behind.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{BrokerError, Header, InvocationId, span};

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// The longest window: ten years.
const MAX_WINDOW_MS: u64 = 10 * 365 * 86_400_000;

/// That an invocation is the only one with its key for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// Whatever must not be there twice: `invoice-17`.
    pub key: String,
    /// For how long.
    #[serde(default)]
    pub scope: Scope,
    /// What becomes of another that comes meanwhile.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// For how long an invocation holds its unique key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Until a host takes it: what runs does not count.
    Queued,
    /// Until it has ended, retries and all.
    #[default]
    Done,
    /// For so many milliseconds from when it was accepted, whatever becomes of it.
    WindowMs(u64),
}

/// What becomes of a submit whose unique key is held by another invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// It is refused with `BrokerError::NotUnique`, which names the other.
    #[default]
    Reject,
    /// It is dropped, and the caller gets the other.
    ReturnExisting,
    /// The other is cancelled where it still waits, and this one takes its place; refused where the other runs.
    Replace,
}

impl Unique {
    /// What must hold before an engine is asked.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        check_key("unique key", &self.key)?;
        match self.scope {
            Scope::WindowMs(ms) if ms == 0 || ms > MAX_WINDOW_MS => {
                let expected = "a time between 1ms and 3650d";
                Err(BrokerError::invalid(
                    "window of a unique key",
                    &self.scope.to_string(),
                    expected,
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Checks a key of either kind.
pub(crate) fn check_key(what: &'static str, key: &str) -> Result<(), BrokerError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.contains(char::is_control) {
        return Ok(());
    }
    let expected = format!("1 to {MAX_KEY_BYTES} bytes of text without control characters");
    Err(BrokerError::invalid(what, key, expected))
}

/// What makes two submits with one idempotency key the same: task, content type and input.
pub(crate) fn fingerprint(header: &Header, input: &[u8]) -> String {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(header.task.to_string())
        .chain_update([0])
        .chain_update(&header.content_type)
        .chain_update([0])
        .chain_update(input)
        .finalize()
        .into();
    hash.iter()
        .take(16)
        .fold(String::with_capacity(32), |mut hex, byte| {
            use fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Why a submit came to nothing, or to another invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    /// The caller gets this one.
    Existing(InvocationId),
    /// The idempotency key belongs to this one, whose input is another.
    OtherInput(InvocationId),
    /// The unique key is held by this one.
    NotUnique(InvocationId),
}

impl Clash {
    /// What the caller is told.
    pub(crate) fn answer(
        self,
        idempotency_key: Option<&str>,
        unique_key: Option<&str>,
    ) -> Result<InvocationId, BrokerError> {
        match self {
            Self::Existing(id) => Ok(id),
            Self::OtherInput(existing) => Err(BrokerError::IdempotencyConflict {
                key: idempotency_key.unwrap_or_default().to_owned(),
                existing,
            }),
            Self::NotUnique(existing) => Err(BrokerError::NotUnique {
                key: unique_key.unwrap_or_default().to_owned(),
                existing,
            }),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued => f.write_str("queued"),
            Self::Done => f.write_str("done"),
            Self::WindowMs(ms) => f.write_str(&span::show(std::time::Duration::from_millis(*ms))),
        }
    }
}

impl FromStr for Scope {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let window = |text| {
            let ms = span::parse(text)?.as_millis();
            u64::try_from(ms).ok().map(Self::WindowMs)
        };
        let scope = match text.trim() {
            "queued" => Some(Self::Queued),
            "done" => Some(Self::Done),
            text => window(text),
        };
        let expected = "`queued`, `done`, or a time such as `10m`";
        scope.ok_or_else(|| BrokerError::invalid("scope of a unique key", text, expected))
    }
}

impl OnConflict {
    /// The policy as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::ReturnExisting => "return-existing",
            Self::Replace => "replace",
        }
    }
}

impl fmt::Display for OnConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnConflict {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        [Self::Reject, Self::ReturnExisting, Self::Replace]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| {
                let expected = "`reject`, `return-existing` or `replace`";
                BrokerError::invalid("conflict policy", text, expected)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_policies_are_written_as_they_are_read() {
        for text in ["queued", "done", "10m"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["reject", "return-existing", "replace"] {
            assert_eq!(text.parse::<OnConflict>().unwrap().to_string(), text);
        }
        assert!("for ever".parse::<Scope>().is_err() && "win".parse::<OnConflict>().is_err());
    }

    #[test]
    fn another_input_is_another_invocation() {
        let header = |task: &str, content_type: &str| Header {
            task: task.parse().unwrap(),
            content_type: content_type.to_owned(),
            options: crate::Options::default(),
        };
        let base = fingerprint(&header("a/b", "text/plain"), b"x");
        assert_eq!(base, fingerprint(&header("a/b", "text/plain"), b"x"));
        for other in [
            fingerprint(&header("a/b", "text/plain"), b"y"),
            fingerprint(&header("a/c", "text/plain"), b"x"),
            fingerprint(&header("a/b", "text/html"), b"x"),
        ] {
            assert_ne!(base, other);
        }
    }
}
