//! A whole host: engine, duties and connections, from start to drain.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use celeriac_broker::{Broker, BrokerError, HostId, HostInfo, SYSTEM_QUEUE, Served, Turns};
use celeriac_client::{Client, ConnectOptions};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    admission::Admission,
    attempt::Attempts,
    backlog::Backlog,
    controls::Controls,
    held::Held,
    identities::Identities,
    key_values::BrokerKeyValues,
    modules::{BrokerSource, Modules},
    recorder::Recorder,
    renewer::Renewer,
    settler::Settler,
    webhook::Webhooks,
    worker::{Worker, backlog_slots},
};
use crate::{
    engine::{Engine, EngineConfig, EngineError, Executor, ExecutorError, HostLimits, KeyValues},
    module::{
        Admitter, ArtifactCache, ArtifactError, CompileError, CompileLimits, Compiler, Loader,
        LoaderConfig, UploadCaps,
    },
    policy::{KeyValuesOf, LivePolicy, Policy},
    process::{Alarm, Trimmer},
};

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where the broker is; a second connection is made to it for renewals.
    pub broker_url: String,
    /// The queues to serve, first come first, or with weights such as `urgent:5`.
    pub queues: Vec<String>,
    /// How long a lease lasts unless renewed.
    pub lease: Duration,
    /// How long running attempts may take to end once the host is told to stop.
    pub grace: Duration,
    /// The engine, with its number of pool slots.
    pub engine: EngineConfig,
    /// What tasks get, and what they get at most.
    pub limits: HostLimits,
    /// What modules may do.
    pub policy: Policy,
    /// Where compiled modules are kept.
    pub cache_dir: PathBuf,
    /// How compiling is bounded.
    pub compile: CompileLimits,
    /// How much of compiled modules is kept in memory.
    pub modules: LoaderConfig,
    /// What modules may consist of.
    pub upload: UploadCaps,
    /// Bytes of partial results that may wait for the broker, over all attempts.
    pub emit_backlog: u64,
}

/// Why a host cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The broker refused or does not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The threads for guests cannot be started.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The artifact cache cannot be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The compiler cannot be started.
    #[error(transparent)]
    Compiler(#[from] CompileError),
    /// A thread or a socket could not be had.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Makes the key-value store of a module. Must be called on the runtime that talks to the broker.
fn key_values(broker: Arc<dyn Broker>) -> KeyValuesOf {
    let runtime = tokio::runtime::Handle::current();
    Arc::new(move |module: &str| {
        let store = BrokerKeyValues::new(broker.clone(), module, runtime.clone()).ok()?;
        Some(Arc::new(store) as Arc<dyn KeyValues>)
    })
}

/// A host that runs. Dropping it stops it as a crash would; `drain` is the way to go.
#[derive(Debug)]
pub struct Host {
    broker: Arc<dyn Broker>,
    info: HostInfo,
    grace: Duration,
    lease: Duration,
    held: Arc<Held>,
    running: TaskTracker,
    /// Stops the worker; the duties go on until what runs has ended.
    stop_reserving: CancellationToken,
    /// Stops the renewer, last of all.
    stop_renewing: CancellationToken,
    worker: JoinHandle<()>,
    /// Ends when the last attempt has handed in its outcome and all of them are written.
    settler: JoinHandle<()>,
    /// Held so that guests have threads as long as there is a host.
    attempts: Attempts,
    /// Raised when a duty panics.
    alarm: Alarm,
}

impl Host {
    /// Sets everything up and begins to reserve. Must be called within a tokio runtime, whose threads
    /// then talk to the broker; guests get threads of their own.
    ///
    /// # Errors
    /// When the broker is not fit, the pool does not fit into the address space, or the cache cannot be used.
    pub async fn start(broker: Arc<dyn Broker>, options: HostOptions) -> Result<Self, HostError> {
        celeriac_broker::require_fit(broker.as_ref()).await?;
        let slots = options.engine.concurrency;
        let waiting = Arc::new(Semaphore::new(options.engine.waiting() as usize));
        let engine = Engine::new(options.engine)?;
        let executor = Arc::new(Executor::new(threads())?);
        let artifacts = ArtifactCache::open(&options.cache_dir)?;
        let compiler = Compiler::new(options.compile)?;
        let source = Arc::new(BrokerSource(broker.clone()));
        let loader = Loader::new(
            engine.clone(),
            artifacts,
            compiler,
            source,
            &options.modules,
        );
        let admitter =
            Admitter::new(loader.clone(), executor.clone()).with_upload_caps(options.upload);
        let served = options.queues.iter().filter(|queue| *queue != SYSTEM_QUEUE);
        let served: Result<Vec<Served>, _> = served.map(|queue| queue.parse()).collect();
        let turns = Turns::new(served?);
        let info = info(turns.queues(), slots);
        broker.announce(&info, false).await?;

        let policy =
            LivePolicy::new(options.policy).with_key_values(Some(key_values(broker.clone())));
        let policy = Arc::new(policy);
        let held = Arc::new(Held::default());
        let (settlements, ended) = Settler::channel();
        let (reports, reported) = mpsc::unbounded_channel();
        let (trimmer, wishes) = Trimmer::channel();
        let attempts = Attempts {
            broker: broker.clone(),
            host: info.host.clone(),
            webhooks: Arc::new(Webhooks {
                engine: engine.clone(),
                policy: policy.clone(),
            }),
            engine,
            executor,
            modules: Arc::new(Modules::new(broker.clone(), loader)),
            admission: Arc::new(Admission {
                broker: broker.clone(),
                admitter,
                policy: policy.clone(),
            }),
            limits: Arc::new(options.limits),
            policy,
            client: Client::new(broker.clone(), ConnectOptions::default()),
            runtime: tokio::runtime::Handle::current(),
            waiting,
            identities: Arc::new(Identities::new(broker.clone())),
            held: held.clone(),
            settlements,
            reports,
            backlog: Backlog::new(options.emit_backlog),
            trimmer,
        };
        let alarm = Alarm::default();
        tokio::spawn(alarm.clone().watch("trimmer", Trimmer::run(wishes)));
        let duties = Duties {
            alarm: alarm.clone(),
            broker: broker.clone(),
            held: held.clone(),
            info: info.clone(),
            lease: options.lease,
            url: options.broker_url,
        };
        let stop_renewing = CancellationToken::new();
        duties.start(reported, stop_renewing.clone()).await?;
        let settler = Settler {
            broker: broker.clone(),
            held: held.clone(),
        };
        let settler = tokio::spawn(alarm.clone().watch("settler", settler.run(ended)));
        let (running, stop_reserving) = (TaskTracker::new(), CancellationToken::new());
        let worker = Worker {
            broker: broker.clone(),
            host: info.host.clone(),
            turns: Mutex::new(turns),
            lease: options.lease,
            slots: Arc::new(Semaphore::new(slots as usize)),
            backlog_slots: backlog_slots(slots),
            held: held.clone(),
            attempts: attempts.clone(),
            running: running.clone(),
        };
        let worker = tokio::spawn(
            alarm
                .clone()
                .watch("reserve loop", worker.run(stop_reserving.clone())),
        );
        Ok(Self {
            broker,
            info,
            grace: options.grace,
            lease: options.lease,
            held,
            running,
            stop_reserving,
            stop_renewing,
            worker,
            settler,
            attempts,
            alarm,
        })
    }

    /// Waits until a duty of this host has panicked, for ever if need be, and names it. Such a host cannot go on:
    /// end the process, and its invocations run elsewhere when their leases run out.
    pub fn failed(&self) -> impl Future<Output = &'static str> + use<> {
        self.alarm.raised()
    }

    /// What others see of this host.
    pub fn info(&self) -> &HostInfo {
        &self.info
    }

    /// Invocations that it holds leases on.
    pub fn running(&self) -> usize {
        self.held.len()
    }

    /// Replaces the policy for all attempts that start from now on; what runs keeps its rights. Returns what has
    /// changed, in names only.
    pub fn set_policy(&self, policy: Policy) -> Vec<String> {
        let live = &self.attempts.policy;
        let changes = live.with(|old| old.changes(&policy));
        live.replace(policy);
        changes
    }

    /// Stops reserving, lets running attempts end within the grace time, gives the rest back, and
    /// returns once every outcome is written.
    pub async fn drain(self) {
        let Self {
            broker,
            info,
            grace,
            lease,
            held,
            running,
            worker,
            settler,
            attempts,
            ..
        } = self;
        self.stop_reserving.cancel();
        if worker.await.is_err() {
            tracing::error!("the reserve loop had failed");
        }
        running.close();
        if timeout(grace, running.wait()).await.is_err() {
            give_back(broker.as_ref(), &held).await;
            running.wait().await;
        }
        // The last sender goes with the attempts; then the settler ends when all is written.
        drop(attempts);
        if timeout(lease, settler).await.is_err() {
            tracing::error!(
                "the broker does not take the last outcomes: their invocations run again elsewhere"
            );
        }
        self.stop_renewing.cancel();
        if let Err(error) = broker.announce(&info, true).await {
            tracing::debug!(%error, "the broker was not told that this host leaves");
        }
    }
}

/// Gives back what still runs when the grace time is over.
async fn give_back(broker: &dyn Broker, held: &Held) {
    let leases = held.take_unfinished();
    tracing::warn!(
        invocations = leases.len(),
        "the grace time is over: what still runs is given back"
    );
    if let Err(error) = broker.release(&leases).await {
        tracing::warn!(%error, "not given back: they run elsewhere when their leases run out");
    }
}

/// What runs beside the worker from start to end.
struct Duties {
    alarm: Alarm,
    broker: Arc<dyn Broker>,
    held: Arc<Held>,
    info: HostInfo,
    lease: Duration,
    url: String,
}

impl Duties {
    async fn start(
        self,
        reported: mpsc::UnboundedReceiver<super::recorder::Report>,
        shutdown: CancellationToken,
    ) -> Result<(), HostError> {
        let renew_now = Arc::new(Notify::new());
        let controls = self.broker.controls(&self.info.host).await?;
        let listener = Controls {
            held: self.held.clone(),
            renew_now: renew_now.clone(),
        };
        tokio::spawn(self.alarm.clone().watch("controls", listener.run(controls)));
        let recorder = Recorder {
            broker: self.broker.clone(),
            held: self.held.clone(),
        };
        tokio::spawn(self.alarm.clone().watch("recorder", recorder.run(reported)));
        let renewer = Renewer {
            host: self.info.host.clone(),
            url: self.url,
            held: self.held,
            lease: self.lease,
            now: renew_now,
        };
        Ok(renewer.start(self.broker, shutdown, self.alarm)?)
    }
}

fn info(queues: Vec<String>, slots: u32) -> HostInfo {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = match machine.trim() {
        "" => "host".to_owned(),
        name => name.to_owned(),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    HostInfo {
        host: HostId::random(&machine),
        machine,
        pid: std::process::id(),
        queues,
        concurrency: slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        running: 0,
        seen_ms_ago: 0,
    }
}

/// One guest thread for each processor: more would only switch.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
