//! The ends that no host settles: what they say, for both engines.

use crate::Code;

/// A code and a sentence for people.
pub(crate) type Verdict = (Code, &'static str);

/// Somebody cancelled it.
pub(crate) const CANCELLED: Verdict = (Code::Cancelled, "somebody cancelled the invocation");

/// It has killed its third host.
pub(crate) const QUARANTINED: Verdict = (
    Code::Quarantined,
    "the invocation was running each time that three hosts died: it does not run again",
);

/// No host started it in time.
pub(crate) const EXPIRED: Verdict = (
    Code::Expired,
    "the invocation was not started before it expired: give it more time, or its queue more hosts",
);

/// It waited past its deadline.
pub(crate) const PAST_DEADLINE: Verdict = (
    Code::Deadline,
    "the deadline of the whole invocation passed while it waited",
);
