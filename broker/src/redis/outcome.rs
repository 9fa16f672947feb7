//! What anybody can ask about an invocation, and ask of it: status, outcome, cancel.

use ::redis::{Value, cmd};
use bytes::Bytes;

use super::{
    CHUNK, REPLY_CAP, RedisBroker, key, reply_ttl_ms,
    reserve::read_trail,
    script::{CANCEL, OUTCOMES},
    value::{self, damaged},
};
use crate::{
    BrokerError, CancelResult, ClientId, Header, HostId, InvocationId, Outcome, OutcomeHead,
    Progress, State, Status,
};

/// Bytes of outcome after which one call reads no more.
const BUDGET: usize = 8 << 20;

/// An outcome, none while there is none, or why there is no record.
pub(super) type Read = Result<Option<Outcome>, BrokerError>;

/// The fields that a status is made of.
pub(super) const STATUS_FIELDS: [&str; 10] = ["h", "s", "d", "c", "x", "p", "r", "t", "n", "a"];

/// Where an invocation stands.
pub(super) async fn status(broker: &RedisBroker, id: InvocationId) -> Result<Status, BrokerError> {
    let mut read = cmd("HMGET");
    read.arg(key("i:", id)).arg(&STATUS_FIELDS);
    let values = value::list(broker.link.run(&read).await?)?;
    read_status(broker, id, values)
}

/// A status from its fields.
pub(super) fn read_status(
    broker: &RedisBroker,
    id: InvocationId,
    values: Vec<Value>,
) -> Result<Status, BrokerError> {
    let values: Result<[Value; STATUS_FIELDS.len()], _> = values.try_into();
    let Ok(
        [
            header,
            state,
            digest,
            crashes,
            cancel,
            progress,
            result,
            times,
            start,
            trail,
        ],
    ) = values
    else {
        return Err(damaged(
            format!("invocation {id}"),
            "its record is incomplete",
        ));
    };
    let header = value::text(header).ok_or_else(|| broker.missing(id))?;
    let (submitted_at_ms, queue, header) =
        split_header(&header).map_err(|reason| damaged(format!("invocation {id}"), reason))?;
    let times = value::text(times).unwrap_or_default();
    let time = |index| {
        let time = times.split(' ').nth(index)?.parse().ok();
        time.filter(|at| *at > 0)
    };
    let (state, host, attempts) = read_state(&value::text(state).unwrap_or_default());
    let outcome = value::bytes(result)
        .map(|result| parse::<OutcomeHead>(id, split_result(&result).0))
        .transpose()?;
    Ok(Status {
        id,
        task: header.task,
        parent: header.options.parent,
        after: header.options.after,
        module: value::text(digest).map(|hex| hex.parse()).transpose()?,
        queue: queue.to_owned(),
        state,
        submitted_at_ms,
        due_at_ms: (state == State::Scheduled).then(|| value::count(&start)),
        expires_at_ms: time(0),
        deadline_at_ms: time(1),
        attempts,
        crashes: u32::try_from(value::count(&crashes)).unwrap_or(u32::MAX),
        host: host.filter(|_| state == State::Running),
        trail: read_trail(&value::bytes(trail).unwrap_or_default())
            .map_err(|error| damaged(format!("invocation {id}"), error.to_string()))?,
        is_cancel_requested: value::count(&cancel) > 0,
        progress: value::bytes(progress)
            .map(|progress| parse::<Progress>(id, &progress))
            .transpose()?,
        outcome,
    })
}

/// Field h: when it was accepted, its queue, and the header, one space between.
pub(super) fn split_header(field: &str) -> Result<(u64, &str, Header), String> {
    let mut parts = field.splitn(3, ' ');
    let (at, queue, header) = (parts.next(), parts.next(), parts.next());
    let at = at
        .and_then(|at| at.parse().ok())
        .ok_or("its time is missing")?;
    let header = serde_json::from_str(header.unwrap_or_default())
        .map_err(|error| format!("its header: {error}"))?;
    Ok((at, queue.unwrap_or_default(), header))
}

/// Field r: the head, and the output that stands behind a line feed, if one does.
fn split_result(field: &[u8]) -> (&[u8], Option<usize>) {
    match field.iter().position(|byte| *byte == b'\n') {
        Some(end) => (field.get(..end).unwrap_or(field), Some(end + 1)),
        None => (field, None),
    }
}

/// The outcome in field r; `apart` is its output when it is not in there.
pub(super) fn read_result(field: &Bytes, apart: Bytes) -> Result<Outcome, serde_json::Error> {
    let (head, output_at) = split_result(field);
    let head = serde_json::from_slice(head)?;
    let output = output_at.map_or(apart, |at| field.slice(at..));
    Ok(Outcome::from_parts(head, Some(output)))
}

/// State, last host and attempts, from `<letter>[!]<host>.<fence>.<attempt>`; nothing is queued as submitted.
fn read_state(field: &str) -> (State, Option<HostId>, u32) {
    let state = match field.get(..1) {
        Some("b") => State::Blocked,
        Some("w") => State::Scheduled,
        Some("r") => State::Running,
        Some("s") => State::Succeeded,
        Some("f") => State::Failed,
        Some("c") => State::Cancelled,
        Some("e") => State::Expired,
        _ => State::Queued,
    };
    let token = field.get(1..).unwrap_or_default().trim_start_matches('!');
    let mut parts = token.rsplitn(3, '.');
    let attempts = parts
        .next()
        .and_then(|attempt| attempt.parse().ok())
        .unwrap_or(0);
    (
        state,
        parts.nth(1).map(|host| HostId::from(host.to_owned())),
        attempts,
    )
}

fn parse<T: serde::de::DeserializeOwned>(id: InvocationId, json: &[u8]) -> Result<T, BrokerError> {
    serde_json::from_slice(json)
        .map_err(|error| damaged(format!("invocation {id}"), error.to_string()))
}

/// The outcome of one invocation.
pub(super) async fn outcome(
    broker: &RedisBroker,
    id: InvocationId,
    waiter: Option<&ClientId>,
) -> Read {
    outcomes(broker, &[id], waiter)
        .await?
        .pop()
        .unwrap_or(Ok(None))
}

/// The outcomes of many, in order.
pub(super) async fn outcomes(
    broker: &RedisBroker,
    ids: &[InvocationId],
    waiter: Option<&ClientId>,
) -> Result<Vec<Read>, BrokerError> {
    let mut answers = Vec::with_capacity(ids.len());
    let mut rest = ids;
    while !rest.is_empty() {
        let chunk = rest.get(..rest.len().min(CHUNK)).unwrap_or(rest);
        let mut call = OUTCOMES.call(2 + chunk.len(), 48 * chunk.len());
        call.arg(waiter.map_or("", ClientId::as_str)).arg(BUDGET);
        for id in chunk {
            call.arg(id.to_string());
        }
        let records = value::list(broker.link.call(&call).await?)?;
        let before = answers.len();
        for (id, record) in chunk.iter().zip(value::records::<3>(records)) {
            answers.push(read_outcome(broker, *id, record));
        }
        // A call reads at least one, and as many as its bytes allow.
        let read = answers.len() - before;
        if read == 0 {
            return Err(damaged("an answer of Redis", "outcomes are missing"));
        }
        rest = rest.get(read..).unwrap_or_default();
    }
    Ok(answers)
}

fn read_outcome(
    broker: &RedisBroker,
    id: InvocationId,
    [kind, result, output]: [Value; 3],
) -> Read {
    match value::count(&kind) {
        0 => Err(broker.missing(id)),
        1 => Ok(None),
        _ => {
            let output = value::bytes(output).unwrap_or_default();
            let outcome = read_result(
                &value::bytes(result).unwrap_or_default().into(),
                output.into(),
            );
            outcome
                .map(Some)
                .map_err(|error| damaged(format!("invocation {id}"), error.to_string()))
        }
    }
}

/// Stops an invocation.
pub(super) async fn cancel(
    broker: &RedisBroker,
    id: InvocationId,
    has_children: bool,
) -> Result<CancelResult, BrokerError> {
    let mut call = CANCEL.call(6, 512);
    call.arg(&broker.heads.cancelled)
        .arg(broker.result_ttl_ms())
        .arg(reply_ttl_ms())
        .arg(REPLY_CAP)
        .arg(id.to_string())
        .arg(u8::from(has_children));
    match value::number(&broker.link.call(&call).await?) {
        Some(0) => Err(broker.missing(id)),
        Some(1) => Ok(CancelResult::Cancelled),
        Some(2) => Ok(CancelResult::Requested),
        _ => Ok(CancelResult::AlreadyEnded),
    }
}
