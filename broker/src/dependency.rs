//! Invocations that wait for others: what they wait for, and what becomes of them when it does not come.

use serde::{Deserialize, Serialize};

use crate::{BrokerError, InvocationId, State};

/// The most that one invocation waits for: one script looks at all of them.
pub const MAX_PARENTS: usize = 1_000;

/// The most invocations that wait for one, or have waited and not ended.
pub const MAX_DEPENDENTS: u64 = 10_000;

/// The most invocations in a chain in which each waits for the one before.
pub const MAX_CHAIN: u32 = 10_000;

/// An invocation that another waits for: its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The parent.
    pub id: InvocationId,
    /// The end that is waited for.
    #[serde(default, skip_serializing_if = "On::is_success")]
    pub on: On,
}

impl After {
    /// Waits for the success of `id`.
    pub const fn success(id: InvocationId) -> Self {
        Self {
            id,
            on: On::Success,
        }
    }

    /// Waits for `id` to fail or expire.
    pub const fn failure(id: InvocationId) -> Self {
        Self {
            id,
            on: On::Failure,
        }
    }

    /// Waits for any end of `id`.
    pub const fn done(id: InvocationId) -> Self {
        Self { id, on: On::Done }
    }
}

/// Which end of a parent is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// It has succeeded.
    #[default]
    Success,
    /// It has failed or expired. What was cancelled or skipped has done neither.
    Failure,
    /// It has ended, whatever it came to.
    Done,
}

impl On {
    /// Whether this is what a parent that ended in `state` has come to.
    pub const fn is_met(self, state: State) -> bool {
        match self {
            Self::Success => matches!(state, State::Succeeded),
            Self::Failure => matches!(state, State::Failed | State::Expired),
            Self::Done => state.is_terminal(),
        }
    }

    /// The letter that the engines keep for it.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Success => 's',
            Self::Failure => 'f',
            Self::Done => 'd',
        }
    }

    /// From its letter; what is damaged waits for success.
    pub(crate) fn from_letter(letter: &str) -> Self {
        match letter {
            "f" => Self::Failure,
            "d" => Self::Done,
            _ => Self::Success,
        }
    }

    const fn is_success(&self) -> bool {
        matches!(self, Self::Success)
    }
}

/// What becomes of an invocation when a parent ends otherwise than it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnUnmet {
    /// It fails, with the code `dependency_failed`.
    #[default]
    Fail,
    /// It is cancelled, with the code `skipped`.
    Skip,
}

impl OnUnmet {
    pub(crate) const fn is_fail(&self) -> bool {
        matches!(self, Self::Fail)
    }
}

/// What must hold of parents before an engine is asked.
pub(crate) fn check(after: &[After]) -> Result<(), BrokerError> {
    if after.len() > MAX_PARENTS {
        let got = format!("{} invocations", after.len());
        let expected = format!(
            "at most {MAX_PARENTS}: let some of them wait for parts of it, and this one for those"
        );
        return Err(BrokerError::invalid("after", &got, expected));
    }
    let mut ids: Vec<InvocationId> = after.iter().map(|after| after.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(twice) => {
            let got = twice.first().map(ToString::to_string).unwrap_or_default();
            Err(BrokerError::invalid(
                "after",
                &got,
                "each invocation at most once",
            ))
        }
        None => Ok(()),
    }
}

/// Why an engine does not have one invocation wait for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such invocation, or no more.
    Unknown,
    /// Too many wait for it.
    Crowded,
    /// The chain would be too long.
    TooLong,
}

impl Refused {
    /// What the caller is told.
    pub(crate) fn error(self, parent: InvocationId) -> BrokerError {
        let expected = match self {
            Self::Unknown => return BrokerError::NoParent(parent),
            Self::Crowded => {
                format!("an invocation that fewer than {MAX_DEPENDENTS} others wait for")
            }
            Self::TooLong => format!("the end of a chain of fewer than {MAX_CHAIN}"),
        };
        BrokerError::invalid("after", &parent.to_string(), expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;

    #[test]
    fn what_was_cancelled_is_met_by_any_end_alone() {
        for (on, met) in [
            (On::Success, [true, false, false, false]),
            (On::Failure, [false, true, true, false]),
            (On::Done, [true, true, true, true]),
        ] {
            let states = [
                State::Succeeded,
                State::Failed,
                State::Expired,
                State::Cancelled,
            ];
            assert_eq!(states.map(|state| on.is_met(state)), met, "{on:?}");
            assert!(!on.is_met(State::Running));
            assert_eq!(On::from_letter(&on.letter().to_string()), on);
        }
    }

    #[test]
    fn a_parent_is_named_once_and_there_are_not_too_many() {
        let namespace = Namespace::generate();
        let mut after: Vec<_> = (0..MAX_PARENTS)
            .map(|_| After::success(namespace.issue(0)))
            .collect();
        assert!(check(&after).is_ok());
        after.push(After::done(namespace.issue(0)));
        assert!(check(&after).is_err());
        let twice = [after[3], After::done(after[3].id)];
        assert!(check(&twice).is_err());
    }

    #[test]
    fn success_is_not_written() {
        let after = After::success(Namespace::generate().issue(0));
        let json = serde_json::to_string(&after).unwrap();
        assert_eq!(json, format!("{{\"id\":\"{}\"}}", after.id));
        assert_eq!(serde_json::from_str::<After>(&json).unwrap(), after);
    }
}
