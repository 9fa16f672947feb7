//! What a caller can be told instead of a result.

use std::{fmt, time::Duration};

use celeriac_broker::{BrokerError, Code, Failure, InvocationId, UploadReport, Usage};

/// What a caller can be told instead of a result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The invocation ended, and not with an output.
    #[error(transparent)]
    Failed(Box<TaskFailed>),
    /// The broker refused the call or does not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The result did not come in time. The invocation goes on: await it again, or cancel it.
    #[error("invocation {id} has not ended within {waited:?}; it goes on")]
    TimedOut {
        /// Which invocation.
        id: InvocationId,
        /// How long was waited.
        waited: Duration,
    },
    /// The input cannot be written as JSON.
    #[error("the input of {task} cannot be written as JSON: {reason}")]
    Encode {
        /// The task that was to be called.
        task: String,
        /// What is wrong.
        reason: String,
    },
    /// The output is not of the type that the caller asked for.
    #[error("the output of invocation {id} is not what was asked for: {reason}")]
    Decode {
        /// Which invocation.
        id: InvocationId,
        /// What is wrong.
        reason: String,
    },
    /// The module was refused; the report says why.
    #[error("the module was refused:\n{0}")]
    Refused(UploadReport),
    /// The client has been closed.
    #[error("the client is closed: connect again")]
    Closed,
}

/// An invocation that ended without an output.
#[derive(Clone, Debug)]
pub struct TaskFailed {
    /// Which invocation.
    pub id: InvocationId,
    /// The stable code.
    pub code: Code,
    /// Why.
    pub failure: Failure,
    /// What the last attempt used.
    pub usage: Usage,
}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id, code, failure, ..
        } = self;
        write!(f, "invocation {id} ended with {code}")?;
        if failure.kind != code.as_str() && !failure.kind.is_empty() {
            write!(f, " ({})", failure.kind)?;
        }
        write!(f, ": {}", failure.message)?;
        match &failure.limit {
            Some(limit) => write!(f, "; {}", limit.remedy),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TaskFailed {}
