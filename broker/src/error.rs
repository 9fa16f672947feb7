//! What can go wrong between a program and its broker.

use crate::{InvocationId, ModuleRef, TaskRef};

/// What can go wrong between a program and its broker. Each message says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Something that a person wrote does not have the form it must have.
    #[error("{what} `{got}` is not valid: expected {expected}")]
    Invalid {
        /// What is not valid.
        what: &'static str,
        /// What was written, cut to a readable length.
        got: String,
        /// What would have been.
        expected: String,
    },
    /// No such invocation was ever accepted here.
    #[error("invocation {0} is not known here: check the id and the broker's address")]
    NotFound(InvocationId),
    /// The invocation was accepted here, but its record has been dropped.
    #[error(
        "invocation {0} was accepted here, but its record has expired: keep results longer with a larger result TTL"
    )]
    Expired(InvocationId),
    /// An invocation that another shall wait for is not there.
    #[error(
        "invocation {0}, which this one shall wait for, is not known here, or its record has expired: submit it first, \
         or keep results longer with a larger result TTL"
    )]
    NoParent(InvocationId),
    /// The input of a dead letter refers to what another invocation came to, and that is not what it was to be.
    #[error(
        "invocation {parent}, to which the input of dead letter {letter} refers, {came_to}: the letter stays, and is retried \
         with edited input, such as `celeriac dead retry {letter} --input @fixed.json`"
    )]
    UnfitParent {
        /// The dead letter.
        letter: InvocationId,
        /// The parent.
        parent: InvocationId,
        /// What is the matter with it.
        came_to: &'static str,
    },
    /// No module has this name, version or digest.
    #[error(
        "there is no module `{0}`: `celeriac modules` lists what there is, `celeriac push FILE --name {0}` adds one"
    )]
    NoModule(ModuleRef),
    /// The module has no such task.
    #[error("there is no task `{0}`: `celeriac modules show {module}` lists the module's tasks", module = .0.module)]
    NoTask(TaskRef),
    /// The version points to another module already.
    #[error("{name} is {existing} already, and a version never moves: push under a new version")]
    VersionTaken {
        /// The version.
        name: ModuleRef,
        /// The digest that it points to.
        existing: crate::Digest,
    },
    /// The module cannot be removed yet.
    #[error(
        "{module} is in use by {invocations} unfinished invocations: wait for them or cancel them, then remove it"
    )]
    InUse {
        /// What was to be removed.
        module: ModuleRef,
        /// How many invocations refer to it.
        invocations: u64,
    },
    /// An idempotency key was used before, for something else.
    #[error(
        "idempotency key `{key}` belongs to invocation {existing}, which has another task or input: use a key for one thing only"
    )]
    IdempotencyConflict {
        /// The key.
        key: String,
        /// The invocation that has it.
        existing: InvocationId,
    },
    /// Another invocation holds the unique key.
    #[error(
        "unique key `{key}` is held by invocation {existing}: await that one, cancel it, or submit with another conflict policy"
    )]
    NotUnique {
        /// The key.
        key: String,
        /// The invocation that holds it.
        existing: InvocationId,
    },
    /// There is no schedule of this name.
    #[error("there is no schedule `{0}`: `celeriac schedules` lists what there is")]
    NoSchedule(String),
    /// There are as many schedules as there may be.
    #[error(
        "there are {0} schedules already, which is the most: remove some, or schedule one task that does more"
    )]
    TooManySchedules(usize),
    /// A payload is larger than the broker takes.
    #[error(
        "the {what} has {bytes} bytes and the limit is {limit}: make it smaller, or raise `{setting}`"
    )]
    TooLarge {
        /// `input`, `output` or `module`.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// The setting that raises the limit.
        setting: &'static str,
    },
    /// A queue takes no more. Nothing of this invocation was accepted; it is not tried again by itself, so that whoever
    /// submits can slow down.
    #[error(
        "queue `{queue}` is overloaded: {depth} invocations wait in it and {limit} may. Submit again when some have run, \
         have more hosts serve it, or raise the limit: `celeriac limits set queue:{queue} --max-queue N`"
    )]
    Overloaded {
        /// The queue.
        queue: String,
        /// How many wait.
        depth: u64,
        /// How many may.
        limit: u64,
    },
    /// A module's key-value store takes no more.
    #[error("the key-value store of module `{module}` takes at most {limit} {what}: {remedy}")]
    KeyValueLimit {
        /// The module.
        module: String,
        /// What there would be too many of: `keys`, `bytes of keys and values`, `bytes of one value`.
        what: &'static str,
        /// How many there may be.
        limit: u64,
        /// What to do.
        remedy: String,
    },
    /// A key cannot be counted up.
    #[error("key `{key}` cannot be incremented: {reason}")]
    NotANumber {
        /// The key.
        key: String,
        /// What is in the way.
        reason: &'static str,
    },
    /// The lease was lost: another host may hold the invocation.
    #[error(
        "the lease on invocation {0} is no longer held: its attempt must stop and write nothing"
    )]
    StaleLease(InvocationId),
    /// The server does not answer. Nothing is known about what it did with the last request.
    #[error("the broker at {address} does not answer: {reason}")]
    Unavailable {
        /// Where it should be, without credentials.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The server must not be used as it is set up.
    #[error("the broker at {address} cannot be used: {reason}; {remedy}")]
    Unfit {
        /// Where it is, without credentials.
        address: String,
        /// What is wrong.
        reason: String,
        /// What to change.
        remedy: String,
    },
    /// What is stored cannot be read.
    #[error("{what} is damaged in the store: {reason}")]
    Damaged {
        /// The record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl BrokerError {
    /// An `Invalid` error; `got` is cut to 80 characters.
    pub fn invalid(what: &'static str, got: &str, expected: impl Into<String>) -> Self {
        let got = match got.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", got.get(..end).unwrap_or_default()),
            None => got.to_owned(),
        };
        Self::Invalid {
            what,
            got,
            expected: expected.into(),
        }
    }

    /// The kind of error as one stable word: programs may compare it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::NotFound(_) => "not_found",
            Self::Expired(_) => "expired",
            Self::NoParent(_) | Self::UnfitParent { .. } => "no_parent",
            Self::IdempotencyConflict { .. } => "idempotency_conflict",
            Self::NotUnique { .. } => "not_unique",
            Self::Overloaded { .. } => "overloaded",
            Self::NoSchedule(_) => "no_schedule",
            Self::TooManySchedules(_) => "too_many_schedules",
            Self::NoModule(_) => "no_module",
            Self::NoTask(_) => "no_task",
            Self::VersionTaken { .. } => "version_taken",
            Self::InUse { .. } => "in_use",
            Self::TooLarge { .. } => "too_large",
            Self::KeyValueLimit { .. } => "key_value_limit",
            Self::NotANumber { .. } => "not_a_number",
            Self::StaleLease(_) => "stale_lease",
            Self::Unavailable { .. } => "unavailable",
            Self::Unfit { .. } => "unfit",
            Self::Damaged { .. } => "damaged",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
