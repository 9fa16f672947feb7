//! Runs a thousand executions of tasks without any grant, between two marks on standard output, so that whoever
//! traces the process sees what the kernel was asked on their behalf: `tests/tests/all/syscalls.rs` does.
//!
//! With `sealed` as its argument, the process takes files, network and processes away from all of its threads
//! before the first mark: reaching the second one then shows the same without a tracer.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use celeriac::engine::{
    CancellationToken, Code, Discard, Engine, EngineConfig, Execution, Executor, Invocation,
    Limits, Module, Payload, Request, Rights,
};
use celeriac::module::{
    ArtifactCache, CompileLimits, Compiler, Loader, LoaderConfig, Source, SourceError,
};
use celeriac_broker::Digest;
use seccompiler::{SeccompAction, SeccompFilter, apply_filter_all_threads};

/// Executions between the marks.
const EXECUTIONS: usize = 1_000;

/// Tasks of the sample module `basics`, their inputs, and how each must end.
const TASKS: &[(&str, &str, Code)] = &[
    ("noop", "null", Code::Ok),
    ("add", r#"{"a": 1, "b": 2}"#, Code::Ok),
    ("echo", r#"{"any": ["thing", null]}"#, Code::Ok),
    ("print", r#"{"lines": 5}"#, Code::Ok),
    ("emit", r#"{"count": 3}"#, Code::Ok),
    ("sleep", r#"{"seconds": 0.002, "steps": 2}"#, Code::Ok),
    ("alloc", r#"{"mib": 4}"#, Code::Ok),
    ("alloc", r#"{"mib": 64}"#, Code::MemoryLimit),
    ("fail", r#"{"message": "no"}"#, Code::TaskError),
    ("panic", r#"{"message": "help"}"#, Code::Panicked),
    ("recurse", r#"{"depth": 100000000}"#, Code::StackOverflow),
    ("spin", "null", Code::OutOfFuel),
];

fn main() -> Result<()> {
    let is_sealed = std::env::args().nth(1).is_some_and(|word| word == "sealed");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let engine = Engine::new(EngineConfig {
        concurrency: 32,
        ..EngineConfig::default()
    })?;
    let executor = Executor::new(2)?;
    let module = runtime.block_on(load(&engine))?;
    // Once through everything: threads start, and what is looked up once is looked up.
    for _ in 0..5 {
        runtime.block_on(round(&engine, &executor, &module))?;
    }
    if is_sealed {
        seal()?;
    }
    mark("BEGIN\n")?;
    for _ in 0..EXECUTIONS.div_ceil(TASKS.len()) {
        runtime.block_on(round(&engine, &executor, &module))?;
    }
    mark("END\n")
}

/// One write, to be found in a trace.
fn mark(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Every task at once, on the guest threads.
async fn round(engine: &Engine, executor: &Executor, module: &Module) -> Result<()> {
    let mut running = Vec::new();
    for (task, input, expected) in TASKS {
        let (engine, module) = (engine.clone(), module.clone());
        let request = request(task, input);
        let execution = executor.spawn(async move { engine.execute(&module, request).await });
        running.push((task, expected, execution));
    }
    for (task, expected, execution) in running {
        let Execution { verdict, .. } = execution.await?;
        ensure!(
            verdict.code() == *expected,
            "{task} ended with {verdict:?}, not {expected}"
        );
    }
    Ok(())
}

fn request(task: &str, input: &str) -> Request {
    Request {
        invocation: Invocation {
            id: "0192".to_owned(),
            task: task.to_owned(),
            attempt: 1,
        },
        input: Payload::Json(input.to_owned()),
        limits: Limits {
            fuel: 50_000_000,
            timeout: Duration::from_secs(60),
            memory_bytes: 16 << 20,
            ..Limits::default()
        },
        rights: Rights::none(),
        cancel: CancellationToken::new(),
        sink: Arc::new(Discard),
    }
}

async fn load(engine: &Engine) -> Result<Module> {
    let directory = tempfile::tempdir()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let place = |variable: &str, built: &str| {
        std::env::var_os(variable).map_or_else(|| root.join(built), PathBuf::from)
    };
    let tasks = place("CELERIAC_TASKS", "tasks/target/wasm32-wasip2/release");
    let wasm = std::fs::read(tasks.join("basics.wasm")).context("run `make tasks`")?;
    let program = place("CELERIAC_BIN", "target/release/celeriac");
    let loader = Loader::new(
        engine.clone(),
        ArtifactCache::open(directory.path().join("artifacts").as_path())?,
        Compiler::with_binary(program, CompileLimits::default()),
        Arc::new(Nowhere),
        &LoaderConfig::default(),
    );
    Ok(loader.install(&Digest::of(&wasm), &wasm).await?)
}

/// Has no module: this one is at hand.
struct Nowhere;

#[async_trait::async_trait]
impl Source for Nowhere {
    async fn fetch(&self, _digest: &Digest) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NotFound)
    }
}

/// From now on the kernel ends this process at the first of these calls, on whichever thread.
fn seal() -> Result<()> {
    let rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::KillProcess,
        arch,
    )?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    Ok(apply_filter_all_threads(&program)?)
}

/// What has to do with files by name, with the network, or with processes.
const FORBIDDEN: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_chdir,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_memfd_create,
    libc::SYS_inotify_add_watch,
    libc::SYS_mount,
    libc::SYS_io_uring_setup,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_ptrace,
    libc::SYS_prctl,
    libc::SYS_unshare,
    libc::SYS_setns,
];
