//! Schedules: records that a ticker fires, each time in one step.

use ::redis::cmd;

use super::{
    REPLY_CAP, RedisBroker,
    connection::Link,
    key, reply_ttl_ms,
    script::{FIRE, SCHEDULE_CHANGE, SCHEDULE_PUT, SCHEDULES},
    submit::{Chunk, overloaded},
    value::{self, damaged},
};
use crate::{
    BrokerError, InvocationId, MAX_SCHEDULES, Namespace, Overlap, Put, Run, Schedule,
    ScheduleRecord,
};

/// Schedules read in one call.
const PAGE: usize = 100;

/// Tries of a change that others get in the way of.
const TRIES: usize = 5;

/// What was read of schedules: when, and each with its name, or why it cannot be read.
type Read = (u64, Vec<(String, Result<ScheduleRecord, BrokerError>)>);

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

async fn get_at(broker: &RedisBroker, name: &str) -> Result<(u64, ScheduleRecord), BrokerError> {
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

/// Where schedules are fired.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) link: &'a Link,
    pub(super) namespace: &'a Namespace,
    pub(super) retention: &'a str,
}

/// Submits what a schedule would submit, now, as `id`.
pub(super) async fn run(
    broker: &RedisBroker,
    name: &str,
    id: InvocationId,
) -> Result<(), BrokerError> {
    for _ in 0..TRIES {
        let (now, record) = get_at(broker, name).await?;
        if record.has_run(id) {
            return Ok(());
        }
        let firing = Firing {
            record: &record,
            times: &[(now, id)],
            next: None,
            policy: "m",
        };
        let retention = broker.retention();
        let scene = Scene {
            link: &broker.link,
            namespace: &broker.namespace,
            retention: &retention,
        };
        let task = || record.schedule.task.clone();
        let told = fire(scene, &firing).await?;
        return match (told.as_str(), told.strip_prefix('x')) {
            ("", _) => continue,
            ("n", _) => Err(BrokerError::NoModule(task().module)),
            ("t", _) => Err(BrokerError::NoTask(task())),
            (_, Some(why)) => Err(overloaded(why).unwrap_or_else(|| contended(broker, name))),
            (_, None) => Ok(()),
        };
    }
    Err(contended(broker, name))
}

fn contended(broker: &RedisBroker, name: &str) -> BrokerError {
    let reason = format!("schedule {name} is being changed by somebody else: try again");
    broker.link.unavailable(reason)
}

/// Fires what is due. One that cannot be read is paused, so that it stands in nobody's way.
pub(super) async fn fire_due(scene: Scene<'_>, names: &[String]) -> Result<(), BrokerError> {
    let (now, found) = read(scene.link, names).await?;
    for (name, record) in found {
        let fired = match record {
            Ok(record) => fire_one(scene, now, &record).await,
            Err(error) => Err(error),
        };
        match fired {
            Ok(()) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(name, %error, "a schedule cannot be fired and was paused");
                change(scene.link, &name, "pause", None, None).await?;
            }
        }
    }
    Ok(())
}

async fn fire_one(scene: Scene<'_>, now: u64, record: &ScheduleRecord) -> Result<(), BrokerError> {
    let schedule = &record.schedule;
    let plan = record.plan(now)?;
    let times: Vec<_> = plan
        .fires
        .iter()
        .map(|at| (*at, schedule.id_at(scene.namespace, *at)))
        .collect();
    let firing = Firing {
        record,
        times: &times,
        next: plan.next,
        policy: match schedule.overlap {
            Overlap::Allow => "a",
            Overlap::Skip => "s",
            Overlap::QueueOne => "q",
        },
    };
    let letters = fire(scene, &firing).await?;
    if letters.contains(['n', 't', 'x']) {
        let name = &schedule.name;
        tracing::warn!(name, task = %schedule.task, "a schedule could not submit: there is no such task");
    }
    Ok(())
}

/// One firing of a schedule as it was read.
struct Firing<'a> {
    record: &'a ScheduleRecord,
    times: &'a [(u64, InvocationId)],
    next: Option<u64>,
    policy: &'a str,
}

async fn fire(scene: Scene<'_>, firing: &Firing<'_>) -> Result<String, BrokerError> {
    let Firing { record, times, .. } = firing;
    let schedule = &record.schedule;
    let mut chunk = Chunk::default();
    for (index, (_, id)) in times.iter().enumerate() {
        chunk.add(index, schedule.submission_as(*id))?;
    }
    let mut call = FIRE.call(
        9 + times.len() + chunk.arguments(),
        512 + times.len() * 16 + chunk.bytes(),
    );
    call.arg(scene.retention)
        .arg(reply_ttl_ms())
        .arg(REPLY_CAP)
        .arg(&schedule.name)
        .arg(record.revision)
        .arg(moment(record.next_ms))
        .arg(moment(firing.next))
        .arg(firing.policy)
        .arg(times.len());
    for (at, _) in *times {
        call.arg(*at);
    }
    chunk.write(&mut call);
    let letters = scene.link.call(&call).await?;
    Ok(value::text(letters).unwrap_or_default())
}

/// Whether it was done; not when the schedule has another revision.
async fn change(
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
fn moment(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

async fn read(link: &Link, names: &[String]) -> Result<Read, BrokerError> {
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
        let runs = value::list(runs)?.into_iter().filter_map(value::text);
        let runs = runs.filter_map(|run| Run::parse(&run)).collect();
        let record = schedule.map(|schedule| ScheduleRecord {
            schedule,
            is_paused: value::count(&paused) > 0,
            next_ms: time(&next),
            waiting_ms: time(&waits),
            runs,
            revision: value::count(&revision),
        });
        found.push((name, record));
    }
    Ok((now, found))
}
