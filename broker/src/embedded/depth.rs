//! How deep the queues are, where that is bounded. SQLite counts rows one by one, so the depth of a bounded queue is
//! kept, by triggers that exist only while any queue is bounded: a store without bounds pays nothing.

use std::collections::HashMap;

use super::{
    fault::Fault,
    limits, row,
    writer::{Tx, query_all},
};
use crate::{BrokerError, Limit, LimitScope};

/// The queue that an entry of `ready` belongs to.
const TRIGGERS: &str = "
    CREATE TRIGGER IF NOT EXISTS ready_in AFTER INSERT ON ready WHEN NEW.lane IS NULL BEGIN
      UPDATE depths SET n = n + 1 WHERE queue = CASE instr(NEW.list, ':') WHEN 0 THEN NEW.list ELSE substr(NEW.list, 1, instr(NEW.list, ':') - 1) END;
    END;
    CREATE TRIGGER IF NOT EXISTS ready_out AFTER DELETE ON ready WHEN OLD.lane IS NULL BEGIN
      UPDATE depths SET n = n - 1 WHERE queue = CASE instr(OLD.list, ':') WHEN 0 THEN OLD.list ELSE substr(OLD.list, 1, instr(OLD.list, ':') - 1) END;
    END;
    CREATE TRIGGER IF NOT EXISTS scheduled_in AFTER INSERT ON scheduled BEGIN
      UPDATE depths SET n = n + 1 WHERE queue = NEW.queue;
    END;
    CREATE TRIGGER IF NOT EXISTS scheduled_out AFTER DELETE ON scheduled BEGIN
      UPDATE depths SET n = n - 1 WHERE queue = OLD.queue;
    END;";

const NO_TRIGGERS: &str = "
    DROP TRIGGER IF EXISTS ready_in;
    DROP TRIGGER IF EXISTS ready_out;
    DROP TRIGGER IF EXISTS scheduled_in;
    DROP TRIGGER IF EXISTS scheduled_out;";

/// Bounds a queue, or no longer.
pub(super) fn bound(tx: &Tx<'_>, queue: &str, most: Option<u64>) -> Result<(), Fault> {
    match most {
        Some(most) => tx.execute(
            "INSERT INTO depths VALUES (?1, ?2,
               (SELECT count(*) FROM ready WHERE list = ?1 AND lane IS NULL)
               + (SELECT count(*) FROM ready WHERE list > ?1 || ':' AND list < ?1 || ';' AND lane IS NULL)
               + (SELECT count(*) FROM scheduled WHERE queue = ?1))
             ON CONFLICT DO UPDATE SET most = excluded.most",
            (queue, most),
        )?,
        None => tx.execute("DELETE FROM depths WHERE queue = ?1", [queue])?,
    };
    let are_any = tx.query("SELECT 1 FROM depths LIMIT 1", (), |_| Ok(()))?;
    tx.db.execute_batch(match are_any {
        Some(()) => TRIGGERS,
        None => NO_TRIGGERS,
    })?;
    Ok(())
}

/// What a request that puts invocations into queues knows of their bounds: how many wait, and how many may.
#[derive(Debug)]
pub(super) struct Depths(HashMap<String, (u64, u64)>);

impl Depths {
    pub(super) fn read(tx: &Tx<'_>) -> Result<Self, Fault> {
        let rows = query_all(tx.db, "SELECT queue, n, most FROM depths", (), |found| {
            let queue = row::text(found, 0).unwrap_or_default();
            Ok((queue, (row::count(found, 1), row::count(found, 2))))
        })?;
        Ok(Self(rows.into_iter().collect()))
    }

    /// Refuses one more where there is no room.
    pub(super) fn check(&self, queue: &str) -> Result<(), BrokerError> {
        match self.0.get(queue) {
            Some((depth, limit)) if depth >= limit => Err(BrokerError::Overloaded {
                queue: queue.to_owned(),
                depth: *depth,
                limit: *limit,
            }),
            _ => Ok(()),
        }
    }

    /// After something was written: the depths are as they are now.
    pub(super) fn look_again(&mut self, tx: &Tx<'_>) -> Result<(), Fault> {
        if !self.0.is_empty() {
            *self = Self::read(tx)?;
        }
        Ok(())
    }
}

/// Sets a limit, or removes it.
pub(super) fn set(tx: &mut Tx<'_>, scope: &LimitScope, limit: Option<&Limit>) -> Result<(), Fault> {
    let limit = limit.map(|limit| limit.checked(scope)).transpose()?;
    match limit {
        Some(limit) => tx.execute(
            "INSERT OR REPLACE INTO limits VALUES (?1, ?2)",
            (scope.to_string(), limit.to_json()?),
        )?,
        None => tx.execute("DELETE FROM limits WHERE scope = ?1", [scope.to_string()])?,
    };
    if let Some(queue) = scope.queue() {
        bound(tx, queue, limit.and_then(|limit| limit.max_queue))?;
    }
    match scope {
        LimitScope::EachKey => limits::all_go_on(tx),
        scope => limits::go_on(tx, &scope.to_string()),
    }
}
