//! One attempt: from a reservation to a settlement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use celeriac_broker::{
    Broker, BrokerError, Code, Digest, HostId, Lease, Outcome, Reserved, Settlement, Usage,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{
    admission::Admission,
    held::{Held, Stop},
    identities::{Identities, needs_names},
    modules::{Modules, Ready},
    recorder::Report,
    translate,
};
use crate::engine::{Engine, Event, EventSink, Executor, HostLimits, Invocation, Limits, Request};
use crate::policy::{Granted, LivePolicy};
use crate::process::caught;

/// What every attempt of a host shares.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) host: HostId,
    pub(crate) engine: Engine,
    /// The threads that guests run on, apart from those that talk to the broker.
    pub(crate) executor: Arc<Executor>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) limits: Arc<HostLimits>,
    pub(crate) policy: Arc<LivePolicy>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) held: Arc<Held>,
    pub(crate) settlements: mpsc::Sender<Settlement>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

impl Attempts {
    /// Starts an attempt. `permit` is its pool slot, given back when the instance is gone.
    pub(crate) fn start(
        &self,
        reserved: Reserved,
        stop: Stop,
        permit: OwnedSemaphorePermit,
        running: &TaskTracker,
    ) {
        let this = self.clone();
        if reserved.header.task.is_built_in() {
            running.spawn(async move { this.survive(reserved, stop, permit).await });
        } else {
            let attempt =
                running.track_future(async move { this.survive(reserved, stop, permit).await });
            self.executor.spawn(attempt);
        }
    }

    async fn survive(self, reserved: Reserved, stop: Stop, permit: OwnedSemaphorePermit) {
        let (lease, held) = (reserved.lease.clone(), self.held.clone());
        let settlements = self.settlements.clone();
        survive(self.run(reserved, stop, permit), lease, &held, &settlements).await;
    }

    async fn run(self, reserved: Reserved, stop: Stop, permit: OwnedSemaphorePermit) {
        let lease = reserved.lease.clone();
        let queued_for = reserved.queued_for;
        let (attempt, module) = (reserved.attempt, reserved.digest);
        let started = Instant::now();
        let any = Arc::new(AtomicBool::new(false));
        let ended = self.execute(reserved, &stop, &any).await;
        drop(permit);
        if stop.is_lost() {
            return;
        }
        self.flush(&any).await;
        let Some(mut outcome) = ended else {
            return self.give_back(&lease).await;
        };
        outcome.usage = Usage {
            queue_ms: millis(queued_for),
            run_ms: if outcome.usage.run_ms > 0.0 {
                outcome.usage.run_ms
            } else {
                millis(started.elapsed())
            },
            attempt,
            module,
            host: self.host.to_string(),
            ..outcome.usage
        };
        self.held.end(&lease);
        // The settler outlives every attempt; were it gone, the lease would run out and the invocation run again.
        let _ = self.settlements.send(Settlement { lease, outcome }).await;
    }

    /// What the attempt came to; none when it could not be made and must be given back.
    async fn execute(
        &self,
        reserved: Reserved,
        stop: &Stop,
        any: &Arc<AtomicBool>,
    ) -> Option<Outcome> {
        if reserved.is_cancelled {
            return Some(Outcome::failed(
                Code::Cancelled,
                "cancelled before it started again",
            ));
        }
        if reserved.header.task.is_built_in() {
            return Some(self.admission.answer(&reserved).await);
        }
        let Some(digest) = reserved.digest else {
            return Some(Outcome::failed(
                Code::HostFault,
                "the invocation names no module",
            ));
        };
        let module = match self.modules.load(&digest, &reserved.header.task.task).await {
            Ok(module) => module,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "a module could not be loaded; the invocation is given back");
                return None;
            }
            Err(error) => return Some(Outcome::failed(Code::HostFault, error.to_string())),
        };
        let asked = match translate::asked(&reserved.header.options) {
            Ok(asked) => asked,
            Err(error) => return Some(Outcome::failed(Code::TaskError, error.to_string())),
        };
        let granted = match self.granted(&reserved, digest, &module).await {
            Ok(granted) => granted,
            Err(error) => {
                tracing::warn!(%error, "it could not be found out what a module may do; the invocation is given back");
                return None;
            }
        };
        // What a grant says counts as if the caller had asked for it: it lowers, and never raises.
        let asked = asked.and(&granted.limits);
        let limits = Limits::effective(&self.limits, &module.asked.options, &asked);
        let request = Request {
            invocation: Invocation {
                id: reserved.lease.id.to_string(),
                task: reserved.header.task.task,
                attempt: reserved.attempt,
            },
            input: match translate::input(reserved.input) {
                Ok(input) => input,
                Err(outcome) => return Some(*outcome),
            },
            limits,
            rights: granted.rights,
            cancel: stop.token.clone(),
            sink: Arc::new(Reports {
                lease: reserved.lease,
                reports: self.reports.clone(),
                any: any.clone(),
            }),
        };
        Some(translate::outcome(
            self.engine.execute(&module.module, request).await,
        ))
    }

    /// What the policy that holds now gives this attempt, to its end.
    async fn granted(
        &self,
        reserved: &Reserved,
        digest: Digest,
        ready: &Ready,
    ) -> Result<Granted, BrokerError> {
        let task = &reserved.header.task;
        let called = &task.module;
        let needs_names = self.policy.with(|policy| needs_names(policy, called));
        let module = self.identities.of(called, digest, needs_names).await?;
        Ok(self.policy.granted(&module, &task.task, &ready.asked.needs))
    }

    /// Waits until everything that the attempt reported is with the broker: a watcher that sees the
    /// end has seen all that came before it.
    async fn flush(&self, any: &AtomicBool) {
        if any.load(Ordering::Relaxed) {
            let (flushed, done) = oneshot::channel();
            if self.reports.send(Report::Flush(flushed)).is_ok() {
                let _ = done.await;
            }
        }
    }

    async fn give_back(&self, lease: &Lease) {
        self.held.lose(lease.id);
        if let Err(error) = self.broker.release(std::slice::from_ref(lease)).await {
            tracing::warn!(%error, invocation = %lease.id, "not given back: it runs again when its lease runs out");
        }
    }
}

/// Runs an attempt. A panic of our own code on the way fails the invocation: without an outcome its lease would be
/// renewed for ever. Those under a guest the engine catches itself.
async fn survive(
    attempt: impl Future<Output = ()>,
    lease: Lease,
    held: &Held,
    settlements: &mpsc::Sender<Settlement>,
) {
    if let Err(panic) = caught(attempt).await {
        tracing::error!(invocation = %lease.id, panic, "host code panicked; the invocation failed, the host goes on");
        held.end(&lease);
        let outcome = Outcome::failed(Code::HostFault, "the host failed while it ran the task");
        let _ = settlements.send(Settlement { lease, outcome }).await;
    }
}

/// Takes what one attempt reports while its guest waits, and only passes it on.
struct Reports {
    lease: Lease,
    reports: mpsc::UnboundedSender<Report>,
    /// Whether there was anything to report: most attempts have nothing to flush.
    any: Arc<AtomicBool>,
}

impl EventSink for Reports {
    fn event(&self, event: Event) {
        self.any.store(true, Ordering::Relaxed);
        // Unbounded here, since the engine has bounded the number and the bytes of events.
        let _ = self
            .reports
            .send(Report::Event(self.lease.clone(), translate::event(event)));
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use celeriac_broker::Namespace;

    use super::*;

    #[tokio::test]
    async fn a_panic_around_an_attempt_fails_its_invocation() {
        let lease = Lease {
            id: Namespace::generate().issue(0),
            token: "h.1".to_owned().into(),
        };
        let held = Held::default();
        let _stop = held.add(&lease);
        let (settlements, mut ended) = mpsc::channel(1);
        survive(async {}, lease.clone(), &held, &settlements).await;
        assert!(ended.try_recv().is_err(), "an attempt settles by itself");
        let attempt = async {
            tokio::task::yield_now().await;
            panic!("in the middle of an attempt");
        };
        survive(attempt, lease.clone(), &held, &settlements).await;
        let settlement = ended.recv().await.unwrap();
        assert_eq!(settlement.lease, lease);
        assert_eq!(settlement.outcome.code, Code::HostFault);
    }
}
