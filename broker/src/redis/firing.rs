//! Firing schedules: each time in one step.

use super::{
    REPLY_CAP, RedisBroker,
    connection::Link,
    reply_ttl_ms,
    schedules::{TRIES, change, contended, get_at, moment, read},
    script::FIRE,
    submit::Chunk,
    value,
};
use crate::{BrokerError, InvocationId, Namespace, Overlap, ScheduleRecord};

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
            patient: 0,
            policy: "m",
        };
        let retention = broker.retention();
        let scene = Scene {
            link: &broker.link,
            namespace: &broker.namespace,
            retention: &retention,
        };
        match fire(scene, &firing).await? {
            Fired::Changed => {}
            Fired::Refused(error) => return Err(error),
            Fired::Done => return Ok(()),
        }
    }
    Err(contended(broker, name))
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
        patient: plan.patient,
        policy: match schedule.overlap {
            Overlap::Allow => "a",
            Overlap::Skip => "s",
            Overlap::QueueOne => "q",
        },
    };
    if let Fired::Refused(error) = fire(scene, &firing).await? {
        let name = &schedule.name;
        tracing::warn!(name, task = %schedule.task, %error, "a schedule could not submit");
    }
    Ok(())
}

/// One firing of a schedule as it was read.
struct Firing<'a> {
    record: &'a ScheduleRecord,
    times: &'a [(u64, InvocationId)],
    next: Option<u64>,
    /// How many of the times, from the first on, wait for an earlier run.
    patient: usize,
    policy: &'a str,
}

/// What came of a firing.
enum Fired {
    /// Nothing: the schedule has been changed or fired meanwhile.
    Changed,
    /// A time was refused, for this reason.
    Refused(BrokerError),
    /// No time was refused; some may have been left out, or wait.
    Done,
}

async fn fire(scene: Scene<'_>, firing: &Firing<'_>) -> Result<Fired, BrokerError> {
    let Firing { record, times, .. } = firing;
    let schedule = &record.schedule;
    let most = match firing.policy {
        "s" | "q" => 1,
        _ => times.len(),
    };
    let mut chunk = Chunk::default();
    for (index, (_, id)) in times.iter().take(most).enumerate() {
        chunk.add(index, schedule.submission_as(*id))?;
    }
    let mut call = FIRE.call(
        11 + times.len() + chunk.arguments(),
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
        .arg(firing.patient)
        .arg(schedule.catch_up.most())
        .arg(times.len());
    for (at, _) in *times {
        call.arg(*at);
    }
    chunk.write(&mut call);
    let mut answer = value::list(scene.link.call(&call).await?)?.into_iter();
    let letters = answer.next().and_then(value::text).unwrap_or_default();
    Ok(match chunk.refusal(answer.collect()) {
        Some(error) => Fired::Refused(error),
        None if letters.is_empty() && !times.is_empty() => Fired::Changed,
        None => Fired::Done,
    })
}
