//! The ends that no host settles: what they say, for both engines.

use crate::{Code, InvocationId, OnUnmet, State};

/// A code and a sentence for people.
pub(crate) type Verdict = (Code, &'static str);

/// Somebody cancelled it.
pub(crate) const CANCELLED: Verdict = (Code::Cancelled, "somebody cancelled the invocation");

/// Another with its unique key was to take its place. `once.lua` says the same.
pub(crate) const REPLACED: Verdict = (
    Code::Cancelled,
    "another with its unique key took its place",
);

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

/// A parent ended otherwise than was waited for; without a state it is gone. `follow.lua` says the same.
pub(crate) fn unmet(
    on_unmet: OnUnmet,
    parent: InvocationId,
    came_to: Option<State>,
) -> (Code, String) {
    let code = match on_unmet {
        OnUnmet::Fail => Code::DependencyFailed,
        OnUnmet::Skip => Code::Skipped,
    };
    let came_to = match came_to {
        Some(State::Succeeded) => "has succeeded",
        Some(State::Failed) => "has failed",
        Some(State::Cancelled) => "was cancelled",
        Some(State::Expired) => "has expired",
        _ => "is not known any more",
    };
    let message = format!("invocation {parent}, which it waited for, {came_to}");
    (code, message)
}
