//! What every handler has at hand.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{Broker, Caps, InvocationId, Outcome};
use celeriac_client::{Client, ConnectOptions, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Options, body::Budget, input::Validators, problem::Problem, tokens::Tokens};

/// What JSON needs beside the payload in it.
const ENVELOPE: u64 = 64 << 10;

/// What every handler has at hand. One for a gateway.
#[derive(Debug)]
pub(crate) struct Api {
    /// The one client behind all requests: its one reply stream carries every await.
    pub(crate) client: Client,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) caps: Caps,
    pub(crate) tokens: Tokens,
    /// Whether requests need no token.
    pub(crate) is_open: bool,
    /// The origins whose pages may call.
    pub(crate) origins: Vec<String>,
    pub(crate) validators: Validators,
    pub(crate) bodies: Budget,
    /// Streams that may be open at once.
    streams: Arc<Semaphore>,
    /// The longest that a request waits for a result.
    patience: Duration,
    /// Ends what waits: the gateway goes.
    pub(crate) closing: CancellationToken,
}

impl Api {
    pub(crate) fn new(broker: Arc<dyn Broker>, options: &Options) -> Self {
        let caps = broker.caps();
        Self {
            client: Client::new(broker.clone(), ConnectOptions::default()),
            tokens: Tokens::new(broker.clone()),
            validators: Validators::new(broker.clone()),
            broker,
            caps,
            is_open: options.is_open,
            origins: options.origins.clone(),
            // One module must fit, whatever is set.
            bodies: Budget::new(options.body_bytes.max(caps.module_bytes + ENVELOPE)),
            streams: Arc::new(Semaphore::new(options.streams)),
            patience: options.wait,
            closing: CancellationToken::new(),
        }
    }

    /// The largest JSON body: an input as base64, and what is around it.
    pub(crate) fn json_cap(&self) -> u64 {
        self.caps.input_bytes.saturating_mul(4) / 3 + ENVELOPE
    }

    /// The right to one more open stream.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                "overloaded",
                "too many streams are open: close one, or have the operator raise `http.streams`",
            )
        })
    }

    /// The outcome, if there is one within `seconds`.
    pub(crate) async fn outcome(
        &self,
        handle: &Handle,
        seconds: f64,
    ) -> Result<Option<Arc<Outcome>>, Problem> {
        let patience = self.patience(seconds);
        if patience.is_zero() {
            return self.stored(handle.id()).await;
        }
        let ended = tokio::select! {
            ended = handle.outcome() => Some(ended?),
            () = tokio::time::sleep(patience) => None,
            () = self.closing.cancelled() => None,
        };
        match ended {
            None => self.stored(handle.id()).await,
            ended => Ok(ended),
        }
    }

    async fn stored(&self, id: InvocationId) -> Result<Option<Arc<Outcome>>, Problem> {
        Ok(self.broker.outcome(id, None).await?.map(Arc::new))
    }

    fn patience(&self, seconds: f64) -> Duration {
        let asked = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        asked.min(self.patience)
    }
}
