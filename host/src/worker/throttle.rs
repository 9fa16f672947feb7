//! Runs fewer invocations at once than the pool was built for, when an operator wants that: withholds slots.

use std::sync::Arc;

use celeriac_broker::{Broker, HostInfo};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
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
            let is_short = withheld.len() < fewer;
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = wanted.changed() => if changed.is_err() { return },
                permit = self.slots.clone().acquire_owned(), if is_short => match permit {
                    Ok(permit) => withheld.push(permit),
                    Err(_) => return,
                },
            }
        }
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
