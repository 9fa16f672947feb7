//! The reply stream of a client: what ends in this process is said straight away, what ends in
//! another one is left as a note and a ring.

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{
    EmbeddedBroker,
    ending::{PUSHED_BYTES, client_topic},
    fault::Fault,
    row,
    switchboard::Switchboard,
    writer::{Writer, query_all},
};
use crate::{BrokerError, ClientId, InvocationId, Outcome, Reply};

/// Replies that may wait for the client to read them; when there are more, it is told to check everything.
const REPLIES: usize = 16_384;

/// Notes read at once.
const PAGE: i64 = 500;

/// A note that is read: its place, what it is about, and the outcome when it is small.
type Note = (i64, InvocationId, Option<Box<Outcome>>);

/// Opens the stream of `client`.
pub(super) async fn replies(
    broker: &EmbeddedBroker,
    client: &ClientId,
) -> Result<mpsc::Receiver<Reply>, BrokerError> {
    let (sender, receiver) = mpsc::channel(REPLIES);
    broker.listen()?;
    broker
        .switchboard
        .add_client(client.clone(), sender.clone());
    broker.add_listener(client_topic(client)).await?;
    let (writer, switchboard, client) = (
        broker.writer.clone(),
        broker.switchboard.clone(),
        client.clone(),
    );
    tokio::spawn(async move {
        sender.closed().await;
        if switchboard.remove_client(&client, &sender) {
            close(&writer, &switchboard, &client);
        }
    });
    Ok(receiver)
}

/// Removes everything that is kept for a client that has gone.
fn close(writer: &Writer, switchboard: &Switchboard, client: &ClientId) {
    super::remove_listener(writer, switchboard, client_topic(client));
    forget(writer, client.clone(), i64::MAX);
}

/// Hands on the notes that other processes have left. Called when the bell has rung.
pub(super) fn read_notes(
    db: &Connection,
    switchboard: &Switchboard,
    writer: &Writer,
) -> Result<(), Fault> {
    for (client, mut seen) in switchboard.clients() {
        let first = seen;
        loop {
            let notes = read_page(db, &client, seen)?;
            let is_last = notes.is_empty();
            for (seq, id, outcome) in notes {
                seen = seq;
                switchboard.hand_on(&client, seq, id, outcome);
            }
            if is_last {
                break;
            }
        }
        if seen > first {
            forget(writer, client, seen);
        }
    }
    Ok(())
}

fn read_page(db: &Connection, client: &ClientId, seen: i64) -> Result<Vec<Note>, Fault> {
    let sql = "SELECT n.seq, n.id, i.head, length(i.head) + coalesce(length(i.output), 0), i.output
         FROM replies n LEFT JOIN invocations i ON i.id = n.id
         WHERE n.client = ?1 AND n.seq > ?2 ORDER BY n.seq LIMIT ?3";
    let notes = query_all(db, sql, (client.as_str(), seen, PAGE), |found| {
        let is_small = row::count(found, 3) <= PUSHED_BYTES as u64;
        let outcome = is_small.then(|| read_outcome(found)).flatten();
        Ok(row::id(found, 1).map(|id| (row::number(found, 0).unwrap_or(seen), id, outcome)))
    })?;
    Ok(notes.into_iter().flatten().collect())
}

/// None where it is large or cannot be read: the client then reads the stored one, and sees the damage there.
fn read_outcome(found: &rusqlite::Row<'_>) -> Option<Box<Outcome>> {
    let head: crate::OutcomeHead = serde_json::from_slice(&row::bytes(found, 2)?).ok()?;
    let output = row::bytes(found, 4);
    let is_whole = output.is_some() == head.content_type.is_some();
    is_whole.then(|| Box::new(Outcome::from_parts(head, output.map(Into::into))))
}

/// Removes notes that were handed on. The last one stays, so that the numbers go on from it.
fn forget(writer: &Writer, client: ClientId, seen: i64) {
    writer.post(move |tx| {
        tx.execute(
            "DELETE FROM replies WHERE client = ?1 AND seq < ?2",
            (client.as_str(), seen),
        )?;
        Ok(())
    });
}
