//! Turns concurrent submits into batches: what arrives while one request is under way travels in the next.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{Broker, BrokerError, InvocationId, Submission};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::Error;

/// Most submissions in one batch: a script that takes longer would delay every other client.
const MAX_BATCH: usize = 512;

/// The ids of what was accepted, or the first refusal.
type Answer = Result<Vec<InvocationId>, BrokerError>;

/// Invocations that travel together, in order, and where their answer goes.
type Request = (Vec<Submission>, oneshot::Sender<Answer>);

/// The sending half; the task behind it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Submitter {
    requests: mpsc::Sender<Request>,
}

impl Submitter {
    pub(crate) fn start(broker: Arc<dyn Broker>, patience: Duration) -> Self {
        // Bounded: a caller that submits faster than the broker takes waits here instead of filling memory.
        let (requests, receiver) = mpsc::channel(MAX_BATCH * 2);
        tokio::spawn(run(broker, patience, receiver));
        Self { requests }
    }

    /// The id is another's where the broker knows the invocation under one of its keys.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<InvocationId, Error> {
        let id = submission.id;
        let ids = self.submit_all(vec![submission]).await?;
        Ok(ids.first().copied().unwrap_or(id))
    }

    /// Hands in many, in order; their ids, or the first refusal.
    pub(crate) async fn submit_all(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<InvocationId>, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send((submissions, answer))
            .await
            .map_err(|_| Error::Closed)?;
        Ok(answered.await.map_err(|_| Error::Closed)??)
    }
}

async fn run(broker: Arc<dyn Broker>, patience: Duration, mut requests: mpsc::Receiver<Request>) {
    let mut pending = Vec::with_capacity(MAX_BATCH);
    while requests.recv_many(&mut pending, MAX_BATCH).await > 0 {
        let (mut batch, mut answers) = (Vec::with_capacity(pending.len()), Vec::new());
        for (submissions, answer) in pending.drain(..) {
            answers.push((submissions.len(), answer));
            batch.extend(submissions);
        }
        let results = submit_with_patience(broker.as_ref(), batch, patience).await;
        let mut results = results.into_iter();
        for (count, answer) in answers {
            // All of them are taken, so that the next answer gets its own.
            let own: Vec<_> = results.by_ref().take(count).collect();
            let result = own.into_iter().collect();
            // A caller that has stopped waiting does not stop the invocation.
            let _ = answer.send(result);
        }
    }
}

/// Tries again while the broker does not answer. The ids stay the same, so that a batch whose answer
/// was lost is not accepted twice.
async fn submit_with_patience(
    broker: &dyn Broker,
    batch: Vec<Submission>,
    patience: Duration,
) -> Vec<Result<InvocationId, BrokerError>> {
    let answers = patiently(patience, || broker.submit(batch.clone())).await;
    answers.unwrap_or_else(|error| batch.iter().map(|_| Err(error.clone())).collect())
}

/// Makes a request again while the broker does not answer.
pub(crate) async fn patiently<T, F>(
    patience: Duration,
    request: impl Fn() -> F,
) -> Result<T, BrokerError>
where
    F: Future<Output = Result<T, BrokerError>>,
{
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(20);
    loop {
        match request().await {
            Err(error) if error.is_transient() && Instant::now() + pause < deadline => {
                tracing::debug!(%error, "submit is tried again");
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            result => return result,
        }
    }
}
