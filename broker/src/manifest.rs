//! What admission says about a module: the manifest when it is taken, the report when it is refused.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Backoff, Digest, Priority};

/// What a module says about itself, kept beside it from its admission on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Manifest {
    /// The module.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its tasks, in the order in which it names them.
    pub tasks: Vec<TaskInfo>,
    /// The interfaces that it imports, with versions.
    pub imports: Vec<String>,
}

/// The answer to an upload that was admitted. Read as a [`Manifest`] it is one: the rest may be missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Admitted {
    /// What the module says about itself.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// What its tasks ask for and the admitting host's policy does not grant now. The stored manifest has nothing of
    /// it: policies change, and hosts may have different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ungranted: Option<Ungranted>,
}

/// What a module asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ungranted {
    /// What which task asks for.
    pub needs: Vec<UngrantedNeed>,
    /// What the operator writes where, so that all of it is granted.
    pub remedy: Vec<String>,
}

/// Something that a task asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UngrantedNeed {
    /// The task's name within the module.
    pub task: String,
    /// `http`, `tcp`, `directory`, `scratch`, `secret`, `config` or `kv`.
    pub kind: String,
    /// What exactly.
    pub name: String,
}

/// What a module says about one of its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskInfo {
    /// Its name within the module.
    pub name: String,
    /// The author's text about it, Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// JSON Schema of the input; none when the input is raw bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<serde_json::Value>,
    /// JSON Schema of the output; none when the output is raw bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Value>,
    /// The author's defaults.
    #[serde(default)]
    pub options: TaskOptions,
    /// What it asks for outside the sandbox.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

/// Defaults that the author gives a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct TaskOptions {
    /// The queue that its invocations go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What goes first within the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Milliseconds from when an invocation may start until it has expired, unless it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Milliseconds from when an invocation may start until it fails, unless it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Milliseconds that a result is kept after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_ttl_ms: Option<u64>,
    /// Attempts after the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long to wait before each retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// The codes and kinds of failure that are retried; empty: what says of itself that it may help.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
    /// Milliseconds of wall time for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Fuel for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Bytes of memory for one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Any other limit of one attempt, by the host's name for it, in its unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
}

/// Something outside the sandbox that a task asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Need {
    /// `http`, `tcp`, `directory`, `scratch`, `secret`, `config` or `kv`.
    pub kind: String,
    /// What exactly.
    pub name: String,
}

/// Why a module was refused: everything that was found, not only the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadReport {
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with an uploaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// Where: the file, an offset, an import, an export, a task.
    pub place: String,
    /// What is wrong there.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    /// A finding.
    pub fn new(
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl UploadReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl From<Finding> for UploadReport {
    fn from(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
        }
    }
}

impl From<Box<Finding>> for UploadReport {
    fn from(finding: Box<Finding>) -> Self {
        (*finding).into()
    }
}

impl fmt::Display for UploadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}", finding.place, finding.message)?;
            if !finding.remedy.is_empty() {
                write!(f, "\n  → {}", finding.remedy)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for UploadReport {}
