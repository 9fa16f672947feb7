//! Makes a runnable module of a digest: from memory, from the artifact cache, or from the uploaded bytes.
//!
//! However many invocations ask for a module at once, it is made once; they wait for the same flight. A
//! flight goes on when its first asker gives up, as others may follow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wasmtime::component::Component;

use super::artifact::{Key, artifact_key};
use super::lru::Lru;
use celeriac_broker::Digest;

use super::{ArtifactCache, CompileError, Compiler};
use crate::engine::{Engine, EngineError, Module};

/// Where uploaded bytes are found.
#[async_trait::async_trait]
pub trait Source: Send + Sync {
    /// The bytes of a module.
    ///
    /// # Errors
    /// When they are not there, or cannot be had at this time.
    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, SourceError>;
}

/// Why the bytes of a module are not to be had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nobody has uploaded it, or it was removed.
    #[error("there is no such module; push it again")]
    NotFound,
    /// They are there and not sound: another attempt would find the same.
    #[error("its stored bytes cannot be used: {0}; push the module again")]
    Damaged(String),
    /// The source could not be asked; worth another attempt.
    #[error("the module cannot be fetched at this time: {0}")]
    Unavailable(String),
}

/// Why a module is not ready.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Its bytes are not to be had.
    #[error("{digest}: {cause}")]
    Source {
        /// Which module.
        digest: Digest,
        /// Why.
        cause: SourceError,
    },
    /// What was fetched is not what was asked for.
    #[error("{digest}: the stored bytes are those of {found}; push the module again")]
    Corrupt {
        /// Which module.
        digest: Digest,
        /// What came.
        found: Digest,
    },
    /// It does not compile.
    #[error("{digest}: {cause}")]
    Compile {
        /// Which module.
        digest: Digest,
        /// Why.
        cause: CompileError,
    },
    /// It does not fit the contract or the pool.
    #[error("{digest}: {cause}")]
    Link {
        /// Which module.
        digest: Digest,
        /// Why.
        cause: Arc<EngineError>,
    },
    /// The flight ended without an answer: host code panicked, or the host is going down.
    #[error("{digest}: loading was given up")]
    Abandoned {
        /// Which module.
        digest: Digest,
    },
}

/// How much is kept in memory.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Modules.
    pub modules: usize,
    /// Bytes of their artifacts together.
    pub bytes: u64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            modules: 256,
            bytes: 256 << 20,
        }
    }
}

/// Loads modules. Cheap to clone.
#[derive(Clone)]
pub struct Loader {
    inner: Arc<Inner>,
}

type Answer = Result<Module, LoadError>;

struct Inner {
    engine: Engine,
    key: Key,
    artifacts: ArtifactCache,
    compiler: Compiler,
    source: Arc<dyn Source>,
    ready: Mutex<Lru<Digest, Module>>,
    flights: Mutex<HashMap<Digest, watch::Receiver<Option<Answer>>>>,
}

impl Loader {
    /// A loader that has nothing in memory yet.
    #[must_use]
    pub fn new(
        engine: Engine,
        artifacts: ArtifactCache,
        compiler: Compiler,
        source: Arc<dyn Source>,
        config: &LoaderConfig,
    ) -> Self {
        let key = artifact_key(&engine.inner.wasmtime);
        let ready = Mutex::new(Lru::new(config.modules, config.bytes));
        let flights = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                engine,
                key,
                artifacts,
                compiler,
                source,
                ready,
                flights,
            }),
        }
    }

    /// The module of a digest if it is in memory.
    #[must_use]
    pub fn ready(&self, digest: &Digest) -> Option<Module> {
        lock(&self.inner.ready).get(digest)
    }

    /// The module of a digest, ready to run. In memory it is a lookup; otherwise work that must not be done
    /// on the caller's thread is done elsewhere.
    ///
    /// # Errors
    /// Each variant says what to do.
    pub async fn load(&self, digest: &Digest) -> Result<Module, LoadError> {
        if let Some(module) = lock(&self.inner.ready).get(digest) {
            return Ok(module);
        }
        let mut flight = self.board(digest);
        match flight.wait_for(Option::is_some).await {
            Ok(answer) => answer
                .clone()
                .unwrap_or(Err(LoadError::Abandoned { digest: *digest })),
            Err(_) => Err(LoadError::Abandoned { digest: *digest }),
        }
    }

    /// Makes a module of bytes at hand, as admission does. Compiles unless the artifact is there.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn install(&self, digest: &Digest, wasm: &[u8]) -> Result<Module, LoadError> {
        if let Some(module) = self.inner.from_artifact(digest).await? {
            return Ok(module);
        }
        self.inner.compile(digest, wasm).await
    }

    /// The engine that modules are made for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Joins the flight to a digest, or starts it.
    fn board(&self, digest: &Digest) -> watch::Receiver<Option<Answer>> {
        let mut flights = lock(&self.inner.flights);
        if let Some(flight) = flights.get(digest) {
            return flight.clone();
        }
        let (landed, flight) = watch::channel(None);
        flights.insert(*digest, flight.clone());
        drop(flights);
        let (inner, digest) = (Arc::clone(&self.inner), *digest);
        tokio::spawn(async move {
            let _landing = Landing {
                inner: &inner,
                digest,
            };
            let answer = inner.make(&digest).await;
            landed.send_replace(Some(answer));
        });
        flight
    }
}

/// Takes a flight off the board, also when it ends in a panic.
struct Landing<'a> {
    inner: &'a Inner,
    digest: Digest,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        lock(&self.inner.flights).remove(&self.digest);
    }
}

impl Inner {
    async fn make(self: &Arc<Self>, digest: &Digest) -> Answer {
        // A flight that landed between the lookup in memory and the start of this one.
        if let Some(module) = lock(&self.ready).get(digest) {
            return Ok(module);
        }
        if let Some(module) = self.from_artifact(digest).await? {
            return Ok(module);
        }
        let digest = *digest;
        let wasm = self
            .source
            .fetch(&digest)
            .await
            .map_err(|cause| LoadError::Source { digest, cause })?;
        let found = Digest::of(&wasm);
        if found != digest {
            return Err(LoadError::Corrupt { digest, found });
        }
        self.compile(&digest, &wasm).await
    }

    async fn from_artifact(self: &Arc<Self>, digest: &Digest) -> Result<Option<Module>, LoadError> {
        let (inner, digest) = (Arc::clone(self), *digest);
        let load = move || {
            inner
                .artifacts
                .load(&inner.engine, &digest)
                .map(|kept| inner.link(&digest, kept))
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded
            .map_err(|_| LoadError::Abandoned { digest })?
            .transpose()
    }

    fn link(&self, digest: &Digest, kept: Result<(Component, u64), String>) -> Answer {
        let linked = kept
            .map_err(EngineError::TooLarge)
            .and_then(|(component, bytes)| {
                self.engine.link(&component).map(|module| (module, bytes))
            });
        let (module, bytes) = linked.map_err(|cause| LoadError::Link {
            digest: *digest,
            cause: cause.into(),
        })?;
        lock(&self.ready).insert(*digest, module.clone(), bytes);
        Ok(module)
    }

    async fn compile(self: &Arc<Self>, digest: &Digest, wasm: &[u8]) -> Answer {
        let digest = *digest;
        let fail = |cause| LoadError::Compile { digest, cause };
        let code = self.compiler.compile(wasm, &self.key).await.map_err(fail)?;
        let inner = Arc::clone(self);
        let store = move || inner.artifacts.store(&digest, &inner.key, &code);
        let stored = tokio::task::spawn_blocking(store)
            .await
            .map_err(|_| LoadError::Abandoned { digest })?;
        stored.map_err(|error| {
            fail(CompileError::Host(format!(
                "cannot store the artifact: {error}"
            )))
        })?;
        let module = self.from_artifact(&digest).await?;
        module.ok_or_else(|| {
            fail(CompileError::Host(
                "the artifact just stored cannot be loaded".to_owned(),
            ))
        })
    }
}

/// None of these locks is held across anything that can fail half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("engine", &self.inner.engine)
            .finish_non_exhaustive()
    }
}
