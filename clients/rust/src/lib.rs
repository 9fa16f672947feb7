//! The Rust client of Celeriac: submit invocations, and await results that are pushed, not polled.
//!
//! ```no_run
//! # async fn demo() -> Result<(), celeriac_client::Error> {
//! use celeriac_client::Client;
//!
//! let client = Client::connect("redis://127.0.0.1/").await?;
//! let sum: f64 = client.call("basics/add", &serde_json::json!({"a": 1, "b": 2})).await?;
//!
//! let handle = client.submit("images/thumbnail", &"…").await?;
//! println!("{} is {}", handle.id(), handle.status().await?.state);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`Client`]: connect, push, call, submit; cheap to clone, one for a process.
//! - [`Call`]: one task with its options, from `Client::task`.
//! - [`flow::Flow`]: invocations that wait for others, from `Client::flow`.
//! - [`Handle`]: one invocation: its status, result, events and end.
//! - `submitter` turns concurrent submits into batches; `mailbox` turns the one stream of replies into awaits.

mod batch;
mod call;
mod client;
mod dead;
mod error;
mod events;
pub mod flow;
mod handle;
mod listing;
mod mailbox;
mod modules;
mod moving;
mod schedules;
mod submitter;

pub use celeriac_broker as broker;
pub use celeriac_broker::{
    After, Attempt, Backoff, CancelResult, CatchUp, Code, DeadFilter, DeadLetter, DeadList,
    DeadPage, Failure, Filter, InvocationId, List, Listing, On, OnConflict, OnUnmet, Outcome,
    Overlap, Payload, Priority, Progress, Request, Retry, Schedule, ScheduleRecord, Scope, State,
    Status, Target, TaskFilter, Timing, Unique, Usage, When,
};

pub use self::{
    batch::BatchError,
    call::Call,
    client::{Client, ConnectOptions},
    dead::BulkDead,
    error::{Error, TaskFailed},
    events::Events,
    flow::Flow,
    handle::{Handle, gather},
    listing::BulkCancel,
    moving::{BulkMove, Move, Renamed},
    schedules::{Applied, Apply, Change, Schedules},
};
