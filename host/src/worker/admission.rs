//! The built-in task `celeriac/admit`: checks an uploaded module and makes it callable.

use std::sync::Arc;

use celeriac_broker::{
    Admit, Admitted, Broker, BrokerError, Code, Failure, Finding, Manifest, ModuleRef, Outcome,
    Payload, Publication, Reserved, TaskDefaults, UploadReport,
};

use crate::{
    module::{AdmitError, Admitter},
    policy::{Identity, LivePolicy},
};

/// Admits modules for the host.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) admitter: Admitter,
    pub(crate) policy: Arc<LivePolicy>,
}

impl Admission {
    /// Answers a request for a built-in task.
    pub(crate) async fn answer(&self, request: &Reserved) -> Outcome {
        if request.header.task.task != "admit" {
            let message = format!("the host has no task `{}`", request.header.task);
            return Outcome::failed(Code::TaskError, message);
        }
        match request.input.parse::<Admit>() {
            Ok(admit) => self.admit(request, admit).await,
            Err(error) => Outcome::failed(
                Code::TaskError,
                format!("the request to admit is not valid: {error}"),
            ),
        }
    }

    async fn admit(&self, request: &Reserved, admit: Admit) -> Outcome {
        let bytes = match self.broker.blob(&admit.digest).await {
            Ok(Some(bytes)) => Arc::from(&bytes[..]),
            Ok(None) => return refused(&not_there(&admit)),
            Err(error) => return Outcome::failed(Code::HostFault, error.to_string()),
        };
        match self.admitter.admit(bytes).await {
            Ok(manifest) => self.publish(request, admit, manifest).await,
            Err(AdmitError::Refused(report)) => refused(&report),
            Err(error) => Outcome::failed(Code::HostFault, error.to_string()),
        }
    }

    async fn publish(&self, request: &Reserved, admit: Admit, manifest: Manifest) -> Outcome {
        let text = match serde_json::to_string(&manifest) {
            Ok(text) => text,
            Err(error) => return unwritable(&error),
        };
        let module = named(&admit);
        let tasks = manifest.tasks.iter();
        let publication = Publication {
            digest: admit.digest,
            name: admit.name,
            manifest: text,
            tasks: tasks
                .map(|task| (task.name.clone(), TaskDefaults::from(&task.options)))
                .collect(),
        };
        match self.broker.publish(&request.lease, publication).await {
            Ok(()) => self.admitted(manifest, &module),
            Err(error @ BrokerError::VersionTaken { .. }) => refused(
                &Finding::new("the version", error.to_string(), "push under a new version").into(),
            ),
            Err(error) => Outcome::failed(Code::HostFault, error.to_string()),
        }
    }

    /// The manifest, with what the policy of this host does not grant: for the uploader to know, and stored nowhere.
    fn admitted(&self, manifest: Manifest, module: &Identity) -> Outcome {
        let ungranted = self
            .policy
            .with(|policy| policy.ungranted(module, &manifest.tasks));
        let answer = Admitted {
            manifest,
            ungranted,
        };
        serde_json::to_string(&answer).map_or_else(|error| unwritable(&error), succeeded)
    }
}

/// The module as it will be called under its new name.
fn named(admit: &Admit) -> Identity {
    let (name, versions) = match &admit.name {
        ModuleRef::Name(name) => (Some(name.clone()), Vec::new()),
        ModuleRef::Version(name, version) => (Some(name.clone()), vec![version.clone()]),
        ModuleRef::Digest(name, _) => (name.clone(), Vec::new()),
    };
    Identity {
        digest: admit.digest,
        name,
        versions,
    }
}

fn unwritable(error: &serde_json::Error) -> Outcome {
    Outcome::failed(
        Code::HostFault,
        format!("the manifest cannot be written: {error}"),
    )
}

fn not_there(admit: &Admit) -> UploadReport {
    let remedy = "push the module again: bytes that are not admitted within an hour are dropped";
    Finding::new(
        "the upload",
        format!("the bytes of {} are not there", admit.digest),
        remedy,
    )
    .into()
}

fn succeeded(answer: String) -> Outcome {
    Outcome {
        code: Code::Ok,
        output: Some(Payload::json_text(answer)),
        failure: None,
        usage: celeriac_broker::Usage::default(),
    }
}

fn refused(report: &UploadReport) -> Outcome {
    let mut outcome = Outcome::failed(Code::TaskError, report.to_string());
    outcome.failure = Some(Failure {
        kind: "upload-refused".into(),
        message: report.to_string(),
        details: serde_json::to_value(report).ok(),
        ..Failure::default()
    });
    outcome
}
