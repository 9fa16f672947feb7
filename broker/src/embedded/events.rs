//! What running invocations report: capped rows, and those who follow them.
//!
//! A watcher hears only that there is something; it reads the rows itself from where it is, so
//! history and live events are one and the same read.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row};
use tokio::sync::{Notify, mpsc};

use super::{
    EmbeddedBroker,
    fault::{Fault, damaged},
    reader::Reader,
    row::{self, Fare},
    switchboard::{News, Switchboard},
    writer::{Tx, Writer, query, query_all},
};
use crate::{BrokerError, Event, EventKind, InvocationId, Lease, Payload};

/// Events kept of one invocation.
pub(super) const EVENTS_KEPT: i64 = 1000;

/// Events read at once.
const PAGE: i64 = 100;

/// An event that is ready to be written: kind, content type, value.
type Ready = (&'static str, String, Bytes);

/// Keeps what an attempt reports.
pub(super) async fn record(
    broker: &EmbeddedBroker,
    lease: &Lease,
    events: Vec<EventKind>,
) -> Result<(), BrokerError> {
    let progress = events.iter().rev().find_map(|event| match event {
        EventKind::Progress(progress) => Some(json(progress)),
        _ => None,
    });
    let progress = progress.transpose()?;
    let events = events
        .into_iter()
        .map(prepare)
        .collect::<Result<Vec<_>, _>>()?;
    let lease = lease.clone();
    broker
        .writer
        .run(move |tx| write(tx, &lease, &events, progress.as_deref()))
        .await
}

fn prepare(event: EventKind) -> Result<Ready, BrokerError> {
    Ok(match event {
        EventKind::Progress(progress) => ("p", String::new(), json(&progress)?.into()),
        EventKind::Log(log) => ("l", String::new(), json(&log)?.into()),
        EventKind::Chunk(payload) => ("c", payload.content_type, payload.data),
    })
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, BrokerError> {
    serde_json::to_string(value).map_err(|error| damaged("an event", error))
}

fn write(
    tx: &mut Tx<'_>,
    lease: &Lease,
    events: &[Ready],
    progress: Option<&str>,
) -> Result<(), Fault> {
    let id = lease.id;
    let (host, taken) = row::split_token(&lease.token).unwrap_or_default();
    let held = tx.query(
        "SELECT taken, given_back, crashes FROM leases WHERE id = ?1 AND host = ?2 AND taken = ?3",
        (id.as_bytes(), host, taken),
        |held| Ok(Fare::read(held, 0)),
    )?;
    let fare = held.ok_or(BrokerError::StaleLease(id))?;
    let last = tx.query(
        "SELECT max(seq) FROM events WHERE id = ?1",
        [id.as_bytes()],
        |row| Ok(row::number(row, 0)),
    )?;
    let mut seq = last.flatten().unwrap_or(0);
    for (kind, content_type, data) in events {
        seq += 1;
        tx.execute(
            "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                id.as_bytes(),
                seq,
                tx.now,
                fare.attempts(),
                kind,
                content_type,
                data.as_ref(),
            ),
        )?;
    }
    tx.execute(
        "DELETE FROM events WHERE id = ?1 AND seq <= ?2",
        (id.as_bytes(), seq - EVENTS_KEPT),
    )?;
    if let Some(progress) = progress {
        tx.execute(
            "INSERT OR REPLACE INTO progress VALUES (?1, ?2)",
            (id.as_bytes(), progress),
        )?;
    }
    tx.say(News::Event(id));
    let own = tx.switchboard.talk_bell();
    let sql = "SELECT bell FROM listeners WHERE topic = ?1 AND bell <> ?2";
    for bell in query_all(tx.db, sql, (topic(id), own), |found| found.get(0))? {
        tx.say(News::Talk(bell));
    }
    Ok(())
}

fn topic(id: InvocationId) -> String {
    format!("e:{id}")
}

/// The newest events, oldest first.
pub(super) async fn events(
    broker: &EmbeddedBroker,
    id: InvocationId,
    limit: usize,
) -> Result<Vec<Event>, BrokerError> {
    require(broker, id).await?;
    let limit = i64::try_from(limit).unwrap_or(EVENTS_KEPT).min(EVENTS_KEPT);
    let read = move |db: &Connection| {
        let sql = "SELECT seq, at, attempt, kind, content_type, data FROM events
             WHERE id = ?1 ORDER BY seq DESC LIMIT ?2";
        query_all(db, sql, (id.as_bytes(), limit), |found| {
            Ok(read_event(id, found))
        })
    };
    let mut events = broker
        .reader
        .run(read)
        .await?
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    events.reverse();
    Ok(events)
}

async fn require(broker: &EmbeddedBroker, id: InvocationId) -> Result<(), BrokerError> {
    let now = broker.clock.now();
    let sql = "SELECT 1 FROM invocations WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)";
    let found = broker
        .reader
        .run(move |db| query(db, sql, (id.as_bytes(), now), |_| Ok(())))
        .await?;
    found.ok_or_else(|| broker.missing(id))
}

/// What was reported after `cursor`, and from now on.
pub(super) async fn watch(
    broker: &EmbeddedBroker,
    id: InvocationId,
    cursor: Option<&str>,
) -> Result<mpsc::Receiver<Event>, BrokerError> {
    let seen = match cursor {
        None => 0,
        Some(cursor) => cursor
            .parse::<i64>()
            .map_err(|_| BrokerError::invalid("cursor", cursor, "the `cursor` of an event"))?,
    };
    require(broker, id).await?;
    broker.listen()?;
    // First listen, then read: nothing falls between.
    let bell = broker.switchboard.add_watcher(id);
    broker.add_listener(topic(id)).await?;
    let (sender, receiver) = mpsc::channel(usize::try_from(PAGE).unwrap_or(100));
    let watcher = Watcher {
        reader: broker.reader.clone(),
        writer: broker.writer.clone(),
        switchboard: Arc::clone(&broker.switchboard),
        id,
        seen,
        bell,
        events: sender,
    };
    tokio::spawn(watcher.run());
    Ok(receiver)
}

/// Follows one invocation for one listener.
struct Watcher {
    reader: Reader,
    writer: Writer,
    switchboard: Arc<Switchboard>,
    id: InvocationId,
    /// The last event that was handed on.
    seen: i64,
    /// Rung when there is more.
    bell: Arc<Notify>,
    /// Closed by the listener: then the watcher ends.
    events: mpsc::Sender<Event>,
}

impl Watcher {
    async fn run(mut self) {
        while self.hand_on().await.is_some() {
            tokio::select! {
                () = self.bell.notified() => {}
                () = self.events.closed() => break,
            }
        }
        if self.switchboard.remove_watcher(self.id, &self.bell) {
            super::remove_listener(&self.writer, &self.switchboard, topic(self.id));
        }
    }

    /// Hands on everything that is new; none when nobody listens or the store is gone.
    async fn hand_on(&mut self) -> Option<()> {
        loop {
            let (id, seen) = (self.id, self.seen);
            let read = move |db: &Connection| {
                let sql = "SELECT seq, at, attempt, kind, content_type, data FROM events
                     WHERE id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
                query_all(db, sql, (id.as_bytes(), seen, PAGE), |found| {
                    Ok((row::number(found, 0).unwrap_or(seen), read_event(id, found)))
                })
            };
            let page = self.reader.run(read).await.ok()?;
            if page.is_empty() {
                return Some(());
            }
            for (seq, event) in page {
                self.seen = seq;
                // A damaged one is left out.
                if let Ok(event) = event {
                    self.events.send(event).await.ok()?;
                }
            }
        }
    }
}

fn read_event(id: InvocationId, found: &Row<'_>) -> Result<Event, BrokerError> {
    let data = row::bytes(found, 5).unwrap_or_default();
    let broken = |error: serde_json::Error| damaged(format!("an event of invocation {id}"), error);
    let kind = match row::text(found, 3).as_deref() {
        Some("p") => EventKind::Progress(serde_json::from_slice(&data).map_err(broken)?),
        Some("l") => EventKind::Log(serde_json::from_slice(&data).map_err(broken)?),
        _ => EventKind::Chunk(Payload::bytes(
            row::text(found, 4).unwrap_or_default(),
            data,
        )),
    };
    Ok(Event {
        cursor: row::count(found, 0).to_string(),
        at_ms: row::count(found, 1),
        attempt: u32::try_from(row::count(found, 2)).unwrap_or(u32::MAX),
        kind,
    })
}

/// Makes the listener of another process's events look. Called when the bell has rung.
pub(super) fn look(switchboard: &Switchboard) {
    switchboard.notify_watchers();
}
