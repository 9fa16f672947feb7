//! Listing, in the order of ids: of the leases for what runs, of what is scheduled, and of the records themselves for
//! everything else. There is no index that could disagree.

use rusqlite::Connection;

use super::{
    EmbeddedBroker,
    fault::Fault,
    outcome::{Raw, SELECT_STATUS, read_raw, to_status},
    row,
    writer::query_all,
};
use crate::{
    BrokerError, Filter, InvocationId, List, Listing, State, listing::bad_cursor, more::More,
};

/// Records looked at in one step: some ten milliseconds of the reader's time.
const STEP: usize = 1000;

/// Steps of one page.
const STEPS: usize = 10;

/// A page of what is asked for.
pub(super) async fn list(broker: &EmbeddedBroker, list: &List) -> Result<Listing, BrokerError> {
    list.filter.check()?;
    let mut last = match &list.cursor {
        Some(cursor) => {
            let last = cursor.parse::<InvocationId>();
            Some(last.map_err(|_| bad_cursor(cursor))?)
        }
        None => None,
    };
    let mut page = Listing::default();
    for _ in 0..STEPS {
        let (now, filter) = (broker.clock.now(), list.filter.clone());
        let step = match filter.is_open() {
            true => list.room() + 1,
            false => STEP,
        };
        let look = broker
            .reader
            .run(move |db| look(db, &filter, last, step, now));
        let looked = look.await?;
        let is_last = looked.is_empty();
        for (id, raw) in looked {
            // What is no candidate counts as looked at all the same.
            if let Some(raw) = raw {
                if page.invocations.len() == list.room() {
                    page.cursor = last.map(|last| last.to_string());
                    return Ok(page);
                }
                match to_status(id, raw) {
                    Ok(status) if list.filter.admits(&status) => page.invocations.push(status),
                    Ok(_) => {}
                    // One that is damaged must not keep the others from being listed.
                    Err(error) => tracing::warn!(%id, %error, "an invocation cannot be listed"),
                }
            }
            last = Some(id);
        }
        if is_last {
            return Ok(page);
        }
    }
    page.cursor = last.map(|last| last.to_string());
    Ok(page)
}

/// Invocations after `last`, in order, each with its record when queue, state and time are those asked for.
fn look(
    db: &Connection,
    filter: &Filter,
    last: Option<InvocationId>,
    most: usize,
    now: u64,
) -> Result<Vec<(InvocationId, Option<Raw>)>, Fault> {
    let (first, end) = filter.window(now);
    let sql = format!("{SELECT_STATUS} {}", source(filter));
    let after = last.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = query_all(db, &sql, (after, now, most), |found| {
        let Some(id) = row::id(found, 16) else {
            return Ok(None);
        };
        let is_kept = row::count(found, 17) > 0;
        let raw = read_raw(found);
        let is_asked_for = is_kept
            && (first..end).contains(&raw.submitted_at)
            && filter
                .queue
                .as_ref()
                .is_none_or(|queue| *queue == raw.queue)
            && (filter.states.is_empty() || filter.states.contains(&raw.state))
            && (filter.key.as_ref())
                .is_none_or(|key| More::read(row::bytes(found, 19).as_deref()).has_key(key));
        Ok(Some((id, is_asked_for.then_some(raw))))
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// Which records to look at.
fn source(filter: &Filter) -> &'static str {
    match filter.states.as_slice() {
        [State::Running] => {
            "WHERE i.id IN (SELECT id FROM leases WHERE id > ?1 ORDER BY id LIMIT ?3) ORDER BY i.id"
        }
        [State::Scheduled] => {
            "WHERE i.id IN (SELECT id FROM scheduled WHERE id > ?1 ORDER BY id LIMIT ?3) ORDER BY i.id"
        }
        [State::Blocked] => {
            "WHERE i.id IN (SELECT id FROM blocked WHERE id > ?1 ORDER BY id LIMIT ?3) ORDER BY i.id"
        }
        _ => "WHERE i.id > ?1 ORDER BY i.id LIMIT ?3",
    }
}
