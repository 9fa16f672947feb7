//! Listing, from what is there anyway: the leases for what runs, the due times for what is scheduled, and the records
//! themselves for everything else. There is no index that could disagree.
//!
//! All three are walked with Redis' cursors (`SCAN`, `ZSCAN`), which give what is there all the time at least once, and
//! hold nothing in the server. A page that is full in the middle of a step remembers the step and its last id; when the
//! server's table was resized since, the step is another one and is given whole: rather twice than never.

use ::redis::cmd;

use super::{
    RedisBroker, key,
    outcome::{STATUS_FIELDS, read_status},
    script::{LIST, PREFIX},
    value,
};
use crate::{BrokerError, Filter, InvocationId, List, Listing, State, Status, listing::bad_cursor};

/// Keys looked at in one step: less than a millisecond of the server's time.
const STEP: usize = 500;

/// Steps of one page.
const STEPS: usize = 20;

/// Records read in one call: a megabyte, were each one to carry a long trace.
pub(super) const READ: usize = 100;

/// Where candidates come from.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Records,
    Leases,
    Due,
}

/// Where a walk stands.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    /// Redis' cursor of the step.
    step: u64,
    /// The cursor after it, and the last id of it that was given; none: nothing of it was.
    within: Option<(u64, InvocationId)>,
}

/// A page of what is asked for.
pub(super) async fn list(broker: &RedisBroker, list: &List) -> Result<Listing, BrokerError> {
    list.filter.check()?;
    let mut place = match &list.cursor {
        Some(cursor) => Place::read(cursor).ok_or_else(|| bad_cursor(cursor))?,
        None => Place::default(),
    };
    let mut page = Listing::default();
    for _ in 0..STEPS {
        let (next, mut ids) = step(broker, list, place.step).await?;
        if let Some((expected, last)) = place.within
            && expected == next
        {
            ids.retain(|id| *id > last);
        }
        if let Some(last) = fill(broker, list, &ids, &mut page).await? {
            place.within = Some((next, last));
            page.cursor = Some(place.to_string());
            return Ok(page);
        }
        place = Place {
            step: next,
            within: None,
        };
        if next == 0 {
            return Ok(page);
        }
        if page.invocations.len() >= list.room() {
            break;
        }
    }
    page.cursor = Some(place.to_string());
    Ok(page)
}

/// One step of the walk: the cursor after it, and its ids in order.
async fn step(
    broker: &RedisBroker,
    list: &List,
    cursor: u64,
) -> Result<(u64, Vec<InvocationId>), BrokerError> {
    let source = Source::of(&list.filter);
    let count = match list.filter.is_open() {
        true => list.room().max(10),
        false => STEP,
    };
    let mut walk = match source {
        Source::Records => cmd("SCAN"),
        Source::Leases | Source::Due => cmd("ZSCAN"),
    };
    match source {
        Source::Records => walk.arg(cursor).arg("MATCH").arg(key("i:", "*")),
        Source::Leases => walk.arg(key("leases", "")).arg(cursor),
        Source::Due => walk.arg(key("due", "")).arg(cursor),
    };
    walk.arg("COUNT").arg(count);
    let mut answer = value::list(broker.link.run(&walk).await?)?.into_iter();
    let next = answer.next().map_or(0, |next| value::count(&next));
    let found = value::list(answer.next().unwrap_or_default())?;
    let own = format!("{PREFIX}i:");
    // What is no id was not written by us.
    let parse = |name: &str| name.parse().ok();
    let mut ids: Vec<InvocationId> = match source {
        Source::Records => found
            .into_iter()
            .filter_map(value::text)
            .filter_map(|name| parse(name.strip_prefix(&own)?))
            .collect(),
        Source::Leases | Source::Due => value::records::<2>(found)
            .filter_map(|[id, _]| parse(&value::text(id)?))
            .collect(),
    };
    ids.sort_unstable();
    ids.dedup();
    Ok((next, ids))
}

/// Adds those of `ids` that are asked for, as far as they fit. The last one added, when some may be left.
async fn fill(
    broker: &RedisBroker,
    list: &List,
    ids: &[InvocationId],
    page: &mut Listing,
) -> Result<Option<InvocationId>, BrokerError> {
    for chunk in ids.chunks(READ) {
        for (id, status) in read(broker, &list.filter, chunk).await? {
            if page.invocations.len() == list.room() {
                return Ok(page.invocations.last().map(|last| last.id));
            }
            match status {
                Ok(status) if list.filter.admits(&status) => page.invocations.push(status),
                Ok(_) => {}
                // One that is damaged must not keep the others from being listed.
                Err(error) => tracing::warn!(%id, %error, "an invocation cannot be listed"),
            }
        }
    }
    Ok(None)
}

pub(super) type Found = Vec<(InvocationId, Result<Status, BrokerError>)>;

pub(super) async fn read(
    broker: &RedisBroker,
    filter: &Filter,
    ids: &[InvocationId],
) -> Result<Found, BrokerError> {
    const WIDTH: usize = STATUS_FIELDS.len() + 1;
    let mut call = LIST.call(WIDTH + 8 + ids.len(), 64 * (ids.len() + WIDTH));
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    call.arg(filter.states.iter().map(letter).collect::<String>())
        .arg(filter.queue.as_deref().unwrap_or_default())
        .arg(number(filter.older_than_ms))
        .arg(number(filter.newer_than_ms))
        .arg(number(filter.since_ms))
        .arg(number(filter.until_ms))
        .arg(filter.key.as_deref().unwrap_or_default())
        .arg(STATUS_FIELDS.len())
        .arg(&STATUS_FIELDS);
    for id in ids {
        call.arg(id.to_string());
    }
    let values = value::list(broker.link.call(&call).await?)?;
    let records = value::records::<WIDTH>(values).map(|record| {
        let mut values = record.into_iter();
        let id = value::id(values.next().unwrap_or_default())?;
        Ok((id, read_status(broker, id, values.collect())))
    });
    records.collect()
}

/// The letter of a state in field s.
fn letter(state: &State) -> char {
    match state {
        State::Blocked => 'b',
        State::Scheduled => 'w',
        State::Queued => 'q',
        State::Running => 'r',
        State::Succeeded => 's',
        State::Failed => 'f',
        State::Cancelled => 'c',
        State::Expired => 'e',
    }
}

impl Source {
    fn of(filter: &Filter) -> Self {
        match filter.states.as_slice() {
            [State::Running] => Self::Leases,
            [State::Scheduled | State::Blocked] => Self::Due,
            _ => Self::Records,
        }
    }
}

impl Place {
    fn read(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(3, '.');
        let step = parts.next()?.parse().ok()?;
        let within = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(next), Some(last)) => Some((next.parse().ok()?, last.parse().ok()?)),
            (Some(_), None) => return None,
        };
        Some(Self { step, within })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.within {
            Some((next, last)) => write!(f, "{}.{next}.{last}", self.step),
            None => write!(f, "{}", self.step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let id = Namespace::generate().issue(0);
        for within in [None, Some((0, id)), Some((77, id))] {
            let place = Place { step: 1234, within };
            assert_eq!(Place::read(&place.to_string()), Some(place));
        }
        for wrong in ["", "x", "1.2", "1.2.3", "1.2.3.4"] {
            assert_eq!(Place::read(wrong), None, "{wrong}");
        }
    }
}
