//! Keys that keep an invocation from being submitted twice.

use super::{
    ending,
    fault::Fault,
    row, times,
    writer::{Tx, Uses},
};
use crate::{InvocationId, OnConflict, Scope, more::More, once::Clash, verdict::REPLACED};

/// The table: additional to the layout, made where it is missing.
pub(super) const TABLES: &str = "
-- Who holds a key. Kind i: an idempotency key, with the fingerprint of its input; u: a unique key.
CREATE TABLE IF NOT EXISTS once (
  kind TEXT, key TEXT, id BLOB NOT NULL, print TEXT,
  expires_at INTEGER,  -- of a window; NULL: with its invocation
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS once_id ON once (id);
CREATE INDEX IF NOT EXISTS once_expiry ON once (expires_at) WHERE expires_at IS NOT NULL;
";

/// Who holds a key.
struct Holder {
    id: InvocationId,
    print: Option<String>,
    /// For a time, and that is not over.
    has_window: bool,
    /// Whether its record is there, and whether it has ended.
    is_there: bool,
    has_ended: bool,
    runs: bool,
}

/// Why an invocation cannot be written, or need not be. Changes nothing.
pub(super) fn clash(tx: &Tx<'_>, more: &More) -> Result<Option<Clash>, Fault> {
    if let Some(idem) = &more.idem
        && let Some(held) = holder(tx, "i", &idem.key)?.filter(|held| held.is_there)
    {
        let is_same = held.print.as_deref() == Some(idem.print.as_str());
        return Ok(Some(match is_same {
            true => Clash::Existing(held.id),
            false => Clash::OtherInput(held.id),
        }));
    }
    let Some(unique) = &more.unique else {
        return Ok(None);
    };
    let Some(held) = holder(tx, "u", &unique.key)? else {
        return Ok(None);
    };
    let goes_on = held.is_there && !held.has_ended;
    // A retry takes over the window of the letter whose place it takes.
    let is_own = more.retry_of == Some(held.id);
    if !goes_on && (is_own || !held.has_window) {
        return Ok(None);
    }
    Ok(match unique.on_conflict {
        OnConflict::ReturnExisting => Some(Clash::Existing(held.id)),
        OnConflict::Replace if goes_on && !held.runs => None,
        _ => Some(Clash::NotUnique(held.id)),
    })
}

/// The invocation is written: it takes its keys, and what it replaces is cancelled.
pub(super) fn claim(
    tx: &mut Tx<'_>,
    uses: &mut Uses,
    ttl_ms: u64,
    id: InvocationId,
    more: &More,
) -> Result<(), Fault> {
    let take = "INSERT OR REPLACE INTO once VALUES (?1, ?2, ?3, ?4, ?5)";
    if let Some(idem) = &more.idem {
        tx.execute(
            take,
            ("i", &idem.key, id.as_bytes(), &idem.print, None::<u64>),
        )?;
    }
    let Some(unique) = &more.unique else {
        return Ok(());
    };
    let replaced = match unique.on_conflict {
        OnConflict::Replace => holder(tx, "u", &unique.key)?,
        _ => None,
    };
    let expires_at = match unique.scope {
        Scope::WindowMs(ms) => Some(tx.now.saturating_add(ms)),
        Scope::Queued | Scope::Done => None,
    };
    tx.execute(
        take,
        ("u", &unique.key, id.as_bytes(), None::<&str>, expires_at),
    )?;
    if let Some(other) = replaced.filter(|other| other.is_there && !other.has_ended) {
        let fare = times::take_out(tx, other.id)?.unwrap_or_default();
        ending::end_by_verdict(tx, uses, ttl_ms, (other.id, fare, None), REPLACED)?;
    }
    Ok(())
}

/// A host has taken it: what is unique only while it waits is so no more.
pub(super) fn taken(tx: &Tx<'_>, id: InvocationId, more: &More) -> Result<(), Fault> {
    match &more.unique {
        Some(unique) if unique.scope == Scope::Queued => free(tx, id, &unique.key),
        _ => Ok(()),
    }
}

/// It has ended: its unique key is free, unless it holds it for a time. Its idempotency key goes with its record.
pub(super) fn ended(tx: &Tx<'_>, id: InvocationId, more: &More) -> Result<(), Fault> {
    match &more.unique {
        Some(unique) if !matches!(unique.scope, Scope::WindowMs(_)) => free(tx, id, &unique.key),
        _ => Ok(()),
    }
}

fn free(tx: &Tx<'_>, id: InvocationId, key: &str) -> Result<(), Fault> {
    let sql = "DELETE FROM once WHERE kind = 'u' AND key = ?1 AND id = ?2";
    tx.execute(sql, (key, id.as_bytes()))?;
    Ok(())
}

/// Removes what a record that has expired held, but for windows.
pub(super) fn forget(tx: &Tx<'_>, id: &[u8]) -> Result<(), Fault> {
    tx.execute(
        "DELETE FROM once WHERE id = ?1 AND expires_at IS NULL",
        [id],
    )?;
    Ok(())
}

/// Removes windows that are over.
pub(super) fn forget_windows(tx: &Tx<'_>) -> Result<(), Fault> {
    tx.execute("DELETE FROM once WHERE expires_at <= ?1", [tx.now])?;
    Ok(())
}

fn holder(tx: &Tx<'_>, kind: &str, key: &str) -> Result<Option<Holder>, Fault> {
    let held = tx.query(
        "SELECT o.id, o.print, o.expires_at,
           i.id IS NOT NULL AND (i.expires_at IS NULL OR i.expires_at > ?3), i.state IS NOT NULL,
           EXISTS (SELECT 1 FROM leases l WHERE l.id = o.id)
         FROM once o LEFT JOIN invocations i ON i.id = o.id
         WHERE o.kind = ?1 AND o.key = ?2 AND (o.expires_at IS NULL OR o.expires_at > ?3)",
        (kind, key, tx.now),
        |found| {
            Ok(row::id(found, 0).map(|id| Holder {
                id,
                print: row::text(found, 1),
                has_window: row::number(found, 2).is_some(),
                is_there: row::count(found, 3) > 0,
                has_ended: row::count(found, 4) > 0,
                runs: row::count(found, 5) > 0,
            }))
        },
    )?;
    Ok(held.flatten())
}
