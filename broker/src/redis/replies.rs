//! The reply stream: one connection per client process that carries every outcome it waits for.
//!
//! One pipeline per turn removes what was read and waits for more, so that the stream stays empty.
//! What is pushed is a hint: the stored result is the truth, and whenever something may have been
//! missed the reader says `Reconnected`.

use std::{sync::Arc, time::Duration};

use ::redis::{RedisError, Value, aio::MultiplexedConnection, cmd, pipe};
use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{
    RedisBroker,
    connection::{Link, run_pipeline},
    key,
    outcome::read_result,
    value,
};
use crate::{BrokerError, ClientId, Reply};

/// How long one read waits: a connection that died silently is noticed after it.
const BLOCK: Duration = Duration::from_secs(30);

/// Entries per read: 16 KiB each at worst.
const ENTRIES: u32 = 256;

/// Replies that may wait for the client to read them; then the reader waits.
const REPLIES: usize = 4096;

/// The pause before a reconnect, doubled each time up to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The stream's position before its first entry.
const START: &str = "0-0";

struct Reader {
    link: Arc<Link>,
    stream: String,
    /// The last entry that was read.
    last: String,
    /// Closed by the client: then the reader removes the stream and ends.
    replies: mpsc::Sender<Reply>,
}

/// Opens the stream of `client`.
pub(super) async fn replies(
    broker: &RedisBroker,
    client: &ClientId,
) -> Result<mpsc::Receiver<Reply>, BrokerError> {
    let connection = broker.link.dedicated().await?;
    let (replies, receiver) = mpsc::channel(REPLIES);
    let reader = Reader {
        link: Arc::clone(&broker.link),
        stream: key("reply:", client),
        last: START.to_owned(),
        replies,
    };
    tokio::spawn(reader.run(connection));
    Ok(receiver)
}

impl Reader {
    async fn run(mut self, connection: MultiplexedConnection) {
        let closed = self.replies.clone();
        tokio::select! {
            () = self.read_on(connection) => {}
            () = closed.closed() => {}
        }
        // The blocked connection is closed by now. What cannot be removed expires.
        let _ = self.link.run(cmd("UNLINK").arg(&self.stream)).await;
    }

    async fn read_on(&mut self, mut connection: MultiplexedConnection) {
        let mut pause = BACK_OFF.0;
        loop {
            while let Ok(answer) = self.read(&mut connection).await {
                pause = BACK_OFF.0;
                if self.deliver(answer).await.is_none() {
                    return;
                }
            }
            connection = loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
                if let Ok(connection) = self.link.dedicated().await {
                    break connection;
                }
            };
            // The server may have lost the stream, and its clock may be another.
            START.clone_into(&mut self.last);
            if self.replies.send(Reply::Reconnected).await.is_err() {
                return;
            }
        }
    }

    async fn read(&self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        let mut pipeline = pipe();
        if let Some(next) = after(&self.last) {
            pipeline.add_command(cmd("XTRIM").arg(&self.stream).arg("MINID").arg(next).take());
        }
        let mut read = cmd("XREAD");
        read.arg("COUNT")
            .arg(ENTRIES)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(&self.stream).arg(&self.last);
        pipeline.add_command(read);
        let answers = timeout(
            BLOCK + Duration::from_secs(10),
            run_pipeline(connection, &mut pipeline),
        )
        .await;
        let mut answers = answers
            .map_err(|_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        answers.pop().unwrap_or_default().extract_error()
    }

    /// None when the client has gone.
    async fn deliver(&mut self, answer: Value) -> Option<()> {
        for (entry, fields) in entries(answer) {
            self.last = entry;
            for [id, result] in value::records::<2>(fields) {
                let reply = read_reply(id, result);
                self.replies.send(reply).await.ok()?;
            }
        }
        Some(())
    }
}

/// The smallest entry id after `last`; none at the start, where there is nothing to remove.
fn after(last: &str) -> Option<String> {
    let (ms, sequence) = last.split_once('-').filter(|_| last != START)?;
    Some(format!("{ms}-{}", sequence.parse::<u64>().ok()? + 1))
}

/// The entries of an answer to XREAD of one stream: [[stream, [[id, [field, value, …]], …]]].
fn entries(answer: Value) -> Vec<(String, Vec<Value>)> {
    let first = |value: Value| value::list(value).unwrap_or_default().into_iter();
    let Some(stream) = first(answer).next() else {
        return Vec::new();
    };
    let listed = first(stream).nth(1).unwrap_or_default();
    let entry = |entry: Value| {
        let mut parts = first(entry);
        Some((
            value::text(parts.next()?)?,
            value::list(parts.next()?).ok()?,
        ))
    };
    first(listed).filter_map(entry).collect()
}

fn read_reply(id: Value, result: Value) -> Reply {
    // Anything but an id is the mark that entries were dropped.
    let Ok(id) = value::id(id) else {
        return Reply::Reconnected;
    };
    let result = value::bytes(result).filter(|result| !result.is_empty());
    // One that cannot be read is read from the store, where the damage shows.
    let outcome = result.and_then(|result| read_result(&result.into(), Bytes::new()).ok());
    Reply::Ended(id, outcome.map(Box::new))
}
