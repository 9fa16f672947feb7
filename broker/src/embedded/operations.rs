//! What operators see: queues, hosts, and how the store is set up.

use std::{
    collections::HashMap,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    Durability, EmbeddedBroker, MAX_TTL_MS, depth,
    fault::{Fault, damaged},
    lease::millis,
    row,
    store::LAYOUT_VERSION,
    writer::{Tx, query, query_all},
};
use crate::{
    BrokerError, Check, HostInfo, Limit, LimitScope, Limited, QueueStats, Verdict,
    broker::check_result_ttl,
};

/// A host that is silent for longer does not live: it reserves or renews every ten seconds.
const ALIVE: Duration = Duration::from_secs(30);

/// A host that is silent for longer is forgotten.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(600);

/// Makes a host known, or known no more.
pub(super) async fn announce(
    broker: &EmbeddedBroker,
    host: &HostInfo,
    is_leaving: bool,
) -> Result<(), BrokerError> {
    let name = host.host.clone();
    if is_leaving {
        broker.switchboard.forget_seat(&name);
        let sql = "DELETE FROM hosts WHERE host = ?1";
        return broker
            .writer
            .run(move |tx| tx.execute(sql, [name.as_str()]).map(drop))
            .await;
    }
    let info = serde_json::to_string(host).map_err(|error| damaged("a host", error))?;
    let sql = "INSERT OR REPLACE INTO hosts VALUES (?1, ?2, ?3)";
    broker
        .writer
        .run(move |tx| tx.execute(sql, (name.as_str(), info, tx.now)).map(drop))
        .await
}

/// Each queue that was ever used.
pub(super) async fn queues(broker: &EmbeddedBroker) -> Result<Vec<QueueStats>, BrokerError> {
    let now = broker.clock.now();
    let read = move |db: &Connection| {
        let running = counts(
            db,
            "SELECT i.queue, count(*) FROM leases l JOIN invocations i ON i.id = l.id GROUP BY 1",
        )?;
        let scheduled = counts(db, "SELECT queue, count(*) FROM scheduled GROUP BY queue")?;
        let blocked = counts(db, "SELECT queue, count(*) FROM blocked GROUP BY queue")?;
        let taken = counts(db, "SELECT queue, count FROM taken")?;
        let ttls = result_ttls(db)?;
        query_all(
            db,
            "SELECT queue, (SELECT count(*) FROM ready r WHERE r.list = q.queue AND r.lane IS NULL)
               + (SELECT count(*) FROM ready r WHERE r.list > q.queue || ':' AND r.list < q.queue || ';' AND r.lane IS NULL),
               (SELECT min(since) FROM (
                 SELECT * FROM (SELECT r.since FROM ready r WHERE r.list = q.queue ORDER BY r.pos LIMIT 1)
                 UNION ALL SELECT min(r.since) FROM ready r WHERE r.list > q.queue || ':' AND r.list < q.queue || ';'))
             FROM queues q ORDER BY queue",
            (),
            |found| {
                let queue = row::text(found, 0).unwrap_or_default();
                Ok(QueueStats {
                    queued: row::count(found, 1),
                    scheduled: scheduled.get(&queue).copied().unwrap_or(0),
                    blocked: blocked.get(&queue).copied().unwrap_or(0),
                    running: running.get(&queue).copied().unwrap_or(0),
                    taken: taken.get(&queue).copied().unwrap_or(0),
                    result_ttl_ms: ttls.get(&queue).copied(),
                    oldest_ms: row::number(found, 2)
                        .map_or(0, |_| now.saturating_sub(row::count(found, 2))),
                    queue,
                })
            },
        )
    };
    broker.reader.run(read).await
}

/// Sets how long a queue keeps results, and makes the queue known.
pub(super) async fn set_result_ttl(
    broker: &EmbeddedBroker,
    queue: &str,
    ttl: Option<Duration>,
) -> Result<(), BrokerError> {
    let (ttl, queue) = (check_result_ttl(queue, ttl)?, queue.to_owned());
    let set = move |tx: &mut Tx<'_>| {
        let Some(ttl) = ttl else {
            let sql = "DELETE FROM retention WHERE queue = ?1";
            return tx.execute(sql, [&queue]).map(drop);
        };
        tx.execute("INSERT OR IGNORE INTO queues VALUES (?1)", [&queue])?;
        let insert = "INSERT OR REPLACE INTO retention VALUES (?1, ?2)";
        tx.execute(insert, (&queue, ttl.min(MAX_TTL_MS))).map(drop)
    };
    broker.writer.run(set).await
}

/// The queues that keep results for a time of their own.
pub(super) fn result_ttls(db: &Connection) -> Result<HashMap<String, u64>, Fault> {
    counts(db, "SELECT queue, ttl FROM retention")
}

fn counts(db: &Connection, sql: &str) -> Result<HashMap<String, u64>, Fault> {
    let counts = query_all(db, sql, (), |found| {
        Ok((
            row::text(found, 0).unwrap_or_default(),
            row::count(found, 1),
        ))
    })?;
    Ok(counts.into_iter().collect())
}

/// Each host that lives.
pub(super) async fn hosts(broker: &EmbeddedBroker) -> Result<Vec<HostInfo>, BrokerError> {
    let now = broker.clock.now();
    let read = move |db: &Connection| {
        let running = counts(db, "SELECT host, count(*) FROM leases GROUP BY 1")?;
        let sql = "SELECT host, info, seen_at FROM hosts WHERE seen_at >= ?1 ORDER BY host";
        let rows = query_all(db, sql, [now.saturating_sub(millis(ALIVE))], |found| {
            let info = row::bytes(found, 1).unwrap_or_default();
            Ok((
                row::text(found, 0).unwrap_or_default(),
                info,
                row::count(found, 2),
            ))
        })?;
        let hosts = rows.into_iter().map(|(name, info, seen_at)| {
            let info = serde_json::from_slice::<HostInfo>(&info);
            let info = info.map_err(|error| damaged(format!("host {name}"), error))?;
            Ok(HostInfo {
                running: running.get(&name).copied().unwrap_or(0),
                seen_ms_ago: now.saturating_sub(seen_at),
                ..info
            })
        });
        hosts.collect()
    };
    broker.reader.run(read).await
}

/// Each limit that is set.
pub(super) async fn limits(broker: &EmbeddedBroker) -> Result<Vec<Limited>, BrokerError> {
    let read = move |db: &Connection| {
        let sql = "SELECT scope, config, (SELECT count(*) FROM held h WHERE h.scope = limits.scope) FROM limits";
        query_all(db, sql, (), |found| {
            Ok((
                row::text(found, 0).unwrap_or_default(),
                row::bytes(found, 1).unwrap_or_default(),
                row::count(found, 2),
            ))
        })
    };
    let mut limits = Vec::new();
    for (scope, config, running) in broker.reader.run(read).await? {
        limits.push(Limited {
            scope: scope.parse()?,
            limit: Limit::read(&config)?,
            running,
        });
    }
    limits.sort_by(|a, b| a.scope.cmp(&b.scope));
    Ok(limits)
}

/// Sets a limit, or removes it.
pub(super) async fn set_limit(
    broker: &EmbeddedBroker,
    scope: &LimitScope,
    limit: Option<&Limit>,
) -> Result<(), BrokerError> {
    let (scope, limit) = (scope.clone(), limit.copied());
    broker
        .writer
        .run(move |tx| depth::set(tx, &scope, limit.as_ref()))
        .await
}

/// Everything that is checked.
pub(super) async fn check(broker: &EmbeddedBroker) -> Result<Vec<Check>, BrokerError> {
    let check = |db: &Connection| {
        query(db, "PRAGMA quick_check(1)", (), |found| {
            Ok(row::text(found, 0))
        })
    };
    let found = broker
        .reader
        .run(check)
        .await?
        .flatten()
        .unwrap_or_default();
    Ok(vec![
        integrity(&found),
        access(broker),
        durability(broker),
        layout(),
    ])
}

fn integrity(found: &str) -> Check {
    let is_sound = found == "ok";
    Check {
        name: "integrity".to_owned(),
        verdict: if is_sound { Verdict::Good } else { Verdict::Bad },
        found: if is_sound { "the database is sound".to_owned() } else { found.to_owned() },
        remedy: match is_sound {
            true => String::new(),
            false => "stop every celeriac process, then restore celeriac.db from a backup, or move it away".to_owned(),
        },
    }
}

fn access(broker: &EmbeddedBroker) -> Check {
    let dir = &broker.store.dir;
    let mode = std::fs::metadata(dir).map_or(0, |dir| dir.mode()) & 0o777;
    let is_private = mode & 0o077 == 0;
    Check {
        name: "access".to_owned(),
        verdict: if is_private {
            Verdict::Good
        } else {
            Verdict::Warning
        },
        found: format!(
            "{} has mode {:03o}",
            dir.display(),
            std::fs::Permissions::from_mode(mode).mode()
        ),
        remedy: match is_private {
            true => String::new(),
            false => format!(
                "other users can read inputs and results: chmod 700 {}",
                dir.display()
            ),
        },
    }
}

fn durability(broker: &EmbeddedBroker) -> Check {
    let found = match broker.options.durability {
        Durability::Normal => {
            "survives crashes of processes; a power cut may take the last moments"
        }
        Durability::Full => "survives power cuts",
    };
    Check {
        name: "durability".to_owned(),
        verdict: Verdict::Good,
        found: found.to_owned(),
        remedy: String::new(),
    }
}

fn layout() -> Check {
    Check {
        name: "layout".to_owned(),
        // Another layout is refused when the store is opened.
        verdict: Verdict::Good,
        found: format!("layout {LAYOUT_VERSION}"),
        remedy: String::new(),
    }
}
