//! Moving what waits from one queue to another.

use crate::{BrokerError, InvocationId, SYSTEM_QUEUE, check_name};

/// The most invocations that one step moves: a few milliseconds of the store's time.
pub const MAX_MOVED: usize = 250;

/// What one step of a move has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveStep {
    /// How many were moved.
    pub moved: u64,
    /// Where the next step goes on; none: nothing that waits for a host was left.
    pub cursor: Option<String>,
}

/// What must hold before an engine is asked.
pub(crate) fn check_move(from: &str, to: &str) -> Result<(), BrokerError> {
    for queue in [from, to] {
        check_name("queue", queue)?;
        if queue == SYSTEM_QUEUE {
            let expected = "a queue of yours: this one is the hosts' own";
            return Err(BrokerError::invalid("queue", queue, expected));
        }
    }
    if from == to {
        return Err(BrokerError::invalid("queue to move to", to, "another one"));
    }
    Ok(())
}

/// Refuses more than one step's.
pub(crate) fn check_moved(ids: &[InvocationId]) -> Result<(), BrokerError> {
    if ids.len() <= MAX_MOVED {
        return Ok(());
    }
    let expected = format!("at most {MAX_MOVED}: split them");
    let got = format!("{} invocations", ids.len());
    Err(BrokerError::invalid("number to move", &got, expected))
}
