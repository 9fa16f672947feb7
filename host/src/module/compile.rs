//! Compiles uploaded modules in a child process.
//!
//! Compiling takes time and memory as the uploaded code pleases, and a compiler is a large target: so it runs
//! apart, without environment or descriptors, under limits of address space, processor time and files, with no
//! system calls but those for memory and its three pipes ([`process`]), and is killed when its time is up or
//! nobody waits for it any more.

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::artifact::{Key, artifact_key};
use crate::engine::{Purpose, config};
use crate::process;

/// The hidden subcommand that the child is started with.
pub const CHILD_COMMAND: &str = "compile-child";

/// The most that the compiler's messages may occupy.
const MESSAGE_BYTES: u64 = 16 << 10;

/// Said when the child made a system call that it may not make: a new library, an unknown kernel, or an attack.
const STOPPED: &str = "the compiler was stopped by its sandbox: it asked the kernel for something that compiling \
    does not need. The kernel's log names the call (`journalctl -k --grep seccomp`); report it together with the \
    module, and do not admit the module elsewhere before it is understood";

/// How compiling is bounded.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// Wall time. A module of some MiB takes seconds on one processor.
    pub timeout: Duration,
    /// Address space of the child, in bytes.
    pub memory_bytes: u64,
    /// Processor time of the child, summed over its threads.
    pub cpu: Duration,
    /// Bytes of the artifact at most, whatever the size of the module.
    pub artifact_bytes: u64,
    /// Children at once; whoever comes later waits. Its own time begins with its turn.
    pub at_once: usize,
}

/// Bytes of an artifact that any module may have: tables, metadata, an image of its memory.
const ARTIFACT_BASE: u64 = 16 << 20;

/// Bytes of an artifact for each byte of its module: code is some four times as large as wasm, and where it is far
/// more it was made to be.
const ARTIFACT_RATIO: u64 = 16;

impl CompileLimits {
    /// Bytes of the artifact of a module of `wasm_bytes`.
    fn artifact_bytes_of(&self, wasm_bytes: u64) -> u64 {
        wasm_bytes
            .saturating_mul(ARTIFACT_RATIO)
            .saturating_add(ARTIFACT_BASE)
            .min(self.artifact_bytes)
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            memory_bytes: 4 << 30,
            cpu: Duration::from_secs(240),
            artifact_bytes: 256 << 20,
            at_once: half_the_cores(),
        }
    }
}

/// Compiling uses all processors that it gets: tasks want some.
fn half_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Why a module was not compiled.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The compiler refused the module: the author's concern.
    #[error("{0}")]
    Refused(String),
    /// The module needs more than compiling may take: the author's concern.
    #[error("compiling takes more than it may: {0}")]
    Exceeded(String),
    /// The child could not do its work: the operator's concern.
    #[error("cannot compile: {0}")]
    Host(String),
}

/// Starts compiling children.
#[derive(Clone, Debug)]
pub struct Compiler {
    binary: PathBuf,
    limits: CompileLimits,
    turns: Arc<Semaphore>,
}

impl Compiler {
    /// A compiler that starts this very program.
    ///
    /// # Errors
    /// When the program's own file is not known.
    pub fn new(limits: CompileLimits) -> Result<Self, CompileError> {
        let binary = std::env::current_exe().map_err(|error| {
            CompileError::Host(format!("this program's own file is not known: {error}"))
        })?;
        Ok(Self::with_binary(binary, limits))
    }

    /// A compiler that starts `binary`, which must be this version of `celeriac`.
    #[must_use]
    pub fn with_binary(binary: PathBuf, limits: CompileLimits) -> Self {
        let turns = Arc::new(Semaphore::new(limits.at_once.max(1)));
        Self {
            binary,
            limits,
            turns,
        }
    }

    /// Compiles a component when it is its turn. Dropping the future kills the child.
    pub(crate) async fn compile(&self, wasm: &[u8], key: &Key) -> Result<Vec<u8>, CompileError> {
        let _turn = self.turns.acquire().await;
        let mut child = self.start()?;
        match tokio::time::timeout(self.limits.timeout, self.converse(&mut child, wasm)).await {
            Ok(answer) => split_key(answer?, key),
            Err(_) => Err(CompileError::Exceeded(format!(
                "{} s of time",
                self.limits.timeout.as_secs()
            ))),
        }
    }

    fn start(&self) -> Result<Child, CompileError> {
        // What this process has open without the usual mark, its own parent left to it.
        process::keep_descriptors_from_children();
        Command::new(&self.binary)
            .arg(CHILD_COMMAND)
            .arg(self.limits.memory_bytes.to_string())
            .arg(self.limits.cpu.as_secs().max(1).to_string())
            .env_clear()
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                CompileError::Host(format!("{} does not start: {error}", self.binary.display()))
            })
    }

    /// Gives the child the wasm and takes what it says; both at once, as pipes are short.
    async fn converse(&self, child: &mut Child, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(CompileError::Host("the child has no pipes".to_owned()));
        };
        let give = async move {
            // A child that died does not read on: its status says why.
            let _ = stdin.write_all(wasm).await;
            drop(stdin);
        };
        let allowed = self.limits.artifact_bytes_of(wasm.len() as u64);
        let mut stdout = stdout.take(allowed.saturating_add(1));
        let mut stderr = stderr.take(MESSAGE_BYTES);
        // The pipe is closed with the block, so that a child with more to say ends instead of waiting.
        let take = async move {
            let mut code = Vec::new();
            let read = stdout.read_to_end(&mut code).await;
            read.map(|_| code)
        };
        let mut message = Vec::new();
        let ((), read, _) = tokio::join!(give, take, stderr.read_to_end(&mut message));
        let code =
            read.map_err(|error| CompileError::Host(format!("reading from the child: {error}")))?;
        if code.len() as u64 > allowed {
            return Err(CompileError::Exceeded(format!(
                "{allowed} bytes of code and memory image for {} bytes of wasm",
                wasm.len()
            )));
        }
        let status = child
            .wait()
            .await
            .map_err(|error| CompileError::Host(error.to_string()))?;
        if status.success() {
            Ok(code)
        } else {
            Err(self.failure(status, &message))
        }
    }

    fn failure(&self, status: ExitStatus, message: &[u8]) -> CompileError {
        if let Ok(ChildMessage {
            is_refusal,
            message,
        }) = serde_json::from_slice(message)
        {
            return if message.contains("out of memory") {
                CompileError::Exceeded(format!("{} bytes of memory", self.limits.memory_bytes))
            } else if is_refusal {
                CompileError::Refused(message)
            } else {
                CompileError::Host(message)
            };
        }
        if status.signal() == Some(Signal::SYS.as_raw()) {
            return CompileError::Host(STOPPED.to_owned());
        }
        // Rust aborts when memory is refused, the kernel kills when processor time is.
        CompileError::Exceeded(format!(
            "the compiler ended with {status}; it may use {} MiB of address space and {} s of processor time",
            self.limits.memory_bytes >> 20,
            self.limits.cpu.as_secs()
        ))
    }
}

/// The child's answer starts with the key that it compiled for: it may be another version of the program,
/// put in place while this one runs.
fn split_key(mut answer: Vec<u8>, key: &Key) -> Result<Vec<u8>, CompileError> {
    match answer.split_first_chunk::<32>() {
        Some((found, _)) if found == key => {
            answer.drain(..32);
            Ok(answer)
        }
        _ => Err(CompileError::Host(
            "the program on disk is another version than the one that runs: restart".into(),
        )),
    }
}

/// What a failed child says on stderr.
#[derive(serde::Serialize, serde::Deserialize)]
struct ChildMessage {
    is_refusal: bool,
    message: String,
}

/// The child's side: wasm on stdin, key and artifact on stdout, a message on stderr.
///
/// `arguments` are those after [`CHILD_COMMAND`]: bytes of address space and seconds of processor time. A third
/// one has the child try to break out instead of compiling, and say on stdout how far it got.
#[must_use]
pub fn compile_child_main(arguments: &[String]) -> ExitCode {
    match child(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let text = serde_json::to_string(&message).unwrap_or_default();
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn child(arguments: &[String]) -> Result<(), ChildMessage> {
    let bounds = bounds(arguments)?;
    process::confine(bounds)?;
    if let Some(attempt) = arguments.get(2) {
        return say(&[process::probe(attempt, bounds)?.as_bytes()]);
    }
    let config = config(Purpose::Compile).map_err(|error| format!("{error:#}"))?;
    let engine = wasmtime::Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let key = artifact_key(&engine);
    // Nothing of the upload has been read yet; from here on there is only compiling.
    process::seal(bounds)?;
    let mut wasm = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut wasm)
        .map_err(|error| error.to_string())?;
    let artifact = engine
        .precompile_component(&wasm)
        .map_err(|error| ChildMessage {
            is_refusal: true,
            message: format!("{error:#}"),
        })?;
    say(&[&key, &artifact])
}

fn bounds(arguments: &[String]) -> Result<process::Bounds, String> {
    let number = |index: usize| {
        arguments
            .get(index)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let (Some(memory_bytes), Some(cpu_seconds)) = (number(0), number(1)) else {
        return Err(format!(
            "`{CHILD_COMMAND}` is started by the host only: it wants two numbers"
        ));
    };
    Ok(process::Bounds {
        memory_bytes,
        cpu_seconds,
    })
}

fn say(parts: &[&[u8]]) -> Result<(), ChildMessage> {
    let mut stdout = std::io::stdout().lock();
    let written = parts
        .iter()
        .try_for_each(|part| stdout.write_all(part))
        .and_then(|()| stdout.flush());
    Ok(written.map_err(|error| error.to_string())?)
}

impl From<String> for ChildMessage {
    /// What is not about the upload is the operator's concern.
    fn from(message: String) -> Self {
        Self {
            is_refusal: false,
            message,
        }
    }
}
