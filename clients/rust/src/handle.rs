//! One invocation as its submitter, or anybody with its id, holds it.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{CancelResult, InvocationId, Outcome, Progress, Status};
use futures_util::{Stream, TryStreamExt, future::join_all, stream};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{Client, Error, Events, TaskFailed, mailbox::Slot};

/// One invocation. Dropping the handle abandons the await and leaves the invocation running.
#[derive(Debug)]
pub struct Handle {
    client: Client,
    id: InvocationId,
    slot: Arc<Slot>,
    /// Whether the outcome is pushed here without being asked for.
    is_subscribed: bool,
}

impl Handle {
    /// A handle on an invocation that this client submits: its outcome is pushed here without being asked for.
    pub(crate) fn submitted(client: Client, id: InvocationId) -> Self {
        Self::new(client, id, true)
    }

    pub(crate) fn foreign(client: Client, id: InvocationId) -> Self {
        let handle = Self::new(client, id, false);
        handle.accept();
        handle
    }

    /// Notes that the broker has the invocation.
    pub(crate) fn accept(&self) {
        self.slot.accept();
    }

    fn new(client: Client, id: InvocationId, is_subscribed: bool) -> Self {
        let slot = client.shared.mailbox.register(id);
        Self {
            client,
            id,
            slot,
            is_subscribed,
        }
    }

    /// The id, with which any process can get this handle again.
    pub fn id(&self) -> InvocationId {
        self.id
    }

    /// Where it stands.
    ///
    /// # Errors
    /// `Error::Broker`, with `NotFound` and `Expired` told apart.
    pub async fn status(&self) -> Result<Status, Error> {
        Ok(self.client.shared.broker.status(self.id).await?)
    }

    /// The outcome if it is known here already; asks nobody.
    pub fn peek(&self) -> Option<Arc<Outcome>> {
        self.slot.peek().and_then(Result::ok)
    }

    /// Awaits the end, whatever it is.
    ///
    /// # Errors
    /// `Error::Broker` when the invocation is not known.
    pub async fn outcome(&self) -> Result<Arc<Outcome>, Error> {
        if !self.is_subscribed && self.slot.peek().is_none() {
            let shared = &self.client.shared;
            let client = shared.mailbox.open().await?;
            if let Some(outcome) = shared.broker.outcome(self.id, Some(&client)).await? {
                self.slot.fill(Ok(outcome));
            }
        }
        Ok(self.slot.wait().await?)
    }

    /// Awaits the output.
    ///
    /// # Errors
    /// `Error::Failed` when the task did not succeed, `Error::Decode` when the output is not an `O`.
    pub async fn result<O: DeserializeOwned>(&self) -> Result<O, Error> {
        let outcome = self.outcome().await?;
        let failed = |failure| {
            Error::Failed(Box::new(TaskFailed {
                id: self.id,
                code: outcome.code,
                failure,
                usage: outcome.usage.clone(),
            }))
        };
        match (&outcome.output, &outcome.failure) {
            (Some(output), _) => output.parse().map_err(|error| Error::Decode {
                id: self.id,
                reason: error.to_string(),
            }),
            (None, failure) => Err(failed(failure.clone().unwrap_or_default())),
        }
    }

    /// Awaits the output for at most `patience`.
    ///
    /// # Errors
    /// As `result`, and `Error::TimedOut`; the invocation then goes on.
    pub async fn result_within<O: DeserializeOwned>(&self, patience: Duration) -> Result<O, Error> {
        timeout(patience, self.result())
            .await
            .unwrap_or(Err(Error::TimedOut {
                id: self.id,
                waited: patience,
            }))
    }

    /// What it reports: progress, logs and partial results, from the oldest kept until its end.
    ///
    /// # Errors
    /// `Error::Broker` when the invocation is not known.
    pub async fn events(&self) -> Result<Events<'_>, Error> {
        self.events_after(None).await
    }

    /// What it reports after the event with this cursor: to go on where another reader stopped.
    ///
    /// # Errors
    /// `Error::Broker` when the invocation is not known, or the cursor is not one.
    pub async fn events_after(&self, cursor: Option<&str>) -> Result<Events<'_>, Error> {
        let broker = &self.client.shared.broker;
        let live = broker.watch(self.id, cursor).await?;
        Ok(Events::new(
            broker.clone(),
            self,
            live,
            cursor.map(str::to_owned),
        ))
    }

    /// How far it comes, as it says so; the stream ends when the invocation does.
    ///
    /// ```no_run
    /// # async fn demo(handle: celeriac_client::Handle) -> Result<(), celeriac_client::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut progress = std::pin::pin!(handle.progress());
    /// while let Some(progress) = progress.try_next().await? {
    ///     println!("{} of {}", progress.done, progress.total);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn progress(&self) -> impl Stream<Item = Result<Progress, Error>> + '_ {
        stream::once(self.events())
            .map_ok(|events| {
                stream::try_unfold(events, |mut events| async move {
                    Ok(events
                        .next_progress()
                        .await?
                        .map(|progress| (progress, events)))
                })
            })
            .try_flatten()
    }

    /// Stops it: at once when it waits, within milliseconds when it runs.
    ///
    /// # Errors
    /// `Error::Broker` when the invocation is not known.
    pub async fn cancel(&self) -> Result<CancelResult, Error> {
        Ok(self.client.shared.broker.cancel(self.id).await?)
    }

    /// Stops it with all that it has called, and what that has called; see `Broker::cancel_with_children`.
    ///
    /// # Errors
    /// `Error::Broker`, with `NotFound` and `Expired` told apart.
    pub async fn cancel_with_children(&self) -> Result<CancelResult, Error> {
        let broker = &self.client.shared.broker;
        Ok(broker.cancel_with_children(self.id).await?)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.client.shared.mailbox.forget(self.id, &self.slot);
    }
}

/// Awaits many invocations and returns their outputs in the order of the handles.
pub async fn gather<O: DeserializeOwned>(handles: &[Handle]) -> Vec<Result<O, Error>> {
    join_all(handles.iter().map(Handle::result)).await
}
