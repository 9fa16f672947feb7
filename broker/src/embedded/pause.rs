//! What is paused, and what operators tell hosts.

use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    fault::Fault,
    limits, row,
    switchboard::{News, Switchboard},
    writer::{Tx, Writer, query_all},
};
use crate::{BrokerError, Control, HostId, Pausable, Paused};

/// The tables.
pub(super) const TABLES: &str = include_str!("pause.sql");

/// Pauses; whether it was not paused already.
pub(super) async fn pause(broker: &EmbeddedBroker, what: &Pausable) -> Result<bool, BrokerError> {
    what.check()?;
    let name = what.to_string();
    let insert = "INSERT OR IGNORE INTO paused VALUES (?1, ?2)";
    let added = broker
        .writer
        .run(move |tx| tx.execute(insert, (name, tx.now)));
    Ok(added.await? > 0)
}

/// Ends a pause; whether it was paused.
pub(super) async fn resume(broker: &EmbeddedBroker, what: &Pausable) -> Result<bool, BrokerError> {
    let what = what.clone();
    let removed = broker.writer.run(move |tx| {
        let sql = "DELETE FROM paused WHERE what = ?1";
        if tx.execute(sql, [what.to_string()])? == 0 {
            return Ok(false);
        }
        match &what {
            Pausable::Queue(queue) => tx.say(News::Work(queue.clone())),
            Pausable::Task(..) => limits::go_on(tx, &what.to_string())?,
            Pausable::Host(host) => {
                tx.execute(
                    "INSERT OR REPLACE INTO interrupts VALUES (?1, ?2)",
                    (host.as_str(), tx.now),
                )?;
                tx.say(News::Interrupt(host.clone()));
            }
        }
        Ok(true)
    });
    removed.await
}

/// Everything that is paused, in order.
pub(super) async fn paused(broker: &EmbeddedBroker) -> Result<Vec<Paused>, BrokerError> {
    let read = |db: &Connection| {
        query_all(
            db,
            "SELECT what, since FROM paused ORDER BY what",
            (),
            |found| {
                Ok((
                    row::text(found, 0).unwrap_or_default(),
                    row::count(found, 1),
                ))
            },
        )
    };
    let rows = broker.reader.run(read).await?;
    let mut paused = Vec::new();
    for (what, since_ms) in rows {
        let what: Pausable = what.parse()?;
        paused.push(Paused { what, since_ms });
    }
    paused.sort_by(|a, b| a.what.cmp(&b.what));
    Ok(paused)
}

/// The queues that this host may take from now.
pub(super) fn open_queues(
    tx: &Tx<'_>,
    host: &HostId,
    queues: &[String],
) -> Result<Vec<bool>, Fault> {
    let paused = names(tx.db)?;
    if paused.is_empty() {
        return Ok(vec![true; queues.len()]);
    }
    let is_paused = |what: Pausable| paused.contains(&what.to_string());
    if is_paused(Pausable::Host(host.clone())) {
        return Ok(vec![false; queues.len()]);
    }
    let is_open = |queue: &String| !is_paused(Pausable::Queue(queue.clone()));
    Ok(queues.iter().map(is_open).collect())
}

/// Whether this, written as it is stored, is paused.
pub(super) fn is_paused(tx: &Tx<'_>, what: &str) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM paused WHERE what = ?1";
    Ok(tx.query(sql, [what], |_| Ok(()))?.is_some())
}

fn names(db: &Connection) -> Result<Vec<String>, Fault> {
    query_all(db, "SELECT what FROM paused", (), |found| {
        Ok(row::text(found, 0).unwrap_or_default())
    })
}

/// Counts what a host has taken from a queue.
pub(super) fn count_taken(tx: &Tx<'_>, queue: &str, more: usize) -> Result<(), Fault> {
    if more > 0 {
        tx.execute(
            "INSERT INTO taken VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (queue, i64::try_from(more).unwrap_or(i64::MAX)),
        )?;
    }
    Ok(())
}

/// Takes out the news of work that nobody may take: a paused queue wakes nobody.
pub(super) fn hush(db: &Connection, news: &mut Vec<News>) -> Result<(), Fault> {
    if !news.iter().any(|item| matches!(item, News::Work(_))) {
        return Ok(());
    }
    let paused = names(db)?;
    if !paused.is_empty() {
        news.retain(|item| match item {
            News::Work(queue) => !paused.contains(&Pausable::Queue(queue.clone()).to_string()),
            _ => true,
        });
    }
    Ok(())
}

/// Tells a host something; whether it hears.
pub(super) async fn tell(
    broker: &EmbeddedBroker,
    host: &HostId,
    word: Control,
) -> Result<bool, BrokerError> {
    let host = host.clone();
    let told = broker.writer.run(move |tx| {
        let sql = "SELECT bell FROM listeners WHERE topic = ?1";
        let bell = tx.query(sql, [format!("h:{host}")], |found| {
            found.get::<_, String>(0)
        })?;
        let Some(bell) = bell else {
            return Ok(false);
        };
        tx.execute(
            "INSERT INTO commands (host, word, at) VALUES (?1, ?2, ?3)",
            (host.as_str(), word.to_string(), tx.now),
        )?;
        tx.say(News::Talk(bell));
        Ok(true)
    });
    told.await
}

/// Hands on what this process' hosts are told. Called when the bell has rung.
pub(super) fn read_commands(
    db: &Connection,
    switchboard: &Switchboard,
    writer: &Writer,
) -> Result<(), Fault> {
    for host in switchboard.hosts() {
        let sql = "SELECT seq, word FROM commands WHERE host = ?1 ORDER BY seq";
        let words = query_all(db, sql, [host.as_str()], |found| {
            Ok((row::number(found, 0).unwrap_or(0), row::text(found, 1)))
        })?;
        let Some((last, _)) = words.last() else {
            continue;
        };
        let last = *last;
        for (_, word) in words {
            if let Some(word) = word.and_then(|word| word.parse().ok()) {
                switchboard.tell(&host, word);
            }
        }
        // Until it is gone it may be heard again, which changes nothing.
        writer.post(move |tx| {
            let sql = "DELETE FROM commands WHERE host = ?1 AND seq <= ?2";
            tx.execute(sql, (host.as_str(), last)).map(drop)
        });
    }
    Ok(())
}
