//! Writes outcomes: what ends while one batch is on its way travels in the next.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{Broker, Settled, Settlement};
use tokio::{sync::mpsc, time::sleep};

use super::held::Held;

/// Most outcomes in one batch: a script that takes longer would delay every other host.
const MAX_BATCH: usize = 256;

/// Writes outcomes until every sender is gone.
#[derive(Debug)]
pub(crate) struct Settler {
    pub(crate) broker: Arc<dyn Broker>,
    /// The renewer keeps these leases alive while their outcomes wait for a broker that does not answer.
    pub(crate) held: Arc<Held>,
}

impl Settler {
    /// The channel to a settler. Bounded, so that a broker that is slow to take outcomes slows the
    /// attempts down instead of filling memory.
    pub(crate) fn channel() -> (mpsc::Sender<Settlement>, mpsc::Receiver<Settlement>) {
        mpsc::channel(MAX_BATCH * 4)
    }

    pub(crate) async fn run(self, mut ended: mpsc::Receiver<Settlement>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while ended.recv_many(&mut batch, MAX_BATCH).await > 0 {
            self.settle(std::mem::take(&mut batch)).await;
        }
    }

    /// Tries until the broker answers: an outcome is given up only when the lease is gone.
    async fn settle(&self, batch: Vec<Settlement>) {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.broker.settle(batch.clone()).await {
                Ok(answers) => {
                    for (settlement, answer) in batch.iter().zip(answers) {
                        self.close(settlement, answer);
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, outcomes = batch.len(), "outcomes are written again shortly");
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    fn close(&self, settlement: &Settlement, answer: Settled) {
        self.held.remove(&settlement.lease);
        if answer == Settled::Stale {
            tracing::info!(invocation = %settlement.lease.id, "the outcome was refused: the lease had been lost");
        }
    }
}
