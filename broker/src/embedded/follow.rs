//! Telling those who wait for an invocation that it has ended. A transaction does so much of it; what is left stands in
//! `untold` and is done by the ticker: an end with a thousand dependents, or a chain of a thousand, holds nobody up.

use std::collections::VecDeque;

use super::{
    dead, ending,
    fault::Fault,
    outcome,
    place::{self, Place},
    row::{self, Fare},
    switchboard::News,
    times,
    writer::{Tx, Uses, query_all},
};
use crate::{InvocationId, On, OnUnmet, State, more::More, verdict};

/// Dependents and parents that one request looks at.
pub(super) const MOST: usize = 250;

/// Entries of `untold` that the ticker takes at once.
const ENTRIES: i64 = 50;

/// What stands in `untold` in place of a state, for a cancel that goes on with what was called.
const FELLED: &str = "felled";

/// Something that follows from an end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// Those who wait for `parent` are to be told how it ended; after the one that was told last.
    Tell {
        parent: InvocationId,
        state: State,
        told: Option<InvocationId>,
        ttl_ms: u64,
    },
    /// One that waits has a parent that ended otherwise, or is gone.
    Unmet {
        child: InvocationId,
        parent: InvocationId,
        state: Option<State>,
    },
    /// What `id` has called is to be cancelled too; after the one that was cancelled last.
    Fell {
        id: InvocationId,
        told: Option<InvocationId>,
        ttl_ms: u64,
    },
    /// One that has waited has ended: its parents need be kept for it no more.
    LetGo { child: InvocationId, ttl_ms: u64 },
}

/// Does what was noted, `MOST` of it.
pub(super) fn work_off(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let mut left = MOST;
    let (mut uses, mut rest) = (Uses::default(), Vec::new());
    while let Some(note) = tx.next_note() {
        if left == 0 {
            rest.push(note);
            continue;
        }
        let (done, more) = follow(tx, &mut uses, note, left)?;
        left = left.saturating_sub(done);
        rest.extend(more);
    }
    uses.write(tx)?;
    if !rest.is_empty() {
        tx.say(News::Due);
    }
    rest.iter().try_for_each(|note| put_off(tx, note))
}

/// Does one note; how much that was, and what is left of it.
fn follow(
    tx: &mut Tx<'_>,
    uses: &mut Uses,
    note: Note,
    left: usize,
) -> Result<(usize, Option<Note>), Fault> {
    match note {
        Note::Unmet {
            child,
            parent,
            state,
        } => {
            end_unmet(tx, uses, child, parent, state)?;
            Ok((1, None))
        }
        Note::Tell {
            parent,
            state,
            told,
            ttl_ms,
        } => {
            let edges = edges_after(tx, parent, told, left)?;
            for (child, wanted) in &edges {
                match wanted.is_met(state) {
                    true => meet(tx, *child)?,
                    false => end_unmet(tx, uses, *child, parent, Some(state))?,
                }
            }
            let told = edges.last().map(|(child, _)| *child);
            let more = (edges.len() == left).then_some(Note::Tell {
                parent,
                state,
                told,
                ttl_ms,
            });
            Ok((edges.len().max(1), more))
        }
        Note::Fell { id, told, ttl_ms } => {
            let children = children_after(tx, id, told, left)?;
            for child in &children {
                outcome::cancel_in(tx, *child, ttl_ms, 2)?;
                let (id, told) = (*child, None);
                tx.note(Note::Fell { id, told, ttl_ms });
            }
            let told = children.last().copied();
            let more = (children.len() == left).then_some(Note::Fell { id, told, ttl_ms });
            Ok((children.len().max(1), more))
        }
        Note::LetGo { child, ttl_ms } => {
            let parents = let_go(tx, child, ttl_ms, left)?;
            let more = (parents == left).then_some(Note::LetGo { child, ttl_ms });
            Ok((parents.max(1), more))
        }
    }
}

fn edges_after(
    tx: &Tx<'_>,
    parent: InvocationId,
    told: Option<InvocationId>,
    most: usize,
) -> Result<Vec<(InvocationId, On)>, Fault> {
    let sql =
        "SELECT child, wants FROM edges WHERE parent = ?1 AND child > ?2 ORDER BY child LIMIT ?3";
    let told = told.map_or_else(Vec::new, |told| told.as_bytes().to_vec());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let edges = query_all(tx.db, sql, (parent.as_bytes(), told, most), |found| {
        let wanted = On::from_letter(&row::text(found, 1).unwrap_or_default());
        Ok(row::id(found, 0).map(|child| (child, wanted)))
    })?;
    Ok(edges.into_iter().flatten().collect())
}

fn children_after(
    tx: &Tx<'_>,
    parent: InvocationId,
    told: Option<InvocationId>,
    most: usize,
) -> Result<Vec<InvocationId>, Fault> {
    let sql = "SELECT child FROM children WHERE parent = ?1 AND child > ?2 ORDER BY child LIMIT ?3";
    let told = told.map_or_else(Vec::new, |told| told.as_bytes().to_vec());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let children = query_all(tx.db, sql, (parent.as_bytes(), told, most), |found| {
        Ok(row::id(found, 0))
    })?;
    Ok(children.into_iter().flatten().collect())
}

/// A parent has ended as wanted.
fn meet(tx: &mut Tx<'_>, child: InvocationId) -> Result<(), Fault> {
    let sql = "UPDATE blocked SET pending = pending - 1 WHERE id = ?1 RETURNING pending";
    let pending = tx.query(sql, [child.as_bytes()], |found| Ok(row::number(found, 0)))?;
    match pending.flatten() {
        Some(pending) if pending <= 0 => unblock(tx, child),
        _ => Ok(()),
    }
}

/// Lets an invocation go whose parents have all ended as it wants: into its queue, or to wait for its time.
fn unblock(tx: &mut Tx<'_>, id: InvocationId) -> Result<(), Fault> {
    let found = tx.query(
        "DELETE FROM blocked WHERE id = ?1 RETURNING queue, starts_at,
           (SELECT more FROM invocations WHERE id = ?1)",
        [id.as_bytes()],
        |found| {
            let queue = row::text(found, 0).unwrap_or_default();
            Ok((queue, row::count(found, 1), row::bytes(found, 2)))
        },
    )?;
    let Some((queue, starts_at, more)) = found else {
        return Ok(());
    };
    if starts_at > tx.now {
        return times::schedule(tx, id, &queue, starts_at, Fare::default());
    }
    let place = Place {
        queue: &queue,
        id,
        fare: Fare::default(),
        since: tx.now,
        more: &More::read(more.as_deref()),
    };
    place::place(tx, &place, false)
}

/// Ends what waits for an end that did not come.
fn end_unmet(
    tx: &mut Tx<'_>,
    uses: &mut Uses,
    child: InvocationId,
    parent: InvocationId,
    state: Option<State>,
) -> Result<(), Fault> {
    let sql = "DELETE FROM blocked WHERE id = ?1 RETURNING skips, ttl";
    let found = tx.query(sql, [child.as_bytes()], |found| {
        Ok((row::count(found, 0) > 0, row::count(found, 1)))
    })?;
    let Some((skips, ttl_ms)) = found else {
        return Ok(());
    };
    tx.execute("DELETE FROM ends WHERE id = ?1", [child.as_bytes()])?;
    let on_unmet = if skips { OnUnmet::Skip } else { OnUnmet::Fail };
    let (code, message) = verdict::unmet(on_unmet, parent, state);
    let ended = (child, Fare::default(), None);
    ending::end_by_verdict(tx, uses, ttl_ms, ended, (code, &message))?;
    Ok(())
}

/// Lets go of at most so many parents; how many. The time to live of one that nobody reads any more begins.
fn let_go(tx: &Tx<'_>, child: InvocationId, ttl_ms: u64, most: usize) -> Result<usize, Fault> {
    let sql = "SELECT parent FROM edges WHERE child = ?1 LIMIT ?2";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let parents = query_all(tx.db, sql, (child.as_bytes(), most), |found| {
        Ok(row::bytes(found, 0).unwrap_or_default())
    })?;
    for parent in &parents {
        let sql = "DELETE FROM edges WHERE parent = ?1 AND child = ?2";
        tx.execute(sql, (parent, child.as_bytes()))?;
        tx.execute(
            "UPDATE invocations SET awaited = awaited - 1, expires_at = CASE
               WHEN state IS NOT NULL AND awaited <= 1 THEN ?2 + max(coalesce(result_ttl, ?3),
                 CASE WHEN EXISTS (SELECT 1 FROM dead d WHERE d.id = invocations.id) THEN ?4 ELSE 0 END)
               ELSE expires_at END
             WHERE id = ?1",
            (parent, tx.now, ttl_ms, dead::floor_ms(tx)),
        )?;
    }
    Ok(parents.len())
}

/// Keeps a note for the ticker.
fn put_off(tx: &Tx<'_>, note: &Note) -> Result<(), Fault> {
    let (id, state, told, ttl_ms) = match note {
        Note::Tell {
            parent,
            state,
            told,
            ttl_ms,
        } => (parent, Some(state.as_str()), *told, *ttl_ms),
        Note::LetGo { child, ttl_ms } => (child, None, None, *ttl_ms),
        Note::Fell { id, told, ttl_ms } => (id, Some(FELLED), *told, *ttl_ms),
        // Told to one alone: its parent has ended, and stands at a place that the sweep finds.
        Note::Unmet { child, .. } => {
            let sql = "UPDATE blocked SET look_at = ?2 WHERE id = ?1";
            tx.execute(sql, (child.as_bytes(), tx.now))?;
            return Ok(());
        }
    };
    let told = told.map(|told| told.as_bytes().to_vec());
    tx.execute(
        "INSERT INTO untold (id, state, told, ttl) VALUES (?1, ?2, ?3, ?4)",
        (id.as_bytes(), state, told, ttl_ms),
    )?;
    Ok(())
}

/// Takes up again what was put off.
pub(super) fn take_up(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let sql = "DELETE FROM untold WHERE seq IN (SELECT seq FROM untold ORDER BY seq LIMIT ?1)
         RETURNING id, state, told, ttl";
    let entries = query_all(tx.db, sql, [ENTRIES], |found| {
        Ok((
            row::id(found, 0),
            row::text(found, 1),
            row::id(found, 2),
            row::count(found, 3),
        ))
    })?;
    for (id, state, told, ttl_ms) in entries {
        let Some(id) = id else { continue };
        tx.note(match state.as_deref() {
            Some(FELLED) => Note::Fell { id, told, ttl_ms },
            Some(state) => Note::Tell {
                parent: id,
                state: ending::ended_state(state),
                told,
                ttl_ms,
            },
            None => Note::LetGo { child: id, ttl_ms },
        });
    }
    Ok(())
}

/// Whether something was put off.
pub(super) fn is_behind(tx: &Tx<'_>) -> Result<bool, Fault> {
    let found = tx.query("SELECT 1 FROM untold LIMIT 1", (), |_| Ok(()))?;
    Ok(found.is_some())
}

/// The queue of the notes of a transaction.
pub(super) type Notes = VecDeque<Note>;

/// Has what waits for others go on without having been told: its parents ended, and its count says otherwise.
pub(super) fn recount(tx: &mut Tx<'_>, id: InvocationId, look_at: u64) -> Result<usize, Fault> {
    let sql = "SELECT e.parent, e.wants, i.state, i.id IS NOT NULL FROM edges e
         LEFT JOIN invocations i ON i.id = e.parent WHERE e.child = ?1";
    let parents = query_all(tx.db, sql, [id.as_bytes()], |found| {
        let wanted = On::from_letter(&row::text(found, 1).unwrap_or_default());
        let state = row::text(found, 2).map(|state| ending::ended_state(&state));
        Ok((row::id(found, 0), wanted, state, row::count(found, 3) > 0))
    })?;
    let seen = parents.len();
    let mut pending = 0;
    for (parent, wanted, state, is_there) in parents {
        match (parent, state) {
            (Some(_), None) if is_there => pending += 1,
            (Some(_), Some(state)) if wanted.is_met(state) => {}
            (parent, state) => {
                tx.note(Note::Unmet {
                    child: id,
                    parent: parent.unwrap_or(id),
                    state,
                });
                return Ok(seen);
            }
        }
    }
    if pending == 0 {
        unblock(tx, id)?;
        return Ok(seen);
    }
    let sql = "UPDATE blocked SET pending = ?2, look_at = ?3 WHERE id = ?1";
    tx.execute(sql, (id.as_bytes(), pending, look_at))?;
    Ok(seen)
}
