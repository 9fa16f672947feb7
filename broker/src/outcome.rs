//! What an invocation came to: a stable code, the output or the failure, and what it used.

use serde::{Deserialize, Serialize};

use crate::{Digest, Payload};

/// What an invocation came to. The words are stable: programs may compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The task returned an output.
    Ok,
    /// The task returned a failure.
    TaskError,
    /// The task panicked.
    Panicked,
    /// The task burnt all the fuel it was allowed.
    OutOfFuel,
    /// The attempt took longer than it was allowed.
    Deadline,
    /// Somebody cancelled the invocation.
    Cancelled,
    /// The task asked for more memory than it was allowed.
    MemoryLimit,
    /// The input is larger than the task may receive.
    InputTooLarge,
    /// The output is larger than a result may be.
    OutputTooLarge,
    /// The task recursed deeper than its stack.
    StackOverflow,
    /// The guest did something that wasm forbids, such as reading out of bounds.
    Trap,
    /// The host failed; the task is not to blame.
    HostFault,
    /// The system had no room for the invocation.
    Overloaded,
    /// The invocation was running each time that three hosts died.
    Quarantined,
    /// The invocation was not started in time.
    Expired,
    /// An invocation that it waited for ended otherwise.
    DependencyFailed,
    /// An invocation that it waited for ended otherwise, and it was to be skipped then.
    Skipped,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::TaskError,
        Self::Panicked,
        Self::OutOfFuel,
        Self::Deadline,
        Self::Cancelled,
        Self::MemoryLimit,
        Self::InputTooLarge,
        Self::OutputTooLarge,
        Self::StackOverflow,
        Self::Trap,
        Self::HostFault,
        Self::Overloaded,
        Self::Quarantined,
        Self::Expired,
        Self::DependencyFailed,
        Self::Skipped,
    ];

    /// The code as it stands on the wire, in logs and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TaskError => "task_error",
            Self::Panicked => "panicked",
            Self::OutOfFuel => "out_of_fuel",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::MemoryLimit => "memory_limit",
            Self::InputTooLarge => "input_too_large",
            Self::OutputTooLarge => "output_too_large",
            Self::StackOverflow => "stack_overflow",
            Self::Trap => "trap",
            Self::HostFault => "host_fault",
            Self::Overloaded => "overloaded",
            Self::Quarantined => "quarantined",
            Self::Expired => "expired",
            Self::DependencyFailed => "dependency_failed",
            Self::Skipped => "skipped",
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an invocation did not succeed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// A short word for programs: the task's own for `task_error`, the code for everything else.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether running the same input again may succeed.
    #[serde(default)]
    pub retryable: bool,
    /// Seconds that the task asked to wait before a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<f64>,
    /// Whatever else a caller can use, as the task gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// The guest's stack, innermost frame first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The limit that was hit, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitHit>,
}

/// A limit that stopped an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitHit {
    /// Which limit, as it is called in the configuration.
    pub name: String,
    /// What was allowed, in the limit's unit.
    pub allowed: u64,
    /// What was seen, in the limit's unit.
    pub seen: u64,
    /// What to change so that more is allowed.
    pub remedy: String,
}

/// What the last attempt used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Fuel burnt.
    pub fuel: u64,
    /// The most linear memory and tables held at once, in bytes.
    pub peak_memory_bytes: u64,
    /// From when it might start to started, in milliseconds.
    pub queue_ms: f64,
    /// From started to ended, in milliseconds.
    pub run_ms: f64,
    /// Which attempt this was, from 1.
    pub attempt: u32,
    /// The module that ran; none when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Digest>,
    /// The host that ran it.
    pub host: String,
}

/// What an invocation came to. Written once, under the last lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The stable code.
    pub code: Code,
    /// The output; only with `Code::Ok`.
    pub output: Option<Payload>,
    /// The failure; with every other code.
    pub failure: Option<Failure>,
    /// What the last attempt used.
    pub usage: Usage,
}

impl Outcome {
    /// The state that an invocation with this outcome ends in.
    pub fn state(&self) -> crate::State {
        match self.code {
            Code::Ok => crate::State::Succeeded,
            Code::Cancelled | Code::Skipped => crate::State::Cancelled,
            Code::Expired => crate::State::Expired,
            _ => crate::State::Failed,
        }
    }

    /// A failure that the host or the broker found, with `code` as its kind.
    pub fn failed(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            output: None,
            failure: Some(Failure {
                kind: code.as_str().to_owned(),
                message: message.into(),
                ..Failure::default()
            }),
            usage: Usage::default(),
        }
    }
}

/// An outcome without its output, as it is stored beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutcomeHead {
    /// The stable code.
    pub code: Code,
    /// The output's content type, where there is an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The failure, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the last attempt used.
    pub usage: Usage,
}

impl Outcome {
    /// Splits off the output, so that bytes are stored as bytes.
    pub fn into_parts(self) -> (OutcomeHead, Option<bytes::Bytes>) {
        let (content_type, data) = match self.output {
            Some(payload) => (Some(payload.content_type), Some(payload.data)),
            None => (None, None),
        };
        let head = OutcomeHead {
            code: self.code,
            content_type,
            failure: self.failure,
            usage: self.usage,
        };
        (head, data)
    }

    /// Joins what `into_parts` took apart.
    pub fn from_parts(head: OutcomeHead, data: Option<bytes::Bytes>) -> Self {
        let output = match (head.content_type, data) {
            (Some(content_type), Some(data)) => Some(Payload { content_type, data }),
            _ => None,
        };
        Self {
            code: head.code,
            output,
            failure: head.failure,
            usage: head.usage,
        }
    }
}
