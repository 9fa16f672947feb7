//! Dead letters: a sorted set of failures by the time of their end; the records are the invocations' own.

use ::redis::{Value, cmd};
use bytes::Bytes;

use super::{
    CHUNK, RedisBroker, key,
    list::{READ, read},
    operations::now_ms,
    outcome::{split_header, status},
    script::{DEAD_CLAIM, DEAD_DROP, DEAD_LIST},
    value::{self, damaged},
};
use crate::{
    BrokerError, DeadLetter, DeadList, DeadPage, Filter, InvocationId, MAX_LISTED, Payload,
    Request, listing::bad_cursor,
};

/// Letters looked at for one page.
const LOOK: usize = 2000;

/// What was handed in.
pub(super) async fn request(
    broker: &RedisBroker,
    id: InvocationId,
) -> Result<Request, BrokerError> {
    let mut ask = cmd("HMGET");
    ask.arg(key("i:", id)).arg("h").arg("i").arg("s");
    let values: Result<[Value; 3], _> = value::list(broker.link.run(&ask).await?)?.try_into();
    let Ok([header, input, state]) = values else {
        return Err(damaged(
            format!("invocation {id}"),
            "its record is incomplete",
        ));
    };
    let header = value::text(header).ok_or_else(|| broker.missing(id))?;
    if value::text(state).is_some_and(|state| state.starts_with('s')) {
        return Err(BrokerError::Expired(id));
    }
    let (_, _, header) =
        split_header(&header).map_err(|reason| damaged(format!("invocation {id}"), reason))?;
    let data = value::bytes(input)
        .ok_or_else(|| damaged(format!("invocation {id}"), "its input is missing"))?;
    Ok(Request {
        task: header.task,
        input: Payload::bytes(header.content_type, data),
        options: header.options,
    })
}

/// What a failure can be run again with.
pub(super) async fn recording(
    broker: &RedisBroker,
    id: InvocationId,
) -> Result<Option<Bytes>, BrokerError> {
    let mut ask = cmd("HMGET");
    ask.arg(key("i:", id)).arg("h").arg("z");
    let values: Result<[Value; 2], _> = value::list(broker.link.run(&ask).await?)?.try_into();
    match values {
        Ok([Value::Nil, _]) => Err(broker.missing(id)),
        Ok([_, recording]) => Ok(value::bytes(recording).map(Bytes::from)),
        Err(_) => Ok(None),
    }
}

/// A page of dead letters, newest first.
pub(super) async fn list(broker: &RedisBroker, list: &DeadList) -> Result<DeadPage, BrokerError> {
    let mut last = match &list.cursor {
        Some(cursor) => Some(read_cursor(cursor).ok_or_else(|| bad_cursor(cursor))?),
        None => None,
    };
    let room = list.limit.clamp(1, MAX_LISTED);
    let mut page = DeadPage::default();
    for _ in 0..LOOK / READ {
        let found = step(broker, list, last).await?;
        if found.is_empty() {
            return Ok(page);
        }
        let mut ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let mut read: std::collections::HashMap<_, _> = read(broker, &Filter::default(), &ids)
            .await?
            .into_iter()
            .collect();
        for (id, died_at_ms) in found {
            if page.letters.len() == room {
                page.cursor = last.map(write_cursor);
                return Ok(page);
            }
            last = Some((id, died_at_ms));
            match read.remove(&id) {
                Some(Ok(status)) if list.filter.admits(&status) => {
                    page.letters.push(DeadLetter { died_at_ms, status });
                }
                Some(Err(error)) => tracing::warn!(%id, %error, "a dead letter cannot be listed"),
                _ => {}
            }
        }
    }
    page.cursor = last.map(write_cursor);
    Ok(page)
}

/// One dead letter. The set keeps what has run out for a while: the time decides.
pub(super) async fn one(
    broker: &RedisBroker,
    id: InvocationId,
) -> Result<Option<DeadLetter>, BrokerError> {
    let mut ask = cmd("ZSCORE");
    ask.arg(key("dead", "")).arg(id.to_string());
    let died_at_ms = match broker.link.run(&ask).await? {
        Value::Nil => return Ok(None),
        at => value::count(&at),
    };
    if died_at_ms.saturating_add(broker.dead_ttl_ms()) <= now_ms(broker).await? {
        return Ok(None);
    }
    match status(broker, id).await {
        Ok(status) => Ok(Some(DeadLetter { died_at_ms, status })),
        Err(BrokerError::NotFound(_) | BrokerError::Expired(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The letters after `last`, with the times of their ends.
async fn step(
    broker: &RedisBroker,
    list: &DeadList,
    last: Option<(InvocationId, u64)>,
) -> Result<Vec<(InvocationId, u64)>, BrokerError> {
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let mut call = DEAD_LIST.call(6, 256);
    call.arg(broker.dead_ttl_ms())
        .arg(number(list.filter.since_ms))
        .arg(number(list.filter.until_ms))
        .arg(READ)
        .arg(last.map_or_else(String::new, |(id, _)| id.to_string()))
        .arg(number(last.map(|(_, at)| at)));
    let values = value::list(broker.link.call(&call).await?)?;
    value::records::<2>(values)
        .map(|[id, at]| Ok((value::id(id)?, value::count(&at))))
        .collect()
}

fn read_cursor(cursor: &str) -> Option<(InvocationId, u64)> {
    let (at, id) = cursor.split_once('.')?;
    Some((id.parse().ok()?, at.parse().ok()?))
}

fn write_cursor((id, at): (InvocationId, u64)) -> String {
    format!("{at}.{id}")
}

/// Says which invocation takes a dead letter's place.
pub(super) async fn claim(
    broker: &RedisBroker,
    id: InvocationId,
    successor: InvocationId,
) -> Result<Option<InvocationId>, BrokerError> {
    let mut call = DEAD_CLAIM.call(2, 80);
    call.arg(id.to_string()).arg(successor.to_string());
    value::text(broker.link.call(&call).await?)
        .map(|id| id.parse())
        .transpose()
}

/// Drops dead letters.
pub(super) async fn drop_all(
    broker: &RedisBroker,
    ids: &[InvocationId],
) -> Result<u64, BrokerError> {
    let mut dropped = 0;
    for chunk in ids.chunks(CHUNK) {
        let mut call = DEAD_DROP.call(1 + chunk.len(), 48 * chunk.len());
        call.arg(broker.retention());
        for id in chunk {
            call.arg(id.to_string());
        }
        dropped += value::count(&broker.link.call(&call).await?);
    }
    Ok(dropped)
}
