//! What a schedule does now that its time has come: a pure function of its record and of the broker's time.

use super::{CatchUp, Timing};
use crate::BrokerError;

/// What is later than this was missed. It covers the change of the leading ticker and a restart of the broker.
const GRACE_MS: u64 = 10_000;

/// What a schedule does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The times to fire for, oldest first.
    pub(crate) fires: Vec<u64>,
    /// How many of them, from the first on, wait for an earlier run where others are left out.
    pub(crate) patient: usize,
    /// When it fires next; none: never again.
    pub(crate) next: Option<u64>,
}

/// For which times a schedule fires at `now` whose next time was to be `next`, and when it fires after that.
pub(crate) fn plan(
    timing: &Timing,
    catch_up: CatchUp,
    next: u64,
    now: u64,
) -> Result<Plan, BrokerError> {
    if next > now {
        return Ok(Plan {
            next: Some(next),
            ..Plan::default()
        });
    }
    let clockwork = timing.clockwork()?;
    let most = catch_up.most();
    let mut fires = Vec::new();
    // Backwards from now: however long nobody fired, this takes as many steps as there are fires.
    let mut at = clockwork.until(next, now);
    while let Some(time) = at.filter(|time| *time > next && fires.len() < most) {
        fires.push(time);
        at = clockwork.until(next, time - 1);
    }
    if fires.len() < most {
        fires.push(next);
    }
    fires.reverse();
    if catch_up == CatchUp::Skip {
        fires.retain(|time| now - time <= GRACE_MS);
    }
    // Were they to be left out because of one another, only the first would be caught up.
    let is_missed = now - next > GRACE_MS || fires.last().is_some_and(|last| *last > next);
    let patient = match catch_up {
        CatchUp::All(_) if is_missed => fires.len(),
        _ => 0,
    };
    Ok(Plan {
        fires,
        patient,
        next: clockwork.after(next, now),
    })
}
