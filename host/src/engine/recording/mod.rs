//! What a failed execution can be run again with: its seed, its time, its limits; and, where that was asked for, the answers
//! of its host's calls.
//!
//! As bytes it is lines of JSON and, last, the SHA-256 of those: whoever reads one knows that it is whole.

mod answers;
mod outside;
mod stopped;
mod tape;
mod text;
mod transcript;

use std::time::{Duration, SystemTime};

pub use self::stopped::Stopped;
pub use self::tape::Tape;
pub use self::transcript::Transcript;
pub(crate) use self::transcript::{Answer, Entry};
use super::{Code, Determinism, Limits, Rights, Seed};

/// The least time that a replay from a recording has.
const REPLAY_TIME: Duration = Duration::from_secs(3_600);

/// What a failed execution can be run again with, beside its module, task and input.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// What its randomness was made from; none: it asked for none.
    pub seed: Option<Seed>,
    /// The time at its start.
    pub now: SystemTime,
    /// Whether the policy had fixed clock and seed: they were the same for every attempt.
    pub is_fixed: bool,
    /// Its limits.
    pub limits: Limits,
    /// The answers of its host's calls; none: nobody asked for them to be kept.
    pub transcript: Option<Transcript>,
}

impl Recording {
    /// The same seed, and the same clock at the start.
    #[must_use]
    pub fn determinism(&self) -> Determinism {
        Determinism {
            seed: self.seed.clone().unwrap_or(Seed::Number(0)),
            now: self.now,
        }
    }

    /// The limits of a replay. A computing guest that was stopped from outside is stopped where it was: at the same fuel.
    #[must_use]
    pub fn replay_limits(&self) -> Limits {
        let mut limits = self.limits.clone();
        if let Some(fuel) = self.stopped_at() {
            limits.fuel = limits.fuel.min(fuel);
        }
        if self.transcript.is_some() {
            // Its end is in the recording; this machine may be slower.
            limits.timeout = limits.timeout.max(REPLAY_TIME);
        }
        limits
    }

    /// The fuel at which a computing guest was stopped from outside, where it was.
    #[must_use]
    pub fn stopped_at(&self) -> Option<u64> {
        let facts = &self.transcript.as_ref()?.facts;
        let is_stopped =
            [Code::Deadline.as_str(), Code::Cancelled.as_str()].contains(&&*facts.code);
        (is_stopped && facts.pending.is_none()).then_some(facts.fuel)
    }
}

/// The transcript of an execution that failed, if there is one.
pub(crate) fn transcript(rights: &Rights, code: Code, fuel: u64) -> Option<Transcript> {
    let tape = rights.tape.as_ref().filter(|tape| !tape.is_replay())?;
    Some(tape.take(code.as_str(), fuel))
}

/// The bytes of a recording say nothing that could be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recording is damaged: {0}")]
pub struct Damaged(pub(crate) String);

#[cfg(test)]
mod tests;
