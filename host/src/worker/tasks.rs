//! Other tasks that a guest has run: invocations like any other, handed in by the host in its name.
//!
//! Guests have threads without I/O: each call runs on the runtime that talks to the broker. A guest that waits gives its
//! place among those that run to others, so that parents that wait never keep their children from running.

use std::sync::Arc;

use async_trait::async_trait;
use celeriac_broker::{
    BrokerError, InvocationId, MAX_DEPTH, Options, Outcome, Parent, Payload, When,
};
use celeriac_client::{Client, Error, Handle};
use tokio::runtime;
use tokio_util::task::AbortOnDropHandle;

use super::{held::Stop, slot::Slot, translate};
use crate::engine::{self, AccessError, CallFailed, CalledTask, Tasks};

/// What a guest hears when the broker is the matter.
const UNAVAILABLE: &str = "the broker does not answer now; the same call may succeed later";

/// The calls of one attempt.
pub(crate) struct AttemptTasks {
    pub(crate) client: Client,
    pub(crate) runtime: runtime::Handle,
    /// The attempt's invocation.
    pub(crate) id: InvocationId,
    /// How deep it is itself below one that no task has called.
    pub(crate) depth: u32,
    pub(crate) slot: Arc<Slot>,
    pub(crate) stop: Stop,
}

impl AttemptTasks {
    fn check_depth(&self) -> Result<(), AccessError> {
        if self.depth < MAX_DEPTH {
            return Ok(());
        }
        Err(AccessError::Limit(format!(
            "tasks call tasks {MAX_DEPTH} deep at most, and this one is at the bottom: have a task further up do it"
        )))
    }

    /// Hands in what is called. `is_awaited`: its outcome is to come here.
    async fn hand_in(&self, called: CalledTask, is_awaited: bool) -> Result<Handle, AccessError> {
        // A lost lease: another host may run this invocation, and have the same called.
        if self.stop.is_lost() {
            return Err(AccessError::Unavailable(UNAVAILABLE.to_owned()));
        }
        self.check_depth()?;
        let call = self
            .client
            .task(&called.task)
            .map_err(|error| refused(&error))?;
        let call = call.options(Options {
            queue: called.queue,
            start: called.delay_ms.map(When::InMs),
            timeout_ms: called.timeout_ms,
            retries: called.retries,
            parent: Some(Parent {
                id: self.id,
                depth: self.depth + 1,
            }),
            ..Options::default()
        });
        let call = if is_awaited { call } else { call.detached() };
        let input = translate::payload(called.input);
        let submitting = async move { call.submit_payload(input).await };
        match self.runtime.spawn(submitting).await {
            Ok(submitted) => submitted.map_err(|error| refused(&error)),
            // The host is being taken down.
            Err(_) => Err(AccessError::Unavailable(UNAVAILABLE.to_owned())),
        }
    }
}

#[async_trait]
impl Tasks for AttemptTasks {
    async fn submit(&self, called: CalledTask) -> Result<String, AccessError> {
        let handle = self.hand_in(called, false).await?;
        Ok(handle.id().to_string())
    }

    async fn call(&self, called: CalledTask) -> Result<engine::Payload, CallFailed> {
        self.check_depth().map_err(CallFailed::Refused)?;
        if !self.slot.step_aside() {
            let message = "as many tasks of this host wait for others as may: try again later, or give the host a \
                           larger concurrency";
            return Err(CallFailed::Refused(AccessError::Limit(message.to_owned())));
        }
        let handle = self
            .hand_in(called, true)
            .await
            .map_err(CallFailed::Refused)?;
        let id = handle.id();
        let waiting = self.runtime.spawn(async move { handle.outcome().await });
        // A caller that is stopped waits no more.
        match AbortOnDropHandle::new(waiting).await {
            Ok(Ok(outcome)) => output(id, &outcome),
            Ok(Err(error)) => Err(CallFailed::Refused(refused(&error))),
            Err(_) => Err(CallFailed::Refused(AccessError::Unavailable(
                UNAVAILABLE.to_owned(),
            ))),
        }
    }
}

/// What an invocation came to, as its caller gets it.
fn output(id: InvocationId, outcome: &Outcome) -> Result<engine::Payload, CallFailed> {
    let failed = |kind: String, message: String, retryable| CallFailed::Failed {
        id: id.to_string(),
        code: outcome.code.to_string(),
        kind,
        message,
        retryable,
    };
    match (&outcome.output, &outcome.failure) {
        (Some(output), _) => {
            read(output).map_err(|message| failed("invalid-output".to_owned(), message, false))
        }
        (None, failure) => {
            let failure = failure.clone().unwrap_or_default();
            Err(failed(failure.kind, failure.message, failure.retryable))
        }
    }
}

fn read(output: &Payload) -> Result<engine::Payload, String> {
    translate::input(output.clone()).map_err(|outcome| {
        let failure = outcome.failure.unwrap_or_default();
        failure.message
    })
}

fn refused(error: &Error) -> AccessError {
    match error {
        Error::Broker(BrokerError::Unavailable { .. }) | Error::Closed => {
            AccessError::Unavailable(UNAVAILABLE.to_owned())
        }
        // Where the broker is and what is wrong with it is none of the guest's business.
        Error::Broker(BrokerError::Unfit { .. } | BrokerError::Damaged { .. }) => {
            tracing::warn!(%error, "a task cannot be handed in");
            AccessError::Unavailable(UNAVAILABLE.to_owned())
        }
        other => AccessError::Invalid(other.to_string()),
    }
}
