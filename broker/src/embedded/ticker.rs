//! Doing what falls due, exactly then: a task of each process that reserves.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{
    EmbeddedBroker, ending,
    fault::Fault,
    firing, follow, limits,
    place::{self, Place},
    row,
    submit::Terms,
    switchboard::Switchboard,
    times::{self, Times},
    writer::{Tx, Uses, WeakWriter, query_all},
};
use crate::more::More;
use row::Fare;

/// Invocations of each kind in one transaction: a few milliseconds.
const BATCH: i64 = 250;

/// Parents counted anew in one transaction, unless one invocation has more.
const CHECKS: usize = 2_000;

/// What waits for others is looked at this often, in case something went missing.
pub(super) const SWEEP_MS: u64 = 600_000;

/// Looks that are not called for: they cover a ring that went missing.
const PATROL: Duration = Duration::from_secs(60);

/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// The task; ends when dropped.
#[derive(Debug)]
pub(super) struct Ticker(AbortHandle);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ticker {
    pub(super) fn start(broker: &EmbeddedBroker) -> Self {
        let (writer, switchboard) = (broker.writer.downgrade(), Arc::clone(&broker.switchboard));
        let task = run(writer, switchboard, Terms::of(broker));
        Self(tokio::spawn(task).abort_handle())
    }
}

async fn run(writer: WeakWriter, switchboard: Arc<Switchboard>, terms: Terms) {
    loop {
        // Held for the look only: the writer's thread shall end with the broker.
        let Some(desk) = writer.upgrade() else { return };
        let terms = terms.clone();
        let looked = desk.run(move |tx| look(tx, &terms)).await;
        drop(desk);
        let wait = match looked {
            Ok(next) => next.map_or(PATROL, Duration::from_millis).min(PATROL),
            Err(error) => {
                tracing::warn!(%error, "what has fallen due is done shortly");
                PAUSE
            }
        };
        // A ring that came since the look is still in the bell.
        let _ = timeout_at(Instant::now() + wait, switchboard.ticker.notified()).await;
    }
}

/// Does all that is due, once.
#[cfg(feature = "testing")]
pub(super) async fn tick_once(broker: &EmbeddedBroker) -> Result<(), crate::BrokerError> {
    let terms = Terms::of(broker);
    loop {
        let terms = terms.clone();
        let next = broker.writer.run(move |tx| look(tx, &terms)).await?;
        if next != Some(0) {
            return Ok(());
        }
    }
}

/// Fires schedules and does a batch of what is due; milliseconds until the next is.
fn look(tx: &mut Tx<'_>, terms: &Terms) -> Result<Option<u64>, Fault> {
    firing::fire_due(tx, terms)?;
    tick(tx, terms.result_ttl_ms)
}

/// Does a batch; milliseconds until the next is due.
fn tick(tx: &mut Tx<'_>, ttl_ms: u64) -> Result<Option<u64>, Fault> {
    follow::take_up(tx)?;
    end_what_is_over(tx, ttl_ms)?;
    queue_what_starts(tx)?;
    limits::do_due(tx, BATCH)?;
    // Here, so that what is put off again is seen.
    follow::work_off(tx)?;
    // While ends are being told the counts must stay: those who are about to be told would be counted twice.
    if !follow::is_behind(tx)? {
        check_what_is_blocked(tx)?;
        follow::work_off(tx)?;
    }
    let next = times::next_due(tx)?;
    let next = next.into_iter().chain(firing::next_look(tx)?).min();
    Ok(next.map(|next| next.saturating_sub(tx.now)))
}

fn end_what_is_over(tx: &mut Tx<'_>, ttl_ms: u64) -> Result<(), Fault> {
    let sql = "SELECT e.id, i.start_by, i.deadline,
           coalesce(r.taken, s.taken), coalesce(r.given_back, s.given_back), coalesce(r.crashes, s.crashes)
         FROM ends e JOIN invocations i ON i.id = e.id
         LEFT JOIN ready r ON r.list = coalesce(i.list, i.queue) AND r.pos = i.pos AND r.id = i.id
         LEFT JOIN scheduled s ON s.id = i.id
         WHERE e.at <= ?1 ORDER BY e.at LIMIT ?2";
    let due = query_all(tx.db, sql, (tx.now, BATCH), |found| {
        Ok((
            row::id(found, 0),
            Times::read(found, 1),
            Fare::read(found, 3),
        ))
    })?;
    let mut uses = Uses::default();
    for (id, times, fare) in due {
        let Some(id) = id else { continue };
        tx.execute("DELETE FROM ends WHERE id = ?1", [id.as_bytes()])?;
        match times.verdict(fare.attempts(), tx.now) {
            Some(verdict) => {
                times::take_out(tx, id)?;
                ending::end_by_verdict(tx, &mut uses, ttl_ms, (id, fare, None), verdict)?;
            }
            None => times.note(tx, id, fare)?,
        }
    }
    // What lost its record some other way must not be looked at for ever.
    tx.execute(
        "DELETE FROM ends WHERE at <= ?1 AND NOT EXISTS (SELECT 1 FROM invocations i WHERE i.id = ends.id)",
        [tx.now],
    )?;
    uses.write(tx)
}

/// Counts anew what some that wait for others wait for, in case something went missing.
fn check_what_is_blocked(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let sql = "SELECT id FROM blocked WHERE look_at <= ?1 ORDER BY look_at LIMIT ?2";
    let due = query_all(tx.db, sql, (tx.now, BATCH), |found| Ok(row::id(found, 0)))?;
    let mut checks: usize = CHECKS;
    for id in due.into_iter().flatten() {
        if checks == 0 {
            break;
        }
        let seen = follow::recount(tx, id, tx.now + SWEEP_MS)?;
        checks = checks.saturating_sub(seen.max(1));
    }
    Ok(())
}

fn queue_what_starts(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let sql = "SELECT s.id, s.queue, s.starts_at, s.taken, s.given_back, s.crashes, i.more
         FROM scheduled s LEFT JOIN invocations i ON i.id = s.id
         WHERE s.starts_at <= ?1 ORDER BY s.starts_at LIMIT ?2";
    let due = query_all(tx.db, sql, (tx.now, BATCH), |found| {
        Ok((
            row::id(found, 0),
            row::text(found, 1).unwrap_or_default(),
            row::count(found, 2),
            Fare::read(found, 3),
            row::bytes(found, 6),
        ))
    })?;
    for (id, queue, starts_at, fare, more) in due {
        let Some(id) = id else { continue };
        tx.execute("DELETE FROM scheduled WHERE id = ?1", [id.as_bytes()])?;
        let place = Place {
            queue: &queue,
            id,
            fare,
            since: starts_at,
            more: &More::read(more.as_deref()),
        };
        place::place(tx, &place, false)?;
    }
    Ok(())
}
