//! Having a new invocation wait for others.

use super::{ending, fault::Fault, follow::Note, row, ticker::SWEEP_MS, writer::Tx};
use crate::{
    After, BrokerError, InvocationId, MAX_CHAIN, MAX_DEPENDENTS, OnUnmet, State,
    dependency::Refused,
};

/// What an invocation shall wait for, as it stands.
pub(super) struct Parents<'a> {
    after: &'a [After],
    /// What those that have ended came to, in order.
    states: Vec<Option<State>>,
    /// How long the chain is.
    pub(super) chain: u32,
}

/// How an invocation waits.
pub(super) struct Waiting<'a> {
    pub(super) id: InvocationId,
    pub(super) queue: &'a str,
    pub(super) on_unmet: OnUnmet,
    /// When it may start besides.
    pub(super) starts_at: Option<u64>,
    pub(super) ttl_ms: u64,
}

/// Looks at the parents; or why they cannot be waited for.
pub(super) fn look<'a>(
    tx: &Tx<'_>,
    after: &'a [After],
) -> Result<Result<Parents<'a>, BrokerError>, Fault> {
    let (mut states, mut chain) = (Vec::with_capacity(after.len()), 0);
    for parent in after {
        let found = tx.query(
            "SELECT state, coalesce(awaited, 0), coalesce(chain, 0) FROM invocations
             WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
            (parent.id.as_bytes(), tx.now),
            |found| {
                let state = row::text(found, 0).map(|state| ending::ended_state(&state));
                Ok((state, row::count(found, 1), row::count(found, 2)))
            },
        )?;
        let refused = match found {
            None => Refused::Unknown,
            Some((_, awaited, _)) if awaited >= MAX_DEPENDENTS => Refused::Crowded,
            Some((_, _, length)) if length >= u64::from(MAX_CHAIN) => Refused::TooLong,
            Some((state, _, length)) => {
                states.push(state);
                chain = chain.max(u32::try_from(length).unwrap_or(MAX_CHAIN));
                continue;
            }
        };
        return Ok(Err(refused.error(parent.id)));
    }
    Ok(Ok(Parents {
        after,
        states,
        chain: chain + 1,
    }))
}

impl Parents<'_> {
    /// Has the invocation wait; whether there is something left to wait for.
    pub(super) fn join(&self, tx: &mut Tx<'_>, waiting: &Waiting<'_>) -> Result<bool, Fault> {
        let (mut pending, mut unmet) = (0, None);
        for (parent, state) in self.after.iter().zip(&self.states) {
            // Kept until this one has ended: it may read what the parent came to.
            tx.execute(
                "UPDATE invocations SET awaited = coalesce(awaited, 0) + 1, expires_at = NULL WHERE id = ?1",
                [parent.id.as_bytes()],
            )?;
            let wants = parent.on.letter().to_string();
            tx.execute(
                "INSERT INTO edges VALUES (?1, ?2, ?3)",
                (parent.id.as_bytes(), waiting.id.as_bytes(), wants),
            )?;
            match state {
                None => pending += 1,
                Some(state) if parent.on.is_met(*state) => {}
                Some(state) => unmet = unmet.or(Some((parent.id, *state))),
            }
        }
        if pending == 0 && unmet.is_none() {
            return Ok(false);
        }
        tx.execute(
            "INSERT INTO blocked VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                waiting.id.as_bytes(),
                waiting.queue,
                pending,
                !waiting.on_unmet.is_fail(),
                waiting.starts_at,
                tx.now + SWEEP_MS,
                waiting.ttl_ms,
            ),
        )?;
        if let Some((parent, state)) = unmet {
            tx.note(Note::Unmet {
                child: waiting.id,
                parent,
                state: Some(state),
            });
        }
        Ok(true)
    }
}

/// Notes that an invocation is called by one that runs; false when that does not run, or is to stop with all that it calls.
pub(super) fn call(tx: &Tx<'_>, parent: InvocationId, child: InvocationId) -> Result<bool, Fault> {
    let sql =
        "INSERT OR IGNORE INTO children SELECT id, ?2 FROM leases WHERE id = ?1 AND cancel < 2";
    Ok(tx.execute(sql, (parent.as_bytes(), child.as_bytes()))? > 0)
}
