//! Schedules: records that a ticker fires, each time in one transaction.

use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    fault::{Fault, damaged},
    row,
    submit::{self, Terms},
    switchboard::News,
    writer::{Tx, query, query_all},
};
use crate::{
    BrokerError, InvocationId, MAX_SCHEDULES, Overlap, Put, RUNS_KEPT, Run, RunResult, Schedule,
    ScheduleRecord,
};

/// The tables: additional to the layout, made where they are missing.
pub(super) const TABLES: &str = include_str!("schedules.sql");

/// Schedules fired in one transaction.
const BATCH: usize = 20;

/// Adds a schedule, or puts it in the place of another.
pub(super) async fn put(broker: &EmbeddedBroker, schedule: &Schedule) -> Result<Put, BrokerError> {
    schedule.check()?;
    broker.options.caps.check_input(schedule.input.data.len())?;
    let schedule = schedule.clone();
    broker.writer.run(move |tx| put_in(tx, &schedule)).await
}

fn put_in(tx: &mut Tx<'_>, schedule: &Schedule) -> Result<Put, Fault> {
    let (name, spec, input) = (&schedule.name, schedule.spec()?, &schedule.input.data);
    let timing = serde_json::to_string(&schedule.timing).map_err(|error| damaged(name, error))?;
    let first = schedule.timing.first(tx.now)?;
    let old = tx.query(
        "SELECT spec = ?2 AND input = ?3, timing = ?4 FROM schedules WHERE name = ?1",
        (name, &spec, input.as_ref(), &timing),
        |found| Ok((row::count(found, 0) > 0, row::count(found, 1) > 0)),
    )?;
    match old {
        Some((true, _)) => return Ok(Put::Unchanged),
        Some((_, is_same_timing)) => {
            tx.execute(
                "UPDATE schedules SET spec = ?2, input = ?3, timing = ?4, revision = revision + 1 WHERE name = ?1",
                (name, &spec, input.as_ref(), &timing),
            )?;
            if !is_same_timing {
                tx.execute(
                    "UPDATE schedules SET next = ?2, look_at = ?2, waits = NULL WHERE name = ?1 AND is_paused = 0",
                    (name, first),
                )?;
            }
        }
        None => {
            let count = tx.query("SELECT count(*) FROM schedules", (), |found| {
                Ok(row::count(found, 0))
            })?;
            if count.unwrap_or(0) >= MAX_SCHEDULES as u64 {
                return Err(BrokerError::TooManySchedules(MAX_SCHEDULES).into());
            }
            tx.execute(
                "INSERT INTO schedules VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?5, 0, 1)",
                (name, &spec, input.as_ref(), &timing, first),
            )?;
        }
    }
    tx.say(News::Due);
    Ok(if old.is_some() {
        Put::Changed
    } else {
        Put::Added
    })
}

/// Every schedule, by name.
pub(super) async fn list(broker: &EmbeddedBroker) -> Result<Vec<ScheduleRecord>, BrokerError> {
    let read = |db: &Connection| {
        let names = query_all(
            db,
            "SELECT name FROM schedules ORDER BY name",
            (),
            |found| Ok(row::text(found, 0).unwrap_or_default()),
        )?;
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            match read_record(db, &name) {
                Ok(record) => records.extend(record),
                Err(Fault::Broker(error)) => {
                    tracing::warn!(name, %error, "a schedule cannot be read");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(records)
    };
    broker.reader.run(read).await
}

/// One schedule.
pub(super) async fn get(
    broker: &EmbeddedBroker,
    name: &str,
) -> Result<ScheduleRecord, BrokerError> {
    let asked = name.to_owned();
    let found = broker.reader.run(move |db| read_record(db, &asked)).await?;
    found.ok_or_else(|| BrokerError::NoSchedule(name.to_owned()))
}

/// Removes a schedule; what it has submitted goes on.
pub(super) async fn remove(broker: &EmbeddedBroker, name: &str) -> Result<(), BrokerError> {
    let name = name.to_owned();
    let remove = move |tx: &mut Tx<'_>| {
        tx.execute("DELETE FROM schedule_runs WHERE name = ?1", [&name])?;
        match tx.execute("DELETE FROM schedules WHERE name = ?1", [&name])? {
            0 => Err(BrokerError::NoSchedule(name).into()),
            _ => Ok(()),
        }
    };
    broker.writer.run(remove).await
}

/// Pauses a schedule, or resumes it.
pub(super) async fn set_paused(
    broker: &EmbeddedBroker,
    name: &str,
    is_paused: bool,
) -> Result<(), BrokerError> {
    let name = name.to_owned();
    broker
        .writer
        .run(move |tx| match is_paused {
            true => pause(tx, &name),
            false => resume(tx, &name),
        })
        .await
}

fn pause(tx: &Tx<'_>, name: &str) -> Result<(), Fault> {
    let sql = "UPDATE schedules SET is_paused = 1, next = NULL, look_at = NULL, waits = NULL, revision = revision + 1
         WHERE name = ?1";
    match tx.execute(sql, [name])? {
        0 => Err(BrokerError::NoSchedule(name.to_owned()).into()),
        _ => Ok(()),
    }
}

fn resume(tx: &mut Tx<'_>, name: &str) -> Result<(), Fault> {
    let record = must_read(tx, name)?;
    if record.is_paused {
        let next = record.schedule.timing.first(tx.now)?;
        let sql =
            "UPDATE schedules SET is_paused = 0, next = ?2, look_at = ?2, revision = revision + 1
             WHERE name = ?1";
        tx.execute(sql, (name, next))?;
        tx.say(News::Due);
    }
    Ok(())
}

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
            return Ok(());
        }
        let submission = record.schedule.submission_as(id);
        let ready = submit::prepare(&terms, submission)?;
        for answer in submit::write_all(tx, vec![ready])? {
            answer?;
        }
        let at_ms = tx.now;
        let result = RunResult::Manual;
        note(
            tx,
            &name,
            Run {
                at_ms,
                result,
                id: Some(id),
            },
        )?;
        Ok(())
    };
    broker.writer.run(run).await
}

/// A time may wait for the run that has ended: then the tickers look at it.
pub(super) fn run_ended(tx: &mut Tx<'_>, name: &str) -> Result<(), Fault> {
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
    let mut is_busy = schedule.overlap != Overlap::Allow && is_busy(tx, &record)?;
    let mut waits = None;
    for at_ms in plan.fires {
        let mut run = Run {
            at_ms,
            result: RunResult::Overlapped,
            id: None,
        };
        if !is_busy {
            let id = schedule.id_at(&terms.namespace, at_ms);
            let ready = submit::prepare(terms, schedule.submission_as(id))?;
            let answer = submit::write_all(tx, vec![ready])?.pop();
            run.result = match answer {
                None | Some(Ok(_)) => RunResult::Fired,
                Some(Err(BrokerError::NoModule(_))) => RunResult::NoModule,
                Some(Err(BrokerError::NoTask(_))) => RunResult::NoTask,
                Some(Err(_)) => RunResult::Refused,
            };
            match run.result {
                RunResult::Fired => run.id = Some(id),
                _ => {
                    tracing::warn!(name, task = %schedule.task, "a schedule could not submit: there is no such task");
                }
            }
            is_busy = schedule.overlap != Overlap::Allow;
        } else if schedule.overlap == Overlap::QueueOne && waits.is_none() {
            waits = Some(at_ms);
            continue;
        }
        note(tx, name, run)?;
    }
    tx.execute(
        "UPDATE schedules SET next = ?2, look_at = ?2, waits = ?3 WHERE name = ?1",
        (name, plan.next, waits),
    )?;
    Ok(())
}

/// Whether an earlier run has not ended.
fn is_busy(tx: &Tx<'_>, record: &ScheduleRecord) -> Result<bool, Fault> {
    for id in record.runs.iter().filter_map(|run| run.id) {
        let sql = "SELECT 1 FROM invocations WHERE id = ?1 AND state IS NULL";
        if tx.query(sql, [id.as_bytes()], |_| Ok(()))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
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

fn must_read(tx: &Tx<'_>, name: &str) -> Result<ScheduleRecord, Fault> {
    let record = read_record(tx.db, name)?;
    record.ok_or_else(|| BrokerError::NoSchedule(name.to_owned()).into())
}

fn read_record(db: &Connection, name: &str) -> Result<Option<ScheduleRecord>, Fault> {
    let found = query(
        db,
        "SELECT spec, input, next, waits, is_paused, revision FROM schedules WHERE name = ?1",
        [name],
        |found| {
            let time = |column| row::number(found, column).and_then(|at| u64::try_from(at).ok());
            let spec = row::bytes(found, 0).unwrap_or_default();
            let input = row::bytes(found, 1).unwrap_or_default();
            let state = (row::count(found, 4) > 0, row::count(found, 5));
            Ok((spec, input, time(2), time(3), state))
        },
    )?;
    let Some((spec, input, next_ms, waiting_ms, (is_paused, revision))) = found else {
        return Ok(None);
    };
    let sql = "SELECT run FROM schedule_runs WHERE name = ?1 ORDER BY seq DESC";
    let runs = query_all(db, sql, [name], |found| Ok(row::text(found, 0)))?;
    Ok(Some(ScheduleRecord {
        schedule: Schedule::read(name, &spec, input)?,
        is_paused,
        next_ms,
        waiting_ms,
        runs: runs
            .into_iter()
            .flatten()
            .filter_map(|run| Run::parse(&run))
            .collect(),
        revision,
    }))
}
