//! Uploading modules.

use std::time::Duration;

use bytes::Bytes;
use celeriac_broker::{Admit, Admitted, BUILT_IN_MODULE, Manifest, ModuleRef, UploadReport};

use crate::{Client, Error};

/// How long an uploader waits for a host to admit: a large module takes seconds to compile.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(300);

impl Client {
    /// Uploads a module and has a host admit it; then `name` (`images`, or `images@1.2.0`) points to
    /// it. Nothing changes when it is refused.
    ///
    /// # Errors
    /// `Error::Refused` with a report; `Error::TimedOut` when no host took the request.
    pub async fn push(&self, module: impl Into<Bytes>, name: &str) -> Result<Manifest, Error> {
        Ok(self.admit(module, name).await?.manifest)
    }

    /// As [`push`](Self::push), and tells what the module's tasks ask for and are not granted. It is callable all the
    /// same: a task is refused at the call that it may not make.
    ///
    /// # Errors
    /// Those of `push`.
    pub async fn admit(&self, module: impl Into<Bytes>, name: &str) -> Result<Admitted, Error> {
        let name: ModuleRef = name.parse()?;
        let digest = self.shared.broker.put_blob(module.into()).await?;
        let admit = self.task(&format!("{BUILT_IN_MODULE}/admit"))?;
        let handle = admit.submit(&Admit { digest, name }).await?;
        match handle.result_within(ADMISSION_PATIENCE).await {
            Err(Error::Failed(failed)) => Err(refusal(*failed)),
            other => other,
        }
    }
}

/// A refused upload carries its report in the failure's details.
fn refusal(failed: crate::TaskFailed) -> Error {
    let report = failed
        .failure
        .details
        .clone()
        .map(serde_json::from_value::<UploadReport>);
    match report {
        Some(Ok(report)) => Error::Refused(report),
        _ => Error::Failed(Box::new(failed)),
    }
}
