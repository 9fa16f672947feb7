//! What running invocations report: kept in a capped stream each, and followed by those who watch.
//!
//! A watcher hears only that there is something; it reads the stream itself from where it is, so
//! history, live events and what a lost connection missed are one and the same read.

use std::sync::Arc;

use ::redis::{Value, cmd};
use tokio::sync::mpsc;

use super::{
    RedisBroker,
    connection::Link,
    key,
    script::RECORD,
    subscriptions::Subscription,
    value::{self, damaged},
};
use crate::{BrokerError, Event, EventKind, InvocationId, Lease, Payload};

/// Events in one call.
const CHUNK: usize = 100;

/// The pause before a failed read is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// Notices that wait for a watcher: one is as good as many.
const NOTICES: usize = 4;

/// Keeps what an attempt reports.
pub(super) async fn record(
    broker: &RedisBroker,
    lease: &Lease,
    events: Vec<EventKind>,
) -> Result<(), BrokerError> {
    let attempt = lease
        .token
        .as_str()
        .rsplit_once('.')
        .map_or("0", |(_, attempt)| attempt);
    for chunk in events.chunks(CHUNK) {
        let mut call = RECORD.call(5 + 3 * chunk.len(), 128 * chunk.len());
        let last_progress = chunk.iter().rev().find_map(|event| match event {
            EventKind::Progress(progress) => Some(progress),
            _ => None,
        });
        let last_progress = last_progress.map(json).transpose()?.unwrap_or_default();
        call.arg(lease.id.to_string())
            .arg(lease.token.as_str())
            .arg(broker.options.events_kept)
            .arg(attempt)
            .arg(last_progress);
        for event in chunk {
            match event {
                EventKind::Progress(progress) => call.arg("p").arg("").arg(json(progress)?),
                EventKind::Log(log) => call.arg("l").arg("").arg(json(log)?),
                EventKind::Chunk(payload) => call
                    .arg("c")
                    .arg(&payload.content_type)
                    .arg(payload.data.as_ref()),
            };
        }
        if value::count(&broker.link.call(&call).await?) == 0 {
            return Err(BrokerError::StaleLease(lease.id));
        }
    }
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, BrokerError> {
    serde_json::to_string(value).map_err(|error| damaged("an event", error.to_string()))
}

/// The newest events, oldest first.
pub(super) async fn events(
    broker: &RedisBroker,
    id: InvocationId,
    limit: usize,
) -> Result<Vec<Event>, BrokerError> {
    require(broker, id).await?;
    let mut read = cmd("XREVRANGE");
    read.arg(key("e:", id))
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(limit);
    let mut events = read_events(id, broker.link.run(&read).await?)?;
    events.reverse();
    Ok(events)
}

/// What was reported after `cursor`, and from now on.
pub(super) async fn watch(
    broker: &RedisBroker,
    id: InvocationId,
    cursor: Option<&str>,
) -> Result<mpsc::Receiver<Event>, BrokerError> {
    let cursor = cursor.unwrap_or("0-0");
    let is_cursor = cursor
        .split_once('-')
        .is_some_and(|(ms, n)| ms.parse::<u64>().is_ok() && n.parse::<u64>().is_ok());
    if !is_cursor {
        return Err(BrokerError::invalid(
            "cursor",
            cursor,
            "the `cursor` of an event",
        ));
    }
    // First listen, then read: nothing falls between.
    let notices = broker
        .subscriptions
        .subscribe(key("e:", id), NOTICES)
        .await?;
    require(broker, id).await?;
    let (sender, receiver) = mpsc::channel(CHUNK);
    let watcher = Watcher {
        link: Arc::clone(&broker.link),
        id,
        cursor: cursor.to_owned(),
        notices,
        events: sender,
    };
    tokio::spawn(watcher.run());
    Ok(receiver)
}

async fn require(broker: &RedisBroker, id: InvocationId) -> Result<(), BrokerError> {
    match value::count(&broker.link.run(cmd("EXISTS").arg(key("i:", id))).await?) {
        0 => Err(broker.missing(id)),
        _ => Ok(()),
    }
}

/// Follows one invocation for one listener.
struct Watcher {
    link: Arc<Link>,
    id: InvocationId,
    /// The last event that was handed on.
    cursor: String,
    notices: Subscription,
    /// Closed by the listener: then the watcher ends.
    events: mpsc::Sender<Event>,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            self.notices.drain();
            match self.hand_on().await {
                Ok(true) => {}
                Err(error) if error.is_transient() => {
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => continue,
                        () = self.events.closed() => return,
                    }
                }
                Err(error) => {
                    tracing::warn!(id = %self.id, %error, "a watched invocation cannot be read");
                    return;
                }
                Ok(false) => return,
            }
            let notice = tokio::select! {
                notice = self.notices.next() => notice,
                () = self.events.closed() => None,
            };
            if notice.is_none() {
                return;
            }
        }
    }

    /// Hands on everything after the cursor; false when nobody listens any more.
    async fn hand_on(&mut self) -> Result<bool, BrokerError> {
        loop {
            let mut read = cmd("XRANGE");
            read.arg(key("e:", self.id))
                .arg(format!("({}", self.cursor))
                .arg("+")
                .arg("COUNT")
                .arg(CHUNK);
            let events = read_events(self.id, self.link.run(&read).await?)?;
            let is_last = events.len() < CHUNK;
            for event in events {
                self.cursor.clone_from(&event.cursor);
                if self.events.send(event).await.is_err() {
                    return Ok(false);
                }
            }
            if is_last {
                return Ok(true);
            }
        }
    }
}

/// The events in an answer to XRANGE: [[id, [field, value, …]], …].
fn read_events(id: InvocationId, answer: Value) -> Result<Vec<Event>, BrokerError> {
    value::list(answer)?
        .into_iter()
        .map(|entry| read_event(id, entry))
        .collect()
}

fn read_event(id: InvocationId, entry: Value) -> Result<Event, BrokerError> {
    let broken = |reason: &str| damaged(format!("an event of invocation {id}"), reason);
    let mut parts = value::list(entry)?.into_iter();
    let cursor = parts
        .next()
        .and_then(value::text)
        .ok_or_else(|| broken("it has no id"))?;
    let fields: Result<[Value; 8], _> = value::list(parts.next().unwrap_or_default())?.try_into();
    let Ok([_, attempt, _, kind, _, content_type, _, data]) = fields else {
        return Err(broken("it does not have the four fields a, k, c, v"));
    };
    let data = value::bytes(data).unwrap_or_default();
    let kind = match value::text(kind).as_deref() {
        Some("p") => EventKind::Progress(
            serde_json::from_slice(&data).map_err(|error| broken(&error.to_string()))?,
        ),
        Some("l") => EventKind::Log(
            serde_json::from_slice(&data).map_err(|error| broken(&error.to_string()))?,
        ),
        _ => EventKind::Chunk(Payload::bytes(
            value::text(content_type).unwrap_or_default(),
            data,
        )),
    };
    let at_ms = cursor
        .split_once('-')
        .and_then(|(ms, _)| ms.parse().ok())
        .unwrap_or(0);
    Ok(Event {
        cursor,
        at_ms,
        attempt: u32::try_from(value::count(&attempt)).unwrap_or(u32::MAX),
        kind,
    })
}
