//! Keeps leases alive from a thread of its own, so that no guest and no busy runtime can starve it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use celeriac_broker::{Broker, BrokerError, HostId, Lease, Renewed};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::held::Held;
use crate::process::Alarm;

/// Renews every third of a lease. Owns a connection, a runtime and a thread that nothing else uses.
#[derive(Debug)]
pub(crate) struct Renewer {
    pub(crate) host: HostId,
    pub(crate) url: String,
    pub(crate) held: Arc<Held>,
    pub(crate) lease: Duration,
    /// Rung to renew at once: after a reconnect, to learn what was missed.
    pub(crate) now: Arc<Notify>,
}

impl Renewer {
    /// Starts the thread; it ends when `shutdown` is raised.
    pub(crate) fn start(
        self,
        broker: Arc<dyn Broker>,
        shutdown: CancellationToken,
        alarm: Alarm,
    ) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("celeriac-renew".into())
            .spawn(move || runtime.block_on(alarm.watch("renewer", self.run(broker, shutdown))))?;
        Ok(())
    }

    async fn run(self, shared: Arc<dyn Broker>, shutdown: CancellationToken) {
        let broker = self.own_broker(shared).await;
        let mut last_renewed = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.now.notified() => {}
                () = tokio::time::sleep(self.lease / 3) => {}
            }
            let asked_at = Instant::now();
            match self.renew(broker.as_ref()).await {
                Ok(()) => last_renewed = asked_at,
                Err(error) => self.endure(&error, last_renewed),
            }
        }
    }

    /// A connection apart, so that a large reply on the shared one cannot hold a renewal up. The
    /// embedded store needs none: it has no connection.
    async fn own_broker(&self, shared: Arc<dyn Broker>) -> Arc<dyn Broker> {
        if self.url.starts_with("embedded:") {
            return shared;
        }
        match celeriac_broker::connect(&self.url).await {
            Ok(broker) => broker,
            Err(error) => {
                tracing::warn!(%error, "renewals share the host's connection");
                shared
            }
        }
    }

    async fn renew(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let leases = self.held.leases();
        if leases.is_empty() {
            return Ok(());
        }
        // A third of a lease leaves time for two more tries before it runs out.
        let renewed = timeout(
            self.lease / 3,
            broker.renew(&self.host, &leases, self.lease),
        )
        .await;
        let Renewed { lost, cancelled } = renewed.unwrap_or_else(|_| {
            Err(BrokerError::Unavailable {
                address: broker.address(),
                reason: "a renewal got no answer in time".into(),
            })
        })?;
        let is_lost = |lease: &&Lease| lost.contains(&lease.id);
        for lease in leases.iter().filter(is_lost) {
            if self.held.lose_running(lease) {
                tracing::warn!(invocation = %lease.id, "the lease is lost: the attempt is stopped");
            }
        }
        for id in cancelled {
            self.held.cancel(id);
        }
        Ok(())
    }

    /// Without an answer for a whole lease, another host may hold the invocations: their attempts
    /// must not go on, or side effects would happen twice at the same time.
    fn endure(&self, error: &BrokerError, last_renewed: Instant) {
        let silent = last_renewed.elapsed();
        if silent < self.lease {
            tracing::warn!(%error, "leases could not be renewed; trying again");
            return;
        }
        let leases = self.held.leases();
        tracing::error!(%error, attempts = leases.len(), "no renewal for a whole lease: attempts are stopped");
        for lease in leases {
            self.held.lose(lease.id);
        }
    }
}
