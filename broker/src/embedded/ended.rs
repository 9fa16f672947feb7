//! What follows from the end of an invocation, beside its outcome: called in the transaction that ends it.

use super::{
    fault::Fault,
    schedules,
    writer::{Tx, Uses},
};
use crate::{InvocationId, State, more::More};

/// An invocation that has just come to a terminal state, and is not a plain one.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: InvocationId,
    pub(super) state: State,
    /// Whether others wait for it.
    pub(super) is_awaited: bool,
    /// The features that it uses.
    pub(super) more: More,
}

/// Does what follows. Plain invocations never come here.
pub(super) fn ended(
    tx: &mut Tx<'_>,
    _uses: &mut Uses,
    _ttl_ms: u64,
    ended: &Ended,
) -> Result<(), Fault> {
    tracing::trace!(?ended, "an invocation that others depend on has ended");
    if let Some(schedule) = &ended.more.schedule {
        schedules::run_ended(tx, schedule)?;
    }
    Ok(())
}
