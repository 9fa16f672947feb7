//! The engine for one machine: SQLite in WAL mode, durable, without a server. Several processes may
//! use one directory at once.
//!
//! One thread writes and one reads. What is stored is the truth; whoever waits is woken straight away
//! within a process, and by a datagram between processes. Nothing polls.
//!
//! # Layout
//! - `store`, `schema.sql`: the files; `writer`, `reader`: the threads that use them; `clock`
//! - `switchboard`, `bell`: who waits here, and how other processes are woken
//! - `submit`, `join`, `outcome`, `replies`, `events`: what clients use
//! - `reserve`, `settle`, `ending`, `ended`, `lease`: what hosts use; `place`, `bands`, `depth`: where what waits stands; `limits`: what holds it back;
//!   `times`, `ticker`: what falls due;
//!   `follow`: those who wait for others
//! - `kv`: the key-value stores of modules; `schedules`: what is submitted again and again; `once`: keys
//! - `modules`, `operations`, `pause`, `list`, `dead`, `upkeep`: everything else

mod bands;
mod bell;
mod clock;
mod dead;
mod depth;
mod ended;
mod ending;
mod events;
mod fault;
mod firing;
mod follow;
mod join;
mod kv;
mod lease;
mod limits;
mod list;
mod modules;
mod moving;
mod once;
mod operations;
mod outcome;
mod pause;
mod place;
mod reader;
mod replies;
mod reserve;
mod row;
mod schedules;
mod settle;
mod store;
mod submit;
mod switchboard;
mod ticker;
mod times;
mod upkeep;
mod writer;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use self::{
    bell::Tower, clock::Clock, fault::Fault, reader::Reader, store::Store,
    switchboard::Switchboard, ticker::Ticker, writer::Writer,
};
use crate::{
    Broker, BrokerError, CancelResult, Caps, Check, ClientId, Control, DeadLetter, DeadLetters,
    DeadList, DeadPage, Digest, Event, EventKind, HostId, HostInfo, InvocationId, KeyValueStats,
    Lease, Limit, LimitScope, Limited, List, Listing, ModuleName, ModuleRecord, ModuleRef,
    MoveStep, Namespace, Outcome, Pausable, Paused, Publication, Put, QueueStats, Renewed, Reply,
    Request, Reserve, Reserved, Schedule, ScheduleRecord, Settled, Settlement, Status, Submission,
    callback, priority::AGEING,
};

/// The longest time to keep a result: ten years.
const MAX_TTL_MS: u64 = 10 * 365 * 86_400_000;

/// What an accepted invocation survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The crash of any process. A power cut may take what was written in the last moments; it never corrupts.
    #[default]
    Normal,
    /// Power cuts too: every transaction waits for the disk.
    Full,
}

/// How to use the store.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The largest payloads.
    pub caps: Caps,
    /// How long a result is kept after the end of its invocation, unless the caller said otherwise.
    pub result_ttl: Duration,
    /// After this long, what waits in a lower band gets each fourth place.
    pub ageing: Duration,
    /// How long failures are kept, and how many.
    pub dead_letters: DeadLetters,
    /// What an accepted invocation survives.
    pub durability: Durability,
}

impl Default for EmbeddedOptions {
    /// A day of results, a week of failures.
    fn default() -> Self {
        Self {
            caps: Caps::default(),
            result_ttl: Duration::from_secs(86_400),
            ageing: AGEING,
            dead_letters: DeadLetters::default(),
            durability: Durability::default(),
        }
    }
}

/// The broker for one machine.
#[derive(Debug)]
pub struct EmbeddedBroker {
    store: Arc<Store>,
    options: EmbeddedOptions,
    namespace: Namespace,
    clock: Arc<Clock>,
    switchboard: Arc<Switchboard>,
    reader: Reader,
    /// Does what falls due, from the first reserve on; ends with the broker.
    ticker: OnceLock<Ticker>,
    /// Its thread ends, and takes back what this process listens to, when the last way to it is dropped.
    writer: Writer,
}

impl EmbeddedBroker {
    /// Opens the store in `dir`, and makes one where there is none.
    ///
    /// # Errors
    /// `Unfit` for a directory that cannot be used or another layout; `Unavailable`; `Damaged`.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Arc<Self>, BrokerError> {
        let store = Arc::new(Store::prepare(dir, options.durability)?);
        let lock = store.write_lock()?;
        let (db, namespace) = store.open_writer(&lock)?;
        let tower =
            Tower::open(store.bells()).map_err(|error| store.unavailable(error.to_string()))?;
        let (clock, switchboard) = (Arc::new(Clock::new()), Arc::new(Switchboard::new(tower)));
        let reader = Reader::start(Arc::clone(&store))?;
        let writer = Writer::start(
            Arc::clone(&store),
            db,
            lock,
            Arc::clone(&clock),
            Arc::clone(&switchboard),
            options.dead_letters,
        )?;
        Ok(Arc::new(Self {
            store,
            options,
            namespace,
            clock,
            switchboard,
            reader,
            ticker: OnceLock::new(),
            writer,
        }))
    }

    /// Sets the store's clock forward, in a process that simulates time.
    #[cfg(feature = "testing")]
    pub fn jump(&self, span: Duration) {
        self.clock.jump(lease::millis(span));
    }

    /// Does what is due, in a process that simulates time: nothing else does.
    ///
    /// # Errors
    /// `Unavailable`.
    #[cfg(feature = "testing")]
    pub async fn tick(&self) -> Result<(), BrokerError> {
        ticker::tick_once(self).await
    }

    fn result_ttl_ms(&self) -> u64 {
        lease::millis(self.options.result_ttl).clamp(1, MAX_TTL_MS)
    }

    /// That there is no record of `id`.
    fn missing(&self, id: InvocationId) -> BrokerError {
        if self.namespace.issued(id) {
            BrokerError::Expired(id)
        } else {
            BrokerError::NotFound(id)
        }
    }

    /// Hangs the bell that other processes ring when there is something to read here.
    fn listen(&self) -> Result<(), BrokerError> {
        let (switchboard, writer) = (Arc::downgrade(&self.switchboard), self.writer.downgrade());
        let store = Arc::clone(&self.store);
        let mut db = None;
        let on_ring = move || {
            let (Some(switchboard), Some(writer)) = (switchboard.upgrade(), writer.upgrade())
            else {
                return;
            };
            if db.is_none() {
                db = store.open_reader().ok();
            }
            if let Some(db) = &db {
                let look = reader::on_snapshot(db, |db| look(db, &switchboard, &writer));
                if let Err(error) = look {
                    tracing::warn!(?error, "the embedded store rang, and could not be read");
                }
            }
        };
        let hung = self.switchboard.hang_talk_bell(on_ring);
        hung.map_err(|error| {
            self.store
                .unavailable(format!("no bell can be hung: {error}"))
        })
    }

    /// Has other processes ring when there is news of `topic`.
    async fn add_listener(&self, topic: String) -> Result<(), BrokerError> {
        let bell = self.switchboard.talk_bell();
        let sql = "INSERT OR IGNORE INTO listeners VALUES (?1, ?2)";
        self.writer
            .run(move |tx| tx.execute(sql, (topic, bell)).map(drop))
            .await
    }
}

/// The opposite of `add_listener`, some time.
fn remove_listener(writer: &Writer, switchboard: &Switchboard, topic: String) {
    let bell = switchboard.talk_bell();
    writer.post(move |tx| {
        tx.execute(
            "DELETE FROM listeners WHERE topic = ?1 AND bell = ?2",
            (topic, bell),
        )?;
        Ok(())
    });
}

/// Looks at everything that another process may have rung for.
fn look(
    db: &rusqlite::Connection,
    switchboard: &Switchboard,
    writer: &Writer,
) -> Result<(), Fault> {
    replies::read_notes(db, switchboard, writer)?;
    for host in switchboard.hosts() {
        switchboard.cancel_all(&host, lease::wanted_cancels(db, &host)?);
    }
    pause::read_commands(db, switchboard, writer)?;
    events::look(switchboard);
    Ok(())
}

#[async_trait]
impl Broker for EmbeddedBroker {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn address(&self) -> String {
        self.store.address.clone()
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
        operations::limits(self).await
    }

    async fn set_limit(
        &self,
        scope: &LimitScope,
        limit: Option<&Limit>,
    ) -> Result<(), BrokerError> {
        operations::set_limit(self, scope, limit).await
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
        operations::check(self).await
    }
}
