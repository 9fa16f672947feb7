//! Runs one task of one file in this process, without any broker: what `celeriac run` does.
//!
//! The way is that of a host: the same check, compiler, limits and engine. Only the queue is missing.

mod key_values;
mod replay;

use std::{path::PathBuf, sync::Arc};

use celeriac_broker::{
    Digest, EventKind, Manifest, ModuleRef, Namespace, Options, Outcome, Payload, TaskInfo,
    UploadReport,
};

use crate::{
    engine::{
        CancellationToken, Determinism, Engine, EngineConfig, EngineError, Event, EventSink,
        Executor, ExecutorError, HostLimits, Invocation, KeyValues, LimitRow, Limits, Module,
        Request, Rights, Stopped, UnknownLimit,
    },
    module::{
        AdmitError, Admitter, ArtifactCache, ArtifactError, CompileError, CompileLimits, Compiler,
        LoadError, Loader, LoaderConfig, Source, SourceError, UploadCaps,
    },
    policy::{self, Granted, Identity, InvalidNeed, LivePolicy, Policy},
    worker::translate,
};

pub use key_values::LocalKeyValues;
pub use replay::{LocalReplay, replay, whole_input};

/// What is run, and on what.
#[derive(Debug)]
pub struct LocalRequest {
    /// The component.
    pub module: Vec<u8>,
    /// What it is called as far as the policy is concerned; none: it has only its digest.
    pub name: Option<ModuleRef>,
    /// The task's name in it.
    pub task: String,
    /// The input.
    pub input: Payload,
    /// What the caller asks for.
    pub options: Options,
    /// A fixed clock and seed, whatever the policy says.
    pub determinism: Option<Determinism>,
}

/// The host that it is run on.
#[derive(Debug)]
pub struct LocalHost {
    /// The engine; one slot is enough.
    pub engine: EngineConfig,
    /// What tasks get, and what they get at most.
    pub limits: HostLimits,
    /// What modules may do.
    pub policy: Policy,
    /// Where compiled modules are kept.
    pub cache_dir: PathBuf,
    /// How compiling is bounded.
    pub compile: CompileLimits,
    /// What modules may consist of.
    pub upload: UploadCaps,
}

/// What it came to.
#[derive(Debug)]
pub struct LocalRun {
    /// The outcome, as a host would write it.
    pub outcome: Outcome,
    /// Each limit with what was used and what is allowed.
    pub contract: Vec<LimitRow>,
    /// Of a replay: why it did not come to the end of its recording.
    pub stopped: Option<Stopped>,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The file is not a module of tasks.
    #[error("the module was refused\n{0}")]
    Refused(UploadReport),
    /// It has no such task.
    #[error("the module has no task `{task}`; it has: {known}")]
    NoTask {
        /// What was asked for.
        task: String,
        /// What there is.
        known: String,
    },
    /// The module could not be examined.
    #[error(transparent)]
    Admit(AdmitError),
    /// The module could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The threads for the guest cannot be started.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The artifact cache cannot be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The compiler cannot be started.
    #[error(transparent)]
    Compiler(#[from] CompileError),
    /// A task needs something that means nothing.
    #[error(transparent)]
    Need(#[from] InvalidNeed),
    /// A limit was asked for that there is not.
    #[error(transparent)]
    Limit(#[from] UnknownLimit),
    /// What the invocation waited for is not to be had any more.
    #[error("the input refers to what the invocation waited for, and that cannot be read: {0}")]
    Parents(String),
    /// The guest's thread ended without an answer.
    #[error("the run was given up: {0}")]
    Abandoned(String),
}

impl From<AdmitError> for LocalError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Refused(report) => Self::Refused(report),
            other => Self::Admit(other),
        }
    }
}

/// Runs a task; `report` is told what it reports, as it does.
///
/// # Errors
/// When nothing was run; what a task comes to is in the outcome.
pub async fn run(
    host: LocalHost,
    request: LocalRequest,
    report: impl Fn(EventKind) + Send + Sync + 'static,
) -> Result<LocalRun, LocalError> {
    let stage = Stage::new(&host)?;
    let manifest = stage.admitter.admit(Arc::from(request.module)).await?;
    let module = stage.loader.load(&manifest.digest).await?;
    let task = find(&manifest, &request.task)?;
    let name = request.name.as_ref();
    let granted = granted(host.policy, name, manifest.digest, task)?;
    let limits = Limits::effective(
        &host.limits,
        &translate::authored(&task.options)?,
        &translate::asked(&request.options)?.and(&granted.limits),
    );
    let rights = match request.determinism {
        Some(determinism) => Arc::new(Rights {
            determinism: Some(determinism),
            ..(*granted.rights).clone()
        }),
        None => granted.rights,
    };
    let run = Run {
        invocation: Invocation {
            id: Namespace::generate().issue(0).to_string(),
            task: request.task,
            attempt: 1,
        },
        input: request.input,
        limits,
        rights,
        cancel: CancellationToken::new(),
        digest: manifest.digest,
    };
    stage.run(&module, run, report).await
}

/// One execution that is all decided.
struct Run {
    invocation: Invocation,
    input: Payload,
    limits: Limits,
    rights: Arc<Rights>,
    cancel: CancellationToken,
    digest: Digest,
}

/// Asks a module for its tasks, as an upload does, and runs none.
///
/// # Errors
/// When it is refused or cannot be examined.
pub async fn describe(host: &LocalHost, module: Vec<u8>) -> Result<Manifest, LocalError> {
    let stage = Stage::new(host)?;
    Ok(stage.admitter.admit(Arc::from(module)).await?)
}

/// What it takes to load and run.
struct Stage {
    stack: u64,
    engine: Engine,
    executor: Arc<Executor>,
    loader: Loader,
    admitter: Admitter,
}

impl Stage {
    fn new(host: &LocalHost) -> Result<Self, LocalError> {
        let engine = Engine::new(host.engine.clone())?;
        let executor = Arc::new(Executor::new(1)?);
        let artifacts = ArtifactCache::open(&host.cache_dir)?;
        let compiler = Compiler::new(host.compile.clone())?;
        let loader = Loader::new(
            engine.clone(),
            artifacts,
            compiler,
            Arc::new(Nowhere),
            &LoaderConfig::default(),
        );
        let admitter =
            Admitter::new(loader.clone(), executor.clone()).with_upload_caps(host.upload);
        Ok(Self {
            stack: host.engine.wasm_stack_bytes as u64,
            engine,
            executor,
            loader,
            admitter,
        })
    }
}

impl Stage {
    async fn run(
        &self,
        module: &Module,
        run: Run,
        report: impl Fn(EventKind) + Send + Sync + 'static,
    ) -> Result<LocalRun, LocalError> {
        let input = match translate::input(run.input) {
            Ok(input) => input,
            Err(outcome) => {
                return Ok(LocalRun {
                    outcome: *outcome,
                    contract: Vec::new(),
                    stopped: None,
                });
            }
        };
        let attempt = run.invocation.attempt;
        let request = Request {
            invocation: run.invocation,
            input,
            limits: run.limits.clone(),
            rights: run.rights,
            cancel: run.cancel,
            sink: Arc::new(Told(report)),
        };
        let (engine, module) = (self.engine.clone(), module.clone());
        let running = async move { engine.execute(&module, request).await };
        let execution = self.executor.spawn(running).await;
        let execution = execution.map_err(|error| LocalError::Abandoned(error.to_string()))?;
        let mut contract = execution.usage.against(&run.limits);
        contract.push(LimitRow::stack(self.stack));
        let (mut outcome, _) = translate::outcome(execution);
        outcome.usage.attempt = attempt;
        outcome.usage.module = Some(run.digest);
        "local".clone_into(&mut outcome.usage.host);
        Ok(LocalRun {
            outcome,
            contract,
            stopped: None,
        })
    }
}

fn find<'a>(manifest: &'a Manifest, task: &str) -> Result<&'a TaskInfo, LocalError> {
    let tasks = &manifest.tasks;
    tasks.iter().find(|info| info.name == task).ok_or_else(|| {
        let known: Vec<_> = tasks.iter().map(|info| info.name.as_str()).collect();
        LocalError::NoTask {
            task: task.to_owned(),
            known: known.join(", "),
        }
    })
}

/// What the policy gives a task of a module that goes by this name.
fn granted(
    policy: Policy,
    name: Option<&ModuleRef>,
    digest: Digest,
    task: &TaskInfo,
) -> Result<Granted, LocalError> {
    let module = match name {
        Some(name) => Identity::called(name, digest, &[]),
        None => Identity::nameless(digest),
    };
    let store: Arc<dyn KeyValues> = Arc::new(LocalKeyValues::default());
    let policy = LivePolicy::new(policy)
        .with_key_values(Some(Arc::new(move |_: &str| Some(Arc::clone(&store)))));
    Ok(policy.granted(&module, &task.name, &policy::needs(task)?))
}

/// The module is in memory or in the cache by the time that anybody asks.
struct Nowhere;

#[async_trait::async_trait]
impl Source for Nowhere {
    async fn fetch(&self, _digest: &Digest) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NotFound)
    }
}

struct Told<F>(F);

impl<F: Fn(EventKind) + Send + Sync> EventSink for Told<F> {
    fn event(&self, event: Event) {
        (self.0)(translate::event(event));
    }
}
