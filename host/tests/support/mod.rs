//! What the tests of engine and modules share: real components, an engine, a sink that remembers.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use celeriac::engine::{
    CancellationToken, Engine, EngineConfig, Event, EventSink, Execution, Fault, Invocation,
    Limits, Module, Payload, Request, Verdict,
};
use celeriac::module::{
    ArtifactCache, CompileLimits, Compiler, Loader, LoaderConfig, Source, SourceError,
};
use celeriac_broker::Digest;

/// The bytes of a sample module.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    let directory = std::env::var("CELERIAC_TASKS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tasks/target/wasm32-wasip2/release"),
        PathBuf::from,
    );
    let path = directory.join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make tasks` first", path.display()))
}

/// A component of the contract whose core module has these fields and this body of `run`.
pub(crate) fn fixture(fields: &str, run: &str) -> Vec<u8> {
    let text = include_str!("../fixtures/world.wat");
    let code = text.split_once("(component").unwrap().1;
    wat::parse_str(format!(
        "(component{}",
        code.replace("$FIELDS", fields).replace("$RUN", run)
    ))
    .unwrap()
}

/// A component of the contract that calls WASI by itself in this body of `run`; see the file for what it can call.
pub(crate) fn wasi_fixture(run: &str) -> Vec<u8> {
    let text = include_str!("../fixtures/wasi.wat");
    let code = text.split_once("(component").unwrap().1;
    wat::parse_str(format!("(component{}", code.replace("$RUN", run))).unwrap()
}

/// A source that has what it was given.
#[derive(Default)]
pub(crate) struct Shelf {
    pub modules: Mutex<Vec<Vec<u8>>>,
    pub fetches: Mutex<u32>,
}

#[async_trait::async_trait]
impl Source for Shelf {
    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        *self.fetches.lock().unwrap() += 1;
        let modules = self.modules.lock().unwrap();
        modules
            .iter()
            .find(|wasm| Digest::of(wasm) == *digest)
            .cloned()
            .ok_or(SourceError::NotFound)
    }
}

/// A sink that remembers.
#[derive(Default)]
pub(crate) struct Notes(pub Mutex<Vec<Event>>);

impl EventSink for Notes {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// An engine with a loader over a temporary directory.
pub(crate) struct Bench {
    pub engine: Engine,
    pub loader: Loader,
    pub shelf: Arc<Shelf>,
    pub directory: tempfile::TempDir,
}

pub(crate) fn compiler() -> Compiler {
    Compiler::with_binary(
        env!("CARGO_BIN_EXE_celeriac").into(),
        CompileLimits::default(),
    )
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_config(EngineConfig {
            concurrency: 20,
            ..EngineConfig::default()
        })
    }

    pub(crate) fn with_config(config: EngineConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::new(config).unwrap();
        let shelf = Arc::new(Shelf::default());
        let loader = loader(&engine, directory.path(), &shelf);
        Self {
            engine,
            loader,
            shelf,
            directory,
        }
    }

    pub(crate) async fn load(&self, wasm: Vec<u8>) -> Module {
        let digest = Digest::of(&wasm);
        self.shelf.modules.lock().unwrap().push(wasm);
        self.loader.load(&digest).await.unwrap()
    }

    pub(crate) async fn run(
        &self,
        module: &Module,
        task: &str,
        input: &str,
        limits: Limits,
    ) -> Execution {
        self.engine
            .execute(module, request(task, input, limits))
            .await
    }
}

pub(crate) fn loader(engine: &Engine, directory: &Path, shelf: &Arc<Shelf>) -> Loader {
    let artifacts = ArtifactCache::open(&directory.join("artifacts")).unwrap();
    let source: Arc<Shelf> = Arc::clone(shelf);
    Loader::new(
        engine.clone(),
        artifacts,
        compiler(),
        source,
        &LoaderConfig::default(),
    )
}

pub(crate) fn request(task: &str, input: &str, limits: Limits) -> Request {
    Request {
        invocation: Invocation {
            id: "0192".to_owned(),
            task: task.to_owned(),
            attempt: 1,
        },
        input: Payload::Json(input.to_owned()),
        limits,
        rights: celeriac::engine::Rights::none(),
        cancel: CancellationToken::new(),
        sink: Arc::new(Notes::default()),
    }
}

pub(crate) fn fault(execution: Execution) -> Fault {
    match execution.verdict {
        Verdict::Failed(fault) => *fault,
        Verdict::Success(payload) => panic!("succeeded with {payload:?}"),
    }
}

pub(crate) fn json(execution: &Execution) -> &str {
    match &execution.verdict {
        Verdict::Success(Payload::Json(text)) => text,
        other => panic!("no JSON: {other:?}"),
    }
}
