//! Ending an invocation: the outcome is written once, the module is given up, and whoever waits is told.

use super::{
    dead,
    ended::{Ended, ended},
    fault::{Fault, damaged},
    row::{self, Fare},
    submit::INLINE_BYTES,
    switchboard::News,
    writer::{Tx, Uses},
};
use crate::{ClientId, Code, Digest, InvocationId, Outcome, State, more::More};

/// The largest outcome that is pushed whole; a larger one is read from the store by who wants it.
pub(super) const PUSHED_BYTES: usize = 4096;

/// An end that is ready to be written.
pub(super) struct Ending<'a> {
    pub(super) id: InvocationId,
    pub(super) state: State,
    /// The outcome's head, JSON.
    pub(super) head: &'a str,
    pub(super) output: Option<&'a [u8]>,
    /// What a failure can be run again with.
    pub(super) recording: Option<&'a [u8]>,
    /// Under which it was settled; empty when no host settled it.
    pub(super) token: &'a str,
    pub(super) fare: Fare,
    pub(super) was_cancelled: bool,
    /// What is pushed, when it is small.
    pub(super) pushed: Option<&'a Outcome>,
}

/// Writes an end; false when there is no record, or it has ended before.
pub(super) fn end(
    tx: &mut Tx<'_>,
    uses: &mut Uses,
    ttl_ms: u64,
    ending: &Ending<'_>,
) -> Result<bool, Fault> {
    let is_big = ending
        .output
        .is_some_and(|output| output.len() > INLINE_BYTES);
    let is_success = ending.state == State::Succeeded;
    let has_failed = ending.state == State::Failed;
    let found = tx.query(
        "UPDATE invocations SET state = ?2, head = ?3, output = ?4, token = ?5, attempts = ?6, crashes = ?7,
           cancel = ?8, input = CASE WHEN ?9 THEN NULL ELSE input END,
           expires_at = CASE WHEN coalesce(awaited, 0) > 0 THEN NULL ELSE ?10 + max(coalesce(result_ttl, ?11), ?12) END
         WHERE id = ?1 AND state IS NULL RETURNING waiters, digest, big_input, awaited, chain, more, coalesce(result_ttl, ?11)",
        (
            ending.id.as_bytes(),
            ending.state.as_str(),
            ending.head,
            ending.output.filter(|_| !is_big),
            ending.token,
            ending.fare.attempts(),
            ending.fare.crashes,
            ending.was_cancelled,
            is_success,
            tx.now,
            ttl_ms,
            if has_failed { dead::floor_ms(tx) } else { 0 },
        ),
        |found| {
            let what = (row::count(found, 3) > 0, row::count(found, 4) > 0, row::bytes(found, 5));
            let kept = row::count(found, 6);
            Ok((row::text(found, 0), row::bytes(found, 1), row::count(found, 2) > 0, what, kept))
        },
    )?;
    let Some((waiters, digest, has_big_input, (is_awaited, has_parents, more), result_ttl)) = found
    else {
        return Ok(false);
    };
    if has_failed {
        dead::bury(tx, ending.id, result_ttl)?;
        if let Some(recording) = ending.recording.filter(|_| dead::floor_ms(tx) > 0) {
            let insert = "INSERT OR REPLACE INTO payloads VALUES (?1, 'r', ?2)";
            tx.execute(insert, (ending.id.as_bytes(), recording))?;
        }
    }
    if is_success && has_big_input {
        // Needed no more; a failure keeps it.
        tx.execute(
            "DELETE FROM payloads WHERE id = ?1 AND kind = 'i'",
            [ending.id.as_bytes()],
        )?;
    }
    if let Some(output) = ending.output.filter(|_| is_big) {
        let insert = "INSERT OR REPLACE INTO payloads VALUES (?1, 'o', ?2)";
        tx.execute(insert, (ending.id.as_bytes(), output))?;
    }
    uses.add(digest.as_deref(), -1);
    for client in waiters
        .iter()
        .flat_map(|waiters| waiters.split_ascii_whitespace())
    {
        tell(tx, ClientId::from(client.to_owned()), ending)?;
    }
    if is_awaited || has_parents || more.is_some() {
        let what = Ended {
            id: ending.id,
            state: ending.state,
            is_awaited,
            has_parents,
            more: More::read(more.as_deref()),
            ttl_ms,
        };
        ended(tx, &what)?;
    }
    Ok(true)
}

/// Tells a client of this process straight away; leaves a note for one of another process.
fn tell(tx: &mut Tx<'_>, client: ClientId, ending: &Ending<'_>) -> Result<(), Fault> {
    if tx.switchboard.has_client(&client) {
        let outcome = ending.pushed.map(|outcome| Box::new(outcome.clone()));
        tx.say(News::Ended(client, ending.id, outcome));
        return Ok(());
    }
    let topic = client_topic(&client);
    let bell = tx.query(
        "SELECT bell FROM listeners WHERE topic = ?1",
        [&topic],
        |row| row.get(0),
    )?;
    // A client that listens no more is told nothing: the stored outcome is the truth.
    let Some(bell) = bell else { return Ok(()) };
    tx.execute(
        "INSERT INTO replies SELECT ?1, coalesce(max(seq), 0) + 1, ?2 FROM replies WHERE client = ?1",
        (client.as_str(), ending.id.as_bytes()),
    )?;
    tx.say(News::Talk(bell));
    Ok(())
}

/// What a client listens to.
pub(super) fn client_topic(client: &ClientId) -> String {
    format!("c:{client}")
}

/// Ends an invocation that no host settles. `host` is the one that ran it last.
pub(super) fn end_by_verdict(
    tx: &mut Tx<'_>,
    uses: &mut Uses,
    ttl_ms: u64,
    (id, fare, host): (InvocationId, Fare, Option<&str>),
    (code, message): (Code, &str),
) -> Result<bool, Fault> {
    let record = tx.query(
        "SELECT digest, submitted_at FROM invocations WHERE id = ?1",
        [id.as_bytes()],
        |found| Ok((row::bytes(found, 0), row::count(found, 1))),
    )?;
    let Some((digest, submitted_at)) = record else {
        return Ok(false);
    };
    let mut outcome = Outcome::failed(code, message);
    outcome.usage.attempt = fare.attempts();
    outcome.usage.queue_ms = tx.now.saturating_sub(submitted_at) as f64;
    outcome.usage.host = host.unwrap_or_default().to_owned();
    outcome.usage.module = digest
        .filter(|_| fare.attempts() > 0)
        .and_then(|digest| hex(&digest).parse::<Digest>().ok());
    let (head, _) = outcome.clone().into_parts();
    let head = serde_json::to_string(&head).map_err(|error| damaged("an outcome", error))?;
    let ending = Ending {
        id,
        state: outcome.state(),
        head: &head,
        output: None,
        recording: None,
        token: "",
        fare,
        was_cancelled: code == Code::Cancelled && host.is_some(),
        pushed: Some(&outcome),
    };
    end(tx, uses, ttl_ms, &ending)
}

/// The state that stands in the record of what has ended.
pub(super) fn ended_state(state: &str) -> State {
    match state {
        "succeeded" => State::Succeeded,
        "cancelled" => State::Cancelled,
        "expired" => State::Expired,
        _ => State::Failed,
    }
}

/// Hex digits of raw bytes: how a stored digest becomes a `Digest`.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
