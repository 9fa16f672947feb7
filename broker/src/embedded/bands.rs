//! Whose turn it is within a queue: the highest band, what has aged now and then, and keys in turn.

use super::{
    fault::Fault,
    lease::millis,
    place::{first_since, lane_of, list_of, put_turn},
    reserve::{Yield, take_rows},
    row,
    writer::Tx,
};
use crate::{Priority, Reserve, priority::AGED_SHARE};

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
        let are_many = self.are_many(tx)?;
        while found.has_room(enough) {
            let (band, most) = match are_many {
                true => (self.next(tx)?, 1),
                false => (Some(Priority::Normal.band()), enough - found.taken.len()),
            };
            let Some(band) = band else { break };
            if self.take_from(tx, band, most, found)? == 0 {
                break;
            }
        }
        if are_many && !self.are_many(tx)? {
            tx.execute("DELETE FROM turns WHERE queue = ?1", [self.queue])?;
        }
        Ok(())
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
        while found.taken.len() == before {
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
