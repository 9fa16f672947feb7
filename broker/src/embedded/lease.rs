//! Holding leases: renewing them, giving them back, and hearing what must stop.

use std::{collections::HashSet, time::Duration};

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{
    EmbeddedBroker, ending,
    fault::Fault,
    limits,
    place::{self, Place},
    row::{self, Fare},
    times::Times,
    writer::{Tx, Uses, query_all},
};
use crate::{
    BrokerError, Control, HostId, InvocationId, Lease, Renewed, more::More, verdict::CANCELLED,
};

/// Controls that may wait for the host to read them. A cancel that is lost is found by the next renewal.
const CONTROLS: usize = 1024;

/// A host's last sign of life is this much behind at most, so that busy hosts do not write it all the time.
const SEEN_STEP_MS: u64 = 1000;

/// A duration as the store keeps it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 16)
}

/// Prolongs leases.
pub(super) async fn renew(
    broker: &EmbeddedBroker,
    host: &HostId,
    leases: &[Lease],
    lease: Duration,
) -> Result<Renewed, BrokerError> {
    let (host, leases, lease_ms) = (host.clone(), leases.to_vec(), millis(lease));
    broker
        .writer
        .run(move |tx| {
            let mut renewed = Renewed::default();
            for lease in &leases {
                match prolong(tx, lease, lease_ms)? {
                    None => renewed.lost.push(lease.id),
                    Some(true) => renewed.cancelled.push(lease.id),
                    Some(false) => {}
                }
            }
            see(tx, &host)?;
            Ok(renewed)
        })
        .await
}

/// Whether somebody wants it cancelled; none when the lease is lost.
fn prolong(tx: &Tx<'_>, lease: &Lease, lease_ms: u64) -> Result<Option<bool>, Fault> {
    let Some((host, taken)) = row::split_token(&lease.token) else {
        return Ok(None);
    };
    tx.query(
        "UPDATE leases SET until = ?4 WHERE id = ?1 AND host = ?2 AND taken = ?3 RETURNING cancel",
        (
            lease.id.as_bytes(),
            host,
            taken,
            tx.now.saturating_add(lease_ms),
        ),
        |held| Ok(row::count(held, 0) > 0),
    )
}

/// Notes that a host lives.
pub(super) fn see(tx: &Tx<'_>, host: &HostId) -> Result<(), Fault> {
    tx.execute(
        "UPDATE hosts SET seen_at = ?2 WHERE host = ?1 AND seen_at + ?3 <= ?2",
        (host.as_str(), tx.now, SEEN_STEP_MS),
    )?;
    Ok(())
}

/// Gives invocations back, so that the first of `leases` is the next to be taken.
pub(super) async fn release(broker: &EmbeddedBroker, leases: &[Lease]) -> Result<(), BrokerError> {
    let (leases, ttl_ms) = (leases.to_vec(), broker.result_ttl_ms());
    broker
        .writer
        .run(move |tx| {
            let mut uses = Uses::default();
            // Backwards, because each goes before what is there.
            for lease in leases.iter().rev() {
                give_back(tx, &mut uses, ttl_ms, lease)?;
            }
            uses.write(tx)
        })
        .await
}

fn give_back(tx: &mut Tx<'_>, uses: &mut Uses, ttl_ms: u64, lease: &Lease) -> Result<(), Fault> {
    let Some((host, taken)) = row::split_token(&lease.token) else {
        return Ok(());
    };
    let held = tx.query(
        "DELETE FROM leases WHERE id = ?1 AND host = ?2 AND taken = ?3 RETURNING taken, given_back, crashes, cancel, holds",
        (lease.id.as_bytes(), host, taken),
        |held| Ok((Fare::read(held, 0), row::count(held, 3) > 0, row::count(held, 4) > 0)),
    )?;
    let Some((mut fare, is_cancelled, holds)) = held else {
        return Ok(());
    };
    if holds {
        limits::give_back(tx, lease.id)?;
    }
    fare.given_back += 1;
    if is_cancelled {
        ending::end_by_verdict(tx, uses, ttl_ms, (lease.id, fare, Some(host)), CANCELLED)?;
        return Ok(());
    }
    put_first(tx, lease.id, fare)
}

/// Puts an invocation at the head of its queue.
pub(super) fn put_first(tx: &mut Tx<'_>, id: InvocationId, fare: Fare) -> Result<(), Fault> {
    let record = tx.query(
        "SELECT queue, submitted_at, start_by, deadline, more FROM invocations WHERE id = ?1 AND state IS NULL",
        [id.as_bytes()],
        |found| {
            let queue = row::text(found, 0).unwrap_or_default();
            Ok((queue, row::count(found, 1), Times::read(found, 2), row::bytes(found, 4)))
        },
    )?;
    let Some((queue, since, times, more)) = record else {
        return Ok(());
    };
    let place = Place {
        queue: &queue,
        id,
        fare,
        since,
        more: &More::read(more.as_deref()),
    };
    place::place(tx, &place, true)?;
    times.note(tx, id, fare)
}

/// What a host of this process must stop.
pub(super) async fn controls(
    broker: &EmbeddedBroker,
    host: &HostId,
) -> Result<mpsc::Receiver<Control>, BrokerError> {
    let (sender, receiver) = mpsc::channel(CONTROLS);
    broker.listen()?;
    broker.switchboard.add_host(host.clone(), sender.clone());
    broker.add_listener(format!("h:{host}")).await?;
    let (writer, switchboard, host) = (
        broker.writer.clone(),
        broker.switchboard.clone(),
        host.clone(),
    );
    tokio::spawn(async move {
        sender.closed().await;
        if switchboard.remove_host(&host, &sender) {
            super::remove_listener(&writer, &switchboard, format!("h:{host}"));
        }
    });
    Ok(receiver)
}

/// Everything that a host holds and somebody wants stopped.
pub(super) fn wanted_cancels(
    db: &Connection,
    host: &HostId,
) -> Result<HashSet<InvocationId>, Fault> {
    let sql = "SELECT id FROM leases WHERE host = ?1 AND cancel > 0";
    let ids = query_all(db, sql, [host.as_str()], |found| Ok(row::id(found, 0)))?;
    Ok(ids.into_iter().flatten().collect())
}
