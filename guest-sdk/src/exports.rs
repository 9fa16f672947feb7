//! The component's exports. They live in this crate, so that a module consists of nothing but its
//! `#[task]` functions.

use crate::{
    Bytes, Context, Failure, Payload,
    bindings::{
        self, Guest,
        celeriac::task::{context, types},
    },
    host::Host,
    registry::{self, TaskEntry},
};

struct Module;

#[allow(unsafe_code, reason = "generated: export names and the canonical ABI")]
mod entry {
    use super::{Module, bindings};

    bindings::export!(Module with_types_in bindings);
}

impl Guest for Module {
    fn describe() -> Vec<types::TaskInfo> {
        report_panics();
        let tasks = registry::tasks();
        if let Some(name) = registry::duplicate(&tasks) {
            refuse_duplicate(name);
        }
        tasks.into_iter().map(describe).collect()
    }

    fn run(task: String, input: types::Payload) -> Result<types::Payload, types::Failure> {
        report_panics();
        let output = registry::run(&Context::new(Host), &task, input.into());
        output.map(Into::into).map_err(Into::into)
    }
}

#[expect(
    clippy::panic,
    reason = "describe has no other way to fail, and the host shows the text"
)]
fn refuse_duplicate(name: &str) -> ! {
    panic!("two tasks are named `{name}`: rename one, or say #[task(name = \"…\")]")
}

/// Tells the host why the instance is about to trap. It replaces the default hook, which would say
/// the same once more on stderr.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a value that is not text");
        let place = panic
            .location()
            .map(|l| format!(" at {l}"))
            .unwrap_or_default();
        context::panicked(&format!("panicked{place}: {message}"));
    }));
}

fn describe(task: &TaskEntry) -> types::TaskInfo {
    let options = &task.options;
    let need = |(kind, name): &(&str, &str)| types::Need {
        kind: (*kind).to_owned(),
        name: (*name).to_owned(),
    };
    let limit = |(name, value): &(&str, f64)| types::Limit {
        name: (*name).to_owned(),
        value: *value,
    };
    types::TaskInfo {
        name: task.name.to_owned(),
        doc: task.doc.to_owned(),
        input_schema: (task.input_schema)(),
        output_schema: (task.output_schema)(),
        options: types::TaskOptions {
            queue: options.queue.map(str::to_owned),
            retries: options.retries,
            backoff: options.backoff.map(str::to_owned),
            retry_on: options
                .retry_on
                .iter()
                .map(|&word| word.to_owned())
                .collect(),
            timeout: options.timeout_seconds,
            fuel: options.fuel,
            memory: options.memory_bytes,
            limits: options.limits.iter().map(limit).collect(),
        },
        needs: task.needs.iter().map(need).collect(),
        invocations: types::InvocationOptions {
            priority: options.priority.map(str::to_owned),
            expires: options.expires_seconds,
            deadline: options.deadline_seconds,
            result_ttl: options.result_ttl_seconds,
        },
    }
}

impl From<types::Payload> for Payload {
    fn from(payload: types::Payload) -> Self {
        match payload {
            types::Payload::Json(text) => Self::Json(text),
            types::Payload::Bytes(blob) => Self::Bytes(Bytes {
                content_type: blob.content_type,
                data: blob.data,
            }),
        }
    }
}

impl From<Payload> for types::Payload {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Json(text) => Self::Json(text),
            Payload::Bytes(bytes) => Self::Bytes(types::Blob {
                content_type: bytes.content_type,
                data: bytes.data,
            }),
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message,
            retryable: failure.is_retryable,
            retry_after: failure.retry_after.map(|delay| delay.as_secs_f64()),
            details: failure.details.map(|details| details.to_string()),
            trace: failure.trace.map(Into::into),
        }
    }
}
