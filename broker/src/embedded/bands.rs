//! Whose turn it is within a queue: the highest band, what has aged now and then, and keys in turn.

use super::{
    fault::Fault,
    lease::millis,
    limits,
    place::{Place, first_since, lane_of, list_of, put_turn},
    reserve::{Yield, take_rows},
    row,
    switchboard::News,
    writer::Tx,
};
use crate::{Priority, Reserve, priority::AGED_SHARE};

/// Invocations that one reserve has wait for limits: some ten milliseconds.
const HELD_BACK: usize = 500;

/// Those of one key in its turn.
const HELD_BACK_IN_TURN: usize = 10;

/// A queue as one reserve takes from it.
pub(super) struct Bands<'a> {
    pub(super) request: &'a Reserve,
    pub(super) queue: &'a str,
    /// After this long, what waits in a lower band gets its share.
    pub(super) ageing: std::time::Duration,
}

impl Bands<'_> {
    /// Takes until `enough` are taken or nothing is left.
    pub(super) fn take(
        &self,
        tx: &mut Tx<'_>,
        enough: usize,
        found: &mut Yield,
    ) -> Result<(), Fault> {
        let is_limited = found.limits.are_any;
        let are_many = is_limited || self.are_many(tx)?;
        let mut held_back = 0;
        while found.has_room(enough) && held_back < HELD_BACK {
            let (band, most) = match are_many {
                true => (self.next(tx)?, 1),
                false => (Some(Priority::Normal.band()), enough - found.taken.len()),
            };
            let Some(band) = band else { break };
            if is_limited && !found.limits.let_queue(tx, self.queue)? {
                break;
            }
            if self.take_from(tx, band, most, found)? == 0 {
                break;
            }
            held_back += self.work_off(tx, band, found)?;
        }
        if held_back >= HELD_BACK {
            // The next look goes on.
            tx.say(News::Work(self.queue.to_owned()));
        }
        if are_many && !self.are_many(tx)? {
            tx.execute("DELETE FROM turns WHERE queue = ?1", [self.queue])?;
        }
        Ok(())
    }

    /// Has those wait that a limit holds back, and those follow that limits have let go. How many were held back.
    fn work_off(&self, tx: &mut Tx<'_>, band: u8, found: &mut Yield) -> Result<usize, Fault> {
        let held_back = std::mem::take(&mut found.held_back);
        for item in &held_back {
            let place = Place {
                queue: self.queue,
                id: item.id,
                fare: item.fare,
                since: item.since,
                more: &item.more,
            };
            found
                .limits
                .park(tx, &place, &item.scope, item.was_let_go)?;
        }
        for scope in std::mem::take(&mut found.dealt) {
            if found.limits.has_room(tx, &scope)? {
                limits::let_go(tx, self.queue, band, &scope)?;
            } else {
                found.limits.note(tx, &scope)?;
            }
        }
        Ok(held_back.len())
    }

    /// Whether anything waits in a band other than the normal one.
    fn are_many(&self, tx: &Tx<'_>) -> Result<bool, Fault> {
        let [high, low] = [Priority::High, Priority::Low].map(|p| list_of(self.queue, p.band()));
        let sql = "SELECT EXISTS (SELECT 1 FROM ready WHERE list = ?1) OR EXISTS (SELECT 1 FROM ready WHERE list = ?2)";
        let found = tx.query(sql, (high, low), |found| Ok(row::count(found, 0) > 0))?;
        Ok(found.unwrap_or(false))
    }

    /// The band whose turn it is; none when all are empty.
    fn next(&self, tx: &Tx<'_>) -> Result<Option<u8>, Fault> {
        let (mut top, mut aged) = (None, None);
        for band in Priority::ALL.map(Priority::band) {
            let Some(since) = first_since(tx, &list_of(self.queue, band))? else {
                continue;
            };
            let has_aged = tx.now.saturating_sub(since) >= millis(self.ageing);
            if top.is_none() {
                top = Some(band);
            } else if has_aged && aged.is_none_or(|(_, oldest)| since < oldest) {
                aged = Some((band, since));
            }
        }
        let Some((aged, _)) = aged else {
            return Ok(top);
        };
        let sql =
            "INSERT INTO turns VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n";
        let turn = tx.query(sql, [self.queue], |found| Ok(row::count(found, 0)))?;
        let is_its_turn = turn.unwrap_or(0) % u64::from(AGED_SHARE) == 0;
        Ok(if is_its_turn { Some(aged) } else { top })
    }

    /// Takes the head of a band: a turn, or invocations up to the next turn. How many entries it took off the list.
    fn take_from(
        &self,
        tx: &mut Tx<'_>,
        band: u8,
        most: usize,
        found: &mut Yield,
    ) -> Result<usize, Fault> {
        let main = list_of(self.queue, band);
        let entries = take_rows(tx, self.request, &main, most, found)?;
        if entries > 0 {
            return Ok(entries);
        }
        let turn = tx.query(
            "SELECT pos, lane FROM ready WHERE list = ?1 ORDER BY pos LIMIT 1",
            [&main],
            |found| Ok((row::number(found, 0).unwrap_or(0), row::text(found, 1))),
        )?;
        let Some((pos, Some(key))) = turn else {
            return Ok(0);
        };
        tx.execute(
            "DELETE FROM ready WHERE list = ?1 AND pos = ?2",
            (&main, pos),
        )?;
        let (lane, before) = (lane_of(self.queue, band, &key), found.taken.len());
        while found.taken.len() == before && found.held_back.len() < HELD_BACK_IN_TURN {
            if take_rows(tx, self.request, &lane, 1, found)? == 0 {
                break;
            }
        }
        match first_since(tx, &lane)? {
            Some(since) => put_turn(tx, (&main, &lane, &key), since, false)?,
            None => {
                tx.execute("DELETE FROM lanes WHERE list = ?1", [&lane])?;
            }
        }
        Ok(1)
    }
}
