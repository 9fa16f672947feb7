//! Schedules: records that a ticker fires; see `firing`.

use ::redis::cmd;

use super::{
    RedisBroker,
    connection::Link,
    key,
    script::{SCHEDULE_CHANGE, SCHEDULE_PUT, SCHEDULES},
    value::{self, damaged},
};
use crate::{BrokerError, MAX_SCHEDULES, Put, Run, Schedule, ScheduleRecord};

/// Schedules read in one call.
const PAGE: usize = 100;

/// Tries of a change that others get in the way of.
pub(super) const TRIES: usize = 5;

/// What was read of schedules: when, and each with its name, or why it cannot be read.
pub(super) type Read = (u64, Vec<(String, Result<ScheduleRecord, BrokerError>)>);

/// Adds a schedule, or puts it in the place of another.
pub(super) async fn put(broker: &RedisBroker, schedule: &Schedule) -> Result<Put, BrokerError> {
    schedule.check()?;
    broker.options.caps.check_input(schedule.input.data.len())?;
    let timing = serde_json::to_string(&schedule.timing)
        .map_err(|error| damaged(&schedule.name, error.to_string()))?;
    // Its own record is not needed: the answer carries the time.
    let (now, _) = read(&broker.link, &[]).await?;
    let first = schedule.timing.first(now)?;
    let mut call = SCHEDULE_PUT.call(6, 512 + schedule.input.data.len());
    call.arg(&schedule.name)
        .arg(schedule.spec()?)
        .arg(schedule.input.data.as_ref())
        .arg(timing)
        .arg(moment(first))
        .arg(MAX_SCHEDULES);
    match value::number(&broker.link.call(&call).await?) {
        Some(0) => Ok(Put::Unchanged),
        Some(1) => Ok(Put::Added),
        Some(2) => Ok(Put::Changed),
        _ => Err(BrokerError::TooManySchedules(MAX_SCHEDULES)),
    }
}

/// Every schedule, by name.
pub(super) async fn list(broker: &RedisBroker) -> Result<Vec<ScheduleRecord>, BrokerError> {
    let mut all = cmd("ZRANGE");
    all.arg(key("schedules", "")).arg(0).arg(-1);
    let names = value::list(broker.link.run(&all).await?)?;
    let mut names: Vec<String> = names.into_iter().filter_map(value::text).collect();
    names.sort_unstable();
    let mut records = Vec::with_capacity(names.len());
    for page in names.chunks(PAGE) {
        for (name, record) in read(&broker.link, page).await?.1 {
            match record {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(name, %error, "a schedule cannot be read"),
            }
        }
    }
    Ok(records)
}

/// One schedule.
pub(super) async fn get(broker: &RedisBroker, name: &str) -> Result<ScheduleRecord, BrokerError> {
    Ok(get_at(broker, name).await?.1)
}

/// The broker's time, and one schedule.
pub(super) async fn get_at(
    broker: &RedisBroker,
    name: &str,
) -> Result<(u64, ScheduleRecord), BrokerError> {
    let (now, mut found) = read(&broker.link, &[name.to_owned()]).await?;
    match found.pop() {
        Some((_, record)) => Ok((now, record?)),
        None => Err(BrokerError::NoSchedule(name.to_owned())),
    }
}

/// Removes a schedule; what it has submitted goes on.
pub(super) async fn remove(broker: &RedisBroker, name: &str) -> Result<(), BrokerError> {
    change(&broker.link, name, "remove", None, None)
        .await
        .map(drop)
}

/// Pauses a schedule, or resumes it.
pub(super) async fn set_paused(
    broker: &RedisBroker,
    name: &str,
    is_paused: bool,
) -> Result<(), BrokerError> {
    if is_paused {
        return change(&broker.link, name, "pause", None, None)
            .await
            .map(drop);
    }
    for _ in 0..TRIES {
        let (now, record) = get_at(broker, name).await?;
        let next = record.schedule.timing.first(now)?;
        if change(&broker.link, name, "resume", Some(record.revision), next).await? {
            return Ok(());
        }
    }
    Err(contended(broker, name))
}

/// That others changed it each time.
pub(super) fn contended(broker: &RedisBroker, name: &str) -> BrokerError {
    let reason = format!("schedule {name} is being changed by somebody else: try again");
    broker.link.unavailable(reason)
}

/// Whether it was done; not when the schedule has another revision.
pub(super) async fn change(
    link: &Link,
    name: &str,
    what: &str,
    revision: Option<u64>,
    next: Option<u64>,
) -> Result<bool, BrokerError> {
    let mut call = SCHEDULE_CHANGE.call(4, 256);
    call.arg(name)
        .arg(what)
        .arg(moment(revision))
        .arg(moment(next));
    match value::number(&link.call(&call).await?) {
        Some(1) => Ok(true),
        Some(2) => Ok(false),
        _ => Err(BrokerError::NoSchedule(name.to_owned())),
    }
}

/// A number as scripts take it; '' for none.
pub(super) fn moment(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Reads at most a page of schedules; those that are not there are left out.
pub(super) async fn read(link: &Link, names: &[String]) -> Result<Read, BrokerError> {
    let mut call = SCHEDULES.call(names.len(), 64 * names.len());
    for name in names {
        call.arg(name);
    }
    let mut answer = value::list(link.call(&call).await?)?.into_iter();
    let now = answer.next().map_or(0, |now| value::count(&now));
    let mut found = Vec::with_capacity(names.len());
    for [name, spec, input, next, paused, waits, revision, runs] in
        value::records::<8>(answer.collect())
    {
        let name = value::text(name).unwrap_or_default();
        let time = |value| Some(value::count(value)).filter(|time| *time > 0);
        let (spec, input) = (value::bytes(spec), value::bytes(input));
        let schedule = Schedule::read(&name, &spec.unwrap_or_default(), input.unwrap_or_default());
        let waits = value::text(waits).unwrap_or_default();
        let mut waits = waits.split_whitespace().filter_map(|at| at.parse().ok());
        let runs = value::list(runs)?.into_iter().filter_map(value::text);
        let runs = runs.filter_map(|run| Run::parse(&run)).collect();
        let record = schedule.map(|schedule| ScheduleRecord {
            schedule,
            is_paused: value::count(&paused) > 0,
            next_ms: time(&next),
            waiting_ms: waits.next(),
            behind: waits.collect(),
            runs,
            revision: value::count(&revision),
        });
        found.push((name, record));
    }
    Ok((now, found))
}
