//! Testing tasks natively, with plain `cargo test`: a context that answers as the test wants and
//! records what the task says.
//!
//! ```
//! use celeriac_guest::{Context, Failure, info, task, testing::FakeContext};
//!
//! /// Doubles a number, slowly.
//! #[task]
//! fn double(ctx: &Context, n: u32) -> Result<u32, Failure> {
//!     ctx.progress(1, 2);
//!     if ctx.is_cancelled() {
//!         return Err(Failure::new("stopped", "half-way"));
//!     }
//!     info!(n = n, "doubled");
//!     Ok(n * 2)
//! }
//!
//! let ctx = FakeContext::new();
//! assert_eq!(double(&ctx, 21).unwrap(), 42);
//! assert_eq!(ctx.recorded_progress()[0].done, 1.0);
//! assert_eq!(ctx.recorded_logs()[0].fields["n"], 21);
//!
//! let ctx = FakeContext::new().cancelled(true);
//! assert_eq!(double(&ctx, 21).unwrap_err().kind, "stopped");
//! ```

use std::{
    ops::Deref,
    time::{Duration, SystemTime},
};

use crate::{
    Context, Failure, IntoPayload, Level, Payload,
    host::{Host, State},
    registry,
};

pub use crate::registry::TaskOptions;

/// A progress report that a task made.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// How much is done.
    pub done: f64,
    /// Of how much; 0 when that is not known.
    pub total: f64,
    /// Words for people, often empty.
    pub note: String,
}

/// A log record that a task wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// How much it matters.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The fields, a JSON object; null when there are none.
    pub fields: serde_json::Value,
}

/// A [`Context`] whose answers the test sets and whose records it reads. It can be passed wherever a
/// task takes `&Context`.
#[derive(Debug)]
pub struct FakeContext {
    context: Context,
}

impl FakeContext {
    /// The first attempt of an invocation, with a minute to go, that nobody cancels. The log macros
    /// of this thread write to the newest context.
    #[expect(
        clippy::new_without_default,
        reason = "it has the side effect named above"
    )]
    pub fn new() -> Self {
        Self {
            context: Context::new(Host::new("test")),
        }
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.context.host.state());
        self
    }

    /// Has HTTP requests of this thread answered by `answer`.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn with_http<F>(self, answer: F) -> Self
    where
        F: Fn(&crate::http::Request) -> Result<crate::http::Response, crate::http::HttpError>
            + Send
            + Sync
            + 'static,
    {
        let answer = crate::host::HttpAnswer(std::sync::Arc::new(answer));
        self.with(|state| state.http = Some(answer))
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        self.with(|state| id.clone_into(&mut state.invocation.id))
    }

    /// Sets the name of the task.
    #[must_use]
    pub fn with_task(self, task: &str) -> Self {
        self.with(|state| task.clone_into(&mut state.invocation.task))
    }

    /// Sets the number of the attempt.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.with(|state| state.invocation.attempt = attempt)
    }

    /// Puts the deadline this far into the future.
    #[must_use]
    pub fn with_remaining(self, remaining: Duration) -> Self {
        self.with(|state| state.invocation.deadline = SystemTime::now() + remaining)
    }

    /// Sets whether the invocation is cancelled.
    #[must_use]
    pub fn cancelled(self, is_cancelled: bool) -> Self {
        self.with(|state| state.checks_until_cancelled = is_cancelled.then_some(0))
    }

    /// Cancels the invocation once the task has asked `checks` times in vain.
    #[must_use]
    pub fn cancelled_after(self, checks: u32) -> Self {
        self.with(|state| state.checks_until_cancelled = Some(checks))
    }

    /// Grants a secret.
    #[must_use]
    pub fn with_secret(self, name: &str, value: &str) -> Self {
        self.with(|state| drop(state.secrets.insert(name.to_owned(), value.to_owned())))
    }

    /// Grants a configuration value.
    #[must_use]
    pub fn with_config(self, name: &str, value: &str) -> Self {
        self.with(|state| drop(state.config.insert(name.to_owned(), value.to_owned())))
    }

    /// Takes away the key-value store, which is there and empty otherwise; through
    /// [`store`](Context::store) a test fills it and looks into it.
    #[must_use]
    pub fn without_store(self) -> Self {
        self.with(|state| state.store = None)
    }

    /// Has other tasks run by `run`, which gets their names and inputs.
    #[must_use]
    pub fn with_tasks<F>(self, run: F) -> Self
    where
        F: Fn(&str, Payload) -> Result<Payload, Failure> + Send + Sync + 'static,
    {
        let answer = crate::host::TaskAnswer(std::sync::Arc::new(run));
        self.with(|state| state.tasks = Some(answer))
    }

    /// Lets time pass for what the key-value store keeps for a while only.
    pub fn pass_time(&self, time: Duration) {
        if let Some(store) = &mut self.context.host.state().store {
            store.pass(time);
        }
    }

    /// The progress that was reported so far.
    pub fn recorded_progress(&self) -> Vec<Progress> {
        self.context.host.state().progress.clone()
    }

    /// The log records so far.
    pub fn recorded_logs(&self) -> Vec<LogRecord> {
        self.context.host.state().logs.clone()
    }

    /// The partial results so far.
    pub fn emitted(&self) -> Vec<Payload> {
        self.context.host.state().emitted.clone()
    }
}

impl Deref for FakeContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Context {
    /// A context for native tests that do not care about it; see
    /// [`FakeContext`](crate::testing::FakeContext) for those that do.
    pub fn fake() -> Self {
        Self::new(Host::new("test"))
    }
}

/// Runs a task of this crate by its name, as a host does: with the input read and the output
/// written.
///
/// ```
/// # use celeriac_guest::{task, testing};
/// #[task]
/// fn square(n: i64) -> i64 {
///     n * n
/// }
///
/// let output: i64 = testing::run("square", 7).unwrap().read().unwrap();
/// assert_eq!(output, 49);
/// ```
///
/// # Errors
/// What the task returned, `invalid-input` when the input does not fit, `unknown-task`.
pub fn run(task: &str, input: impl IntoPayload) -> Result<Payload, Failure> {
    registry::run(&Context::new(Host::new(task)), task, input.into_payload()?)
}

/// What a module says about one of its tasks, for asserting on it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInfo {
    /// The name that callers use.
    pub name: String,
    /// The doc comment.
    pub doc: String,
    /// The JSON Schema of the input; empty for raw bytes.
    pub input_schema: String,
    /// The JSON Schema of the output; empty for raw bytes.
    pub output_schema: String,
    /// Defaults from the attribute.
    pub options: TaskOptions,
    /// Kind and name of what it asks for.
    pub needs: Vec<(String, String)>,
}

/// Describes the tasks of this crate in order of their names, as an upload does.
///
/// # Errors
/// The name that two tasks share.
pub fn describe() -> Result<Vec<TaskInfo>, Failure> {
    let tasks = registry::tasks();
    if let Some(name) = registry::duplicate(&tasks) {
        return Err(Failure::new(
            "duplicate-task",
            format!("two tasks are named `{name}`"),
        ));
    }
    let info = |task: &registry::TaskEntry| TaskInfo {
        name: task.name.to_owned(),
        doc: task.doc.to_owned(),
        input_schema: (task.input_schema)(),
        output_schema: (task.output_schema)(),
        options: task.options,
        needs: task
            .needs
            .iter()
            .map(|(k, n)| ((*k).to_owned(), (*n).to_owned()))
            .collect(),
    };
    Ok(tasks.into_iter().map(info).collect())
}
