//! Measures one invocation against bare wasmtime with the same bytes, settings and limits, and what
//! computing guests do to their neighbours and to I/O, for two ways of laying out threads.
//!
//! `cargo run --release -p celeriac --example engine_probe -- path/to/basics.wasm`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a probe for developers, who read a panic as it is"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use celeriac::engine::{
    CancellationToken, Discard, Engine, EngineConfig, Executor, Invocation, Limits, Module,
    Payload, Purpose, Request, config,
};
use celeriac::module::{ArtifactCache, Compiler, Loader, LoaderConfig, Source, SourceError};
use celeriac_broker::Digest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod bare {
    #![allow(
        missing_docs,
        unreachable_pub,
        missing_debug_implementations,
        clippy::all,
        reason = "generated code"
    )]
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "module",
        exports: { default: async },
        require_store_data_send: true,
    });
}
use bare::celeriac::task::{context, types};

/// Short rounds in alternation, of which the quickest counts: neighbours on the machine only ever add.
const ROUNDS: usize = 60;
const CALLS: u32 = 500;

struct Shelf(Vec<u8>);

#[async_trait::async_trait]
impl Source for Shelf {
    async fn fetch(&self, _digest: &Digest) -> Result<Vec<u8>, SourceError> {
        Ok(self.0.clone())
    }
}

/// What a careful embedder's store carries, and no more.
struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl types::Host for Bare {}
impl context::Host for Bare {
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
    fn progress(&mut self, _: f64, _: f64, _: String) {}
    fn log(&mut self, _: context::Level, _: String, _: String) {}
    fn emit(&mut self, _: types::Payload) {}
    fn panicked(&mut self, _: String) {}
    fn backtrace(&mut self) -> String {
        String::new()
    }
}

fn request(task: &str, input: &str) -> Request {
    Request {
        invocation: Invocation {
            id: "0192".into(),
            task: task.into(),
            attempt: 1,
        },
        input: Payload::Json(input.into()),
        limits: Limits {
            timeout: Duration::from_secs(600),
            fuel: 1 << 50,
            ..Limits::default()
        },
        cancel: CancellationToken::new(),
        sink: Arc::new(Discard),
    }
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: engine_probe path/to/basics.wasm")?;
    let wasm = std::fs::read(path)?;
    let config = EngineConfig {
        concurrency: 300,
        ..EngineConfig::default()
    };
    let engine = Engine::new(config.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let directory = std::env::temp_dir().join(format!("engine_probe.{}", std::process::id()));
    let binary = std::env::current_exe()?
        .parent()
        .context("no parent")?
        .join("../celeriac");
    let make = |engine: &Engine| -> anyhow::Result<Loader> {
        let artifacts = ArtifactCache::open(&directory)?;
        let compiler =
            Compiler::with_binary(binary.clone(), celeriac::module::CompileLimits::default());
        Ok(Loader::new(
            engine.clone(),
            artifacts,
            compiler,
            Arc::new(Shelf(wasm.clone())),
            &LoaderConfig::default(),
        ))
    };
    let digest = Digest::of(&wasm);
    let started = Instant::now();
    let module = runtime.block_on(make(&engine)?.load(&digest))?;
    println!("compile in the child and load: {:?}", started.elapsed());
    let loader = make(&engine)?;
    let started = Instant::now();
    runtime.block_on(loader.load(&digest))?;
    println!("load from the artifact cache: {:?}", started.elapsed());

    let input = format!("{{\"text\":\"{}\"}}", "x".repeat(90));
    over_bare(&runtime, &engine, &module, &config, &wasm, &input)?;
    threads(&engine, &module)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// One invocation of `echo`, ours and bare, in alternation.
fn over_bare(
    runtime: &tokio::runtime::Runtime,
    engine: &Engine,
    module: &Module,
    engine_config: &EngineConfig,
    wasm: &[u8],
    input: &str,
) -> anyhow::Result<()> {
    let wasmtime = wasmtime::Engine::new(&config(Purpose::Run(engine_config))?)?;
    let mut linker = Linker::<Bare>::new(&wasmtime);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    bare::Module::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)?;
    let pre = bare::ModulePre::new(linker.instantiate_pre(&Component::new(&wasmtime, wasm)?)?)?;
    let payload = types::Payload::Json(input.to_owned());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        runtime.block_on(async {
            for _ in 0..CALLS {
                let execution = engine.execute(module, request("echo", input)).await;
                assert_eq!(execution.usage.output_bytes, input.len() as u64);
            }
        });
        ours.push(started.elapsed() / CALLS);
        let started = Instant::now();
        runtime.block_on(async {
            for _ in 0..CALLS {
                let limits = StoreLimitsBuilder::new().memory_size(128 << 20).build();
                let state = Bare {
                    wasi: WasiCtx::builder().build(),
                    table: ResourceTable::new(),
                    limits,
                };
                let mut store = Store::new(&wasmtime, state);
                store.limiter(|state| &mut state.limits);
                store.set_fuel(1 << 50)?;
                store.set_epoch_deadline(1);
                store.epoch_deadline_async_yield_and_update(1);
                store.set_hostcall_fuel(8 << 20);
                let instance = pre.instantiate_async(&mut store).await?;
                let answer = instance.call_run(&mut store, "echo", &payload).await?;
                anyhow::ensure!(answer.is_ok(), "echo failed");
            }
            Ok(())
        })?;
        theirs.push(started.elapsed() / CALLS);
    }
    let (ours, theirs) = (at(&sorted(ours), 10), at(&sorted(theirs), 10));
    println!(
        "echo of {} bytes: ours {ours:?}, bare {theirs:?}, ratio {:.3}",
        input.len(),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
    Ok(())
}

/// Latency of a short guest and of I/O beside computing guests, guests on the I/O runtime and on their own.
fn threads(engine: &Engine, module: &Module) -> anyhow::Result<()> {
    for (spinners, samples) in [(0, 500), (2, 200), (200, 20)] {
        for is_shared in [true, false] {
            let io = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let executor = Executor::new(2)?;
            let cancel = CancellationToken::new();
            let spawn = |request: Request| {
                let (engine, module) = (engine.clone(), module.clone());
                let work = async move { engine.execute(&module, request).await };
                if is_shared {
                    io.spawn(work)
                } else {
                    executor.spawn(work)
                }
            };
            let guests: Vec<_> = (0..spinners)
                .map(|_| {
                    spawn(Request {
                        cancel: cancel.clone(),
                        ..request("spin", "null")
                    })
                })
                .collect();
            let echo = io.block_on(io.spawn(loopback(samples)))??;
            let mut noop = Vec::new();
            for _ in 0..samples {
                let started = Instant::now();
                io.block_on(spawn(request("noop", "null")))?;
                noop.push(started.elapsed());
            }
            let started = Instant::now();
            cancel.cancel();
            for guest in guests {
                io.block_on(guest)?;
            }
            let layout = if is_shared { "shared" } else { "apart " };
            println!(
                "{layout} {spinners:>3} spinning: loopback echo p50 {:?} p99 {:?}; noop p50 {:?} p99 {:?}; cancel all {:?}",
                at(&echo, 50),
                at(&echo, 99),
                at(&sorted(noop.clone()), 50),
                at(&sorted(noop), 99),
                started.elapsed()
            );
        }
    }
    Ok(())
}

/// Round trips over a loopback socket, both ends on the I/O runtime.
async fn loopback(samples: usize) -> anyhow::Result<Vec<Duration>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        let mut byte = [0];
        while socket.read(&mut byte).await? > 0 {
            socket.write_all(&byte).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let started = Instant::now();
        socket.write_all(&[1]).await?;
        socket.read_exact(&mut [0]).await?;
        times.push(started.elapsed());
    }
    drop(socket);
    server.await??;
    Ok(sorted(times))
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

fn at(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
