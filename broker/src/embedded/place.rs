//! The one way into `ready`: where an invocation that may run stands among those that wait.

use std::collections::HashMap;

use super::{
    fault::Fault,
    row::{self, Fare},
    switchboard::News,
    writer::Tx,
};
use crate::{InvocationId, more::More};

/// An invocation that may run from now on.
pub(super) struct Place<'a> {
    pub(super) queue: &'a str,
    pub(super) id: InvocationId,
    pub(super) fare: Fare,
    /// When it might first have been taken.
    pub(super) since: u64,
    /// The features that it uses.
    #[expect(dead_code, reason = "nothing stands elsewhere because of them yet")]
    pub(super) more: &'a More,
}

/// Where the queues end, for a request that puts many into them.
#[derive(Debug, Default)]
pub(super) struct Ends(HashMap<String, i64>);

impl Ends {
    /// The place behind the last one of a queue.
    pub(super) fn next(&self, tx: &Tx<'_>, queue: &str) -> Result<i64, Fault> {
        match self.0.get(queue) {
            Some(end) => Ok(end + 1),
            None => next_pos(tx, queue),
        }
    }

    /// Puts an invocation whose record has `pos` there. The news is said with `announce`.
    pub(super) fn put(&mut self, tx: &Tx<'_>, place: &Place<'_>, pos: i64) -> Result<(), Fault> {
        insert(tx, place, pos)?;
        match self.0.get_mut(place.queue) {
            Some(end) => *end = pos,
            None => {
                self.0.insert(place.queue.to_owned(), pos);
            }
        }
        Ok(())
    }

    /// Makes the queues known, and says that there is work in them.
    pub(super) fn announce(self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        for queue in self.0.into_keys() {
            tx.execute("INSERT OR IGNORE INTO queues VALUES (?1)", [&queue])?;
            tx.say(News::Work(queue));
        }
        Ok(())
    }
}

/// Puts an invocation at the head or the end of its queue, unless it has ended.
pub(super) fn place(tx: &mut Tx<'_>, place: &Place<'_>, in_front: bool) -> Result<(), Fault> {
    let pos = match in_front {
        true => first_pos(tx, place.queue)?,
        false => next_pos(tx, place.queue)?,
    };
    let sql = "UPDATE invocations SET pos = ?2 WHERE id = ?1 AND state IS NULL";
    if tx.execute(sql, (place.id.as_bytes(), pos))? == 0 {
        return Ok(());
    }
    insert(tx, place, pos)?;
    tx.say(News::Work(place.queue.to_owned()));
    Ok(())
}

fn insert(tx: &Tx<'_>, place: &Place<'_>, pos: i64) -> Result<(), Fault> {
    tx.execute(
        "INSERT INTO ready VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            place.queue,
            pos,
            place.id.as_bytes(),
            place.fare.taken,
            place.fare.given_back,
            place.fare.crashes,
            place.since,
        ),
    )?;
    Ok(())
}

fn first_pos(tx: &Tx<'_>, queue: &str) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(min(pos), 1) - 1 FROM ready WHERE queue = ?1";
    let pos = tx.query(sql, [queue], |found| Ok(row::number(found, 0)))?;
    Ok(pos.flatten().unwrap_or(0))
}

fn next_pos(tx: &Tx<'_>, queue: &str) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(pos), 0) + 1 FROM ready WHERE queue = ?1";
    let pos = tx.query(sql, [queue], |found| Ok(row::number(found, 0)))?;
    Ok(pos.flatten().unwrap_or(1))
}
