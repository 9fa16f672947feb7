//! The one way into `ready`: where an invocation that may run stands among those that wait.
//!
//! A queue has one list for each band; the normal band's bears the queue's name. An entry is an invocation, or the turn
//! of a fairness key, whose invocations stand in a list of their own, its lane. A key has one turn as long as it has invocations.

use std::collections::HashMap;

use super::{
    fault::Fault,
    row::{self, Fare},
    switchboard::News,
    writer::Tx,
};
use crate::{InvocationId, Priority, more::More};

/// The band of what says nothing.
const NORMAL: u8 = Priority::Normal.band();

/// An invocation that may run from now on.
pub(super) struct Place<'a> {
    pub(super) queue: &'a str,
    pub(super) id: InvocationId,
    pub(super) fare: Fare,
    /// When it might first have been taken.
    pub(super) since: u64,
    /// The features that it uses.
    pub(super) more: &'a More,
}

impl Place<'_> {
    fn band(&self) -> u8 {
        self.more.band.unwrap_or(NORMAL)
    }
}

/// The list of a band. No queue's name holds a colon.
pub(super) fn list_of(queue: &str, band: u8) -> String {
    match band {
        NORMAL => queue.to_owned(),
        band => format!("{queue}:{band}"),
    }
}

/// The list of a key's invocations.
pub(super) fn lane_of(queue: &str, band: u8, key: &str) -> String {
    format!("{queue}:{band} @{key}")
}

/// Where the queues end, for a request that puts many into them.
#[derive(Debug, Default)]
pub(super) struct Ends(HashMap<String, Option<i64>>);

impl Ends {
    /// Whether an invocation stands in its queue's plain list, whose end is remembered.
    pub(super) fn is_plain(more: &More) -> bool {
        more.band.is_none() && more.fair.is_none()
    }

    /// The place behind the last one of a queue's plain list.
    pub(super) fn next(&self, tx: &Tx<'_>, queue: &str) -> Result<i64, Fault> {
        match self.0.get(queue) {
            Some(Some(end)) => Ok(end + 1),
            _ => next_pos(tx, queue),
        }
    }

    /// Puts an invocation at the end, where it has `pos` in its record if it is plain. The news is said with `announce`.
    pub(super) fn put(
        &mut self,
        tx: &mut Tx<'_>,
        place: &Place<'_>,
        pos: i64,
    ) -> Result<(), Fault> {
        let end = match Self::is_plain(place.more) {
            true => {
                insert(tx, place.queue, place, pos)?;
                Some(pos)
            }
            // A turn may have been put behind the end.
            false => {
                self::place(tx, place, false)?;
                None
            }
        };
        match self.0.get_mut(place.queue) {
            Some(known) => *known = end,
            None => {
                self.0.insert(place.queue.to_owned(), end);
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

/// Puts an invocation at the head or the end of its band, or of its key's lane, unless it has ended.
pub(super) fn place(tx: &mut Tx<'_>, place: &Place<'_>, in_front: bool) -> Result<(), Fault> {
    let main = list_of(place.queue, place.band());
    let lane = (place.more.fair.as_deref()).map(|key| lane_of(place.queue, place.band(), key));
    enter(tx, (&main, lane.as_deref()), place, in_front)?;
    tx.say(News::Work(place.queue.to_owned()));
    Ok(())
}

/// Has an invocation wait for a limit.
pub(super) fn park(
    tx: &Tx<'_>,
    place: &Place<'_>,
    scope: &str,
    in_front: bool,
) -> Result<(), Fault> {
    let main = parked_list(place.queue, place.band(), scope);
    let lane = (place.more.fair.as_deref()).map(|key| format!("{main} @{key}"));
    enter(tx, (&main, lane.as_deref()), place, in_front)
}

/// The list of what a limit holds back.
pub(super) fn parked_list(queue: &str, band: u8, scope: &str) -> String {
    format!("{queue}:{band} !{scope}")
}

/// Takes the first of those that wait for a limit out of its list.
pub(super) fn take_parked(
    tx: &Tx<'_>,
    queue: &str,
    band: u8,
    scope: &str,
) -> Result<Option<(InvocationId, Fare, u64)>, Fault> {
    let main = parked_list(queue, band, scope);
    let pop = |list: &str| {
        tx.query(
            "DELETE FROM ready WHERE list = ?1 AND pos = (SELECT min(pos) FROM ready WHERE list = ?1)
             RETURNING id, taken, given_back, crashes, since, lane",
            [list],
            |found| {
                let id = row::id(found, 0);
                Ok((id, Fare::read(found, 1), row::count(found, 4), row::text(found, 5)))
            },
        )
    };
    while let Some((id, fare, since, key)) = pop(&main)? {
        let Some(key) = key else {
            match id {
                Some(id) => return Ok(Some((id, fare, since))),
                None => continue,
            }
        };
        let lane = format!("{main} @{key}");
        let first = pop(&lane)?;
        match first_since(tx, &lane)? {
            Some(since) => put_turn(tx, (&main, &lane, &key), since, false)?,
            None => {
                tx.execute("DELETE FROM lanes WHERE list = ?1", [&lane])?;
            }
        }
        if let Some((Some(id), fare, since, _)) = first {
            return Ok(Some((id, fare, since)));
        }
    }
    Ok(None)
}

/// Puts an invocation that a limit has let go at the head of its band.
pub(super) fn put_let_go(
    tx: &Tx<'_>,
    (queue, band): (&str, u8),
    (id, fare, since): (InvocationId, Fare, u64),
    scope: &str,
) -> Result<(), Fault> {
    let (list, more) = (list_of(queue, band), More::default());
    let pos = pos_in(tx, &list, true)?;
    let named = Some(list.as_str()).filter(|list| *list != queue);
    let sql = "UPDATE invocations SET pos = ?2, list = ?3 WHERE id = ?1 AND state IS NULL";
    if tx.execute(sql, (id.as_bytes(), pos, named))? == 0 {
        return Ok(());
    }
    let place = Place {
        queue,
        id,
        fare,
        since,
        more: &more,
    };
    insert(tx, &list, &place, pos)?;
    let sql = "UPDATE ready SET scope = ?3 WHERE list = ?1 AND pos = ?2";
    tx.execute(sql, (&list, pos, scope))?;
    Ok(())
}

fn enter(
    tx: &Tx<'_>,
    (main, lane): (&str, Option<&str>),
    place: &Place<'_>,
    in_front: bool,
) -> Result<(), Fault> {
    let list = lane.unwrap_or(main);
    let pos = pos_in(tx, list, in_front)?;
    let sql = "UPDATE invocations SET pos = ?2, list = ?3 WHERE id = ?1 AND state IS NULL";
    let named = Some(list).filter(|list| *list != place.queue);
    if tx.execute(sql, (place.id.as_bytes(), pos, named))? == 0 {
        return Ok(());
    }
    insert(tx, list, place, pos)?;
    if let (Some(key), Some(lane)) = (&place.more.fair, lane) {
        let sql = "SELECT 1 FROM lanes WHERE list = ?1";
        if tx.query(sql, [lane], |_| Ok(()))?.is_none() {
            put_turn(tx, (main, lane, key), place.since, in_front)?;
        }
    }
    Ok(())
}

/// Puts the turn of a key, whose first has waited since then, into its band's list.
pub(super) fn put_turn(
    tx: &Tx<'_>,
    (main, lane, key): (&str, &str, &str),
    since: u64,
    in_front: bool,
) -> Result<(), Fault> {
    let pos = pos_in(tx, main, in_front)?;
    tx.execute(
        "INSERT INTO ready VALUES (?1, ?2, x'', 0, 0, 0, ?3, ?4, NULL)",
        (main, pos, since, key),
    )?;
    let sql = "INSERT OR REPLACE INTO lanes VALUES (?1, ?2, ?3)";
    tx.execute(sql, (lane, main, pos))?;
    Ok(())
}

/// An invocation has been taken out of `list`: a lane that is empty has no turn.
pub(super) fn left(tx: &Tx<'_>, list: &str) -> Result<(), Fault> {
    if !list.contains(" @") || first_since(tx, list)?.is_some() {
        return Ok(());
    }
    let turn = tx.query(
        "DELETE FROM lanes WHERE list = ?1 RETURNING main, pos",
        [list],
        |found| Ok((row::text(found, 0), row::number(found, 1))),
    )?;
    if let Some(turn) = turn {
        tx.execute("DELETE FROM ready WHERE list = ?1 AND pos = ?2", turn)?;
    }
    Ok(())
}

/// Since when the first of a list has waited; none when it is empty.
pub(super) fn first_since(tx: &Tx<'_>, list: &str) -> Result<Option<u64>, Fault> {
    let sql = "SELECT since FROM ready WHERE list = ?1 ORDER BY pos LIMIT 1";
    tx.query(sql, [list], |found| Ok(row::count(found, 0)))
}

fn insert(tx: &Tx<'_>, list: &str, place: &Place<'_>, pos: i64) -> Result<(), Fault> {
    tx.execute(
        "INSERT INTO ready VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL)",
        (
            list,
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

fn pos_in(tx: &Tx<'_>, list: &str, in_front: bool) -> Result<i64, Fault> {
    match in_front {
        true => {
            let sql = "SELECT coalesce(min(pos), 1) - 1 FROM ready WHERE list = ?1";
            let pos = tx.query(sql, [list], |found| Ok(row::number(found, 0)))?;
            Ok(pos.flatten().unwrap_or(0))
        }
        false => next_pos(tx, list),
    }
}

fn next_pos(tx: &Tx<'_>, list: &str) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(pos), 0) + 1 FROM ready WHERE list = ?1";
    let pos = tx.query(sql, [list], |found| Ok(row::number(found, 0)))?;
    Ok(pos.flatten().unwrap_or(1))
}
