//! Dead letters: invocations that have failed for good, kept longer than a result, to be looked at, retried or dropped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Code, InvocationId, ModuleRef, Options, Payload, Status, Submission, TaskFilter, TaskRef,
};

/// How long dead letters are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// For how long.
    pub ttl: Duration,
    /// How many at most: the oldest go first. 0: none.
    pub most: u64,
}

impl Default for DeadLetters {
    /// A week, in which somebody looks, and 10,000: whole inputs are kept with them.
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(7 * 86_400),
            most: 10_000,
        }
    }
}

/// Which dead letters are asked for. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DeadFilter {
    /// Their task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskFilter>,
    /// Their queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What they failed with; empty: anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<Code>,
    /// Failed at this moment or later: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Failed before this moment: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

impl DeadFilter {
    /// Whether a letter of this status is asked for. The engines look at the time themselves.
    pub(crate) fn admits(&self, status: &Status) -> bool {
        let code = status.outcome.as_ref().map(|head| head.code);
        let is_code = self.codes.is_empty() || code.is_some_and(|code| self.codes.contains(&code));
        let is_queue = self
            .queue
            .as_ref()
            .is_none_or(|queue| *queue == status.queue);
        is_code && is_queue && self.task.as_ref().is_none_or(|task| task.is(&status.task))
    }
}

/// One page of dead letters, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeadList {
    /// What is asked for.
    pub filter: DeadFilter,
    /// The `cursor` of the page before; none for the first.
    pub cursor: Option<String>,
    /// The most letters on the page, up to `MAX_LISTED`.
    pub limit: usize,
}

/// A dead letter in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// When it failed for good, by the broker's clock: milliseconds since the Unix epoch.
    pub died_at_ms: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub status: Status,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadPage {
    /// Those that were found, newest first.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins. A page may be short, or empty, and not be the last: only none means that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What was handed in with an invocation.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to run.
    pub task: TaskRef,
    /// What to run it on.
    pub input: Payload,
    /// How.
    pub options: Options,
}

/// How a dead letter is retried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retry {
    /// What to run it on instead of its own input.
    pub input: Option<Payload>,
    /// Whether it runs what its task's name points to now, instead of the module that failed.
    pub is_latest: bool,
}

impl Retry {
    /// The invocation `id` that takes the place of `old`, of which `status` and `request` tell. Times and what it
    /// waited for are not taken over: they have passed.
    pub fn submission(self, id: InvocationId, status: &Status, request: Request) -> Submission {
        let mut task = request.task;
        if let (false, Some(digest)) = (self.is_latest, status.module) {
            let name = match task.module {
                ModuleRef::Name(name) | ModuleRef::Version(name, _) => Some(name),
                ModuleRef::Digest(name, _) => name,
            };
            task.module = ModuleRef::Digest(name, digest);
        }
        let options = Options {
            // The task's own queue may be another one by now; it stays where it was.
            queue: Some(status.queue.clone()),
            start: None,
            expires: None,
            deadline: None,
            after: Vec::new(),
            retry_of: Some(status.id),
            ..request.options
        };
        Submission {
            id,
            task,
            input: self.input.unwrap_or(request.input),
            options,
            reply_to: None,
        }
    }
}
