//! The distributed engine: Redis 7.0 or later, or Valkey.
//!
//! Every state change is one Lua script; what each needs and writes stands at its head in `scripts/`,
//! and `docs/protocol.md` lists all keys. This engine decides nothing and keeps nothing in memory
//! that another process would need.
//!
//! # Layout
//! - `connection`, `script`, `value`: how commands go out and answers come in
//! - `submit`, `outcome`, `replies`, `events`: what clients use
//! - `reserve`, `settle`, `lease`, `ticker`: what hosts use
//! - `kv`: the key-value stores of modules; `schedules`: what is submitted again and again
//! - `limits`: what operators bound
//! - `modules`, `operations`, `pause`, `list`, `dead`, `check`: everything else
//! - `subscriptions`: one pub/sub connection for everything that listens

mod check;
mod connection;
mod dead;
mod events;
mod firing;
mod kv;
mod lease;
mod limits;
mod list;
mod modules;
mod moving;
mod operations;
mod outcome;
mod pause;
mod replies;
mod reserve;
mod schedules;
mod script;
mod settle;
mod submit;
mod subscriptions;
mod ticker;
mod value;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use ::redis::cmd;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use self::{
    connection::Link, reserve::Reservations, script::PREFIX, subscriptions::Subscriptions,
    ticker::Ticker,
};
use crate::{
    Broker, BrokerError, CancelResult, Caps, Check, ClientId, Control, DeadLetter, DeadLetters,
    DeadList, DeadPage, Digest, Event, EventKind, HostId, HostInfo, InvocationId, KeyValueStats,
    Lease, Limit, LimitScope, Limited, List, Listing, MAX_CHUNK, MAX_CHUNK_BYTES, ModuleName,
    ModuleRecord, ModuleRef, MoveStep, Namespace, Outcome, Pausable, Paused, Publication, Put,
    QueueStats, Renewed, Reply, Request, Reserve, Reserved, Schedule, ScheduleRecord, Settled,
    Settlement, Status, Submission, callback, priority::AGEING, verdict,
};

/// The layout of the keys that this version reads and writes.
const LAYOUT_VERSION: u32 = 1;

/// Entries that a reply stream may hold unread. The reader empties it all the time; one that is this
/// far behind is told to check everything instead. With 16 KiB in an entry that is 64 MiB at worst.
const REPLY_CAP: u32 = 4096;

/// How long a reply stream outlives the last outcome written to it: long enough for a client to come
/// back after an outage; what is lost later is found by its sweep.
const REPLY_TTL: Duration = Duration::from_secs(600);

/// Invocations in one call of a script.
const CHUNK: usize = MAX_CHUNK;

/// Bytes of payload in one call of a script, unless a single one is larger.
const CHUNK_BYTES: usize = MAX_CHUNK_BYTES;

/// The longest time to keep a result: ten years, far from what Redis' clock overflows at.
const MAX_TTL_MS: u64 = 10 * 365 * 86_400_000;

/// How to use the server.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The largest payloads.
    pub caps: Caps,
    /// How long a result is kept after the end of its invocation, unless the caller said otherwise.
    pub result_ttl: Duration,
    /// After this long, what waits in a lower band gets each fourth place.
    pub ageing: Duration,
    /// How long failures are kept, and how many.
    pub dead_letters: DeadLetters,
    /// How long to try to connect.
    pub connect_timeout: Duration,
    /// Events kept of one invocation, roughly.
    pub events_kept: u32,
}

impl Default for RedisOptions {
    /// A day of results, a week of failures, 5 seconds to connect, 1000 events.
    fn default() -> Self {
        Self {
            caps: Caps::default(),
            result_ttl: Duration::from_secs(86_400),
            ageing: AGEING,
            dead_letters: DeadLetters::default(),
            connect_timeout: Duration::from_secs(5),
            events_kept: 1000,
        }
    }
}

/// The distributed broker.
#[derive(Debug)]
pub struct RedisBroker {
    link: Arc<Link>,
    options: RedisOptions,
    namespace: Namespace,
    /// The blocking connection of each host that reserves through this broker.
    reservations: Reservations,
    subscriptions: Arc<Subscriptions>,
    heads: Heads,
    /// Does what falls due, from the first reserve on; ends with the broker.
    ticker: OnceLock<Ticker>,
}

/// Outcomes without a host, as JSON that `finish.lua` completes.
#[derive(Clone, Debug)]
struct Heads {
    cancelled: String,
    quarantined: String,
    expired: String,
    past_deadline: String,
}

impl Heads {
    fn new() -> Result<Self, BrokerError> {
        let head = |(code, message)| {
            let (head, _) = Outcome::failed(code, message).into_parts();
            serde_json::to_string(&head)
                .map_err(|error| value::damaged("an outcome", error.to_string()))
        };
        Ok(Self {
            cancelled: head(verdict::CANCELLED)?,
            quarantined: head(verdict::QUARANTINED)?,
            expired: head(verdict::EXPIRED)?,
            past_deadline: head(verdict::PAST_DEADLINE)?,
        })
    }
}

/// What `cel:{0}:layout` holds.
#[derive(Serialize, Deserialize)]
struct Layout {
    version: u32,
    namespace: Namespace,
}

impl RedisBroker {
    /// Connects to `redis://…` or `rediss://…` and checks that the store's layout is this version's;
    /// lays out a store that is new. One connection and two round trips: cheap enough to have a second
    /// broker for renewals, on a runtime of its own.
    ///
    /// # Errors
    /// `Invalid` for the URL; `Unavailable`; `Unfit` for a wrong password or another layout.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Arc<Self>, BrokerError> {
        let link = Arc::new(Link::new(url, options.connect_timeout)?);
        let namespace = lay_out(&link).await?;
        Ok(Arc::new(Self {
            subscriptions: Arc::new(Subscriptions::new(Arc::clone(&link))),
            heads: Heads::new()?,
            ticker: OnceLock::new(),
            reservations: Reservations::default(),
            link,
            options,
            namespace,
        }))
    }

    /// Refuses a server that would lose invocations. Hosts call it once, when they start.
    ///
    /// # Errors
    /// `Unfit` with the remedy of the first check that is bad; `Unavailable`.
    pub async fn require_fit(&self) -> Result<(), BrokerError> {
        crate::require_fit(self).await
    }

    /// Sets the clock that scripts see forward, in a process that simulates time.
    ///
    /// # Errors
    /// `Unavailable`.
    #[cfg(feature = "testing")]
    pub async fn jump(&self, span: Duration) -> Result<(), BrokerError> {
        let mut add = cmd("INCRBY");
        add.arg(key("skew", "")).arg(span.as_secs());
        self.link.run(&add).await.map(drop)
    }

    /// Does what is due, in a process that simulates time: nothing else does.
    ///
    /// # Errors
    /// `Unavailable`.
    #[cfg(feature = "testing")]
    pub async fn tick(&self) -> Result<(), BrokerError> {
        ticker::tick(self).await
    }

    /// How long results and dead letters are kept, and how many of these, as `dead.lua` reads it.
    fn retention(&self) -> String {
        let (results, letters) = (self.options.result_ttl, self.options.dead_letters);
        format!(
            "{} {} {}",
            span_ms(results),
            self.dead_ttl_ms(),
            letters.most
        )
    }

    fn dead_ttl_ms(&self) -> u64 {
        span_ms(self.options.dead_letters.ttl)
    }

    /// That there is no record of `id`.
    fn missing(&self, id: InvocationId) -> BrokerError {
        if self.namespace.issued(id) {
            BrokerError::Expired(id)
        } else {
            BrokerError::NotFound(id)
        }
    }
}

/// A TTL that Redis takes.
fn ttl_ms(ttl: u64) -> u64 {
    ttl.clamp(1, MAX_TTL_MS)
}

/// A span as a TTL that Redis takes.
fn span_ms(span: Duration) -> u64 {
    ttl_ms(u64::try_from(span.as_millis()).unwrap_or(MAX_TTL_MS))
}

fn reply_ttl_ms() -> u64 {
    u64::try_from(REPLY_TTL.as_millis()).unwrap_or(MAX_TTL_MS)
}

/// The key with this name.
fn key(name: &str, of: impl std::fmt::Display) -> String {
    format!("{PREFIX}{name}{of}")
}

async fn lay_out(link: &Link) -> Result<Namespace, BrokerError> {
    let fresh = Layout {
        version: LAYOUT_VERSION,
        namespace: Namespace::generate(),
    };
    let what = key("layout", "");
    let fresh =
        serde_json::to_string(&fresh).map_err(|error| value::damaged(&what, error.to_string()))?;
    link.run(cmd("SET").arg(&what).arg(fresh).arg("NX")).await?;
    let stored = value::text(link.run(cmd("GET").arg(&what)).await?).unwrap_or_default();
    let version = serde_json::from_str::<serde_json::Value>(&stored)
        .ok()
        .and_then(|layout| layout.get("version")?.as_u64());
    match version {
        Some(version) if version == u64::from(LAYOUT_VERSION) => serde_json::from_str::<Layout>(&stored)
            .map(|layout| layout.namespace)
            .map_err(|error| value::damaged(what, error.to_string())),
        Some(version) => Err(BrokerError::Unfit {
            address: link.address().to_owned(),
            reason: format!("its keys have layout {version} and this program reads layout {LAYOUT_VERSION}"),
            remedy: "run the version of Celeriac that wrote it, or use another database (redis://HOST/1)".to_owned(),
        }),
        None => Err(value::damaged(what, "it is not JSON with a `version`: another program may have written it")),
    }
}

#[async_trait]
impl Broker for RedisBroker {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn address(&self) -> String {
        self.link.address().to_owned()
    }

    fn caps(&self) -> Caps {
        self.options.caps
    }

    async fn submit(
        &self,
        mut batch: Vec<Submission>,
    ) -> Result<Vec<Result<InvocationId, BrokerError>>, BrokerError> {
        match callback::expand(self, &mut batch).await? {
            None => submit::submit(self, batch).await,
            Some(mut expanded) => {
                let batch = std::mem::take(&mut expanded.batch);
                Ok(expanded.collapse(submit::submit(self, batch).await?))
            }
        }
    }

    async fn submit_whole(&self, batch: Vec<Submission>) -> Result<(), BrokerError> {
        submit::submit_whole(self, batch).await
    }

    async fn status(&self, id: InvocationId) -> Result<Status, BrokerError> {
        outcome::status(self, id).await
    }

    async fn outcome(
        &self,
        id: InvocationId,
        waiter: Option<&ClientId>,
    ) -> Result<Option<Outcome>, BrokerError> {
        outcome::outcome(self, id, waiter).await
    }

    async fn outcomes(
        &self,
        ids: &[InvocationId],
        waiter: Option<&ClientId>,
    ) -> Result<Vec<Result<Option<Outcome>, BrokerError>>, BrokerError> {
        outcome::outcomes(self, ids, waiter).await
    }

    async fn replies(&self, client: &ClientId) -> Result<mpsc::Receiver<Reply>, BrokerError> {
        replies::replies(self, client).await
    }

    async fn watch(
        &self,
        id: InvocationId,
        cursor: Option<&str>,
    ) -> Result<mpsc::Receiver<Event>, BrokerError> {
        events::watch(self, id, cursor).await
    }

    async fn events(&self, id: InvocationId, limit: usize) -> Result<Vec<Event>, BrokerError> {
        events::events(self, id, limit).await
    }

    async fn cancel(&self, id: InvocationId) -> Result<CancelResult, BrokerError> {
        outcome::cancel(self, id, false).await
    }

    async fn cancel_with_children(&self, id: InvocationId) -> Result<CancelResult, BrokerError> {
        outcome::cancel(self, id, true).await
    }

    async fn list(&self, list: &List) -> Result<Listing, BrokerError> {
        list::list(self, list).await
    }

    async fn request(&self, id: InvocationId) -> Result<Request, BrokerError> {
        dead::request(self, id).await
    }

    async fn dead_letters(&self, list: &DeadList) -> Result<DeadPage, BrokerError> {
        dead::list(self, list).await
    }

    async fn dead_letter(&self, id: InvocationId) -> Result<Option<DeadLetter>, BrokerError> {
        dead::one(self, id).await
    }

    async fn claim_dead_letter(
        &self,
        id: InvocationId,
        successor: InvocationId,
    ) -> Result<Option<InvocationId>, BrokerError> {
        dead::claim(self, id, successor).await
    }

    async fn recording(&self, id: InvocationId) -> Result<Option<Bytes>, BrokerError> {
        dead::recording(self, id).await
    }

    async fn drop_dead_letters(&self, ids: &[InvocationId]) -> Result<u64, BrokerError> {
        dead::drop_all(self, ids).await
    }

    async fn reserve(&self, request: &Reserve) -> Result<Vec<Reserved>, BrokerError> {
        reserve::reserve(self, request).await
    }

    async fn interrupt(&self, host: &HostId) -> Result<(), BrokerError> {
        reserve::interrupt(self, host).await
    }

    async fn renew(
        &self,
        host: &HostId,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Renewed, BrokerError> {
        lease::renew(self, host, leases, lease).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError> {
        settle::settle(self, batch).await
    }

    async fn release(&self, leases: &[Lease]) -> Result<(), BrokerError> {
        lease::release(self, leases).await
    }

    async fn record(&self, lease: &Lease, events: Vec<EventKind>) -> Result<(), BrokerError> {
        events::record(self, lease, events).await
    }

    async fn controls(&self, host: &HostId) -> Result<mpsc::Receiver<Control>, BrokerError> {
        lease::controls(self, host).await
    }

    async fn announce(&self, host: &HostInfo, is_leaving: bool) -> Result<(), BrokerError> {
        operations::announce(self, host, is_leaving).await
    }

    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, BrokerError> {
        modules::put_blob(self, bytes).await
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, BrokerError> {
        modules::blob(self, digest).await
    }

    async fn publish(&self, lease: &Lease, publication: Publication) -> Result<(), BrokerError> {
        modules::publish(self, lease, publication).await
    }

    async fn names(&self) -> Result<Vec<ModuleName>, BrokerError> {
        modules::names(self).await
    }

    async fn module(&self, module: &ModuleRef) -> Result<ModuleRecord, BrokerError> {
        modules::module(self, module).await
    }

    async fn remove(&self, module: &ModuleRef) -> Result<(), BrokerError> {
        modules::remove(self, module).await
    }

    async fn kv_get(&self, module: &str, key: &str) -> Result<Option<Bytes>, BrokerError> {
        kv::get(self, module, key).await
    }

    async fn kv_set(
        &self,
        module: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), BrokerError> {
        kv::set(self, module, key, value, ttl).await
    }

    async fn kv_delete(&self, module: &str, key: &str) -> Result<bool, BrokerError> {
        kv::delete(self, module, key).await
    }

    async fn kv_increment(
        &self,
        module: &str,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, BrokerError> {
        kv::increment(self, module, key, by, ttl).await
    }

    async fn kv_compare_and_set(
        &self,
        module: &str,
        key: &str,
        expected: Option<Bytes>,
        value: Option<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<bool, BrokerError> {
        let change = kv::Change {
            expected,
            value,
            ttl,
        };
        kv::compare_and_set(self, module, key, change).await
    }

    async fn kv_list(
        &self,
        module: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, BrokerError> {
        kv::list(self, module, prefix, after, limit).await
    }

    async fn kv_stats(&self, module: &str) -> Result<KeyValueStats, BrokerError> {
        kv::stats(self, module).await
    }

    async fn kv_clear(&self, module: &str) -> Result<u64, BrokerError> {
        kv::clear(self, module).await
    }

    async fn put_schedule(&self, schedule: &Schedule) -> Result<Put, BrokerError> {
        schedules::put(self, schedule).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, BrokerError> {
        schedules::list(self).await
    }

    async fn schedule(&self, name: &str) -> Result<ScheduleRecord, BrokerError> {
        schedules::get(self, name).await
    }

    async fn remove_schedule(&self, name: &str) -> Result<(), BrokerError> {
        schedules::remove(self, name).await
    }

    async fn set_schedule_paused(&self, name: &str, is_paused: bool) -> Result<(), BrokerError> {
        schedules::set_paused(self, name, is_paused).await
    }

    async fn run_schedule(&self, name: &str, id: InvocationId) -> Result<(), BrokerError> {
        firing::run(self, name, id).await
    }

    async fn queues(&self) -> Result<Vec<QueueStats>, BrokerError> {
        operations::queues(self).await
    }

    async fn hosts(&self) -> Result<Vec<HostInfo>, BrokerError> {
        operations::hosts(self).await
    }

    async fn limits(&self) -> Result<Vec<Limited>, BrokerError> {
        limits::list(self).await
    }

    async fn set_limit(
        &self,
        scope: &LimitScope,
        limit: Option<&Limit>,
    ) -> Result<(), BrokerError> {
        limits::set(self, scope, limit).await
    }

    async fn set_result_ttl(&self, queue: &str, ttl: Option<Duration>) -> Result<(), BrokerError> {
        operations::set_result_ttl(self, queue, ttl).await
    }

    async fn move_queued(
        &self,
        from: &str,
        to: &str,
        cursor: Option<&str>,
    ) -> Result<MoveStep, BrokerError> {
        moving::queued(self, (from, to), cursor).await
    }

    async fn move_these(
        &self,
        from: &str,
        to: &str,
        ids: &[InvocationId],
        with_running: bool,
    ) -> Result<u64, BrokerError> {
        moving::these(self, (from, to), ids, with_running).await
    }

    async fn forget_queue(&self, queue: &str) -> Result<bool, BrokerError> {
        moving::forget(self, queue).await
    }

    async fn pause(&self, what: &Pausable) -> Result<bool, BrokerError> {
        pause::pause(self, what).await
    }

    async fn resume(&self, what: &Pausable) -> Result<bool, BrokerError> {
        pause::resume(self, what).await
    }

    async fn paused(&self) -> Result<Vec<Paused>, BrokerError> {
        pause::paused(self).await
    }

    async fn tell(&self, host: &HostId, word: Control) -> Result<bool, BrokerError> {
        pause::tell(self, host, word).await
    }

    async fn check(&self) -> Result<Vec<Check>, BrokerError> {
        check::check(self).await
    }
}
