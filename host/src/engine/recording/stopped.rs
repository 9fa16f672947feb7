//! Why a replay did not come to its end.

/// Why a replay did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The module asked for something else.
    #[error("at call {at} the recording has `{recorded}`, the module asked for `{asked}`")]
    Differs {
        /// Which call, from 1.
        at: usize,
        /// What the attempt asked for.
        recorded: String,
        /// What the replay asked for.
        asked: String,
    },
    /// The recording has no more: the module asked for more than the attempt had.
    #[error("the recording ends after {calls} calls, the module asked for `{asked}` then")]
    Over {
        /// Calls that were answered.
        calls: usize,
        /// What the replay asked for.
        asked: String,
    },
    /// The recording was cut.
    #[error(
        "the recording was cut after {calls} calls: it has {bytes} bytes, as many as `record_bytes` allows"
    )]
    Cut {
        /// Calls that were kept.
        calls: usize,
        /// Bytes that were kept at most.
        bytes: u64,
    },
    /// The attempt used what cannot be recorded.
    #[error("after {calls} calls the task used {what}, which cannot be recorded")]
    Gap {
        /// Calls that were kept.
        calls: usize,
        /// What it used.
        what: String,
    },
    /// The attempt was ended from outside, here.
    #[error("the attempt was ended by its host here: {code}")]
    Ended {
        /// The code that it ended with.
        code: String,
    },
    /// What was recorded is no answer to this call.
    #[error("the answer of call {at} in the recording makes no sense: {why}")]
    Nonsense {
        /// Which call, from 1.
        at: usize,
        /// What is wrong with it.
        why: String,
    },
}
