//! Many invocations in one call, in chunks of which each is accepted whole or not at all.

use std::fmt;

use celeriac_broker::{MAX_CHUNK, MAX_CHUNK_BYTES, Payload, Submission};
use serde::Serialize;

use crate::{Call, Error, Handle, submitter::patiently};

/// Why a batch was not accepted to its end, and what was.
#[derive(Debug)]
pub struct BatchError {
    /// The invocations that were accepted, the first of the batch: they run. Nothing after them was accepted.
    pub accepted: Vec<Handle>,
    /// Why the next chunk was not.
    pub error: Error,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, error } = self;
        write!(
            f,
            "the first {} of the batch were accepted: {error}",
            accepted.len()
        )
    }
}

impl std::error::Error for BatchError {}

impl From<BatchError> for Error {
    fn from(batch: BatchError) -> Self {
        batch.error
    }
}

impl Call {
    /// Hands in any number of invocations, in order, in chunks of 500. Each chunk is accepted whole or not at all, and
    /// the first that is refused is the last that is tried: what was accepted is always a beginning of the batch.
    ///
    /// # Errors
    /// `BatchError` with what was accepted.
    pub async fn submit_batch<I: Serialize>(
        &self,
        inputs: impl IntoIterator<Item = I>,
    ) -> Result<Vec<Handle>, BatchError> {
        let (mut accepted, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
        for input in inputs {
            let payload = match self.payload(&input) {
                Ok(payload) => payload,
                Err(error) => return Err(BatchError { accepted, error }),
            };
            let size = payload.data.len();
            if !chunk.is_empty() && (chunk.len() >= MAX_CHUNK || bytes + size > MAX_CHUNK_BYTES) {
                self.submit_chunk(std::mem::take(&mut chunk), &mut accepted)
                    .await?;
                bytes = 0;
            }
            bytes += size;
            chunk.push(payload);
        }
        if !chunk.is_empty() {
            self.submit_chunk(chunk, &mut accepted).await?;
        }
        Ok(accepted)
    }

    async fn submit_chunk(
        &self,
        inputs: Vec<Payload>,
        accepted: &mut Vec<Handle>,
    ) -> Result<(), BatchError> {
        match self.try_chunk(inputs).await {
            Ok(handles) => {
                accepted.extend(handles);
                Ok(())
            }
            Err(error) => Err(BatchError {
                accepted: std::mem::take(accepted),
                error,
            }),
        }
    }

    async fn try_chunk(&self, inputs: Vec<Payload>) -> Result<Vec<Handle>, Error> {
        let shared = &self.client.shared;
        let reply_to = self.reply_to().await?;
        let mut handles = Vec::with_capacity(inputs.len());
        let batch = inputs.into_iter().map(|input| {
            let id = shared.broker.namespace().issue(0);
            // Registered before it is submitted: the reply may come before the submit returns.
            handles.push(self.handle(id));
            Submission {
                id,
                task: self.task.clone(),
                input,
                options: self.options.clone(),
                reply_to: reply_to.clone(),
            }
        });
        let batch: Vec<Submission> = batch.collect();
        // The ids stay the same, so that a chunk whose answer was lost is not accepted twice.
        let request = || shared.broker.submit_whole(batch.clone());
        patiently(shared.patience, request).await?;
        handles.iter().for_each(Handle::accept);
        Ok(handles)
    }
}
