//! Admission: what stands between uploaded bytes and a name that people call.

use std::sync::Arc;
use std::time::Duration;

use super::{CompileError, LoadError, Loader, UploadCaps, check, manifest, world};
use crate::engine::{Code, EngineError, Executor, Fault, Limits};
use celeriac_broker::{Digest, Finding, Manifest, UploadReport};

/// Why a module was not admitted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// The module is wrong: the report is for its author.
    #[error("the module was refused\n{0}")]
    Refused(UploadReport),
    /// This host could not do it; another attempt may succeed.
    #[error("the module could not be examined: {0}")]
    Host(LoadError),
    /// The host failed or had no slot while it asked the module for its tasks.
    #[error("the module could not be asked for its tasks: {0}")]
    Busy(String),
}

impl From<UploadReport> for AdmitError {
    fn from(report: UploadReport) -> Self {
        Self::Refused(report)
    }
}

/// Admits modules.
#[derive(Clone, Debug)]
pub struct Admitter {
    loader: Loader,
    /// `describe` is guest code: it runs where guests run.
    executor: Arc<Executor>,
    caps: UploadCaps,
    describe_limits: Limits,
}

impl Admitter {
    /// An admitter with the default bounds: those of [`UploadCaps`], and a second for `describe`, which only
    /// lists what is in the module.
    #[must_use]
    pub fn new(loader: Loader, executor: Arc<Executor>) -> Self {
        let describe_limits = Limits {
            fuel: 1_000_000_000,
            timeout: Duration::from_secs(1),
            log_bytes: 0,
            ..Limits::default()
        };
        Self {
            loader,
            executor,
            caps: UploadCaps::default(),
            describe_limits,
        }
    }

    /// With other bounds on what a module may consist of.
    #[must_use]
    pub fn with_upload_caps(mut self, caps: UploadCaps) -> Self {
        self.caps = caps;
        self
    }

    /// With other bounds on `describe`.
    #[must_use]
    pub fn with_describe_limits(mut self, limits: Limits) -> Self {
        self.describe_limits = limits;
        self
    }

    /// Checks, compiles and questions a module. To be called on a runtime that can start processes.
    ///
    /// # Errors
    /// A report for the author, or what kept this host from it.
    pub async fn admit(&self, wasm: Arc<[u8]>) -> Result<Manifest, AdmitError> {
        let (digest, imports) = self.check(Arc::clone(&wasm)).await?;
        let module = self
            .loader
            .install(&digest, &wasm)
            .await
            .map_err(load_error)?;
        let (engine, limits) = (self.loader.engine().clone(), self.describe_limits.clone());
        let described = self
            .executor
            .spawn(async move { engine.describe(&module, &limits).await })
            .await;
        let described = described.map_err(|error| AdmitError::Busy(error.to_string()))?;
        let tasks = manifest::tasks(described.map_err(|fault| describe_error(&fault))?)?;
        Ok(Manifest {
            digest,
            bytes: wasm.len() as u64,
            tasks,
            imports,
        })
    }

    /// Reading every byte takes time: not on this thread.
    async fn check(&self, wasm: Arc<[u8]>) -> Result<(Digest, Vec<String>), AdmitError> {
        let caps = self.caps;
        let work = move || {
            check(&wasm, &caps)?;
            Ok((Digest::of(&wasm), world::names(&wasm).imports))
        };
        let checked = tokio::task::spawn_blocking(work).await;
        checked.unwrap_or_else(|error| {
            Err(AdmitError::Busy(format!("the check did not end: {error}")))
        })
    }
}

/// Tells the author's errors from the host's.
fn load_error(error: LoadError) -> AdmitError {
    let finding = match &error {
        LoadError::Compile {
            cause: cause @ CompileError::Exceeded(_),
            ..
        } => Finding::new(
            "the compiler",
            cause.to_string(),
            "make the module smaller, or split it in several",
        ),
        LoadError::Compile {
            cause: cause @ CompileError::Refused(_),
            ..
        } => Finding::new(
            "the compiler",
            cause.to_string(),
            "report it: the module passed validation",
        ),
        LoadError::Link { cause, .. } => match &**cause {
            EngineError::TooLarge(what) => {
                Finding::new("the memories and tables", what.clone(), "make them smaller")
            }
            EngineError::Link(what) => Finding::new(
                "the imports",
                what.clone(),
                "use the crate celeriac-guest in a version the hosts know",
            ),
            _ => return AdmitError::Host(error),
        },
        _ => return AdmitError::Host(error),
    };
    AdmitError::Refused(finding.into())
}

fn describe_error(fault: &Fault) -> AdmitError {
    if matches!(fault.code, Code::HostFault | Code::Overloaded) {
        return AdmitError::Busy(fault.message.clone());
    }
    let mut what = format!("`describe` ended with {}: {}", fault.code, fault.message);
    for more in [&fault.stderr, &fault.trace].into_iter().flatten() {
        what.push('\n');
        what.push_str(more);
    }
    let remedy =
        "`describe` runs at upload, within a second and little memory, and must not do any work";
    AdmitError::Refused(Finding::new("export `describe`", what, remedy).into())
}
