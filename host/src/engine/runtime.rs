//! The engine itself: one wasmtime engine, one linker, one ticker, and the modules that are ready to run.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};

use super::bindings::ModulePre;
use super::config::{EngineConfig, Purpose, config};
use super::files::ScratchBase;
use super::net::Network;
use super::state::State;
use super::ticker::Ticker;
use super::{context, key_value, tasks, wasi};

/// Runs tasks. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones share.
pub(crate) struct Inner {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) config: EngineConfig,
    pub(crate) ticker: Ticker,
    pub(crate) scratch: Arc<ScratchBase>,
    pub(crate) network: Arc<Network>,
    linker: Linker<State>,
}

/// A module that is compiled, checked against the contract and linked: ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(crate) pre: ModulePre<State>,
}

/// Why an engine or a module could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The pool could not be reserved.
    #[error(
        "cannot reserve the pool of {concurrency} instances: {reason}. The pool takes some {tebibytes} TiB of address \
         space (not memory): lower the concurrency, or lift `ulimit -v` and the like"
    )]
    Pool {
        /// How many instances were asked for.
        concurrency: u32,
        /// Address space, rounded up.
        tebibytes: u64,
        /// What wasmtime says.
        reason: String,
    },
    /// The ticker's thread could not be started.
    #[error("cannot start the epoch thread: {0}")]
    Ticker(#[from] std::io::Error),
    /// The engine's own set-up is wrong; a test prevents it.
    #[error("cannot set up the engine: {0}")]
    Setup(String),
    /// The module does not fit the contract.
    #[error("the module does not fit the contract: {0}")]
    Link(String),
    /// The module needs more than a slot of the pool has.
    #[error("the module needs more than an instance gets: {0}")]
    TooLarge(String),
}

impl Engine {
    /// Reserves the pool and starts the ticker.
    ///
    /// # Errors
    /// When the address space for the pool is not to be had, or a thread is not.
    pub fn new(engine_config: EngineConfig) -> Result<Self, EngineError> {
        let config = config(Purpose::Run(&engine_config)).map_err(|error| setup(&error))?;
        let wasmtime =
            wasmtime::Engine::new(&config).map_err(|error| pool_error(&engine_config, &error))?;
        let mut linker = Linker::new(&wasmtime);
        wasi::link(&mut linker).map_err(|error| setup(&error))?;
        context::link(&mut linker).map_err(|error| setup(&error))?;
        key_value::link(&mut linker).map_err(|error| setup(&error))?;
        tasks::link(&mut linker).map_err(|error| setup(&error))?;
        let ticker = Ticker::start(&wasmtime, engine_config.tick)?;
        let scratch = Arc::new(ScratchBase::new(engine_config.scratch_dir.as_deref()));
        Ok(Self {
            inner: Arc::new(Inner {
                wasmtime,
                network: Arc::new(Network::new(engine_config.dns)),
                config: engine_config,
                ticker,
                scratch,
                linker,
            }),
        })
    }

    /// Links a compiled component.
    ///
    /// # Errors
    /// When it does not fit the contract, or needs more than a slot of the pool has.
    pub(crate) fn link(&self, component: &Component) -> Result<Module, EngineError> {
        self.check_size(component)?;
        let pre = self
            .inner
            .linker
            .instantiate_pre(component)
            .map_err(|error| link_error(&error))?;
        Self::module(pre)
    }

    fn module(pre: InstancePre<State>) -> Result<Module, EngineError> {
        Ok(Module {
            pre: ModulePre::new(pre).map_err(|error| link_error(&error))?,
        })
    }

    /// A component beyond the pool's slots would fail at each invocation: it fails once, here.
    fn check_size(&self, component: &Component) -> Result<(), EngineError> {
        let Some(needs) = component.resources_required() else {
            return Ok(());
        };
        let config = &self.inner.config;
        let pages = needs.max_initial_memory_size.unwrap_or(0);
        let checks = [
            (
                "linear memories",
                u64::from(needs.num_memories),
                u64::from(config.memories_per_invocation),
            ),
            (
                "tables",
                u64::from(needs.num_tables),
                u64::from(config.tables_per_invocation),
            ),
            (
                "bytes of initial memory",
                pages.saturating_mul(65_536),
                config.memory_max_bytes as u64,
            ),
            (
                "elements of a table",
                needs.max_initial_table_size.unwrap_or(0),
                config.table_elements as u64,
            ),
        ];
        match checks.iter().find(|(_, needed, allowed)| needed > allowed) {
            Some((what, needed, allowed)) => Err(EngineError::TooLarge(format!(
                "{needed} {what}, {allowed} allowed"
            ))),
            None => Ok(()),
        }
    }

    /// The configuration that it was made with.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Invocations that run at this moment.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.ticker.running()
    }
}

fn setup(error: &wasmtime::Error) -> EngineError {
    EngineError::Setup(format!("{error:#}"))
}

fn link_error(error: &wasmtime::Error) -> EngineError {
    EngineError::Link(format!("{error:#}"))
}

fn pool_error(config: &EngineConfig, error: &wasmtime::Error) -> EngineError {
    let memories = u64::from(config.concurrency) * u64::from(config.memories_per_invocation);
    EngineError::Pool {
        concurrency: config.concurrency,
        tebibytes: (memories * 4).div_ceil(1024),
        reason: format!("{error:#}"),
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.inner.config)
            .field("running", &self.running())
            .finish()
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").finish_non_exhaustive()
    }
}
