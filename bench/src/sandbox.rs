//! A sample module in our engine, without broker or host.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use celeriac::{
    engine::{
        CancellationToken, Discard, Engine, EngineConfig, Execution, Invocation, Limits, Module,
        Payload, Request, Verdict,
    },
    module::{ArtifactCache, CompileLimits, Compiler, Loader, LoaderConfig, Source, SourceError},
};
use celeriac_broker::Digest;

use crate::artifacts;

/// An engine with one module.
#[derive(Debug)]
pub(crate) struct Sandbox {
    engine: Engine,
    module: Module,
    limits: Limits,
}

/// Everything that is run here is at hand already.
struct Nowhere;

#[async_trait::async_trait]
impl Source for Nowhere {
    async fn fetch(&self, _digest: &Digest) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NotFound)
    }
}

impl Sandbox {
    /// Compiles `wasm` as a host does and loads it.
    pub(crate) async fn new(wasm: &[u8], config: EngineConfig, limits: Limits) -> Result<Self> {
        let engine = Engine::new(config)?;
        let cache = ArtifactCache::open(&artifacts::workspace("bench-artifacts")?.join("engine"))?;
        let compiler = Compiler::new(CompileLimits::default())?;
        let loader = Loader::new(
            engine.clone(),
            cache,
            compiler,
            Arc::new(Nowhere),
            &LoaderConfig::default(),
        );
        let module = loader.install(&Digest::of(wasm), wasm).await?;
        Ok(Self {
            engine,
            module,
            limits,
        })
    }

    /// What an attempt of `task` on `input` consists of.
    pub(crate) fn request(&self, task: &str, input: Payload) -> Request {
        Request {
            invocation: Invocation {
                id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
                task: task.to_owned(),
                attempt: 1,
            },
            input,
            limits: self.limits.clone(),
            rights: celeriac::engine::Rights::none(),
            cancel: CancellationToken::new(),
            sink: Arc::new(Discard),
        }
    }

    /// Runs one attempt, which must succeed.
    pub(crate) async fn execute(&self, request: Request) -> Result<Success> {
        let Execution { verdict, usage, .. } = self.engine.execute(&self.module, request).await;
        match verdict {
            Verdict::Success(output) => Ok(Success {
                output,
                run_time: usage.run_time,
            }),
            other => bail!("the task failed: {other:?}"),
        }
    }
}

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Success {
    /// What the task returned.
    pub(crate) output: Payload,
    /// From before the store is made to after the task has returned.
    pub(crate) run_time: Duration,
}

/// A runtime with one thread, timers on: nothing but the guest runs on it.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")
}
