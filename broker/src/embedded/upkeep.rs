//! Removing what has expired, a bounded piece at a time, along with transactions that happen anyway:
//! a store that nobody uses is not touched.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{
    fault::Fault,
    kv,
    lease::millis,
    once,
    operations::FORGOTTEN,
    row,
    writer::{Tx, execute, query_all},
};

/// The time between two pieces when little has expired.
const PAUSE: Duration = Duration::from_secs(2);

/// Invocations removed in one piece: about two milliseconds.
const PIECE: usize = 256;

/// How long an interrupt waits for its host.
const INTERRUPT_MS: u64 = 60_000;

/// Removes a piece when it is time; `last` is when the last one was removed.
pub(super) fn run(tx: &mut Tx<'_>, last: &mut Option<Instant>) {
    for bell in tx.switchboard.take_dead_bells() {
        tx.attempt_quietly(|tx| forget_bell(tx.db, &bell));
    }
    if last.is_some_and(|last| last.elapsed() < PAUSE) {
        return;
    }
    let mut removed = 0;
    tx.attempt_quietly(|tx| {
        removed = remove_expired(tx)?;
        Ok(())
    });
    let mut purged = 0;
    tx.attempt_quietly(|tx| {
        purged = kv::purge(tx, PIECE)?;
        Ok(())
    });
    removed = removed.max(purged);
    tx.attempt_quietly(|tx| remove_small_things(tx));
    // A full piece: there is more, and the next transaction takes the next one.
    *last = (removed < PIECE).then(Instant::now);
}

fn remove_expired(tx: &Tx<'_>) -> Result<usize, Fault> {
    let sql = "SELECT id FROM invocations WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2";
    let ids = query_all(tx.db, sql, (tx.now, PIECE as i64), |found| {
        Ok(row::bytes(found, 0))
    })?;
    for id in ids.iter().flatten() {
        for sql in [
            "DELETE FROM invocations WHERE id = ?1",
            "DELETE FROM payloads WHERE id = ?1",
            "DELETE FROM progress WHERE id = ?1",
            "DELETE FROM trails WHERE id = ?1",
            "DELETE FROM events WHERE id = ?1",
            "DELETE FROM children WHERE parent = ?1",
        ] {
            tx.execute(sql, [id])?;
        }
        once::forget(tx, id)?;
    }
    Ok(ids.len())
}

fn remove_small_things(tx: &Tx<'_>) -> Result<(), Fault> {
    once::forget_windows(tx)?;
    tx.execute("DELETE FROM blobs WHERE expires_at <= ?1", [tx.now])?;
    tx.execute(
        "DELETE FROM hosts WHERE seen_at < ?1",
        [tx.now.saturating_sub(millis(FORGOTTEN))],
    )?;
    tx.execute(
        "DELETE FROM interrupts WHERE at < ?1",
        [tx.now.saturating_sub(INTERRUPT_MS)],
    )?;
    Ok(())
}

/// Removes what is kept for the listeners of a process that has gone.
pub(super) fn forget_bell(db: &Connection, bell: &str) -> Result<(), Fault> {
    execute(
        db,
        "DELETE FROM replies WHERE client IN
           (SELECT substr(topic, 3) FROM listeners WHERE bell = ?1 AND topic LIKE 'c:%')",
        [bell],
    )?;
    execute(db, "DELETE FROM listeners WHERE bell = ?1", [bell])?;
    Ok(())
}
