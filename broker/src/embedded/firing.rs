//! Firing schedules: each time in one transaction.

use super::{
    EmbeddedBroker,
    fault::Fault,
    row,
    schedules::{forget_waits, must_read, pause},
    submit::{self, Terms},
    switchboard::News,
    writer::{Tx, query_all},
};
use crate::{BrokerError, InvocationId, Overlap, RUNS_KEPT, Run, RunResult, Schedule};

/// Schedules fired in one transaction.
const BATCH: usize = 20;

/// Submits what a schedule would submit, now, as `id`.
pub(super) async fn run(
    broker: &EmbeddedBroker,
    name: &str,
    id: InvocationId,
) -> Result<(), BrokerError> {
    let name = name.to_owned();
    let terms = Terms::of(broker);
    let run = move |tx: &mut Tx<'_>| {
        let record = must_read(tx, &name)?;
        if record.has_run(id) {
            return Ok(Ok(()));
        }
        let at_ms = tx.now;
        let submitted = submit_run(tx, &terms, &record.schedule, id)?;
        let result = match &submitted {
            Ok(()) => RunResult::Manual,
            Err(error) => refused(error),
        };
        let id_of_run = submitted.is_ok().then_some(id);
        note(
            tx,
            &name,
            Run {
                at_ms,
                result,
                id: id_of_run,
            },
        )?;
        // A refusal is an answer: what was noted of it stays.
        Ok(submitted)
    };
    broker.writer.run(run).await?
}

/// Submits a run under this id, or says why it was refused.
fn submit_run(
    tx: &mut Tx<'_>,
    terms: &Terms,
    schedule: &Schedule,
    id: InvocationId,
) -> Result<Result<(), BrokerError>, Fault> {
    let ready = submit::prepare(terms, schedule.submission_as(id))?;
    if let Some(Err(error)) = submit::write_all(tx, vec![ready])?.pop() {
        return Ok(Err(error));
    }
    tx.execute(
        "INSERT OR IGNORE INTO schedule_unfinished
         SELECT ?1, id FROM invocations WHERE id = ?2 AND state IS NULL",
        (&schedule.name, id.as_bytes()),
    )?;
    Ok(Ok(()))
}

/// How a refusal is noted.
fn refused(error: &BrokerError) -> RunResult {
    match error {
        BrokerError::NoModule(_) => RunResult::NoModule,
        BrokerError::NoTask(_) => RunResult::NoTask,
        _ => RunResult::Refused,
    }
}

/// A run has ended. A time may wait for that: then the tickers look at it.
pub(super) fn run_ended(tx: &mut Tx<'_>, name: &str, id: InvocationId) -> Result<(), Fault> {
    let delete = "DELETE FROM schedule_unfinished WHERE name = ?1 AND id = ?2";
    tx.execute(delete, (name, id.as_bytes()))?;
    let sql = "UPDATE schedules SET look_at = ?2 WHERE name = ?1 AND waits IS NOT NULL";
    if tx.execute(sql, (name, tx.now))? > 0 {
        tx.say(News::Due);
    }
    Ok(())
}

/// When a ticker has to look at a schedule next.
pub(super) fn next_look(tx: &Tx<'_>) -> Result<Option<u64>, Fault> {
    let sql = "SELECT look_at FROM schedules WHERE look_at IS NOT NULL ORDER BY look_at LIMIT 1";
    tx.query(sql, (), |found| Ok(row::count(found, 0)))
}

/// Fires what is due. One that cannot be read is paused, so that it stands in nobody's way.
pub(super) fn fire_due(tx: &mut Tx<'_>, terms: &Terms) -> Result<(), Fault> {
    let sql = "SELECT name FROM schedules WHERE look_at <= ?1 ORDER BY look_at LIMIT ?2";
    let due = query_all(tx.db, sql, (tx.now, BATCH), |found| {
        Ok(row::text(found, 0).unwrap_or_default())
    })?;
    for name in due {
        match fire(tx, terms, &name) {
            Err(Fault::Broker(error)) => {
                tracing::error!(name, %error, "a schedule cannot be fired and was paused");
                pause(tx, &name)?;
            }
            fired => fired?,
        }
    }
    Ok(())
}

fn fire(tx: &mut Tx<'_>, terms: &Terms, name: &str) -> Result<(), Fault> {
    let record = must_read(tx, name)?;
    let (schedule, plan) = (&record.schedule, record.plan(tx.now)?);
    let mut is_busy = schedule.overlap != Overlap::Allow && is_busy(tx, name)?;
    let mut waits = Vec::new();
    for (index, at_ms) in plan.fires.into_iter().enumerate() {
        let mut run = Run {
            at_ms,
            result: RunResult::Overlapped,
            id: None,
        };
        if !is_busy {
            let id = schedule.id_at(&terms.namespace, at_ms);
            match submit_run(tx, terms, schedule, id)? {
                Ok(()) => {
                    (run.result, run.id) = (RunResult::Fired, Some(id));
                    is_busy = schedule.overlap != Overlap::Allow;
                }
                Err(error) => {
                    tracing::warn!(name, task = %schedule.task, %error, "a schedule could not submit");
                    run.result = refused(&error);
                }
            }
        } else if (index < plan.patient && waits.len() < schedule.catch_up.most())
            || (schedule.overlap == Overlap::QueueOne && waits.is_empty())
        {
            waits.push(at_ms);
            continue;
        }
        note(tx, name, run)?;
    }
    tx.execute(
        "UPDATE schedules SET next = ?2, look_at = ?2, waits = ?3 WHERE name = ?1",
        (name, plan.next, waits.first()),
    )?;
    forget_waits(tx, name)?;
    for at_ms in waits.iter().skip(1) {
        tx.execute(
            "INSERT OR IGNORE INTO schedule_waits VALUES (?1, ?2)",
            (name, at_ms),
        )?;
    }
    Ok(())
}

/// Whether an earlier run has not ended.
fn is_busy(tx: &Tx<'_>, name: &str) -> Result<bool, Fault> {
    let sql =
        "SELECT 1 FROM schedule_unfinished AS runs JOIN invocations ON invocations.id = runs.id
         WHERE runs.name = ?1 AND state IS NULL LIMIT 1";
    Ok(tx.query(sql, [name], |_| Ok(()))?.is_some())
}

fn note(tx: &Tx<'_>, name: &str, run: Run) -> Result<(), Fault> {
    tx.execute(
        "INSERT INTO schedule_runs SELECT ?1, coalesce(max(seq), 0) + 1, ?2 FROM schedule_runs WHERE name = ?1",
        (name, run.to_string()),
    )?;
    tx.execute(
        "DELETE FROM schedule_runs WHERE name = ?1
           AND seq <= (SELECT max(seq) FROM schedule_runs WHERE name = ?1) - ?2",
        (name, RUNS_KEPT),
    )?;
    Ok(())
}
