//! Other tasks, called from inside one.

use std::{fmt, time::Duration};

use crate::{AccessError, Failure, FromPayload, IntoPayload, host::Host};

/// Another task with its options, from [`Context::task_named`](crate::Context::task_named). A task that calls others says
/// `needs(tasks = "MODULE/TASK")`, and the operator grants it.
///
/// ```
/// use celeriac_guest::{Context, Failure, task, testing::FakeContext};
///
/// /// Adds up, two at a time, by having another task do it.
/// #[task(needs(tasks = "basics/add"))]
/// fn sum(ctx: &Context, numbers: Vec<f64>) -> Result<f64, Failure> {
///     let mut total = 0.0;
///     for number in numbers {
///         let pair = serde_json::json!({ "a": total, "b": number });
///         total = ctx.call("basics/add", pair)?;
///     }
///     Ok(total)
/// }
///
/// let ctx = FakeContext::new().with_tasks(|task, input| {
///     assert_eq!(task, "basics/add");
///     let pair: serde_json::Value = input.read()?;
///     let sum = pair["a"].as_f64().unwrap() + pair["b"].as_f64().unwrap();
///     Ok(celeriac_guest::Payload::Json(sum.to_string()))
/// });
/// assert_eq!(sum(&ctx, vec![1.0, 2.0, 3.5]).unwrap(), 6.5);
/// ```
#[derive(Clone, Debug)]
pub struct TaskCall<'a> {
    host: &'a Host,
    task: String,
    options: CallOptions,
}

/// How an invocation is to be run, as far as its caller says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CallOptions {
    pub(crate) queue: Option<String>,
    pub(crate) delay: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<u32>,
}

impl<'a> TaskCall<'a> {
    pub(crate) fn new(host: &'a Host, task: &str) -> Self {
        Self {
            host,
            task: task.to_owned(),
            options: CallOptions::default(),
        }
    }

    /// Uses this queue instead of the task's own.
    #[must_use]
    pub fn queue(mut self, queue: &str) -> Self {
        self.options.queue = Some(queue.to_owned());
        self
    }

    /// Does not start it before this long.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(delay);
        self
    }

    /// Stops an attempt after this long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Tries again up to so many times, whatever the task says.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Hands it in and returns its id. It runs whatever becomes of this invocation, which is recorded as its caller. A
    /// retry of this task hands it in again.
    ///
    /// # Errors
    /// `Refused`, or `Input` when the input has no JSON form.
    pub fn submit(&self, input: impl IntoPayload) -> Result<String, CallError> {
        let input = input.into_payload().map_err(CallError::Input)?;
        Ok(self.host.submit(&self.task, input, &self.options)?)
    }

    /// Runs it and waits for its output. This task computes nothing meanwhile, its own time goes on, and others take its
    /// place on the host.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub fn call<T: FromPayload>(&self, input: impl IntoPayload) -> Result<T, CallError> {
        let input = input.into_payload().map_err(CallError::Input)?;
        let output = self.host.call(&self.task, input, &self.options)?;
        output.read().map_err(CallError::Output)
    }
}

/// Why a call has no output. `?` turns it into a [`Failure`]; one whose task may succeed later may be retried.
#[derive(Clone, Debug)]
pub enum CallError {
    /// It was not made.
    Refused(AccessError),
    /// It was made, and failed.
    Failed(FailedCall),
    /// The input cannot be handed over.
    Input(Failure),
    /// The output is not what was asked for.
    Output(Failure),
}

/// An invocation that ended without an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// Its id.
    pub id: String,
    /// The stable code, such as `task_error` or `deadline`.
    pub code: String,
    /// The task's own word, or the code.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether running the same input again may succeed.
    pub is_retryable: bool,
}

impl From<AccessError> for CallError {
    fn from(error: AccessError) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(failed) => write!(
                f,
                "invocation {} ended with {} ({}): {}",
                failed.id, failed.code, failed.kind, failed.message
            ),
            Self::Input(failure) | Self::Output(failure) => failure.fmt(f),
        }
    }
}

impl From<CallError> for Failure {
    #[track_caller]
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error.into(),
            CallError::Input(failure) | CallError::Output(failure) => failure,
            CallError::Failed(ref failed) => {
                let failure = Self::new("call-failed", error.to_string());
                match failed.is_retryable {
                    true => failure.retryable(),
                    false => failure,
                }
            }
        }
    }
}
