//! Dead letters: a row for each failure with the time of its end; the records are the invocations' own.

use bytes::Bytes;
use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    fault::Fault,
    lease::millis,
    outcome::{read_status, to_status},
    row,
    writer::{Tx, query, query_all},
};
use crate::{
    BrokerError, DeadLetter, DeadList, DeadPage, Header, InvocationId, MAX_LISTED, Payload,
    Request, listing::bad_cursor,
};

/// The tables.
pub(super) const TABLES: &str = include_str!("dead.sql");

/// Letters looked at in one step.
const STEP: i64 = 200;

/// Steps of one page.
const STEPS: usize = 10;

/// Letters beyond the cap that one failure takes away besides its own place.
const TRIMMED: u64 = 100;

/// Notes a failure whose record was to be kept for `result_ttl` ms; the oldest beyond the cap go.
pub(super) fn bury(tx: &Tx<'_>, id: InvocationId, result_ttl: u64) -> Result<(), Fault> {
    let most = tx.dead_letters.most;
    if most == 0 {
        return Ok(());
    }
    let insert = "INSERT OR IGNORE INTO dead VALUES (?1, ?2, ?3, NULL)";
    tx.execute(insert, (id.as_bytes(), tx.now, result_ttl))?;
    let letters = tx.query("SELECT letters FROM dead_count", (), |found| {
        Ok(row::count(found, 0))
    })?;
    let over = letters.unwrap_or(0).saturating_sub(most).min(TRIMMED + 1);
    if over == 0 {
        return Ok(());
    }
    let sql = "SELECT id FROM dead ORDER BY at, id LIMIT ?1";
    let oldest = query_all(tx.db, sql, [over], |found| Ok(row::bytes(found, 0)))?;
    for id in oldest.iter().flatten() {
        exhume(tx, id)?;
    }
    Ok(())
}

/// How long the record of a failure is kept at least, in ms.
pub(super) fn floor_ms(tx: &Tx<'_>) -> u64 {
    match tx.dead_letters.most {
        0 => 0,
        _ => millis(tx.dead_letters.ttl),
    }
}

/// Makes it a dead letter no more: its record goes when its result would have. Whether it was one.
fn exhume(tx: &Tx<'_>, id: &[u8]) -> Result<bool, Fault> {
    let sql = "DELETE FROM dead WHERE id = ?1 RETURNING at + result_ttl";
    let Some(ends) = tx.query(sql, [id], |found| Ok(row::count(found, 0)))? else {
        return Ok(false);
    };
    tx.execute(
        "UPDATE invocations SET expires_at = min(expires_at, max(?2, ?3)) WHERE id = ?1",
        (id, ends, tx.now),
    )?;
    Ok(true)
}

/// Forgets letters whose time is over; their records have a time of their own. How many, at most `piece`.
pub(super) fn forget_old(tx: &Tx<'_>, piece: usize) -> Result<usize, Fault> {
    tx.execute(
        "DELETE FROM dead WHERE id IN (SELECT id FROM dead WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        (
            tx.now.saturating_sub(millis(tx.dead_letters.ttl)),
            i64::try_from(piece).unwrap_or(i64::MAX),
        ),
    )
}

/// What was handed in.
pub(super) async fn request(
    broker: &EmbeddedBroker,
    id: InvocationId,
) -> Result<Request, BrokerError> {
    let now = broker.clock.now();
    let read = move |db: &Connection| {
        query(
            db,
            "SELECT header, coalesce(input, (SELECT data FROM payloads p WHERE p.id = i.id AND kind = 'i'))
             FROM invocations i WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
            (id.as_bytes(), now),
            |found| Ok((row::bytes(found, 0), row::bytes(found, 1))),
        )
    };
    let found = broker.reader.run(read).await?;
    let (header, input) = found.ok_or_else(|| broker.missing(id))?;
    let header: Header = row::parse(id, &header.unwrap_or_default())?;
    // One that has succeeded needs its input no more.
    let data = input.ok_or(BrokerError::Expired(id))?;
    Ok(Request {
        task: header.task,
        input: Payload::bytes(header.content_type, data),
        options: header.options,
    })
}

/// What a failure can be run again with.
pub(super) async fn recording(
    broker: &EmbeddedBroker,
    id: InvocationId,
) -> Result<Option<Bytes>, BrokerError> {
    let now = broker.clock.now();
    let read = move |db: &Connection| {
        query(
            db,
            "SELECT (SELECT data FROM payloads p WHERE p.id = i.id AND kind = 'r')
             FROM invocations i WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
            (id.as_bytes(), now),
            |found| Ok(row::bytes(found, 0)),
        )
    };
    let found = broker.reader.run(read).await?;
    Ok(found.ok_or_else(|| broker.missing(id))?.map(Bytes::from))
}

/// A page of dead letters, newest first.
pub(super) async fn list(
    broker: &EmbeddedBroker,
    list: &DeadList,
) -> Result<DeadPage, BrokerError> {
    let mut last = match &list.cursor {
        Some(cursor) => Some(read_cursor(cursor).ok_or_else(|| bad_cursor(cursor))?),
        None => None,
    };
    let room = list.limit.clamp(1, MAX_LISTED);
    let mut page = DeadPage::default();
    for _ in 0..STEPS {
        let found = step(broker, list, last).await?;
        if found.is_empty() {
            return Ok(page);
        }
        for (id, died_at_ms, raw) in found {
            if page.letters.len() == room {
                page.cursor = last.map(write_cursor);
                return Ok(page);
            }
            last = Some((id, died_at_ms));
            match raw.map(|raw| to_status(id, raw)) {
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

/// One dead letter.
pub(super) async fn one(
    broker: &EmbeddedBroker,
    id: InvocationId,
) -> Result<Option<DeadLetter>, BrokerError> {
    let now = broker.clock.now();
    let alive = now.saturating_sub(millis(broker.options.dead_letters.ttl));
    let read = move |db: &Connection| {
        let sql = "SELECT at FROM dead WHERE id = ?1 AND at > ?2";
        let died = query(db, sql, (id.as_bytes(), alive), |found| {
            Ok(row::count(found, 0))
        })?;
        Ok(died.zip(read_status(db, id, now)?))
    };
    let found = broker.reader.run(read).await?;
    let letter = |(died_at_ms, raw)| {
        let status = to_status(id, raw)?;
        Ok(DeadLetter { died_at_ms, status })
    };
    found.map(letter).transpose()
}

type Found = (InvocationId, u64, Option<super::outcome::Raw>);

async fn step(
    broker: &EmbeddedBroker,
    list: &DeadList,
    last: Option<(InvocationId, u64)>,
) -> Result<Vec<Found>, BrokerError> {
    let now = broker.clock.now();
    let alive = now.saturating_sub(millis(broker.options.dead_letters.ttl)) + 1;
    let first = alive.max(list.filter.since_ms.unwrap_or(0));
    let end = list.filter.until_ms.unwrap_or(i64::MAX as u64);
    let (last_id, last_at) = match last {
        Some((id, at)) => (id.as_bytes().to_vec(), at),
        None => (Vec::new(), i64::MAX as u64),
    };
    let read = move |db: &Connection| {
        let sql = "SELECT id, at FROM dead WHERE at >= ?1 AND at < ?2 AND (at, id) < (?3, ?4)
             ORDER BY at DESC, id DESC LIMIT ?5";
        let found = query_all(db, sql, (first, end, last_at, last_id, STEP), |found| {
            Ok((row::id(found, 0), row::count(found, 1)))
        })?;
        let read = |(id, at): (Option<InvocationId>, u64)| {
            let id = id?;
            Some(read_status(db, id, now).map(|raw| (id, at, raw)))
        };
        found.into_iter().filter_map(read).collect()
    };
    broker.reader.run(read).await
}

fn read_cursor(cursor: &str) -> Option<(InvocationId, u64)> {
    let (at, id) = cursor.split_once('.')?;
    let at = at
        .parse::<u64>()
        .ok()
        .filter(|at| i64::try_from(*at).is_ok())?;
    Some((id.parse().ok()?, at))
}

fn write_cursor((id, at): (InvocationId, u64)) -> String {
    format!("{at}.{id}")
}

/// Says which invocation takes a dead letter's place.
pub(super) async fn claim(
    broker: &EmbeddedBroker,
    id: InvocationId,
    successor: InvocationId,
) -> Result<Option<InvocationId>, BrokerError> {
    let sql =
        "UPDATE dead SET successor = coalesce(successor, ?2) WHERE id = ?1 RETURNING successor";
    let claimed = broker.writer.run(move |tx| {
        tx.query(sql, (id.as_bytes(), successor.as_bytes()), |found| {
            Ok(row::id(found, 0))
        })
    });
    Ok(claimed.await?.flatten())
}

/// Drops dead letters.
pub(super) async fn drop_all(
    broker: &EmbeddedBroker,
    ids: &[InvocationId],
) -> Result<u64, BrokerError> {
    let mut dropped = 0;
    for chunk in ids.chunks(500) {
        let chunk = chunk.to_vec();
        let count = broker.writer.run(move |tx| {
            let mut count = 0;
            for id in &chunk {
                count += u64::from(exhume(tx, id.as_bytes())?);
            }
            Ok(count)
        });
        dropped += count.await?;
    }
    Ok(dropped)
}
