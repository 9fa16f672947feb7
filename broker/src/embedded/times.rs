//! When an invocation that waits expires or is past its deadline, and what falls due next.

use rusqlite::Row;

use super::{
    fault::Fault,
    follow, limits, place,
    row::{self, Fare},
    switchboard::News,
    writer::Tx,
};
use crate::{
    InvocationId,
    verdict::{EXPIRED, PAST_DEADLINE, Verdict},
};

/// The two ends of an invocation, where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// When it expires unless it was started.
    pub(super) start_by: Option<u64>,
    /// When it fails unless it has ended.
    pub(super) deadline: Option<u64>,
}

impl Times {
    /// From two columns beginning with `first`.
    pub(super) fn read(row: &Row<'_>, first: usize) -> Self {
        let time = |column| row::number(row, column).and_then(|at| u64::try_from(at).ok());
        Self {
            start_by: time(first),
            deadline: time(first + 1),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Why an invocation that waits and has had so many attempts ends now, if it does.
    pub(super) fn verdict(self, attempts: u32, now: u64) -> Option<Verdict> {
        let is_over = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if attempts == 0 && is_over(self.start_by) {
            Some(EXPIRED)
        } else {
            is_over(self.deadline).then_some(PAST_DEADLINE)
        }
    }

    /// Notes when an invocation that has begun to wait will be over.
    pub(super) fn note(self, tx: &mut Tx<'_>, id: InvocationId, fare: Fare) -> Result<(), Fault> {
        let start_by = self.start_by.filter(|_| fare.attempts() == 0);
        let Some(at) = start_by.into_iter().chain(self.deadline).min() else {
            return Ok(());
        };
        will_be_due(tx, at)?;
        tx.execute(
            "INSERT OR REPLACE INTO ends VALUES (?1, ?2)",
            (id.as_bytes(), at),
        )?;
        Ok(())
    }
}

/// Has an invocation wait until `starts_at`.
pub(super) fn schedule(
    tx: &mut Tx<'_>,
    id: InvocationId,
    queue: &str,
    starts_at: u64,
    fare: Fare,
) -> Result<(), Fault> {
    will_be_due(tx, starts_at)?;
    tx.execute(
        "INSERT OR REPLACE INTO scheduled VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            id.as_bytes(),
            queue,
            starts_at,
            fare.taken,
            fare.given_back,
            fare.crashes,
        ),
    )?;
    Ok(())
}

/// Takes an invocation that waits for a host out of its list; how it has fared, and since when it has waited.
pub(super) fn leave_ready(tx: &mut Tx<'_>, id: InvocationId) -> Result<Option<(Fare, u64)>, Fault> {
    let ready = tx.query(
        "DELETE FROM ready WHERE (list, pos) = (SELECT coalesce(list, queue), pos FROM invocations WHERE id = ?1) AND id = ?1
         RETURNING taken, given_back, crashes, list, scope, since",
        [id.as_bytes()],
        |found| {
            let (list, scope) = (row::text(found, 3), row::text(found, 4));
            Ok((Fare::read(found, 0), list, scope, row::count(found, 5)))
        },
    )?;
    let Some((fare, list, scope, since)) = ready else {
        return Ok(None);
    };
    place::left(tx, list.as_deref().unwrap_or_default())?;
    if let Some(scope) = scope {
        limits::go_on(tx, &scope)?;
    }
    Ok(Some((fare, since)))
}

/// Takes an invocation that waits out of wherever it waits; how it has fared.
pub(super) fn take_out(tx: &mut Tx<'_>, id: InvocationId) -> Result<Option<Fare>, Fault> {
    tx.execute("DELETE FROM ends WHERE id = ?1", [id.as_bytes()])?;
    if let Some((fare, _)) = leave_ready(tx, id)? {
        return Ok(Some(fare));
    }
    let scheduled = tx.query(
        "DELETE FROM scheduled WHERE id = ?1 RETURNING taken, given_back, crashes",
        [id.as_bytes()],
        |found| Ok(Fare::read(found, 0)),
    )?;
    if scheduled.is_some() {
        return Ok(scheduled);
    }
    let blocked = tx.execute("DELETE FROM blocked WHERE id = ?1", [id.as_bytes()])?;
    Ok((blocked > 0).then(Fare::default))
}

/// When the next invocation is due.
pub(super) fn next_due(tx: &Tx<'_>) -> Result<Option<u64>, Fault> {
    let first = |sql| tx.query(sql, (), |found| Ok(row::count(found, 0)));
    let starts = first("SELECT starts_at FROM scheduled ORDER BY starts_at LIMIT 1")?;
    let ends = first("SELECT at FROM ends ORDER BY at LIMIT 1")?;
    let looks = first("SELECT look_at FROM blocked ORDER BY look_at LIMIT 1")?;
    let behind = follow::is_behind(tx)?.then_some(tx.now);
    let alarms = first("SELECT at FROM alarms ORDER BY at LIMIT 1")?;
    let all = [starts, ends, looks, alarms, behind];
    Ok(all.into_iter().flatten().min())
}

/// Wakes the tickers when something is due before everything that they know of.
pub(super) fn will_be_due(tx: &mut Tx<'_>, at: u64) -> Result<(), Fault> {
    if next_due(tx)?.is_none_or(|first| at < first) {
        tx.say(News::Due);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_does_not_expire_and_still_has_a_deadline() {
        let times = Times {
            start_by: Some(10),
            deadline: Some(20),
        };
        assert_eq!(times.verdict(0, 9), None);
        assert_eq!(times.verdict(0, 10), Some(EXPIRED));
        assert_eq!(times.verdict(1, 19), None);
        assert_eq!(times.verdict(1, 20), Some(PAST_DEADLINE));
        assert!(Times::default().is_empty() && !times.is_empty());
    }
}
