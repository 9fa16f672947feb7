//! The key-value stores of modules: one row for a key, one for how much a module has.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    fault::Fault,
    row,
    writer::{Tx, query, query_all},
};
pub(super) use crate::kv::Change;
use crate::{
    BrokerError, Caps, KeyValueStats,
    kv::{self, Refusal},
};

/// The tables.
pub(super) const TABLES: &str = include_str!("kv.sql");

/// Expired keys removed in one step: about two milliseconds.
pub(super) const PIECE: usize = 1000;

/// Keys that one snapshot looks at.
const LOOK: usize = 1000;

/// What came of a write.
enum Written<T> {
    Done(T),
    /// Nothing was written; a piece of what has expired was removed, and there is more.
    Again,
}

/// What a write is about.
#[derive(Clone)]
struct Place {
    module: String,
    key: String,
    caps: Caps,
}

impl Place {
    fn new(broker: &EmbeddedBroker, module: &str, key: &str) -> Self {
        Self {
            module: module.to_owned(),
            key: key.to_owned(),
            caps: broker.options.caps,
        }
    }

    fn refuse(&self, refusal: Refusal) -> Fault {
        refusal
            .into_error(&self.module, &self.key, self.caps)
            .into()
    }
}

/// Runs a write in a transaction, in several when much has to be removed first.
async fn write<T, F>(broker: &EmbeddedBroker, place: Place, work: F) -> Result<T, BrokerError>
where
    T: Send + 'static,
    F: Fn(&Tx<'_>, &Place) -> Result<Written<T>, Fault> + Clone + Send + 'static,
{
    loop {
        let (place, work) = (place.clone(), work.clone());
        let written = broker.writer.run(move |tx| work(tx, &place)).await?;
        if let Written::Done(done) = written {
            return Ok(done);
        }
    }
}

/// The value of a key, unless it has expired.
fn read(db: &Connection, module: &str, key: &str, now: u64) -> Result<Option<Vec<u8>>, Fault> {
    let sql = "SELECT value FROM kv
               WHERE module = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)";
    let found = query(db, sql, (module, key, now), |found| {
        Ok(row::bytes(found, 0))
    })?;
    Ok(found.flatten())
}

/// Removes a key, expired or not; whether there was one.
fn remove(tx: &Tx<'_>, module: &str, key: &str) -> Result<bool, Fault> {
    let sql = "DELETE FROM kv WHERE module = ?1 AND key = ?2 RETURNING bytes";
    let bytes = tx.query(sql, (module, key), |found| Ok(row::number(found, 0)))?;
    let Some(bytes) = bytes.flatten() else {
        return Ok(false);
    };
    resize(tx, module, -1, -bytes)?;
    Ok(true)
}

/// Notes that a module has so many keys and bytes more, or fewer.
fn resize(tx: &Tx<'_>, module: &str, keys: i64, bytes: i64) -> Result<(), Fault> {
    tx.execute(
        "INSERT INTO kv_sizes VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET keys = keys + excluded.keys, bytes = bytes + excluded.bytes",
        (module, keys, bytes),
    )?;
    tx.execute(
        "DELETE FROM kv_sizes WHERE module = ?1 AND keys <= 0",
        [module],
    )?;
    Ok(())
}

/// Removes what has expired, at most `most` keys; how many it were.
pub(super) fn purge(tx: &Tx<'_>, most: usize) -> Result<usize, Fault> {
    let sql = "SELECT module, key FROM kv WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2";
    let gone = query_all(tx.db, sql, (tx.now, most as i64), |found| {
        Ok((row::text(found, 0), row::text(found, 1)))
    })?;
    for (module, key) in &gone {
        if let (Some(module), Some(key)) = (module, key) {
            remove(tx, module, key)?;
        }
    }
    Ok(gone.len())
}

/// What a module has, what has expired and is not removed yet included.
fn sizes(db: &Connection, module: &str) -> Result<KeyValueStats, Fault> {
    let sql = "SELECT keys, bytes FROM kv_sizes WHERE module = ?1";
    let found = query(db, sql, [module], |found| {
        Ok(KeyValueStats {
            keys: row::count(found, 0),
            bytes: row::count(found, 1),
        })
    })?;
    Ok(found.unwrap_or_default())
}

/// Whether there is room for so much more. What has expired makes room.
fn make_room(tx: &Tx<'_>, place: &Place, keys: i64, bytes: i64) -> Result<Written<()>, Fault> {
    let lacking = || -> Result<Option<Refusal>, Fault> {
        let has = sizes(tx.db, &place.module)?;
        let is_over = |has: u64, more: i64, cap: u64| {
            more > 0 && has.saturating_add(more.unsigned_abs()) > cap
        };
        Ok(if is_over(has.keys, keys, place.caps.kv_keys) {
            Some(Refusal::Keys)
        } else if is_over(has.bytes, bytes, place.caps.kv_bytes) {
            Some(Refusal::Bytes)
        } else {
            None
        })
    };
    if lacking()?.is_none() {
        return Ok(Written::Done(()));
    }
    let gone = purge(tx, PIECE)?;
    match lacking()? {
        None => Ok(Written::Done(())),
        Some(_) if gone == PIECE => Ok(Written::Again),
        Some(refusal) => Err(place.refuse(refusal)),
    }
}

/// Sets a key whose value is `old`, until `expires_at`.
fn put(
    tx: &Tx<'_>,
    place: &Place,
    (old, value): (Option<&[u8]>, &[u8]),
    expires_at: Option<u64>,
) -> Result<Written<()>, Fault> {
    if old.is_none() {
        // One that has expired counts no more, and its row must not be taken for the key's.
        remove(tx, &place.module, &place.key)?;
    }
    let whole = (place.key.len() + value.len()) as i64;
    let (keys, more) = match old {
        Some(old) => (0, value.len() as i64 - old.len() as i64),
        None => (1, whole),
    };
    if matches!(make_room(tx, place, keys, more)?, Written::Again) {
        return Ok(Written::Again);
    }
    tx.execute(
        "INSERT INTO kv VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE
         SET expires_at = excluded.expires_at, bytes = excluded.bytes, value = excluded.value",
        (&place.module, &place.key, expires_at, whole, value),
    )?;
    resize(tx, &place.module, keys, more)?;
    Ok(Written::Done(()))
}

/// When a key written now expires.
fn expiry(tx: &Tx<'_>, ttl: Option<Duration>) -> Option<u64> {
    ttl.map(|ttl| tx.now.saturating_add(kv::ttl_ms(ttl)))
}

/// The value of a key.
pub(super) async fn get(
    broker: &EmbeddedBroker,
    module: &str,
    key: &str,
) -> Result<Option<Bytes>, BrokerError> {
    kv::check_write(module, key, None)?;
    let (module, key, now) = (module.to_owned(), key.to_owned(), broker.clock.now());
    let found = broker.reader.run(move |db| read(db, &module, &key, now));
    Ok(found.await?.map(Bytes::from))
}

/// Sets a key.
pub(super) async fn set(
    broker: &EmbeddedBroker,
    module: &str,
    key: &str,
    value: Bytes,
    ttl: Option<Duration>,
) -> Result<(), BrokerError> {
    kv::check_write(module, key, Some(&value))?;
    write(broker, Place::new(broker, module, key), move |tx, place| {
        let old = read(tx.db, &place.module, &place.key, tx.now)?;
        put(tx, place, (old.as_deref(), &value), expiry(tx, ttl))
    })
    .await
}

/// Removes a key.
pub(super) async fn delete(
    broker: &EmbeddedBroker,
    module: &str,
    key: &str,
) -> Result<bool, BrokerError> {
    kv::check_write(module, key, None)?;
    write(broker, Place::new(broker, module, key), |tx, place| {
        let was_there = read(tx.db, &place.module, &place.key, tx.now)?.is_some();
        remove(tx, &place.module, &place.key)?;
        Ok(Written::Done(was_there))
    })
    .await
}

/// A whole number in the one way that it is written: `7`, not `+7` or `07`, as Redis has it.
fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Adds to a whole number.
pub(super) async fn increment(
    broker: &EmbeddedBroker,
    module: &str,
    key: &str,
    by: i64,
    ttl: Option<Duration>,
) -> Result<i64, BrokerError> {
    kv::check_write(module, key, None)?;
    write(broker, Place::new(broker, module, key), move |tx, place| {
        let old = read(tx.db, &place.module, &place.key, tx.now)?;
        let (sum, expires_at) = match &old {
            None => (by, expiry(tx, ttl)),
            Some(old) => {
                let old = number(old).ok_or_else(|| place.refuse(Refusal::NotANumber))?;
                let sum = old.checked_add(by);
                let sum = sum.ok_or_else(|| place.refuse(Refusal::Overflow))?;
                (sum, own_expiry(tx, place)?)
            }
        };
        let value = sum.to_string();
        let put = put(tx, place, (old.as_deref(), value.as_bytes()), expires_at)?;
        Ok(match put {
            Written::Done(()) => Written::Done(sum),
            Written::Again => Written::Again,
        })
    })
    .await
}

/// When a key that is there expires.
fn own_expiry(tx: &Tx<'_>, place: &Place) -> Result<Option<u64>, Fault> {
    let sql = "SELECT expires_at FROM kv WHERE module = ?1 AND key = ?2";
    let found = tx.query(sql, (&place.module, &place.key), |found| {
        Ok(row::number(found, 0))
    })?;
    Ok(found.flatten().and_then(|at| u64::try_from(at).ok()))
}

/// Sets or removes a key that has the value expected.
pub(super) async fn compare_and_set(
    broker: &EmbeddedBroker,
    module: &str,
    key: &str,
    change: Change,
) -> Result<bool, BrokerError> {
    kv::check_write(module, key, change.value.as_deref())?;
    write(broker, Place::new(broker, module, key), move |tx, place| {
        let old = read(tx.db, &place.module, &place.key, tx.now)?;
        if old.as_deref() != change.expected.as_deref() {
            return Ok(Written::Done(false));
        }
        let Some(value) = &change.value else {
            remove(tx, &place.module, &place.key)?;
            return Ok(Written::Done(true));
        };
        let put = put(tx, place, (old.as_deref(), value), expiry(tx, change.ttl))?;
        Ok(match put {
            Written::Done(()) => Written::Done(true),
            Written::Again => Written::Again,
        })
    })
    .await
}

/// Keys from `from` on, or after it, with when they expire: at most `LOOK`, and none beyond the prefix.
fn look(
    db: &Connection,
    module: &str,
    (prefix, from): (&str, &str),
    is_after: bool,
) -> Result<Vec<(String, Option<i64>)>, Fault> {
    let sql = match is_after {
        true => {
            "SELECT key, expires_at FROM kv WHERE module = ?1 AND key > ?2 ORDER BY key LIMIT ?3"
        }
        false => {
            "SELECT key, expires_at FROM kv WHERE module = ?1 AND key >= ?2 ORDER BY key LIMIT ?3"
        }
    };
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query((module, from, LOOK as i64))?;
    let mut page = Vec::new();
    while let Some(found) = rows.next()? {
        let key = row::text(found, 0).unwrap_or_default();
        if !key.starts_with(prefix) {
            break;
        }
        page.push((key, row::number(found, 1)));
    }
    Ok(page)
}

/// One page of keys, in the order of their bytes: `TEXT` compares byte by byte.
pub(super) async fn list(
    broker: &EmbeddedBroker,
    module: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, BrokerError> {
    let limit = kv::check_list(module, prefix, after, limit)?;
    let (mut from, mut is_after) = match after {
        Some(after) if after >= prefix => (after.to_owned(), true),
        _ => (prefix.to_owned(), false),
    };
    let mut keys = Vec::new();
    // A snapshot looks at a thousand keys at most, so that other readers get their turn.
    while keys.len() < limit {
        let (module, prefix, at) = (module.to_owned(), prefix.to_owned(), from.clone());
        let now = broker.clock.now();
        let page = broker
            .reader
            .run(move |db| look(db, &module, (&prefix, &at), is_after));
        let page = page.await?;
        let Some((last, _)) = page.last() else { break };
        (from, is_after) = (last.clone(), true);
        let is_last = page.len() < LOOK;
        let lives = |ends: Option<i64>| ends.is_none_or(|at| at > now as i64);
        keys.extend(
            page.into_iter()
                .filter(|(_, ends)| lives(*ends))
                .map(|(key, _)| key),
        );
        if is_last {
            break;
        }
    }
    keys.truncate(limit);
    Ok(keys)
}

/// What a module's store holds.
pub(super) async fn stats(
    broker: &EmbeddedBroker,
    module: &str,
) -> Result<KeyValueStats, BrokerError> {
    kv::check_store(module)?;
    write(
        broker,
        Place::new(broker, module, ""),
        |tx, place| match purge(tx, PIECE)? {
            PIECE => Ok(Written::Again),
            _ => Ok(Written::Done(sizes(tx.db, &place.module)?)),
        },
    )
    .await
}

/// Removes all keys of a module, a piece at a time.
pub(super) async fn clear(broker: &EmbeddedBroker, module: &str) -> Result<u64, BrokerError> {
    kv::check_store(module)?;
    let mut cleared = 0;
    loop {
        let name = module.to_owned();
        let piece = broker.writer.run(move |tx| clear_piece(tx, &name)).await?;
        cleared += piece.1;
        if piece.0 < PIECE {
            return Ok(cleared);
        }
    }
}

/// Removes at most a piece; how many keys went, and how many of them had not expired.
fn clear_piece(tx: &Tx<'_>, module: &str) -> Result<(usize, u64), Fault> {
    let sql = "SELECT key, expires_at FROM kv WHERE module = ?1 ORDER BY key LIMIT ?2";
    let keys = query_all(tx.db, sql, (module, PIECE as i64), |found| {
        Ok((
            row::text(found, 0).unwrap_or_default(),
            row::number(found, 1),
        ))
    })?;
    let mut alive = 0;
    for (key, ends) in &keys {
        remove(tx, module, key)?;
        alive += u64::from(ends.is_none_or(|at| at > tx.now as i64));
    }
    Ok((keys.len(), alive))
}
