//! Dead letters: invocations that have failed for good, kept longer than a result, to be looked at, retried or dropped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    After, Broker, BrokerError, Code, InvocationId, ModuleRef, Options, Payload, Reference, Status,
    Submission, TaskFilter, TaskRef,
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
    /// Names what takes the place of dead letter `id`, in the store and for good: `fresh`, or what an earlier retry that was not
    /// brought to its end has named. Whoever asks submits it and looks at the answer with `accepted`. None: there is no such
    /// dead letter.
    ///
    /// # Errors
    /// `UnfitParent`: its input refers to what has not come; `NotFound`, `Expired`, `Unavailable`.
    pub async fn claim(
        self,
        broker: &dyn Broker,
        id: InvocationId,
        fresh: InvocationId,
    ) -> Result<Option<Submission>, BrokerError> {
        let (status, request) = (broker.status(id).await?, broker.request(id).await?);
        let Some(successor) = broker.claim_dead_letter(id, fresh).await? else {
            return Ok(None);
        };
        let is_own_input = self.input.is_none();
        let parents = request.options.after.clone();
        let submission = self.submission(successor, &status, request);
        let code = status.outcome.as_ref().map(|head| head.code);
        let refers = is_own_input && !submission.options.after.is_empty();
        // To run it on the nulls of those that failed is for a person to say, with an input that does.
        if refers && code == Some(Code::DependencyFailed) {
            refuse_unmet(broker, id, &parents).await?;
        }
        Ok(Some(submission))
    }

    /// The invocation `id` that takes the place of `old`, of which `status` and `request` tell. Times are not taken over:
    /// they have passed. What it waited for is, where the input refers to it, and whatever that came to. Nor is its
    /// idempotency key, which stays with the letter, or the invocation that has called it, which has its answer.
    pub fn submission(self, id: InvocationId, status: &Status, request: Request) -> Submission {
        let mut task = request.task;
        if let (false, Some(digest)) = (self.is_latest, status.module) {
            let name = match task.module {
                ModuleRef::Name(name) | ModuleRef::Version(name, _) => Some(name),
                ModuleRef::Digest(name, _) => name,
            };
            task.module = ModuleRef::Digest(name, digest);
        }
        let input = self.input.unwrap_or(request.input);
        let after = match Reference::is_in(&input) {
            true => request.options.after.iter(),
            false => [].iter(),
        };
        let options = Options {
            // The task's own queue may be another one by now; it stays where it was.
            queue: Some(status.queue.clone()),
            start: None,
            expires: None,
            deadline: None,
            after: after.map(|parent| After::done(parent.id)).collect(),
            idempotency_key: None,
            parent: None,
            retry_of: Some(status.id),
            ..request.options
        };
        Submission {
            id,
            task,
            input,
            options,
            reply_to: None,
        }
    }

    /// What the submit of `claim`'s submission has come to: the id that stands in the letter's place, after which the letter
    /// may be dropped.
    ///
    /// # Errors
    /// Why it was refused, and the letter stays: `NotUnique` also where its conflict policy has it give way to another.
    pub fn accepted(
        submission: &Submission,
        answer: Result<InvocationId, BrokerError>,
    ) -> Result<InvocationId, BrokerError> {
        let letter = submission.options.retry_of.unwrap_or(submission.id);
        match answer {
            Ok(id) if id == submission.id => Ok(id),
            Ok(existing) => {
                let unique = submission.options.unique.as_ref();
                let key = unique.map(|unique| unique.key.clone()).unwrap_or_default();
                Err(BrokerError::NotUnique { key, existing })
            }
            Err(BrokerError::NoParent(parent)) => Err(unfit(letter, parent, GONE)),
            Err(error) => Err(error),
        }
    }
}

const GONE: &str = "is not known here any more";

/// Refuses a letter whose own failure was that a parent ended otherwise than it waited for: that does not change.
async fn refuse_unmet(
    broker: &dyn Broker,
    letter: InvocationId,
    parents: &[After],
) -> Result<(), BrokerError> {
    for parent in parents {
        let state = match broker.status(parent.id).await {
            Ok(status) => status.state,
            Err(BrokerError::NotFound(_) | BrokerError::Expired(_)) => {
                return Err(unfit(letter, parent.id, GONE));
            }
            Err(error) => return Err(error),
        };
        if state.is_terminal() && !parent.on.is_met(state) {
            let came_to = "has ended otherwise than was waited for";
            return Err(unfit(letter, parent.id, came_to));
        }
    }
    Ok(())
}

fn unfit(letter: InvocationId, parent: InvocationId, came_to: &'static str) -> BrokerError {
    BrokerError::UnfitParent {
        letter,
        parent,
        came_to,
    }
}
