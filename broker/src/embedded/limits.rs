//! Limits on what runs at once and on what starts in a time, across all processes on a store.
//!
//! What counts against a limit's concurrency has a row in `held`, which goes with its lease. What is held back by a
//! task's or a key's limit waits in lists of its own; when there is room, the first of each band goes back to the head of
//! its band, marked with the scope that has let it go, and the next follows when that one has been dealt with.

use std::collections::{HashMap, HashSet};

use super::{
    fault::Fault,
    pause,
    place::{self, Place},
    row::{self, Fare},
    switchboard::News,
    times::will_be_due,
    writer::{Tx, query_all},
};
use crate::{Header, InvocationId, Limit, ModuleRef, Priority, more::More};

/// Queues in which one end has others go on.
const QUEUES: i64 = 100;

/// How soon what waits in more queues than that goes on, a hundred at a time.
const REST_MS: u64 = 1_000;

/// How long after something was held back it is checked that all that is counted has its lease.
const CHECK_MS: u64 = 60_000;

/// What is lost by rounding must not cost a token.
const ONE: f64 = 1.0 - 1e-6;

/// The limits as one reserve finds and uses them.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Whether there are any, or tasks that are paused: a store without either asks for none.
    pub(super) are_any: bool,
    states: HashMap<String, Option<State>>,
    noted: HashSet<String>,
}

/// A limit, with how much room there is.
#[derive(Debug)]
struct State {
    limit: Limit,
    /// Whether it is a task that is paused: then there is no room, whatever the limit says.
    is_paused: bool,
    running: u64,
    tokens: f64,
    is_used: bool,
}

impl State {
    fn has_room(&self) -> bool {
        if self.is_paused {
            return false;
        }
        let has_slot = (self.limit.concurrency).is_none_or(|most| self.running < u64::from(most));
        has_slot && (self.limit.rate.is_none() || self.tokens >= ONE)
    }

    fn per_ms(&self) -> f64 {
        self.limit
            .rate
            .map_or(0.0, |rate| f64::from(rate.count) / rate.per_ms as f64)
    }

    fn burst(&self) -> f64 {
        f64::from(self.limit.burst.unwrap_or(1))
    }
}

impl Limits {
    pub(super) fn read(tx: &Tx<'_>) -> Result<Self, Fault> {
        let sql = "SELECT EXISTS (SELECT 1 FROM limits)
             OR EXISTS (SELECT 1 FROM paused WHERE what >= 'task:' AND what < 'task;')";
        let found = tx.query(sql, (), |found| Ok(row::count(found, 0) > 0))?;
        Ok(Self {
            are_any: found.unwrap_or(false),
            ..Self::default()
        })
    }

    /// Whether something of this queue may start.
    pub(super) fn let_queue(&mut self, tx: &mut Tx<'_>, queue: &str) -> Result<bool, Fault> {
        let scope = format!("queue:{queue}");
        let has_room = self.has_room(tx, &scope)?;
        if !has_room {
            self.note(tx, &scope)?;
        }
        Ok(has_room)
    }

    /// Whether there is room within a scope; there always is when it has no limit.
    pub(super) fn has_room(&mut self, tx: &Tx<'_>, scope: &str) -> Result<bool, Fault> {
        self.load(tx, scope)?;
        let state = self.states.get(scope).and_then(Option::as_ref);
        Ok(state.is_none_or(State::has_room))
    }

    /// Counts an invocation that is about to be taken, and says whether its lease has to give something back; or, where
    /// there is no room for it, the scope that holds it back.
    pub(super) fn admit(
        &mut self,
        tx: &Tx<'_>,
        id: InvocationId,
        queue: &str,
        (header, more): (&[u8], &More),
    ) -> Result<Result<bool, String>, Fault> {
        let scopes = scopes(queue, header, more);
        for scope in &scopes {
            if !self.has_room(tx, scope)? {
                return Ok(Err(scope.clone()));
            }
        }
        let mut holds = false;
        for scope in scopes {
            let Some(Some(state)) = self.states.get_mut(&scope) else {
                continue;
            };
            if state.limit.concurrency.is_some() {
                let insert = "INSERT OR IGNORE INTO held VALUES (?1, ?2)";
                tx.execute(insert, (&scope, id.as_bytes()))?;
                state.running += 1;
                holds = true;
            }
            if state.limit.rate.is_some() {
                state.tokens -= 1.0;
                state.is_used = true;
            }
        }
        Ok(Ok(holds))
    }

    fn load(&mut self, tx: &Tx<'_>, scope: &str) -> Result<(), Fault> {
        if self.states.contains_key(scope) {
            return Ok(());
        }
        let config = |scope: &str| {
            let sql = "SELECT config FROM limits WHERE scope = ?1";
            let found = tx.query(sql, [scope], |found| Ok(row::bytes(found, 0)))?;
            found
                .flatten()
                .map(|config| Limit::read(&config))
                .transpose()
                .map_err(Fault::from)
        };
        let limit = match config(scope)? {
            None if scope.starts_with("key:") => config("key:*")?,
            own => own,
        };
        let is_paused = scope.starts_with("task:") && pause::is_paused(tx, scope)?;
        let state = match limit.filter(Limit::holds_back) {
            Some(limit) => Some(Self::look(tx, scope, limit, is_paused)?),
            None if is_paused => Some(Self::look(tx, scope, Limit::default(), is_paused)?),
            None => None,
        };
        self.states.insert(scope.to_owned(), state);
        Ok(())
    }

    fn look(tx: &Tx<'_>, scope: &str, limit: Limit, is_paused: bool) -> Result<State, Fault> {
        let mut state = State {
            limit,
            is_paused,
            running: 0,
            tokens: 0.0,
            is_used: false,
        };
        if let Some(most) = limit.concurrency {
            // No more are counted than matter.
            let sql = "SELECT count(*) FROM (SELECT 1 FROM held WHERE scope = ?1 LIMIT ?2)";
            let running = tx.query(sql, (scope, most), |found| Ok(row::count(found, 0)))?;
            state.running = running.unwrap_or(0);
        }
        if limit.rate.is_some() {
            let sql = "SELECT tokens, at FROM buckets WHERE scope = ?1";
            let bucket = tx.query(sql, [scope], |found| {
                Ok((found.get::<_, f64>(0)?, row::count(found, 1)))
            })?;
            let filled = bucket.map_or(f64::MAX, |(tokens, at)| {
                tokens + tx.now.saturating_sub(at) as f64 * state.per_ms()
            });
            state.tokens = filled.min(state.burst());
        }
        Ok(state)
    }

    /// Something waits for this scope: notes when there are tokens again, and when to check what is counted.
    pub(super) fn note(&mut self, tx: &mut Tx<'_>, scope: &str) -> Result<(), Fault> {
        let Some(Some(state)) = self.states.get(scope) else {
            return Ok(());
        };
        if !self.noted.insert(scope.to_owned()) {
            return Ok(());
        }
        if state.limit.rate.is_some() && state.tokens < ONE {
            // At a high rate not for each token by itself: for those of ten milliseconds.
            let wanted = (state.per_ms() * 10.0).max(1.0).min(state.burst());
            let wait = ((wanted - state.tokens) / state.per_ms()).ceil();
            set_alarm(
                tx,
                &format!("@{scope}"),
                tx.now.saturating_add(wait as u64),
                "REPLACE",
            )?;
        }
        if state.limit.concurrency.is_some() {
            set_alarm(tx, &format!("~{scope}"), tx.now + CHECK_MS, "IGNORE")?;
        }
        Ok(())
    }

    /// Has an invocation wait for room.
    pub(super) fn park(
        &mut self,
        tx: &mut Tx<'_>,
        place: &Place<'_>,
        scope: &str,
        in_front: bool,
    ) -> Result<(), Fault> {
        self.note(tx, scope)?;
        let insert = "INSERT OR IGNORE INTO parked VALUES (?1, ?2)";
        tx.execute(insert, (scope, place.queue))?;
        place::park(tx, place, scope, in_front)
    }

    /// Writes what was used of the rates.
    pub(super) fn write(self, tx: &Tx<'_>) -> Result<(), Fault> {
        for (scope, state) in self.states {
            let Some(state) = state.filter(|state| state.is_used) else {
                continue;
            };
            let insert = "INSERT OR REPLACE INTO buckets VALUES (?1, ?2, ?3)";
            tx.execute(insert, (scope, state.tokens, tx.now))?;
        }
        Ok(())
    }
}

/// The scopes that an invocation counts against.
fn scopes(queue: &str, header: &[u8], more: &More) -> Vec<String> {
    let mut scopes = vec![format!("queue:{queue}")];
    if let Ok(Header { task, .. }) = serde_json::from_slice::<Header>(header) {
        match &task.module {
            ModuleRef::Name(module)
            | ModuleRef::Version(module, _)
            | ModuleRef::Digest(Some(module), _) => {
                scopes.push(format!("task:{module}/{}", task.task));
            }
            ModuleRef::Digest(None, _) => {}
        }
    }
    scopes.extend(more.key.iter().map(|key| format!("key:{key}")));
    scopes
}

fn set_alarm(tx: &mut Tx<'_>, name: &str, at: u64, conflict: &str) -> Result<(), Fault> {
    will_be_due(tx, at)?;
    tx.execute(
        &format!("INSERT OR {conflict} INTO alarms VALUES (?1, ?2)"),
        (name, at),
    )?;
    Ok(())
}

/// The lease of an invocation has ended: gives back what it counted for.
pub(super) fn give_back(tx: &mut Tx<'_>, id: InvocationId) -> Result<(), Fault> {
    let sql = "DELETE FROM held WHERE id = ?1 RETURNING scope";
    let scopes = query_all(tx.db, sql, [id.as_bytes()], |found| Ok(row::text(found, 0)))?;
    for scope in scopes.into_iter().flatten() {
        go_on(tx, &scope)?;
    }
    Ok(())
}

/// There may be room: has whoever waits for it go on. When there are more queues, the ticker goes on with them.
pub(super) fn go_on(tx: &mut Tx<'_>, scope: &str) -> Result<(), Fault> {
    if let_some_go(tx, scope)? {
        let name = format!("~{scope}");
        let sql = "DELETE FROM alarms WHERE name = ?1 AND at > ?2";
        tx.execute(sql, (&name, tx.now + REST_MS))?;
        set_alarm(tx, &name, tx.now + REST_MS, "IGNORE")?;
    }
    Ok(())
}

/// Lets go the first ones that wait for a scope, in so many queues; whether others may wait in more.
fn let_some_go(tx: &mut Tx<'_>, scope: &str) -> Result<bool, Fault> {
    if let Some(queue) = scope.strip_prefix("queue:") {
        tx.say(News::Work(queue.to_owned()));
        return Ok(false);
    }
    let sql = "SELECT count(*) FROM parked WHERE scope = ?1";
    let all = tx.query(sql, [scope], |found| Ok(row::number(found, 0)))?;
    let sql = "SELECT queue FROM parked WHERE scope = ?1 ORDER BY random() LIMIT ?2";
    let queues = query_all(tx.db, sql, (scope, QUEUES), |found| Ok(row::text(found, 0)))?;
    for queue in queues.into_iter().flatten() {
        let mut is_any = false;
        for band in Priority::ALL.map(Priority::band) {
            is_any |= let_go(tx, &queue, band, scope)?;
        }
        if !is_any {
            let sql = "DELETE FROM parked WHERE scope = ?1 AND queue = ?2";
            tx.execute(sql, (scope, &queue))?;
        }
    }
    Ok(all.flatten().unwrap_or(0) > QUEUES)
}

/// Lets go the first that waits for this scope in this band of this queue; whether there was one.
pub(super) fn let_go(tx: &mut Tx<'_>, queue: &str, band: u8, scope: &str) -> Result<bool, Fault> {
    let Some(entry) = place::take_parked(tx, queue, band, scope)? else {
        return Ok(false);
    };
    let (id, fare, since): (InvocationId, Fare, u64) = entry;
    place::put_let_go(tx, (queue, band), (id, fare, since), scope)?;
    tx.say(News::Work(queue.to_owned()));
    Ok(true)
}

/// Does what alarms were set for.
pub(super) fn do_due(tx: &mut Tx<'_>, most: i64) -> Result<(), Fault> {
    let sql = "DELETE FROM alarms WHERE name IN (SELECT name FROM alarms WHERE at <= ?1 ORDER BY at LIMIT ?2) RETURNING name";
    let names = query_all(tx.db, sql, (tx.now, most), |found| Ok(row::text(found, 0)))?;
    for name in names.into_iter().flatten() {
        match name.split_at_checked(1) {
            Some(("@", scope)) => go_on(tx, scope)?,
            Some((_, scope)) => reconcile(tx, scope)?,
            None => {}
        }
    }
    // A bucket that has been left alone for a day is full: no rate counts over longer.
    let old = tx.now.saturating_sub(86_400_000);
    tx.execute("DELETE FROM buckets WHERE at < ?1", [old])?;
    Ok(())
}

/// Frees what counts against a limit and has no lease any more: nothing that this program does brings that about.
fn reconcile(tx: &mut Tx<'_>, scope: &str) -> Result<(), Fault> {
    let sql = "DELETE FROM held WHERE scope = ?1 AND id NOT IN (SELECT id FROM leases)";
    tx.execute(sql, [scope])?;
    let pause = match let_some_go(tx, scope)? {
        true => REST_MS,
        false => CHECK_MS,
    };
    let sql = "SELECT 1 FROM parked WHERE scope = ?1 LIMIT 1";
    if tx.query(sql, [scope], |_| Ok(()))?.is_some() {
        set_alarm(tx, &format!("~{scope}"), tx.now + pause, "IGNORE")?;
    }
    Ok(())
}

/// Has everything go on that waits for any limit: those that have no room hold it back again.
pub(super) fn all_go_on(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let sql = "SELECT DISTINCT scope FROM parked";
    let scopes = query_all(tx.db, sql, (), |found| Ok(row::text(found, 0)))?;
    for scope in scopes.into_iter().flatten() {
        go_on(tx, &scope)?;
    }
    Ok(())
}
