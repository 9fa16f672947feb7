//! What follows from the end of an invocation, beside its outcome: noted in the transaction that ends it, and done before
//! that is over; see `follow`.

use super::{fault::Fault, firing, follow::Note, once, writer::Tx};
use crate::{InvocationId, State, more::More};

/// An invocation that has just come to a terminal state, and is not a plain one.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: InvocationId,
    pub(super) state: State,
    /// Whether others wait for it.
    pub(super) is_awaited: bool,
    /// Whether it has waited for others.
    pub(super) has_parents: bool,
    /// The features that it uses.
    pub(super) more: More,
    /// How long results are kept unless the caller said otherwise.
    pub(super) ttl_ms: u64,
}

/// Notes what follows. Plain invocations never come here.
pub(super) fn ended(tx: &mut Tx<'_>, ended: &Ended) -> Result<(), Fault> {
    let (id, ttl_ms) = (ended.id, ended.ttl_ms);
    if ended.is_awaited {
        tx.note(Note::Tell {
            parent: id,
            state: ended.state,
            told: None,
            ttl_ms,
        });
    }
    if ended.has_parents {
        tx.note(Note::LetGo { child: id, ttl_ms });
    }
    once::ended(tx, id, &ended.more)?;
    if let Some(schedule) = &ended.more.schedule {
        firing::run_ended(tx, schedule, id)?;
    }
    Ok(())
}
