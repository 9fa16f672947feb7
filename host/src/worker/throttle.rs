//! Runs fewer invocations at once than the pool was built for, when an operator wants that: withholds slots.

use std::sync::Arc;

use celeriac_broker::{Broker, HostInfo};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Withholds slots. What runs is not disturbed: a slot is taken out when it becomes free.
#[derive(Debug)]
pub(crate) struct Throttle {
    pub(crate) broker: Arc<dyn Broker>,
    /// The host as it was announced.
    pub(crate) info: HostInfo,
    /// One permit for each slot of the pool.
    pub(crate) slots: Arc<Semaphore>,
}

impl Throttle {
    /// Follows `wanted` until `shutdown` is raised.
    pub(crate) async fn run(self, mut wanted: watch::Receiver<u32>, shutdown: CancellationToken) {
        let mut withheld: Vec<OwnedSemaphorePermit> = Vec::new();
        let mut announced = self.info.concurrency;
        loop {
            let count = (*wanted.borrow_and_update()).clamp(1, self.info.ceiling.max(1));
            if count != announced {
                self.announce(count).await;
                announced = count;
            }
            let fewer = self.info.ceiling.saturating_sub(count) as usize;
            withheld.truncate(fewer);
            let missing = fewer - withheld.len();
            let missing_permits = u32::try_from(missing).unwrap_or(u32::MAX);
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
                permits = self.withhold(missing_permits), if missing > 0 => match permits {
                    Ok(mut permits) => withheld.extend(std::iter::from_fn(|| permits.split(1)).take(missing)),
                    Err(_) => return,
                },
            }
        }
    }

    /// Takes so many slots out, all at once: one by one, the worker would take what lies between. Stands in line first,
    /// and then ends the wait of a worker that holds slots for what it may reserve.
    async fn withhold(&self, slots: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        let waiting = self.slots.clone().acquire_many_owned(slots);
        let interrupt = async {
            if let Err(error) = self.broker.interrupt(&self.info.host).await {
                tracing::warn!(%error, "slots are withheld when the worker's wait is over");
            }
        };
        let (permits, ()) = tokio::join!(biased; waiting, interrupt);
        permits
    }

    async fn announce(&self, concurrency: u32) {
        tracing::info!(
            concurrency,
            ceiling = self.info.ceiling,
            "an operator changed how many run at once"
        );
        let info = HostInfo {
            concurrency,
            ..self.info.clone()
        };
        if let Err(error) = self.broker.announce(&info, false).await {
            tracing::warn!(%error, "others see the former concurrency of this host");
        }
    }
}
