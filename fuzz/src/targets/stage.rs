//! What targets need that run modules: an engine, a loader, and this version's program as the compiler.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use celeriac::engine::{Engine, EngineConfig};
use celeriac::module::{
    ArtifactCache, CompileLimits, Compiler, Loader, LoaderConfig, Source, SourceError,
};
use celeriac_broker::Digest;
use tempfile::TempDir;

/// An engine of two slots and an empty cache.
pub(super) struct Stage {
    pub(super) engine: Engine,
    pub(super) loader: Loader,
    pub(super) runtime: tokio::runtime::Runtime,
    directory: TempDir,
}

impl Stage {
    pub(super) fn new() -> Self {
        let engine = Engine::new(EngineConfig {
            concurrency: 2,
            ..EngineConfig::default()
        });
        let engine = engine.expect("an engine");
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            loader: loader(&engine, directory.path()),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime"),
            engine,
            directory,
        }
    }

    /// A loader that has nothing in memory, over the same cache.
    pub(super) fn fresh_loader(&self) -> Loader {
        loader(&self.engine, self.directory.path())
    }

    /// The file of a module's artifact.
    pub(super) fn artifact(&self, digest: &Digest) -> PathBuf {
        self.directory.path().join("artifacts").join(digest.hex())
    }
}

fn loader(engine: &Engine, directory: &Path) -> Loader {
    let artifacts = ArtifactCache::open(&directory.join("artifacts")).expect("a cache");
    let compiler = Compiler::with_binary(program(), CompileLimits::default());
    Loader::new(
        engine.clone(),
        artifacts,
        compiler,
        Arc::new(Nowhere),
        &LoaderConfig::default(),
    )
}

/// The program that compiles, as it is one of the same version.
fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/celeriac");
    let program = std::env::var_os("CELERIAC_BIN").map_or(built, PathBuf::from);
    assert!(
        program.exists(),
        "{} is not there: run `make build`",
        program.display()
    );
    program
}

/// Has no module: what is not in the cache is not there.
struct Nowhere;

#[async_trait::async_trait]
impl Source for Nowhere {
    async fn fetch(&self, _digest: &Digest) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NotFound)
    }
}
