//! The invocation: what a client submits, what a host reserves, what anybody can read about it.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    After, Attempt, Backoff, BrokerError, Callback, Digest, InvocationId, OnUnmet, Outcome,
    OutcomeHead, Payload, Priority, Progress, TaskRef, Unique, When, callback, check_name,
    dependency, once, priority::check_sharing_key,
};

/// The queue of everything that names no other.
pub const DEFAULT_QUEUE: &str = "default";

/// The queue of requests to the host itself, such as admitting a module. Every host serves it.
pub const SYSTEM_QUEUE: &str = "celeriac";

/// Where an invocation stands. Terminal states are written once and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Waits for other invocations.
    Blocked,
    /// Waits for a time.
    Scheduled,
    /// Waits for a host.
    Queued,
    /// A host holds its lease.
    Running,
    /// Ended with an output.
    Succeeded,
    /// Ended with a failure.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
    /// Ended because it was not started in time.
    Expired,
}

impl State {
    /// Whether the invocation has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired
        )
    }

    /// The state as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller may set for one invocation. Limits can lower what the operator allows, never raise it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The queue; without it the task's own, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Milliseconds of wall time for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Fuel for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Bytes of memory for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Attempts after the first one, whatever the task says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long to wait before each retry, whatever the task says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// The codes and kinds of failure that are retried; empty: as the task says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
    /// When it may start; without it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<When>,
    /// When it has expired unless it was started; without it as the task says, else never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<When>,
    /// When it fails unless it has ended, retries and all; without it as the task says, else never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<When>,
    /// What must have ended before it may start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// What becomes of it when one of these ends otherwise.
    #[serde(skip_serializing_if = "OnUnmet::is_fail")]
    pub on_unmet: OnUnmet,
    /// The invocation that has called it, where a task has. Set by hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// What follows its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Callback>,
    /// Milliseconds that the result is kept after the end; without it as the task says, else the broker's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_ttl_ms: Option<u64>,
    /// Makes submitting repeatable: the same key with the same task and input is the same invocation, until its result
    /// has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// That it is the only one with its key for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// What goes first within the queue; without it as the task says, else `normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whose it is, such as a tenant: within a queue and a band the keys that wait are served in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_key: Option<String>,
    /// The dead letter whose place it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<InvocationId>,
    /// What it shares a limit with, such as an account of some service: see `LimitScope::Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// The schedule that submitted it: set by schedules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Whether hosts keep what they answer the task, so that a failure can be replayed with the same answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
    /// Any other limit of one attempt, by the host's name for it, in its unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
}

impl Options {
    /// What must hold before an engine is asked.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<(), BrokerError> {
        if let Some(queue) = &self.queue {
            check_name("queue", queue)?;
        }
        if let Some(key) = &self.idempotency_key {
            once::check_key("idempotency key", key)?;
        }
        if let Some(unique) = &self.unique {
            unique.check()?;
        }
        if let Some(key) = &self.fairness_key {
            check_sharing_key("fairness key", key)?;
        }
        if let Some(key) = &self.concurrency_key {
            check_sharing_key("concurrency key", key)?;
        }
        if let Some(schedule) = &self.schedule {
            check_name("schedule name", schedule)?;
        }
        dependency::check(&self.after)?;
        callback::check(&self.callbacks)?;
        for (what, when) in [
            ("start", self.start),
            ("expiry", self.expires),
            ("deadline", self.deadline),
        ] {
            let Some(when) = when else { continue };
            when.check(what)?;
            if what != "start" && self.start.is_some_and(|start| when.never_after(start)) {
                let expected = "a time after the one that it may start at";
                return Err(BrokerError::invalid(what, &when.to_string(), expected));
            }
        }
        Ok(())
    }

    /// Whether it neither waits for others, nor is followed by callbacks, nor may turn out to be another.
    pub(crate) fn stands_alone(&self) -> bool {
        let has_keys = self.idempotency_key.is_some() || self.unique.is_some();
        self.after.is_empty() && self.callbacks.is_empty() && !has_keys
    }

    /// Whether the broker has to look at a clock for it.
    pub(crate) const fn has_times(&self) -> bool {
        self.start.is_some() || self.expires.is_some() || self.deadline.is_some()
    }
}

/// How deep tasks call tasks.
pub const MAX_DEPTH: u32 = 16;

/// The invocation that has called another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Which.
    pub id: InvocationId,
    /// How deep the one that it has called is: 1 below one that no task has called.
    pub depth: u32,
}

/// That an invocation calls others no more.
pub(crate) fn not_running(parent: InvocationId) -> BrokerError {
    let expected = "an invocation that runs, and is not to stop with all that it calls";
    BrokerError::invalid("parent", &parent.to_string(), expected)
}

/// One invocation as a client hands it in. Submitting the same id twice is submitting once.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// From `Namespace::issue`; a client that is unsure whether a submit arrived sends it again.
    pub id: InvocationId,
    /// What to run.
    pub task: TaskRef,
    /// What to run it on.
    pub input: Payload,
    /// How.
    pub options: Options,
    /// The client that the outcome is pushed to.
    pub reply_to: Option<ClientId>,
}

/// The immutable part of a stored invocation beside its input: one JSON document on every engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// What to run, as the caller wrote it.
    pub task: TaskRef,
    /// The input's content type.
    pub content_type: String,
    /// How to run it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Options,
}

fn is_default(options: &Options) -> bool {
    *options == Options::default()
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

text_id! {
    /// A host process: random at each start, so that a dead host's leases are never taken for a live one's.
    HostId
}
text_id! {
    /// A client process: random at each connect; names its reply stream.
    ClientId
}
text_id! {
    /// Fences one attempt: unique per reservation, required by every later write.
    Token
}

impl HostId {
    /// A random id, with a readable `name` (such as the machine's) in front.
    pub fn random(name: &str) -> Self {
        let name: String = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .take(32)
            .collect();
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self(format!("{name}-{}", random.get(..12).unwrap_or(&random)))
    }
}

impl ClientId {
    /// A random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }
}

/// A host's right to run one attempt, as reserved: the whole record comes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reserved {
    /// Which invocation.
    pub lease: Lease,
    /// What to run and how.
    pub header: Header,
    /// The module that the task's name pointed to when the invocation was accepted; none for built-in tasks.
    pub digest: Option<Digest>,
    /// What to run it on.
    pub input: Payload,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Hosts that died while they ran it: attempts that its retry policy does not count.
    pub crashes: u32,
    /// From when it might start to reserved, by the broker's clock.
    pub queued_for: Duration,
    /// When it was reserved, by the broker's clock: milliseconds since the Unix epoch.
    pub reserved_at_ms: u64,
    /// From reserved to the deadline of the whole invocation, by the broker's clock.
    pub remaining: Option<Duration>,
    /// The attempts that failed before this one.
    pub trail: Vec<Attempt>,
    /// Whether it was cancelled before it could be reserved again after a crash.
    pub is_cancelled: bool,
}

/// What a lease consists of: the invocation and the token that fences every later write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Which invocation.
    pub id: InvocationId,
    /// The fence.
    pub token: Token,
}

/// What a host asks for when it reserves.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// Who asks.
    pub host: HostId,
    /// The queues it serves, first come first; `SYSTEM_QUEUE` must be among them.
    pub queues: Vec<String>,
    /// How many of each queue are taken before the others had theirs, in the order of `queues`; what is left over goes
    /// to whoever can use it. A queue without a number has no such bound: empty is first come first.
    pub quotas: Vec<usize>,
    /// How many invocations at most; the caller holds as many pool slots.
    pub max: usize,
    /// How long each lease lasts unless renewed.
    pub lease: Duration,
    /// How long to wait when there is nothing. At most `lease`, so that a dead host's work is seen in time.
    pub wait: Duration,
}

/// What becomes of one attempt, under its lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The lease.
    pub lease: Lease,
    /// What becomes of it.
    pub ending: Ending,
    /// What a failure can be run again with: kept with the dead letter, if it becomes one.
    pub recording: Option<Bytes>,
}

/// What becomes of an attempt that has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The invocation has ended with it.
    Final(Outcome),
    /// Another attempt follows.
    Retry {
        /// How long it has to wait.
        pause: Duration,
        /// Every attempt that failed, this one included.
        trail: Vec<Attempt>,
        /// What the invocation ends with when somebody has asked to cancel it meanwhile.
        outcome: Outcome,
    },
}

impl Settlement {
    /// The invocation has come to `outcome`.
    pub const fn end(lease: Lease, outcome: Outcome) -> Self {
        Self {
            lease,
            ending: Ending::Final(outcome),
            recording: None,
        }
    }

    /// What the attempt came to.
    pub const fn outcome(&self) -> &Outcome {
        match &self.ending {
            Ending::Final(outcome) | Ending::Retry { outcome, .. } => outcome,
        }
    }
}

/// What anybody can read about an invocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// Which invocation.
    pub id: InvocationId,
    /// What was asked for.
    pub task: TaskRef,
    /// The module that runs or ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<Digest>,
    /// The queue.
    pub queue: String,
    /// Where it stands.
    pub state: State,
    /// When it was accepted, by the broker's clock: milliseconds since the Unix epoch.
    pub submitted_at_ms: u64,
    /// When it starts, while it is scheduled: milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<u64>,
    /// When it expires unless it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// When it fails unless it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at_ms: Option<u64>,
    /// The invocation that has called it, where a task has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// What it waits for, or has waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// Attempts started so far.
    pub attempts: u32,
    /// Hosts that died while they ran it.
    pub crashes: u32,
    /// The host that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The attempts that failed and were followed by another, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trail: Vec<Attempt>,
    /// Whether somebody asked for it to stop.
    pub is_cancel_requested: bool,
    /// The last progress that it reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The dead letter whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<InvocationId>,
    /// The outcome without its output, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeHead>,
}

/// What a cancel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CancelResult {
    /// It had not started: it is cancelled now.
    Cancelled,
    /// It runs: its host has been told.
    Requested,
    /// It had ended already.
    AlreadyEnded,
}

/// What `Broker::renew` found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renewed {
    /// Leases that are no longer held: their attempts must be stopped and write nothing.
    pub lost: Vec<InvocationId>,
    /// Invocations that somebody wants cancelled, in case the message about it was lost.
    pub cancelled: Vec<InvocationId>,
}

/// What `Broker::settle` did with one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The outcome is written, and pushed to whoever waits; or the next attempt is.
    Written,
    /// The lease was no longer held; nothing was written.
    Stale,
}
