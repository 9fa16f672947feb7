//! The tasks of this module, as `#[task]` registered them.

use std::marker::PhantomData;

use crate::{Context, Failure, FromPayload, IntoPayload, Payload};

/// One task, as `#[task]` writes it down. Not for use by hand.
#[derive(Debug)]
pub struct TaskEntry {
    /// The name that callers use.
    pub name: &'static str,
    /// The doc comment, Markdown.
    pub doc: &'static str,
    /// Runs the task.
    pub run: fn(&Context, Payload) -> Result<Payload, Failure>,
    /// Writes the JSON Schema of the input.
    pub input_schema: fn() -> String,
    /// Writes the JSON Schema of the output.
    pub output_schema: fn() -> String,
    /// Defaults from the attribute.
    pub options: TaskOptions,
    /// Kind and name of each thing outside the sandbox that the task asks for.
    pub needs: &'static [(&'static str, &'static str)],
}

/// The defaults that an author gave a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskOptions {
    /// The queue that its invocations go to.
    pub queue: Option<&'static str>,
    /// Attempts after the first one.
    pub retries: Option<u32>,
    /// How long to wait before each.
    pub backoff: Option<&'static str>,
    /// The kinds of failure and codes that are retried; empty: what says that it may help.
    pub retry_on: &'static [&'static str],
    /// Seconds of wall time for one attempt.
    pub timeout_seconds: Option<f64>,
    /// Fuel for one attempt.
    pub fuel: Option<f64>,
    /// Bytes of linear memory for one attempt.
    pub memory_bytes: Option<f64>,
    /// Other limits of one attempt: the host's name for each, and its value.
    pub limits: &'static [(&'static str, f64)],
    /// What goes first within the queue: `high`, `normal` or `low`.
    pub priority: Option<&'static str>,
    /// Seconds from when an invocation may start until it has expired, unless it was started.
    pub expires_seconds: Option<f64>,
    /// Seconds from when an invocation may start until it fails, unless it has ended.
    pub deadline_seconds: Option<f64>,
    /// Seconds that a result is kept after the end.
    pub result_ttl_seconds: Option<f64>,
}

inventory::collect!(TaskEntry);

/// The tasks in order of their names.
pub(crate) fn tasks() -> Vec<&'static TaskEntry> {
    let mut tasks: Vec<_> = inventory::iter::<TaskEntry>.into_iter().collect();
    tasks.sort_by_key(|task| task.name);
    tasks
}

/// Two tasks of one name, if there are any.
pub(crate) fn duplicate(tasks: &[&'static TaskEntry]) -> Option<&'static str> {
    tasks.windows(2).find_map(|pair| match pair {
        [a, b] if a.name == b.name => Some(a.name),
        _ => None,
    })
}

/// Runs the task called `name`.
pub(crate) fn run(ctx: &Context, name: &str, input: Payload) -> Result<Payload, Failure> {
    match inventory::iter::<TaskEntry>
        .into_iter()
        .find(|task| task.name == name)
    {
        Some(task) => (task.run)(ctx, input),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Failure {
    let names: Vec<_> = tasks().iter().map(|task| task.name).collect();
    let known = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Failure::untraced(
        "unknown-task",
        format!("this module has no task `{name}`; it has: {known}"),
    )
}

/// Turns what a task returned into a payload.
#[doc(hidden)]
pub fn settle<T: IntoPayload, E: Into<Failure>>(result: Result<T, E>) -> Result<Payload, Failure> {
    result.map_err(Into::into)?.into_payload()
}

/// The output schema of a task that returns this `Result`.
#[doc(hidden)]
pub fn result_schema<T: IntoPayload, E>(_: PhantomData<Result<T, E>>) -> String {
    T::output_schema()
}

/// Reads a task's input.
#[doc(hidden)]
pub fn input<T: FromPayload>(payload: Payload) -> Result<T, Failure> {
    T::from_payload(payload)
}
