//! What a running invocation tells those who watch it, and what a broker tells a host.

use serde::{Deserialize, Serialize};

use crate::{InvocationId, Outcome, Payload};

/// How far a task has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// Steps done, in the task's own unit.
    pub done: f64,
    /// Steps in all; 0 when the task does not know.
    pub total: f64,
    /// What it is at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// One log record of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogRecord {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text.
    pub message: String,
    /// Named values that belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<serde_json::Value>,
    /// `stdout` or `stderr` when it was printed rather than logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// What a running invocation reports. Kept in order, capped, dropped with the invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// How far it has come.
    Progress(Progress),
    /// A log record.
    Log(LogRecord),
    /// A partial result.
    Chunk(Payload),
}

/// A report with its place in the order and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Opaque and ascending: hand it to `Broker::watch` to go on after this event.
    pub cursor: String,
    /// By the broker's clock: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The attempt that reported it.
    pub attempt: u32,
    /// What it reported.
    pub kind: EventKind,
}

/// An outcome as it is pushed to a client that waits for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The invocation has ended; the outcome is there when it was small enough to push, else read it.
    Ended(InvocationId, Option<Box<Outcome>>),
    /// The connection was lost and is back: check every invocation that is still awaited.
    Reconnected,
}

/// What a broker tells one host without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Somebody wants this invocation stopped.
    Cancel(InvocationId),
    /// The connection was lost and is back: renew every lease now, to learn what was missed.
    Reconnected,
}
