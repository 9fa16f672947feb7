//! Schedules: records that a ticker fires; see `firing`.

use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    fault::{Fault, damaged},
    row,
    switchboard::News,
    writer::{Tx, query, query_all},
};
use crate::{BrokerError, MAX_SCHEDULES, Put, Run, Schedule, ScheduleRecord};

/// The tables: additional to the layout, made where they are missing.
pub(super) const TABLES: &str = include_str!("schedules.sql");

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
                forget_waits(tx, name)?;
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
        forget_waits(tx, &name)?;
        tx.execute("DELETE FROM schedule_runs WHERE name = ?1", [&name])?;
        tx.execute("DELETE FROM schedule_unfinished WHERE name = ?1", [&name])?;
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

/// It fires no more, and no time of it waits.
pub(super) fn pause(tx: &Tx<'_>, name: &str) -> Result<(), Fault> {
    forget_waits(tx, name)?;
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

/// No time waits behind the first one any more.
pub(super) fn forget_waits(tx: &Tx<'_>, name: &str) -> Result<(), Fault> {
    tx.execute("DELETE FROM schedule_waits WHERE name = ?1", [name])?;
    Ok(())
}

/// One schedule, which must be there.
pub(super) fn must_read(tx: &Tx<'_>, name: &str) -> Result<ScheduleRecord, Fault> {
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
    let sql = "SELECT at FROM schedule_waits WHERE name = ?1 ORDER BY at";
    let behind = query_all(db, sql, [name], |found| Ok(row::count(found, 0)))?;
    let sql = "SELECT run FROM schedule_runs WHERE name = ?1 ORDER BY seq DESC";
    let runs = query_all(db, sql, [name], |found| Ok(row::text(found, 0)))?;
    Ok(Some(ScheduleRecord {
        schedule: Schedule::read(name, &spec, input)?,
        is_paused,
        next_ms,
        waiting_ms,
        behind,
        runs: runs
            .into_iter()
            .flatten()
            .filter_map(|run| Run::parse(&run))
            .collect(),
        revision,
    }))
}
