//! The same invocation straight on wasmtime: what an engine without any of our bookkeeping would do.
//!
//! The same `Config` and pool, a store with fuel, epoch and a memory limit, a default WASI context, and the
//! typed call; imports of the contract are linked and do nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use celeriac::engine::{EngineConfig, Limits, Purpose, config};
use wasmtime::{
    Engine, Store, StoreLimits, StoreLimitsBuilder,
    component::{Component, HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use contract::{
    ModulePre,
    celeriac::task::{context, types},
};

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]
mod contract {
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "module",
        exports: { default: async },
    });
}

/// What a store carries.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl types::Host for State {}

impl context::Host for State {
    fn current(&mut self) -> context::Invocation {
        context::Invocation {
            id: String::new(),
            task: String::new(),
            attempt: 1,
            deadline: 0.0,
        }
    }

    fn is_cancelled(&mut self) -> bool {
        false
    }

    fn progress(&mut self, _done: f64, _total: f64, _note: String) {}

    fn log(&mut self, _level: context::Level, _message: String, _fields: String) {}

    fn emit(&mut self, _chunk: types::Payload) {}

    fn secret(&mut self, _name: String) -> Result<String, types::AccessError> {
        Ok(String::new())
    }

    fn panicked(&mut self, _message: String) {}

    fn backtrace(&mut self) -> String {
        String::new()
    }
}

/// Where the time of one invocation goes, in µs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub(crate) store: f64,
    pub(crate) instantiate: f64,
    pub(crate) call: f64,
    pub(crate) drop: f64,
}

impl Parts {
    /// By name.
    pub(crate) fn named(self) -> [(&'static str, f64); 4] {
        [
            ("store", self.store),
            ("instantiate", self.instantiate),
            ("call", self.call),
            ("drop", self.drop),
        ]
    }
}

/// A module on bare wasmtime. The epoch advances while this lives, as often as in our engine.
pub(crate) struct Bare {
    pre: ModulePre<State>,
    limits: Limits,
    _ticker: Ticker,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare").finish_non_exhaustive()
    }
}

impl Bare {
    /// Compiles `bytes` with our configuration.
    pub(crate) fn new(bytes: &[u8], engine: &EngineConfig, limits: Limits) -> Result<Self> {
        let wasmtime = Engine::new(&config(Purpose::Run(engine)).map_err(plain)?).map_err(plain)?;
        let mut linker = Linker::<State>::new(&wasmtime);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(plain)?;
        types::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(plain)?;
        context::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(plain)?;
        let component = Component::new(&wasmtime, bytes).map_err(plain)?;
        let pre =
            ModulePre::new(linker.instantiate_pre(&component).map_err(plain)?).map_err(plain)?;
        Ok(Self {
            pre,
            limits,
            _ticker: Ticker::start(wasmtime, engine.tick),
        })
    }

    /// One invocation of a task on JSON text.
    pub(crate) async fn invoke(&self, task: &str, input: String) -> Result<String> {
        let mut store = self.store()?;
        let instance = self
            .pre
            .instantiate_async(&mut store)
            .await
            .map_err(plain)?;
        text(
            instance
                .call_run(&mut store, task, &types::Payload::Json(input))
                .await
                .map_err(plain)?,
        )
    }

    /// The same with a clock at each step.
    pub(crate) async fn invoke_in_parts(&self, task: &str, input: String) -> Result<Parts> {
        let mut clock = Clock(Instant::now());
        let mut parts = Parts::default();
        let mut store = self.store()?;
        parts.store = clock.lap();
        let instance = self
            .pre
            .instantiate_async(&mut store)
            .await
            .map_err(plain)?;
        parts.instantiate = clock.lap();
        let output = instance
            .call_run(&mut store, task, &types::Payload::Json(input))
            .await
            .map_err(plain)?;
        parts.call = clock.lap();
        drop(store);
        parts.drop = clock.lap();
        text(output)?;
        Ok(parts)
    }

    fn store(&self) -> Result<Store<State>> {
        let memory = usize::try_from(self.limits.memory_bytes).unwrap_or(usize::MAX);
        let state = State {
            wasi: WasiCtxBuilder::new().build(),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(memory).build(),
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_fuel(self.limits.fuel).map_err(plain)?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }
}

fn text(output: std::result::Result<types::Payload, types::Failure>) -> Result<String> {
    match output {
        Ok(types::Payload::Json(text)) => Ok(text),
        Ok(types::Payload::Bytes(_)) => Err(anyhow!("the task returned bytes, not JSON")),
        Err(failure) => Err(anyhow!("the task failed: {}", failure.message)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

/// Time between steps, in µs.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now - std::mem::replace(&mut self.0, now);
        lap.as_secs_f64() * 1e6
    }
}

/// Advances the epoch until dropped.
struct Ticker {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine, tick: Duration) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(tick);
                engine.increment_epoch();
            }
        });
        Self {
            is_stopped,
            thread: Some(thread),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
