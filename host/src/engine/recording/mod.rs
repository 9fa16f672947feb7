//! What a failed execution can be run again with: its seed, its time, its limits.
//!
//! As bytes it is lines of JSON and, last, the SHA-256 of those: whoever reads one knows that it is whole.

mod text;

use std::time::SystemTime;

use super::{Determinism, Limits, Seed};

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
}

/// The bytes of a recording say nothing that could be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recording is damaged: {0}")]
pub struct Damaged(pub(crate) String);
