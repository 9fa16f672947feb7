//! Moving what waits from one queue to another, in steps of one transaction each.

use super::{
    EmbeddedBroker,
    fault::Fault,
    place::{self, Place, lane_of, list_of, parked_list},
    row::{self, Fare},
    times,
    writer::{Tx, query_all},
};
use crate::{
    BrokerError, InvocationId, MAX_MOVED, MoveStep, Priority,
    listing::bad_cursor,
    more::More,
    moving::{check_move, check_moved},
};

/// The cursor: each step looks anew at what is there.
const AGAIN: &str = "0";

/// Moves what stands first in the lists of a queue.
pub(super) async fn queued(
    broker: &EmbeddedBroker,
    (from, to): (&str, &str),
    cursor: Option<&str>,
) -> Result<MoveStep, BrokerError> {
    check_move(from, to)?;
    if let Some(cursor) = cursor.filter(|cursor| *cursor != AGAIN) {
        return Err(bad_cursor(cursor));
    }
    let queues = (from.to_owned(), to.to_owned());
    let step = move |tx: &mut Tx<'_>| {
        let queues = (queues.0.as_str(), queues.1.as_str());
        let (first, is_last) = first(tx, queues.0)?;
        Ok(MoveStep {
            moved: move_all(tx, queues, &first, false)?,
            cursor: (!is_last).then(|| AGAIN.to_owned()),
        })
    };
    broker.writer.run(step).await
}

/// Moves these.
pub(super) async fn these(
    broker: &EmbeddedBroker,
    (from, to): (&str, &str),
    ids: &[InvocationId],
    with_running: bool,
) -> Result<u64, BrokerError> {
    check_move(from, to)?;
    check_moved(ids)?;
    let (queues, ids) = ((from.to_owned(), to.to_owned()), ids.to_vec());
    let step = move |tx: &mut Tx<'_>| move_all(tx, (&queues.0, &queues.1), &ids, with_running);
    broker.writer.run(step).await
}

/// Forgets a queue in which nothing is.
pub(super) async fn forget(broker: &EmbeddedBroker, queue: &str) -> Result<bool, BrokerError> {
    let queue = queue.to_owned();
    let forget = move |tx: &mut Tx<'_>| {
        let sql = "DELETE FROM queues WHERE queue = ?1
             AND NOT EXISTS (SELECT 1 FROM ready WHERE list = ?1)
             AND NOT EXISTS (SELECT 1 FROM ready WHERE list > ?1 || ':' AND list < ?1 || ';')
             AND NOT EXISTS (SELECT 1 FROM scheduled WHERE queue = ?1)
             AND NOT EXISTS (SELECT 1 FROM blocked WHERE queue = ?1)
             AND NOT EXISTS (SELECT 1 FROM leases l JOIN invocations i ON i.id = l.id WHERE i.queue = ?1)";
        tx.execute(sql, [&queue])?;
        let known = "SELECT 1 FROM queues WHERE queue = ?1";
        if tx.query(known, [&queue], |_| Ok(()))?.is_some() {
            return Ok(false);
        }
        for sql in [
            "DELETE FROM taken WHERE queue = ?1",
            "DELETE FROM turns WHERE queue = ?1",
            "DELETE FROM parked WHERE queue = ?1",
        ] {
            tx.execute(sql, [&queue])?;
        }
        Ok(true)
    };
    broker.writer.run(forget).await
}

/// Those that one step moves, and whether they are the last: what limits hold back first, then each band from its head, a
/// key's all with its turn.
fn first(tx: &Tx<'_>, from: &str) -> Result<(Vec<InvocationId>, bool), Fault> {
    let held_back = held_back(tx, from)?;
    if !held_back.is_empty() {
        return Ok((held_back, false));
    }
    let mut found = Vec::new();
    for band in Priority::ALL.map(Priority::band) {
        let sql = "SELECT id, lane FROM ready WHERE list = ?1 ORDER BY pos LIMIT ?2";
        let room = (MAX_MOVED - found.len()) as i64;
        let entries = query_all(tx.db, sql, (list_of(from, band), room), |found| {
            Ok((row::id(found, 0), row::text(found, 1)))
        })?;
        for (id, key) in entries {
            match key {
                Some(key) => found.extend(ids_in(tx, &lane_of(from, band, &key))?),
                None => found.extend(id),
            }
            if found.len() >= MAX_MOVED {
                found.truncate(MAX_MOVED);
                return Ok((found, false));
            }
        }
    }
    Ok((found, true))
}

/// What limits hold back in this queue, behind those that they have let go; none when they hold back nothing.
fn held_back(tx: &Tx<'_>, from: &str) -> Result<Vec<InvocationId>, Fault> {
    let sql = "SELECT scope FROM parked WHERE queue = ?1";
    let scopes = query_all(tx.db, sql, [from], |found| Ok(row::text(found, 0)))?;
    for scope in scopes.into_iter().flatten() {
        for band in Priority::ALL.map(Priority::band) {
            let list = parked_list(from, band, &scope);
            let mut found = ids_in(tx, &list)?;
            if found.is_empty() {
                found = ids_of_lanes(tx, &list)?;
            }
            if !found.is_empty() {
                let mut first = let_go(tx, &list_of(from, band), &scope)?;
                first.append(&mut found);
                first.truncate(MAX_MOVED);
                return Ok(first);
            }
        }
        let sql = "DELETE FROM parked WHERE scope = ?1 AND queue = ?2";
        tx.execute(sql, (&scope, from))?;
    }
    Ok(Vec::new())
}

/// What a limit has let go stands at the head of its band.
fn let_go(tx: &Tx<'_>, list: &str, scope: &str) -> Result<Vec<InvocationId>, Fault> {
    let sql =
        "SELECT id FROM (SELECT id, scope, pos FROM ready WHERE list = ?1 ORDER BY pos LIMIT ?3)
         WHERE scope = ?2 ORDER BY pos";
    let ids = query_all(tx.db, sql, (list, scope, MAX_MOVED as i64), |found| {
        Ok(row::id(found, 0))
    })?;
    Ok(ids.into_iter().flatten().collect())
}

fn ids_in(tx: &Tx<'_>, list: &str) -> Result<Vec<InvocationId>, Fault> {
    let sql = "SELECT id FROM ready WHERE list = ?1 AND lane IS NULL ORDER BY pos LIMIT ?2";
    let ids = query_all(tx.db, sql, (list, MAX_MOVED as i64), |found| {
        Ok(row::id(found, 0))
    })?;
    Ok(ids.into_iter().flatten().collect())
}

/// What waits in the lanes of a list that holds nothing by itself.
fn ids_of_lanes(tx: &Tx<'_>, list: &str) -> Result<Vec<InvocationId>, Fault> {
    // A comes after @.
    let (above, below) = (format!("{list} @"), format!("{list} A"));
    let sql = "SELECT id FROM ready WHERE list > ?1 AND list < ?2 ORDER BY list, pos LIMIT ?3";
    let ids = query_all(tx.db, sql, (above, below, MAX_MOVED as i64), |found| {
        Ok(row::id(found, 0))
    })?;
    Ok(ids.into_iter().flatten().collect())
}

fn move_all(
    tx: &mut Tx<'_>,
    (from, to): (&str, &str),
    ids: &[InvocationId],
    with_running: bool,
) -> Result<u64, Fault> {
    let mut moved = 0;
    for id in ids {
        moved += u64::from(move_one(tx, *id, (from, to), with_running)?);
    }
    if moved > 0 {
        tx.execute("INSERT OR IGNORE INTO queues VALUES (?1)", [to])?;
    }
    Ok(moved)
}

/// Moves one, if it is in the first queue; whether it was.
fn move_one(
    tx: &mut Tx<'_>,
    id: InvocationId,
    (from, to): (&str, &str),
    with_running: bool,
) -> Result<bool, Fault> {
    let sql = "SELECT more FROM invocations WHERE id = ?1 AND state IS NULL AND queue = ?2";
    let found = tx.query(sql, (id.as_bytes(), from), |found| Ok(row::bytes(found, 0)))?;
    let Some(more) = found else {
        return Ok(false);
    };
    let waited = times::leave_ready(tx, id)?;
    let is_here = match waited {
        Some(_) => true,
        None => move_aside(tx, id, to)? || (with_running && is_running(tx, id)?),
    };
    if !is_here {
        return Ok(false);
    }
    let sql = "UPDATE invocations SET queue = ?2 WHERE id = ?1";
    tx.execute(sql, (id.as_bytes(), to))?;
    if let Some((fare, since)) = waited {
        let place = Place {
            queue: to,
            id,
            fare,
            since,
            more: &More::read(more.as_deref()),
        };
        place::place(tx, &place, false)?;
    }
    Ok(true)
}

/// Moves what waits for a time or for others; whether it does.
fn move_aside(tx: &mut Tx<'_>, id: InvocationId, to: &str) -> Result<bool, Fault> {
    let sql = "DELETE FROM scheduled WHERE id = ?1 RETURNING starts_at, taken, given_back, crashes";
    let scheduled = tx.query(sql, [id.as_bytes()], |found| {
        Ok((row::count(found, 0), Fare::read(found, 1)))
    })?;
    if let Some((starts_at, fare)) = scheduled {
        // Written anew: what counts the depth of bounded queues sees rows come and go.
        times::schedule(tx, id, to, starts_at, fare)?;
        return Ok(true);
    }
    let sql = "UPDATE blocked SET queue = ?2 WHERE id = ?1";
    Ok(tx.execute(sql, (id.as_bytes(), to))? > 0)
}

fn is_running(tx: &Tx<'_>, id: InvocationId) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM leases WHERE id = ?1";
    Ok(tx.query(sql, [id.as_bytes()], |_| Ok(()))?.is_some())
}
