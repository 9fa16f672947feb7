//! One attempt: from a reservation to a settlement.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use celeriac_broker::{
    Attempt, Broker, BrokerError, Code, Digest, Ending, HostId, InvocationId, Lease, Options,
    Outcome, Reserved, RetryPolicy, Settlement, TaskOptions, Usage, WEBHOOK_TASK, follow,
    random_unit,
};
use celeriac_client::Client;
use tokio::{
    runtime,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};
use tokio_util::task::TaskTracker;

use super::{
    admission::Admission,
    backlog::{Backlog, Place},
    held::{Held, Stop},
    identities::{Identities, needs_names},
    modules::{Authored, Modules},
    parents::{self, Unfilled},
    recorder::Report,
    slot::Slot,
    tasks::AttemptTasks,
    translate,
    webhook::Webhooks,
};
use crate::engine::{
    Engine, Event, EventSink, Executor, HostLimits, Invocation, Limits, Payload, Recording,
    Request, Rights, Tape,
};
use crate::policy::{Granted, LivePolicy, Need};
use crate::process::{Trimmer, caught};

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
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) limits: Arc<HostLimits>,
    pub(crate) policy: Arc<LivePolicy>,
    /// Hands in what guests call, and waits for it.
    pub(crate) client: Client,
    /// The threads that talk to the broker.
    pub(crate) runtime: runtime::Handle,
    /// Slots of the pool for attempts that wait for others.
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) held: Arc<Held>,
    pub(crate) settlements: mpsc::Sender<Settlement>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    /// The room for partial results that the broker does not have yet.
    pub(crate) backlog: Backlog,
    pub(crate) trimmer: Trimmer,
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

    async fn run(self, mut reserved: Reserved, stop: Stop, permit: OwnedSemaphorePermit) {
        let slot = Slot::new(permit, self.waiting.clone());
        let (lease, about) = (reserved.lease.clone(), About::take(&mut reserved));
        let any = Arc::new(AtomicBool::new(false));
        let ended = self.execute(reserved, &about, (&stop, &slot), &any).await;
        drop(slot);
        if stop.is_lost() {
            return;
        }
        self.flush(&any).await;
        let Some(mut ended) = ended else {
            return self.give_back(&lease).await;
        };
        let usage = ended.outcome.usage;
        ended.outcome.usage = Usage {
            queue_ms: millis(about.queued_for),
            run_ms: if usage.run_ms > 0.0 {
                usage.run_ms
            } else {
                millis(about.started.elapsed())
            },
            attempt: about.attempt,
            module: about.module,
            host: self.host.to_string(),
            ..usage
        };
        self.held.end(&lease);
        let recording = ended.recording.take();
        let ending = about.ending(ended);
        // Only what fails for good is run again by somebody who wonders why.
        let recording = recording.filter(|_| matches!(ending, Ending::Final(_)));
        let settlement = Settlement {
            lease,
            ending,
            recording: recording.map(|recording| recording.to_bytes().into()),
        };
        // The settler outlives every attempt; were it gone, the lease would run out and the invocation run again.
        let _ = self.settlements.send(settlement).await;
    }

    /// What the attempt came to; none when it could not be made and must be given back.
    async fn execute(
        &self,
        mut reserved: Reserved,
        about: &About,
        (stop, slot): (&Stop, &Arc<Slot>),
        any: &Arc<AtomicBool>,
    ) -> Option<Ended> {
        if reserved.is_cancelled {
            let message = "cancelled before it started again";
            return Some(Outcome::failed(Code::Cancelled, message).into());
        }
        match parents::fill(
            self.broker.as_ref(),
            &about.options.after,
            &mut reserved.input,
        )
        .await
        {
            Ok(()) => {}
            Err(Unfilled::Failed(outcome)) => return Some((*outcome).into()),
            Err(Unfilled::Later(error)) => {
                tracing::warn!(%error, "what an invocation waited for could not be read; it is given back");
                return None;
            }
        }
        if reserved.header.task.is_built_in() {
            let outcome = match reserved.header.task.task.as_str() {
                WEBHOOK_TASK => self.webhooks.deliver(&reserved).await,
                _ => {
                    let admitted = self.admission.answer(&reserved).await;
                    self.trimmer.wish();
                    admitted
                }
            };
            return Some(outcome.into());
        }
        let Some(digest) = reserved.digest else {
            return Some(host_fault("the invocation names no module"));
        };
        let module = match self.modules.load(&digest, &reserved.header.task.task).await {
            Ok(module) => module,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "a module could not be loaded; the invocation is given back");
                return None;
            }
            Err(error) => return Some(host_fault(&error.to_string())),
        };
        let asked = match translate::asked(&about.options) {
            Ok(asked) => asked,
            Err(error) => return Some(Outcome::failed(Code::TaskError, error.to_string()).into()),
        };
        let needs = &module.authored.needs;
        let granted = match self.granted(&reserved, digest, needs).await {
            Ok(granted) => granted,
            Err(error) => {
                tracing::warn!(%error, "it could not be found out what a module may do; the invocation is given back");
                return None;
            }
        };
        // What a grant says counts as if the caller had asked for it: it lowers, and never raises.
        let asked = asked.and(&granted.limits);
        let mut limits = Limits::effective(&self.limits, &module.authored.limits, &asked);
        // In whole milliseconds, as a recording has it: a replay has the very same time.
        let remaining = about.remaining();
        let remaining = remaining.map(whole_millis);
        let is_cut = remaining.is_some_and(|remaining| remaining < limits.timeout);
        limits.timeout = limits.timeout.min(remaining.unwrap_or(limits.timeout));
        if limits.timeout.is_zero() {
            return Some(past_deadline().into());
        }
        let request = Request {
            invocation: Invocation {
                id: reserved.lease.id.to_string(),
                task: reserved.header.task.task,
                attempt: reserved.attempt,
            },
            input: match translate::input(reserved.input) {
                Ok(input) => input,
                Err(outcome) => return Some((*outcome).into()),
            },
            limits,
            rights: self.recorded(
                self.with_tasks(granted.rights, reserved.lease.id, about, (stop, slot)),
                about,
            ),
            cancel: stop.token.clone(),
            sink: Arc::new(Reports {
                lease: reserved.lease,
                reports: self.reports.clone(),
                backlog: self.backlog.clone(),
                any: any.clone(),
            }),
        };
        let execution = self.engine.execute(&module.module, request).await;
        if carried(&execution.usage) >= LARGE_BYTES {
            self.trimmer.wish();
        }
        let (mut outcome, recording) = translate::outcome(execution);
        if is_cut && outcome.code == Code::Deadline {
            outcome.failure = past_deadline().failure;
        }
        Some(Ended {
            outcome,
            authored: Some(module.authored),
            recording,
        })
    }

    /// The rights, and who has other tasks run, where the attempt may have any.
    fn with_tasks(
        &self,
        rights: Arc<Rights>,
        id: InvocationId,
        about: &About,
        (stop, slot): (&Stop, &Arc<Slot>),
    ) -> Arc<Rights> {
        if rights.callable.declared.is_empty() {
            return rights;
        }
        let tasks = AttemptTasks {
            client: self.client.clone(),
            runtime: self.runtime.clone(),
            id,
            depth: about.options.parent.map_or(0, |parent| parent.depth),
            slot: Arc::clone(slot),
            stop: stop.clone(),
        };
        Arc::new(Rights {
            tasks: Some(Arc::new(tasks)),
            ..(*rights).clone()
        })
    }

    /// The rights, with what keeps the answers of an attempt that somebody wants to be able to replay.
    fn recorded(&self, rights: Arc<Rights>, about: &About) -> Arc<Rights> {
        if !rights.is_recorded && !about.options.record {
            return rights;
        }
        let tape = Tape::recording(self.engine.config().record_bytes);
        Arc::new((*rights).clone().recorded(tape))
    }

    /// What the policy that holds now gives this attempt, to its end.
    async fn granted(
        &self,
        reserved: &Reserved,
        digest: Digest,
        needs: &[Need],
    ) -> Result<Granted, BrokerError> {
        let task = &reserved.header.task;
        let called = &task.module;
        let needs_names = self.policy.with(|policy| needs_names(policy, called));
        let module = self.identities.of(called, digest, needs_names).await?;
        Ok(self.policy.granted(&module, &task.task, needs))
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

/// An attempt that carried this much leaves gaps in the heap that are worth giving back.
const LARGE_BYTES: u64 = 1 << 20;

/// Bytes of an attempt that went through the host's own memory.
fn carried(usage: &crate::engine::Usage) -> u64 {
    usage.input_bytes + usage.output_bytes + usage.emit_bytes + usage.log_bytes
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
        let _ = settlements.send(Settlement::end(lease, outcome)).await;
    }
}

/// What an attempt came to.
struct Ended {
    outcome: Outcome,
    /// What the author says about retries; none when the module was not loaded.
    authored: Option<Arc<Authored>>,
    /// Of a failure: what it can be run again with.
    recording: Option<Box<Recording>>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            authored: None,
            recording: None,
        }
    }
}

/// The host failed: another may do better.
fn host_fault(message: &str) -> Ended {
    let mut outcome = Outcome::failed(Code::HostFault, message);
    if let Some(failure) = &mut outcome.failure {
        failure.retryable = true;
    }
    outcome.into()
}

fn past_deadline() -> Outcome {
    Outcome::failed(
        Code::Deadline,
        "the deadline of the whole invocation passed while it ran",
    )
}

/// What is needed of a reservation when its attempt has ended.
struct About {
    /// What the caller asked for.
    options: Options,
    attempt: u32,
    crashes: u32,
    module: Option<Digest>,
    queued_for: Duration,
    reserved_at_ms: u64,
    /// When it was reserved, by this host's own time: the broker's clock is never asked again.
    started: Instant,
    /// From then to the deadline of the whole invocation.
    remaining: Option<Duration>,
    trail: Vec<Attempt>,
}

impl About {
    fn take(reserved: &mut Reserved) -> Self {
        Self {
            options: std::mem::take(&mut reserved.header.options),
            attempt: reserved.attempt,
            crashes: reserved.crashes,
            module: reserved.digest,
            queued_for: reserved.queued_for,
            reserved_at_ms: reserved.reserved_at_ms,
            started: Instant::now(),
            remaining: reserved.remaining,
            trail: std::mem::take(&mut reserved.trail),
        }
    }

    /// What is left until the deadline of the whole invocation.
    fn remaining(&self) -> Option<Duration> {
        let remaining = self.remaining?;
        Some(remaining.saturating_sub(self.started.elapsed()))
    }

    /// Whether another attempt follows.
    fn ending(self, ended: Ended) -> Ending {
        let Ended {
            outcome, authored, ..
        } = ended;
        if outcome.failure.is_none() {
            return Ending::Final(outcome);
        }
        let none = TaskOptions::default();
        let author = authored
            .as_ref()
            .map_or(&none, |authored| &authored.options);
        let policy = RetryPolicy::effective(author, &self.options);
        // Attempts that a host's death ended are no failures of the task.
        let failed_before = self.attempt.saturating_sub(1).saturating_sub(self.crashes);
        let pause = policy.pause(&outcome, failed_before, self.remaining(), random_unit());
        let Some(pause) = pause else {
            return Ending::Final(outcome);
        };
        let attempt = Attempt::record(&outcome, self.reserved_at_ms, self.started.elapsed(), pause);
        Ending::Retry {
            pause,
            trail: follow(self.trail, attempt),
            outcome,
        }
    }
}

/// Takes what one attempt reports while its guest waits, and only passes it on.
struct Reports {
    lease: Lease,
    reports: mpsc::UnboundedSender<Report>,
    backlog: Backlog,
    /// Whether there was anything to report: most attempts have nothing to flush.
    any: Arc<AtomicBool>,
}

impl EventSink for Reports {
    fn event(&self, event: Event) {
        self.report(event, None);
    }

    fn emit(&self, chunk: Payload) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let place = self.backlog.place(chunk.len()).await;
            self.report(Event::Emit(chunk), place);
        })
    }
}

impl Reports {
    /// Unbounded here, since the engine has bounded the number and the bytes of logs and progress, and the backlog
    /// those of partial results.
    fn report(&self, event: Event, place: Option<Place>) {
        self.any.store(true, Ordering::Relaxed);
        let (lease, event) = (self.lease.clone(), translate::event(event));
        let _ = self.reports.send(Report::Event(lease, event, place));
    }
}

/// Without what is less than a millisecond.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
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
        assert_eq!(settlement.outcome().code, Code::HostFault);
    }
}
