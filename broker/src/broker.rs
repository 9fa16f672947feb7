//! The one trait that both engines implement: it moves state and decides nothing.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    BrokerError, CancelResult, ClientId, Control, DeadLetter, DeadList, DeadPage, Digest, Event,
    EventKind, HostId, InvocationId, KeyValueStats, Lease, Limit, LimitScope, Limited, List,
    Listing, ModuleName, ModuleRecord, ModuleRef, MoveStep, Namespace, Outcome, Pausable, Paused,
    Publication, Put, Renewed, Reply, Request, Reserve, Reserved, Schedule, ScheduleRecord,
    Settled, Settlement, Status, Submission, check_name,
};

/// Moves invocations through their states. Every call is atomic and bounded; each may be repeated
/// after `BrokerError::Unavailable` without harm.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// What ids are made with.
    fn namespace(&self) -> &Namespace;

    /// Where this broker is, for people: without credentials.
    fn address(&self) -> String;

    /// The largest payloads it takes.
    fn caps(&self) -> Caps;

    // ---- clients ------------------------------------------------------------------------------

    /// Accepts invocations, in order; one answer each. The digest that each task's name points to
    /// now is pinned for every attempt.
    ///
    /// # Errors
    /// For one: `TooLarge`, `NoModule`, `NoTask`, `NoParent`, `Invalid`, `Overloaded`. For all: `Unavailable`.
    async fn submit(
        &self,
        batch: Vec<Submission>,
    ) -> Result<Vec<Result<InvocationId, BrokerError>>, BrokerError>;

    /// Accepts all of a batch or, when one of it is refused, nothing: for the same reasons as `submit`. Of invocations
    /// that wait for no others and have no callbacks, as those come in pieces of their own. At most
    /// `MAX_CHUNK` invocations with `MAX_CHUNK_BYTES` of input, unless it is a single one.
    ///
    /// # Errors
    /// Why the first one that was refused was; `Invalid` for a batch that is too large; `Unavailable`.
    async fn submit_whole(&self, batch: Vec<Submission>) -> Result<(), BrokerError>;

    /// Where an invocation stands.
    ///
    /// # Errors
    /// `NotFound` and `Expired` are told apart.
    async fn status(&self, id: InvocationId) -> Result<Status, BrokerError>;

    /// The outcome, or none while there is none; then `waiter` is told when there is. At most 64
    /// waiters are kept for one invocation.
    ///
    /// # Errors
    /// `NotFound`, `Expired`.
    async fn outcome(
        &self,
        id: InvocationId,
        waiter: Option<&ClientId>,
    ) -> Result<Option<Outcome>, BrokerError>;

    /// `outcome` for many at once: one answer each, in order. Used after a reconnect and by the slow sweep.
    ///
    /// # Errors
    /// For one: `NotFound`, `Expired`. For all: `Unavailable`.
    async fn outcomes(
        &self,
        ids: &[InvocationId],
        waiter: Option<&ClientId>,
    ) -> Result<Vec<Result<Option<Outcome>, BrokerError>>, BrokerError>;

    /// Opens the one stream that carries every outcome this client waits for. It reconnects by
    /// itself and says so. Dropping the receiver closes it and removes what the store keeps for it.
    async fn replies(&self, client: &ClientId) -> Result<mpsc::Receiver<Reply>, BrokerError>;

    /// What an invocation has reported after `cursor` (none: from the oldest kept), then what it
    /// reports from now on. The stream ends when the receiver is dropped; that the invocation has
    /// ended is learnt from `replies`.
    ///
    /// # Errors
    /// `NotFound`, `Expired`.
    async fn watch(
        &self,
        id: InvocationId,
        cursor: Option<&str>,
    ) -> Result<mpsc::Receiver<Event>, BrokerError>;

    /// What an invocation has reported so far, at most `limit` of the newest, oldest first.
    ///
    /// # Errors
    /// `NotFound`, `Expired`.
    async fn events(&self, id: InvocationId, limit: usize) -> Result<Vec<Event>, BrokerError>;

    /// Stops an invocation: at once when it waits, through its host when it runs.
    ///
    /// # Errors
    /// `NotFound`, `Expired`.
    async fn cancel(&self, id: InvocationId) -> Result<CancelResult, BrokerError>;

    /// Stops an invocation with all that it has called, and what that has called. A part of them has been stopped when this
    /// returns; the rest is stopped in bounded steps, as long as a host lives. It calls nothing new from now on.
    ///
    /// # Errors
    /// `NotFound`, `Expired`.
    async fn cancel_with_children(&self, id: InvocationId) -> Result<CancelResult, BrokerError>;

    /// A page of the invocations that a filter asks for, bounded in what it looks at: it may be short or empty and
    /// not be the last. What is there from the first page to the last, and is asked for all that time, comes at least
    /// once. Each page is in the order of ids, which is about that of submission; the embedded engine's pages are so
    /// too among each other, and Redis' are not.
    ///
    /// # Errors
    /// `Invalid` for a cursor or a queue that is none.
    async fn list(&self, list: &List) -> Result<Listing, BrokerError>;

    /// What was handed in with an invocation. The input of one that has succeeded is kept no more.
    ///
    /// # Errors
    /// `NotFound`, `Expired`; the latter also for an input that is kept no more.
    async fn request(&self, id: InvocationId) -> Result<Request, BrokerError>;

    // ---- dead letters -------------------------------------------------------------------------
    //
    // What has failed for good is kept with its input, its trail and its reports for a time of its own, so many of
    // them at most.

    /// A page of dead letters, newest first, bounded in what it looks at: it may be short and not be the last.
    ///
    /// # Errors
    /// `Invalid` for a cursor that is none.
    async fn dead_letters(&self, list: &DeadList) -> Result<DeadPage, BrokerError>;

    /// One dead letter; none when the invocation is none, or no longer.
    async fn dead_letter(&self, id: InvocationId) -> Result<Option<DeadLetter>, BrokerError>;

    /// Says which invocation takes a dead letter's place, before it is submitted. Whoever is named first stays, so
    /// that a retry that is repeated is the same retry. None: there is no such dead letter.
    async fn claim_dead_letter(
        &self,
        id: InvocationId,
        successor: InvocationId,
    ) -> Result<Option<InvocationId>, BrokerError>;

    /// What the last attempt of a failure can be run again with, as its host wrote it. None: no host has, it has not failed
    /// for good, or no dead letters are kept.
    ///
    /// # Errors
    /// `NotFound`, `Expired`.
    async fn recording(&self, id: InvocationId) -> Result<Option<Bytes>, BrokerError>;

    /// Drops dead letters; how many of these there were. Their records go when their results would have.
    async fn drop_dead_letters(&self, ids: &[InvocationId]) -> Result<u64, BrokerError>;

    // ---- hosts --------------------------------------------------------------------------------

    /// Takes and leases up to `max` invocations in one step, or waits until there are some, `wait`
    /// is over, or `interrupt` is called. Also gives leases that have run out back to their queues,
    /// and quarantines what has killed its third host. From the first call on until it is dropped,
    /// this broker also does what falls due: what is scheduled is queued, what has not started in
    /// time expires, what is past its deadline fails.
    ///
    /// Must run to its end: a reservation whose answer is dropped is lost until its lease runs out.
    async fn reserve(&self, request: &Reserve) -> Result<Vec<Reserved>, BrokerError>;

    /// Makes a `reserve` of this host that waits return, possibly with invocations.
    async fn interrupt(&self, host: &HostId) -> Result<(), BrokerError>;

    /// Prolongs leases, and tells the store that the host lives.
    async fn renew(
        &self,
        host: &HostId,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Renewed, BrokerError>;

    /// Ends attempts, in order; one answer each: with an outcome, of which whoever waits is told in the
    /// same step, or by scheduling the next attempt.
    ///
    /// # Errors
    /// `Unavailable`; an output over the cap is written as a failure with `output_too_large`.
    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError>;

    /// Gives invocations back to the head of their queues without counting a crash. Stale leases are skipped.
    async fn release(&self, leases: &[Lease]) -> Result<(), BrokerError>;

    /// Keeps and pushes what an attempt reports.
    ///
    /// # Errors
    /// `StaleLease` when the attempt must stop.
    async fn record(&self, lease: &Lease, events: Vec<EventKind>) -> Result<(), BrokerError>;

    /// What this broker tells this host; the stream reconnects by itself and says so.
    async fn controls(&self, host: &HostId) -> Result<mpsc::Receiver<Control>, BrokerError>;

    /// Makes a host known, or known no more.
    async fn announce(&self, host: &HostInfo, is_leaving: bool) -> Result<(), BrokerError>;

    // ---- modules ------------------------------------------------------------------------------

    /// Stores a module's bytes under their digest. Bytes that are not admitted within an hour go.
    ///
    /// # Errors
    /// `TooLarge`.
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest, BrokerError>;

    /// A module's bytes.
    async fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, BrokerError>;

    /// Makes an admitted module callable and moves its name, in one step, under the lease of the admission.
    ///
    /// # Errors
    /// `StaleLease`, `VersionTaken`.
    async fn publish(&self, lease: &Lease, publication: Publication) -> Result<(), BrokerError>;

    /// Every name and version.
    async fn names(&self) -> Result<Vec<ModuleName>, BrokerError>;

    /// A module by name, version or digest.
    ///
    /// # Errors
    /// `NoModule`.
    async fn module(&self, module: &ModuleRef) -> Result<ModuleRecord, BrokerError>;

    /// Removes a name with all its versions, one version, or a digest with all names that point to
    /// it; and every module that no name points to any more.
    ///
    /// # Errors
    /// `NoModule`, `InUse`.
    async fn remove(&self, module: &ModuleRef) -> Result<(), BrokerError>;

    // ---- key-value stores ---------------------------------------------------------------------
    //
    // Every module name has one. A key that has expired, by the broker's clock, is not there: it is not
    // read, not listed, not counted, and does not stand in the way of a cap.

    /// The value of a key.
    ///
    /// # Errors
    /// `Invalid`.
    async fn kv_get(&self, module: &str, key: &str) -> Result<Option<Bytes>, BrokerError>;

    /// Sets a key, for `ttl` or for ever.
    ///
    /// # Errors
    /// `Invalid`, `KeyValueLimit`.
    async fn kv_set(
        &self,
        module: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), BrokerError>;

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// `Invalid`.
    async fn kv_delete(&self, module: &str, key: &str) -> Result<bool, BrokerError>;

    /// Adds to a whole number and returns the sum. A key that is not there counts as 0 and gets the
    /// `ttl`; one that is there keeps its own. Not to be repeated after `Unavailable`: it may have been done.
    ///
    /// # Errors
    /// `Invalid`, `KeyValueLimit`, `NotANumber`.
    async fn kv_increment(
        &self,
        module: &str,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, BrokerError>;

    /// Sets a key to `value` (none: removes it) if it has the value `expected` (none: is not there), in one
    /// step; whether it did. After `Unavailable` it may have been done, and the key tells.
    ///
    /// # Errors
    /// `Invalid`, `KeyValueLimit`.
    async fn kv_compare_and_set(
        &self,
        module: &str,
        key: &str,
        expected: Option<Bytes>,
        value: Option<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<bool, BrokerError>;

    /// At most `limit` keys (1,000 at most) that start with `prefix`, in the order of their bytes, after the
    /// key `after`. Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// `Invalid`.
    async fn kv_list(
        &self,
        module: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, BrokerError>;

    /// What a module's store holds.
    ///
    /// # Errors
    /// `Invalid`.
    async fn kv_stats(&self, module: &str) -> Result<KeyValueStats, BrokerError>;

    /// Removes all keys of a module; how many there were. Nothing else does: a store outlives its module.
    ///
    /// # Errors
    /// `Invalid`.
    async fn kv_clear(&self, module: &str) -> Result<u64, BrokerError>;

    // ---- schedules ----------------------------------------------------------------------------
    //
    // They fire as long as any process reserves: what falls due is done by the same tickers.

    /// Adds a schedule, or puts it in the place of the one of its name. That one's runs stay, whether it is paused
    /// stays, and its next time stays where the timing does.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `TooManySchedules`.
    async fn put_schedule(&self, schedule: &Schedule) -> Result<Put, BrokerError>;

    /// Every schedule, by name. One that cannot be read is left out.
    async fn schedules(&self) -> Result<Vec<ScheduleRecord>, BrokerError>;

    /// One schedule.
    ///
    /// # Errors
    /// `NoSchedule`.
    async fn schedule(&self, name: &str) -> Result<ScheduleRecord, BrokerError>;

    /// Removes a schedule. What it has submitted goes on.
    ///
    /// # Errors
    /// `NoSchedule`.
    async fn remove_schedule(&self, name: &str) -> Result<(), BrokerError>;

    /// Pauses a schedule, or resumes it. Times that pass meanwhile are left out; an interval counts from when it
    /// is resumed.
    ///
    /// # Errors
    /// `NoSchedule`.
    async fn set_schedule_paused(&self, name: &str, is_paused: bool) -> Result<(), BrokerError>;

    /// Submits now, as the invocation `id`, what a schedule would submit, paused or not, whatever runs. Its next time
    /// stays. The same id again is the same run.
    ///
    /// # Errors
    /// `NoSchedule`, `NoModule`, `NoTask`, `Overloaded`.
    async fn run_schedule(&self, name: &str, id: InvocationId) -> Result<(), BrokerError>;

    // ---- operations ---------------------------------------------------------------------------

    /// Each queue that was ever used, with what waits in it.
    async fn queues(&self) -> Result<Vec<QueueStats>, BrokerError>;

    /// Each host that lives.
    async fn hosts(&self) -> Result<Vec<HostInfo>, BrokerError>;

    /// Each limit that is set, by scope.
    async fn limits(&self) -> Result<Vec<Limited>, BrokerError>;

    /// Sets the limit of a scope, in place of the one that it has; none removes it. It holds from now on.
    async fn set_limit(&self, scope: &LimitScope, limit: Option<&Limit>)
    -> Result<(), BrokerError>;

    /// Keeps the results of what is handed in to a queue from now on for so long, where the caller says nothing; none: as
    /// long as results are kept by default. `queues` tells.
    ///
    /// # Errors
    /// `Invalid` for a queue's name that is none, or a time of less than a millisecond.
    async fn set_result_ttl(&self, queue: &str, ttl: Option<Duration>) -> Result<(), BrokerError>;

    /// Moves what waits in a queue for a host, what a limit holds back and a paused task included, to the end of another:
    /// one step, bounded. What comes before goes first; a bound on what may wait there does not hold for it. `cursor` is
    /// that of the step before; none for the first.
    ///
    /// # Errors
    /// `Invalid` for names that are none, the hosts' own queue, twice the same one, and a cursor that is none.
    async fn move_queued(
        &self,
        from: &str,
        to: &str,
        cursor: Option<&str>,
    ) -> Result<MoveStep, BrokerError>;

    /// Moves these, as far as they wait in the one queue (for a host, a time or others), to the end of the other, in
    /// this order; how many. With `with_running`, what runs too: it goes on, and comes back to the other queue. At most
    /// `MAX_MOVED`.
    ///
    /// # Errors
    /// `Invalid` as by `move_queued`, and for more than that.
    async fn move_these(
        &self,
        from: &str,
        to: &str,
        ids: &[InvocationId],
        with_running: bool,
    ) -> Result<u64, BrokerError>;

    /// Has `queues` leave out a queue in which nothing waits, until it is used again; whether it does.
    async fn forget_queue(&self, queue: &str) -> Result<bool, BrokerError>;

    /// Has no host take anything from a queue, or a host take nothing, or no host start a task, until `resume`; whether
    /// it was not paused already. What runs goes on. A paused queue wakes nobody. What waits of a paused task stands aside,
    /// as what a limit holds back does, and is in nobody's way.
    ///
    /// # Errors
    /// `Invalid` for a name of a queue or task that is none.
    async fn pause(&self, what: &Pausable) -> Result<bool, BrokerError>;

    /// Ends a pause; whether it was paused. What waits is taken at once.
    async fn resume(&self, what: &Pausable) -> Result<bool, BrokerError>;

    /// Everything that is paused, in order.
    async fn paused(&self) -> Result<Vec<Paused>, BrokerError>;

    /// Tells a host something, which comes out of its `controls`; false when it does not listen at this moment.
    async fn tell(&self, host: &HostId, word: Control) -> Result<bool, BrokerError>;

    /// What is right and wrong with the store's set-up, for `celeriac doctor`.
    async fn check(&self) -> Result<Vec<Check>, BrokerError>;
}

/// Invocations in one chunk of a batch: a script of this size holds the server for about two milliseconds.
pub const MAX_CHUNK: usize = 500;

/// Bytes of input in one chunk, unless a single one is larger.
pub const MAX_CHUNK_BYTES: usize = 4 << 20;

/// Refuses a batch that is more than one chunk.
pub(crate) fn check_chunk(batch: &[Submission]) -> Result<(), BrokerError> {
    let bytes: usize = batch
        .iter()
        .map(|submission| submission.input.data.len())
        .sum();
    if batch
        .iter()
        .any(|submission| !submission.options.stands_alone())
    {
        let expected =
            "invocations that wait for no others and have neither callbacks nor keys: use `submit`";
        return Err(BrokerError::invalid(
            "batch",
            "what is accepted whole",
            expected,
        ));
    }
    if batch.len() <= 1 || (batch.len() <= MAX_CHUNK && bytes <= MAX_CHUNK_BYTES) {
        return Ok(());
    }
    let got = format!("{} invocations with {bytes} bytes", batch.len());
    let expected = format!("at most {MAX_CHUNK} with {MAX_CHUNK_BYTES} bytes: split it");
    Err(BrokerError::invalid("batch", &got, expected))
}

/// The most that a broker takes: payloads in bytes, and what a module may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Caps {
    /// An input.
    pub input_bytes: u64,
    /// An output.
    pub output_bytes: u64,
    /// A module.
    pub module_bytes: u64,
    /// The keys in one module's key-value store, together.
    #[serde(default = "kv_keys")]
    pub kv_keys: u64,
    /// The keys and values in one module's key-value store, together.
    #[serde(default = "kv_bytes")]
    pub kv_bytes: u64,
}

/// 100,000 keys: listed in a hundred pages, cleared in a moment.
fn kv_keys() -> u64 {
    100_000
}

/// 64 MiB: a hundred modules still fit a small machine's memory.
fn kv_bytes() -> u64 {
    64 << 20
}

impl Default for Caps {
    /// 8 MiB of input and output: eight full leases still fit a small machine's memory. 32 MiB of
    /// module: a Python component has 18 MiB.
    fn default() -> Self {
        Self {
            input_bytes: 8 << 20,
            output_bytes: 8 << 20,
            module_bytes: 32 << 20,
            kv_keys: kv_keys(),
            kv_bytes: kv_bytes(),
        }
    }
}

impl Caps {
    /// Refuses an input that is too large.
    pub(crate) fn check_input(&self, bytes: usize) -> Result<(), BrokerError> {
        fits("input", bytes, self.input_bytes, "caps.input")
    }

    /// Refuses a module that is too large.
    pub(crate) fn check_module(&self, bytes: usize) -> Result<(), BrokerError> {
        fits("module", bytes, self.module_bytes, "caps.module")
    }
}

fn fits(
    what: &'static str,
    bytes: usize,
    limit: u64,
    setting: &'static str,
) -> Result<(), BrokerError> {
    let bytes = bytes as u64;
    if bytes <= limit {
        return Ok(());
    }
    Err(BrokerError::TooLarge {
        what,
        bytes,
        limit,
        setting,
    })
}

/// A queue and what waits in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueStats {
    /// The queue.
    pub queue: String,
    /// Invocations that wait for a host.
    pub queued: u64,
    /// Invocations that wait for others.
    #[serde(default)]
    pub blocked: u64,
    /// Invocations that wait for a time.
    #[serde(default)]
    pub scheduled: u64,
    /// Invocations that run.
    pub running: u64,
    /// How long the oldest has waited, in milliseconds.
    pub oldest_ms: u64,
    /// How many hosts have taken from it since it was first used: two looks tell the rate.
    #[serde(default)]
    pub taken: u64,
    /// How long its results are kept unless the caller says otherwise, in milliseconds; none: as by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_ttl_ms: Option<u64>,
}

/// What must hold before the result TTL of a queue is set; in milliseconds.
pub(crate) fn check_result_ttl(
    queue: &str,
    ttl: Option<Duration>,
) -> Result<Option<u64>, BrokerError> {
    check_name("queue", queue)?;
    let Some(ttl) = ttl else { return Ok(None) };
    match u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) {
        0 => Err(BrokerError::invalid(
            "result TTL",
            "0",
            "at least a millisecond",
        )),
        ms => Ok(Some(ms)),
    }
}

/// A host as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostInfo {
    /// Random at each start.
    pub host: HostId,
    /// The machine.
    pub machine: String,
    /// The process.
    pub pid: u32,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How many invocations it runs at once.
    pub concurrency: u32,
    /// How many it could: its pool was built for so many. 0: it does not say.
    #[serde(default)]
    pub ceiling: u32,
    /// Whether it takes nothing more and ends when what it runs has ended.
    #[serde(default)]
    pub is_draining: bool,
    /// The program's version.
    pub version: String,
    /// When it started, by its own clock: milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Invocations that it holds leases on.
    #[serde(default)]
    pub running: u64,
    /// When it was last heard of, in milliseconds before now.
    #[serde(default)]
    pub seen_ms_ago: u64,
}

/// One finding of `Broker::check`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty when all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, with a risk that the operator should know.
    Warning,
    /// Must be changed.
    Bad,
}
