//! What goes first within a queue.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::BrokerError;

/// What waits in a lower band has aged after this long. Half a minute is far more than a queue that keeps up ever holds
/// anything, and little to somebody who said that it is not urgent.
pub(crate) const AGEING: Duration = Duration::from_secs(30);

/// Each how many-th place goes to what has aged, while a higher band waits: high bands keep three quarters.
pub(crate) const AGED_SHARE: u32 = 4;

/// A band of a queue. While something waits in a higher band, nothing of a lower one is taken; except that what has
/// waited half a minute in a lower one gets each fourth place, so that nothing waits for ever.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before all others.
    High,
    /// What everything has that says nothing.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Whether it is the one that needs not be said.
    pub(crate) fn is_normal(&self) -> bool {
        *self == Self::Normal
    }

    /// The number of the band in the stores.
    pub(crate) const fn band(self) -> u8 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let found = Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text);
        found.ok_or_else(|| BrokerError::invalid("priority", text, "`high`, `normal` or `low`"))
    }
}

/// The longest fairness key or concurrency key, in bytes: an e-mail address or two UUIDs fit.
const MAX_SHARING_KEY_BYTES: usize = 128;

/// Checks a key that invocations share, such as a tenant's id: `what` names it in the error.
pub(crate) fn check_sharing_key(what: &'static str, key: &str) -> Result<(), BrokerError> {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
    if (1..=MAX_SHARING_KEY_BYTES).contains(&key.len()) && key.chars().all(is_plain) {
        return Ok(());
    }
    let expected = "1 to 128 bytes without spaces and control characters";
    Err(BrokerError::invalid(what, key, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_names_the_others() {
        for priority in Priority::ALL {
            assert_eq!(priority.to_string().parse::<Priority>().unwrap(), priority);
        }
        let error = "urgent".parse::<Priority>().unwrap_err().to_string();
        assert!(error.contains("`high`, `normal` or `low`"), "{error}");
    }

    #[test]
    fn a_key_is_one_word() {
        for key in ["a", "tenant@example.org", "größe", "{x}:1"] {
            check_sharing_key("fairness key", key).unwrap();
        }
        for key in ["", "a b", "a\n", "\u{a0}", &"x".repeat(129)] {
            assert!(check_sharing_key("fairness key", key).is_err(), "{key:?}");
        }
    }
}
