//! Settling: each outcome under its token, a whole batch in one transaction.

use bytes::Bytes;

use super::{
    EmbeddedBroker,
    ending::{self, PUSHED_BYTES},
    fault::{Fault, damaged},
    lease::millis,
    limits,
    row::{self, Fare},
    times::{self, Times},
    writer::{Tx, Uses},
};
use crate::{BrokerError, Code, Ending, Lease, LimitHit, Outcome, Settled, Settlement};

/// A settlement that is ready to be written.
struct Ready {
    lease: Lease,
    outcome: Outcome,
    head: String,
    recording: Option<Bytes>,
    retry: Option<Retry>,
}

/// Another attempt.
struct Retry {
    pause_ms: u64,
    /// JSON.
    trail: String,
}

/// Ends attempts, in order.
pub(super) async fn settle(
    broker: &EmbeddedBroker,
    batch: Vec<Settlement>,
) -> Result<Vec<Settled>, BrokerError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let limit = broker.options.caps.output_bytes;
    let ready = batch
        .into_iter()
        .map(|settlement| prepare(settlement, limit));
    let ready: Vec<Ready> = ready.collect::<Result<_, _>>()?;
    let ttl_ms = broker.result_ttl_ms();
    broker
        .writer
        .run(move |tx| {
            let mut uses = Uses::default();
            let written = ready.iter().map(|item| write(tx, &mut uses, ttl_ms, item));
            let written = written.collect::<Result<_, _>>()?;
            uses.write(tx)?;
            Ok(written)
        })
        .await
}

fn prepare(settlement: Settlement, limit: u64) -> Result<Ready, BrokerError> {
    let Settlement {
        lease,
        ending,
        recording,
    } = settlement;
    let (mut outcome, retry) = match ending {
        Ending::Final(outcome) => (within_cap(outcome, limit), None),
        Ending::Retry {
            pause,
            trail,
            outcome,
        } => {
            let trail = serde_json::to_string(&trail).map_err(|error| damaged("a trail", error))?;
            let pause_ms = millis(pause);
            (outcome, Some(Retry { pause_ms, trail }))
        }
    };
    // The output is put aside, so that the head can be written without a copy of it.
    let output = outcome.output.take();
    let content_type = output.as_ref().map(|output| output.content_type.clone());
    let (mut head, _) = outcome.into_parts();
    head.content_type = content_type;
    let text = serde_json::to_string(&head).map_err(|error| damaged("an outcome", error))?;
    let outcome = Outcome::from_parts(head, output.map(|output| output.data));
    Ok(Ready {
        lease,
        outcome,
        head: text,
        recording,
        retry,
    })
}

/// An output over the cap becomes a failure before anything is written.
fn within_cap(outcome: Outcome, limit: u64) -> Outcome {
    let seen = outcome
        .output
        .as_ref()
        .map_or(0, |output| output.data.len() as u64);
    if seen <= limit {
        return outcome;
    }
    let message = format!("the output has {seen} bytes and a result may have {limit}");
    let mut failed = Outcome::failed(Code::OutputTooLarge, message);
    failed.usage = outcome.usage;
    if let Some(failure) = &mut failed.failure {
        failure.limit = Some(LimitHit {
            name: "output_bytes".to_owned(),
            allowed: limit,
            seen,
            remedy: "return less, or raise `output_bytes` on the hosts".to_owned(),
        });
    }
    failed
}

fn write(tx: &mut Tx<'_>, uses: &mut Uses, ttl_ms: u64, item: &Ready) -> Result<Settled, Fault> {
    let (lease, outcome) = (&item.lease, &item.outcome);
    let Some((host, taken)) = row::split_token(&lease.token) else {
        return Ok(Settled::Stale);
    };
    let held = tx.query(
        "DELETE FROM leases WHERE id = ?1 AND host = ?2 AND taken = ?3 RETURNING taken, given_back, crashes, cancel, holds",
        (lease.id.as_bytes(), host, taken),
        |held| Ok((Fare::read(held, 0), row::count(held, 3) > 0, row::count(held, 4) > 0)),
    )?;
    let Some((fare, was_cancelled, holds)) = held else {
        return repeated(tx, item);
    };
    if holds {
        limits::give_back(tx, lease.id)?;
    }
    if let Some(retry) = item.retry.as_ref().filter(|_| !was_cancelled) {
        return schedule(tx, lease, fare, retry);
    }
    let output = outcome.output.as_ref().map(|output| output.data.as_ref());
    let is_small = item.head.len() + output.map_or(0, <[u8]>::len) <= PUSHED_BYTES;
    let ending = ending::Ending {
        id: lease.id,
        state: outcome.state(),
        head: &item.head,
        output,
        recording: item.recording.as_deref(),
        token: lease.token.as_str(),
        fare,
        was_cancelled,
        pushed: is_small.then_some(outcome),
    };
    match ending::end(tx, uses, ttl_ms, &ending)? {
        true => Ok(Settled::Written),
        false => Ok(Settled::Stale),
    }
}

/// Has the invocation wait for its next attempt.
fn schedule(tx: &mut Tx<'_>, lease: &Lease, fare: Fare, retry: &Retry) -> Result<Settled, Fault> {
    let record = tx.query(
        "SELECT queue, start_by, deadline FROM invocations WHERE id = ?1 AND state IS NULL",
        [lease.id.as_bytes()],
        |found| {
            Ok((
                row::text(found, 0).unwrap_or_default(),
                Times::read(found, 1),
            ))
        },
    )?;
    let Some((queue, times)) = record else {
        return Ok(Settled::Stale);
    };
    let starts_at = tx.now.saturating_add(retry.pause_ms);
    times::schedule(tx, lease.id, &queue, starts_at, fare)?;
    times.note(tx, lease.id, fare)?;
    tx.execute(
        "INSERT OR REPLACE INTO trails VALUES (?1, ?2)",
        (lease.id.as_bytes(), &retry.trail),
    )?;
    Ok(Settled::Written)
}

/// A settlement whose answer was lost is settled again: written is what it is.
fn repeated(tx: &Tx<'_>, item: &Ready) -> Result<Settled, Fault> {
    let lease = &item.lease;
    if let (Some(_), Some((_, taken))) = (&item.retry, row::split_token(&lease.token)) {
        let sql = "SELECT 1 FROM scheduled WHERE id = ?1 AND taken = ?2";
        if tx
            .query(sql, (lease.id.as_bytes(), taken), |_| Ok(()))?
            .is_some()
        {
            return Ok(Settled::Written);
        }
    }
    let by = tx.query(
        "SELECT token FROM invocations WHERE id = ?1",
        [lease.id.as_bytes()],
        |found| Ok(row::text(found, 0)),
    )?;
    match by.flatten() {
        Some(token) if token == lease.token.as_str() => Ok(Settled::Written),
        _ => Ok(Settled::Stale),
    }
}
