//! What one invocation reports, as a stream that ends when the invocation does.

use std::{collections::VecDeque, sync::Arc};

use celeriac_broker::{Broker, Event, EventKind, Progress};
use tokio::sync::mpsc;

use crate::{Error, Handle};

/// Events read back from the store when an invocation ends, to catch what the push had not delivered yet.
const TAIL: usize = 1000;

/// What one invocation reports, from the oldest kept until its end.
#[derive(Debug)]
pub struct Events<'a> {
    broker: Arc<dyn Broker>,
    handle: &'a Handle,
    live: mpsc::Receiver<Event>,
    /// The last event handed out.
    cursor: Option<String>,
    /// What was left when the invocation ended; none while it has not.
    tail: Option<VecDeque<Event>>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        handle: &'a Handle,
        live: mpsc::Receiver<Event>,
        cursor: Option<String>,
    ) -> Self {
        Self {
            broker,
            handle,
            live,
            cursor,
            tail: None,
        }
    }

    /// The next event, or none once the invocation has ended and every event was handed out.
    ///
    /// # Errors
    /// `Error::Broker` when the broker does not answer.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if self.tail.is_none() {
            tokio::select! {
                biased;
                Some(event) = self.live.recv() => {
                    self.cursor = Some(event.cursor.clone());
                    return Ok(Some(event));
                }
                ended = self.handle.outcome() => ended?,
            };
            self.tail = Some(self.read_tail().await?);
        }
        Ok(self.tail.as_mut().and_then(VecDeque::pop_front))
    }

    /// The next progress report, skipping logs and partial results.
    ///
    /// # Errors
    /// As `next`.
    pub async fn next_progress(&mut self) -> Result<Option<Progress>, Error> {
        while let Some(event) = self.next().await? {
            if let EventKind::Progress(progress) = event.kind {
                return Ok(Some(progress));
            }
        }
        Ok(None)
    }

    async fn read_tail(&self) -> Result<VecDeque<Event>, Error> {
        let mut kept: VecDeque<Event> = self.broker.events(self.handle.id(), TAIL).await?.into();
        let seen = kept
            .iter()
            .position(|event| Some(&event.cursor) == self.cursor.as_ref());
        kept.drain(..seen.map_or(0, |index| index + 1));
        Ok(kept)
    }
}
