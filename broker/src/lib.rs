//! The invocation model of Celeriac and the broker that moves invocations through their states.
//!
//! A client *submits* an invocation; it is *queued*. A host *reserves* it: takes and leases it in one
//! step, with a token that fences every later write. While it runs the host *renews* the lease; in
//! the end it *settles* it: the outcome is written once and pushed to whoever awaits it. A lease that
//! runs out (its host died) sends the invocation back to its queue.
//!
//! # Layout
//! - [`Broker`]: the trait; [`redis`] and [`embedded`] implement it.
//! - the model: [`InvocationId`], [`TaskRef`], [`Payload`], [`Submission`], [`Reserved`], [`Outcome`], [`Status`].
//! - decisions: [`RetryPolicy`], [`Turns`].

mod broker;
mod callback;
mod connect;
mod dead;
mod defaults;
mod dependency;
mod digest;
pub mod embedded;
mod error;
mod event;
mod id;
mod invocation;
mod kv;
mod limit;
mod listing;
mod manifest;
mod module;
mod more;
mod moving;
mod name;
mod once;
#[cfg(feature = "openapi")]
mod openapi;
mod outcome;
mod pause;
mod payload;
mod priority;
pub mod redis;
mod reference;
mod retry;
mod schedule;
mod simulation;
mod span;
#[cfg(feature = "testing")]
pub mod testing;
mod turns;
mod verdict;
mod when;

pub use self::{
    broker::{Broker, Caps, Check, HostInfo, MAX_CHUNK, MAX_CHUNK_BYTES, QueueStats, Verdict},
    callback::{Callback, Target, WEBHOOK_TASK, Webhook},
    connect::{StoreOptions, connect, connect_with, require_fit},
    dead::{DeadFilter, DeadLetter, DeadLetters, DeadList, DeadPage, Request, Retry},
    defaults::TaskDefaults,
    dependency::{After, MAX_CHAIN, MAX_DEPENDENTS, MAX_PARENTS, On, OnUnmet},
    digest::Digest,
    error::BrokerError,
    event::{Control, Event, EventKind, LogRecord, Progress, Reply},
    id::{InvocationId, Namespace},
    invocation::{
        CancelResult, ClientId, DEFAULT_QUEUE, Ending, Header, HostId, Lease, MAX_DEPTH, Options,
        Parent, Renewed, Reserve, Reserved, SYSTEM_QUEUE, Settled, Settlement, State, Status,
        Submission, Token,
    },
    kv::{
        KeyValueStats, MAX_KEY_BYTES, MAX_PAGE, MAX_VALUE_BYTES, TOKEN_STORE, check_key,
        check_module,
    },
    limit::{Limit, LimitScope, Limited, Rate},
    listing::{Filter, List, Listing, MAX_LISTED, TaskFilter},
    manifest::{
        Admitted, Finding, Manifest, Need, TaskInfo, TaskOptions, Ungranted, UngrantedNeed,
        UploadReport,
    },
    module::{Admit, ModuleName, ModuleRecord, Publication},
    moving::{MAX_MOVED, MoveStep},
    name::{BUILT_IN_MODULE, MAX_NAME_BYTES, ModuleRef, TaskRef, check_name},
    once::{OnConflict, Scope, Unique},
    outcome::{Code, Failure, LimitHit, Outcome, OutcomeHead, Usage},
    pause::{Pausable, Paused},
    payload::{JSON, Payload},
    priority::Priority,
    reference::Reference,
    retry::{Attempt, Backoff, RetryPolicy, follow, random_unit},
    schedule::{
        CatchUp, MAX_SCHEDULE_INPUT, MAX_SCHEDULES, Overlap, Put, RUNS_KEPT, Run, RunResult,
        Schedule, ScheduleRecord, Timing,
    },
    turns::{Served, Turns},
    when::When,
};
