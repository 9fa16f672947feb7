//! The modules that this host runs: loaded once, with what their authors ask for each task.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use celeriac_broker::{Broker, BrokerError, Digest, Manifest, ModuleRef, TaskOptions};
use tokio::runtime::Handle;

use super::translate;
use crate::{
    engine::{LimitOptions, Module},
    module::{LoadError, Loader, Source, SourceError},
    policy::{self, Need},
};

/// Manifests kept in memory. They are small, and the loader keeps as many modules at most.
const MANIFESTS: usize = 256;

/// What each task of a module asks for.
type Asked = Arc<HashMap<String, Arc<Authored>>>;

/// What the author of a task asks for.
#[derive(Debug, Default)]
pub(crate) struct Authored {
    pub(crate) limits: LimitOptions,
    /// Where its retry policy stands.
    pub(crate) options: TaskOptions,
    pub(crate) needs: Vec<Need>,
}

/// A task that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) module: Module,
    pub(crate) authored: Arc<Authored>,
}

/// Why a task is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the manifest of {digest} cannot be read: {reason}; push the module again")]
    Manifest { digest: Digest, reason: String },
    #[error("loading {0} was given up")]
    Abandoned(Digest),
}

impl ModuleError {
    /// Whether the invocation should be given back instead of failed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_transient(),
            Self::Load(LoadError::Source { cause, .. }) => {
                matches!(cause, SourceError::Unavailable(_))
            }
            Self::Load(_) | Self::Manifest { .. } => false,
            Self::Abandoned(_) => true,
        }
    }
}

/// Loads modules and what their tasks ask for.
#[derive(Debug)]
pub(crate) struct Modules {
    broker: Arc<dyn Broker>,
    loader: Loader,
    /// The runtime that talks to the broker and starts compilers: guest threads can do neither.
    runtime: Handle,
    asked: Mutex<HashMap<Digest, Asked>>,
}

impl Modules {
    /// Must be called on the runtime that talks to the broker.
    pub(crate) fn new(broker: Arc<dyn Broker>, loader: Loader) -> Self {
        Self {
            broker,
            loader,
            runtime: Handle::current(),
            asked: Mutex::default(),
        }
    }

    /// A task of a module. In memory it is two lookups.
    pub(crate) async fn load(
        self: &Arc<Self>,
        digest: &Digest,
        task: &str,
    ) -> Result<Ready, ModuleError> {
        let authored = |asked: &Asked| asked.get(task).cloned().unwrap_or_default();
        if let (Some(module), Some(asked)) = (self.loader.ready(digest), self.known(digest)) {
            return Ok(Ready {
                module,
                authored: authored(&asked),
            });
        }
        let (this, digest) = (self.clone(), *digest);
        let fetched = self.runtime.spawn(async move { this.fetch(&digest).await });
        let (module, asked) = fetched
            .await
            .map_err(|_| ModuleError::Abandoned(digest))??;
        Ok(Ready {
            module,
            authored: authored(&asked),
        })
    }

    async fn fetch(&self, digest: &Digest) -> Result<(Module, Asked), ModuleError> {
        let (module, asked) = tokio::join!(self.loader.load(digest), self.asked(digest));
        Ok((module?, asked?))
    }

    async fn asked(&self, digest: &Digest) -> Result<Asked, ModuleError> {
        if let Some(asked) = self.known(digest) {
            return Ok(asked);
        }
        let record = self
            .broker
            .module(&ModuleRef::Digest(None, *digest))
            .await?;
        let manifest = serde_json::from_str::<Manifest>(&record.manifest);
        let manifest = manifest.map_err(|error| ModuleError::Manifest {
            digest: *digest,
            reason: error.to_string(),
        })?;
        // Otherwise it was admitted by a host of another version.
        let unreadable = |error: &dyn std::fmt::Display| ModuleError::Manifest {
            digest: *digest,
            reason: error.to_string(),
        };
        let tasks = manifest.tasks.into_iter().map(|task| {
            let authored = Authored {
                limits: translate::authored(&task.options).map_err(|error| unreadable(&error))?,
                needs: policy::needs(&task).map_err(|error| unreadable(&error))?,
                options: task.options,
            };
            Ok::<_, ModuleError>((task.name, Arc::new(authored)))
        });
        let asked: Asked = Arc::new(tasks.collect::<Result<_, _>>()?);
        let mut known = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANIFESTS {
            // Rare, and each is read back with one small request.
            known.clear();
        }
        known.insert(*digest, asked.clone());
        Ok(asked)
    }

    fn known(&self, digest: &Digest) -> Option<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }
}

/// Uploaded bytes come from the broker.
#[derive(Debug)]
pub(crate) struct BrokerSource(pub(crate) Arc<dyn Broker>);

#[async_trait::async_trait]
impl Source for BrokerSource {
    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        match self.0.blob(digest).await {
            Ok(Some(bytes)) => Ok(bytes.into()),
            Ok(None) => Err(SourceError::NotFound),
            Err(error) if error.is_transient() => Err(SourceError::Unavailable(error.to_string())),
            Err(error) => Err(SourceError::Damaged(error.to_string())),
        }
    }
}
