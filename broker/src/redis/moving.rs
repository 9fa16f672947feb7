//! Moving what waits from one queue to another, in steps of one script each.

use ::redis::{Value, cmd};

use super::{
    RedisBroker, key,
    script::{FORGET, MOVE},
    value,
};
use crate::{
    BrokerError, InvocationId, MAX_MOVED, MoveStep,
    listing::bad_cursor,
    moving::{check_move, check_moved},
};

/// Scopes of limits in one step.
const SCOPES: usize = 100;

/// Moves what stands first in the lists of a queue. The cursor walks the scopes that something waits for.
pub(super) async fn queued(
    broker: &RedisBroker,
    (from, to): (&str, &str),
    cursor: Option<&str>,
) -> Result<MoveStep, BrokerError> {
    check_move(from, to)?;
    let place = cursor.unwrap_or("0");
    let place: u64 = place.parse().map_err(|_| bad_cursor(place))?;
    let mut scan = cmd("SSCAN");
    scan.arg(key("waiting", ""))
        .arg(place)
        .arg("COUNT")
        .arg(SCOPES);
    let mut answer = value::list(broker.link.run(&scan).await?)?.into_iter();
    let next = answer.next().map_or(0, |next| value::count(&next));
    let scopes = value::list(answer.next().unwrap_or_default())?;
    let mut call = MOVE.call(4 + scopes.len(), 64 * (2 + scopes.len()));
    call.arg(from).arg(to).arg("first").arg(MAX_MOVED);
    // A set that is small comes whole; a large one never this large at once.
    for scope in scopes.into_iter().take(5 * SCOPES) {
        call.arg(value::text(scope).unwrap_or_default());
    }
    let (moved, seen) = counts(broker.link.call(&call).await?)?;
    let cursor = match seen < MAX_MOVED as u64 {
        true if next == 0 => None,
        true => Some(next),
        // These scopes may have more.
        false => Some(place),
    };
    Ok(MoveStep {
        moved,
        cursor: cursor.map(|cursor| cursor.to_string()),
    })
}

/// Moves these.
pub(super) async fn these(
    broker: &RedisBroker,
    (from, to): (&str, &str),
    ids: &[InvocationId],
    with_running: bool,
) -> Result<u64, BrokerError> {
    check_move(from, to)?;
    check_moved(ids)?;
    let mut call = MOVE.call(4 + ids.len(), 64 + 48 * ids.len());
    call.arg(from)
        .arg(to)
        .arg("these")
        .arg(u8::from(with_running));
    for id in ids {
        call.arg(id.to_string());
    }
    Ok(counts(broker.link.call(&call).await?)?.0)
}

/// Forgets a queue in which nothing waits.
pub(super) async fn forget(broker: &RedisBroker, queue: &str) -> Result<bool, BrokerError> {
    let mut call = FORGET.call(1, 64);
    call.arg(queue);
    Ok(value::count(&broker.link.call(&call).await?) > 0)
}

/// How many were moved, and how many were looked at.
fn counts(answer: Value) -> Result<(u64, u64), BrokerError> {
    match value::list(answer)?.as_slice() {
        [moved, seen] => Ok((value::count(moved), value::count(seen))),
        _ => Err(value::damaged(
            "an answer of Redis",
            "a move is not two numbers",
        )),
    }
}
