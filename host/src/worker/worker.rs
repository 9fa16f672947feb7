//! The reserve loop: takes pool slots, then as many invocations, and starts an attempt for each.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use celeriac_broker::{Broker, BrokerError, HostId, Reserve, Reserved, Turns};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{attempt::Attempts, held::Held};

/// Most invocations reserved in one request: more would make one script long for everybody.
const MAX_RESERVE: usize = 256;

/// Slots to wait for while there is a backlog: reserving one by one would cost more than the tasks.
const BACKLOG_SLOTS: u32 = 64;

/// How long to wait for them: next to nothing for tasks that take longer, a batch for those that do not.
const BACKLOG_WAIT: Duration = Duration::from_millis(1);

/// Reserves and starts attempts until it is told to stop.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) host: HostId,
    /// The queues, and whose turn it is.
    pub(crate) turns: Mutex<Turns>,
    pub(crate) lease: Duration,
    /// One permit for each pool slot. A permit is taken before an invocation is reserved, so that a
    /// full host stops pulling instead of failing.
    pub(crate) slots: Arc<Semaphore>,
    /// How many of them to wait for while there is a backlog.
    pub(crate) backlog_slots: u32,
    pub(crate) held: Arc<Held>,
    pub(crate) attempts: Attempts,
    /// Every attempt that runs; closed and awaited by the owner when it drains.
    pub(crate) running: TaskTracker,
}

/// A quarter of the slots at most, so that the others never run dry.
pub(crate) fn backlog_slots(slots: u32) -> u32 {
    (slots / 4).clamp(1, BACKLOG_SLOTS)
}

impl Worker {
    /// Runs until `shutdown` is raised; then reserves nothing more and gives back what came too late.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let interrupter = tokio::spawn(interrupt(
            self.broker.clone(),
            self.host.clone(),
            shutdown.clone(),
        ));
        let mut pause = Duration::from_millis(50);
        let mut has_backlog = false;
        while let Some(permits) = self.free_slots(has_backlog, &shutdown).await {
            let reserved = self.reserve(permits.len()).await;
            has_backlog = reserved
                .as_ref()
                .is_ok_and(|reserved| reserved.len() == permits.len());
            match reserved {
                Ok(reserved) if shutdown.is_cancelled() => self.give_back(&reserved).await,
                Ok(reserved) => {
                    pause = Duration::from_millis(50);
                    self.start(reserved, permits);
                }
                Err(error) => {
                    tracing::warn!(%error, "nothing can be reserved; trying again");
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
        interrupter.abort();
    }

    /// Every slot that is free, at least one, or none when it is time to stop.
    async fn free_slots(
        &self,
        has_backlog: bool,
        shutdown: &CancellationToken,
    ) -> Option<Vec<OwnedSemaphorePermit>> {
        if has_backlog {
            // The permits are given back at once; what counts is that so many were free.
            let _ = timeout(BACKLOG_WAIT, self.slots.acquire_many(self.backlog_slots)).await;
        }
        let first = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            permit = self.slots.clone().acquire_owned() => permit.ok()?,
        };
        let mut permits = vec![first];
        while permits.len() < MAX_RESERVE
            && let Ok(permit) = self.slots.clone().try_acquire_owned()
        {
            permits.push(permit);
        }
        Some(permits)
    }

    async fn reserve(&self, max: usize) -> Result<Vec<Reserved>, BrokerError> {
        let turns = || {
            self.turns
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next(max)
        };
        let (queues, quotas) = turns();
        let request = Reserve {
            host: self.host.clone(),
            queues,
            quotas,
            max,
            lease: self.lease,
            wait: self.lease,
        };
        self.broker.reserve(&request).await
    }

    fn start(&self, reserved: Vec<Reserved>, permits: Vec<OwnedSemaphorePermit>) {
        for (reserved, permit) in reserved.into_iter().zip(permits) {
            let stop = self.held.add(&reserved.lease);
            self.attempts.start(reserved, stop, permit, &self.running);
        }
    }

    async fn give_back(&self, reserved: &[Reserved]) {
        let leases: Vec<_> = reserved
            .iter()
            .map(|reserved| reserved.lease.clone())
            .collect();
        if leases.is_empty() {
            return;
        }
        if let Err(error) = self.broker.release(&leases).await {
            tracing::warn!(%error, invocations = leases.len(), "not given back: they run elsewhere when their leases run out");
        }
    }
}

/// Wakes the reserve that waits, once it is time to stop. Repeated, since a reserve that was just
/// about to wait is not woken by the first call.
async fn interrupt(broker: Arc<dyn Broker>, host: HostId, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    loop {
        if let Err(error) = broker.interrupt(&host).await {
            tracing::debug!(%error, "the waiting reserve could not be interrupted");
        }
        sleep(Duration::from_millis(20)).await;
    }
}
