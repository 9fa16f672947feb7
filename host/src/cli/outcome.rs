//! What an invocation came to, on the screen, in a file, or as a document.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use celeriac::engine::LimitRow;
use celeriac_broker::{Code, Failure, InvocationId, Outcome, Payload, Usage};
use serde_json::{Value, json};

use super::{
    error::CliError,
    exit::Exit,
    figures,
    output::{BAD, MINOR, Output, paint},
};

/// The most lines of a guest's stack that are shown.
const TRACE_LINES: usize = 30;

/// One ended invocation, ready to be shown.
pub(crate) struct Ended<'a> {
    /// None for what ran without a broker.
    pub(crate) id: Option<InvocationId>,
    pub(crate) outcome: &'a Outcome,
    /// Where the output is to be written instead of standard output.
    pub(crate) file: Option<PathBuf>,
    /// What was used of each limit, where it is known.
    pub(crate) contract: Option<&'a [LimitRow]>,
}

impl Ended<'_> {
    /// Shows it; the exit code says whether the task succeeded.
    pub(crate) fn show(&self, out: &Output) -> Result<ExitCode, CliError> {
        if let (Some(path), Some(output)) = (&self.file, &self.outcome.output) {
            std::fs::write(path, &output.data)
                .map_err(|error| CliError::file(path, "written", &error))?;
        }
        match (&self.outcome.output, &self.outcome.failure) {
            _ if out.is_json => out.document(&self.document())?,
            (Some(output), _) => self.show_output(output, out)?,
            (None, failure) => self.show_failure(&failure.clone().unwrap_or_default(), out),
        }
        Ok(match self.outcome.code {
            Code::Ok => Exit::Success,
            _ => Exit::TaskFailed,
        }
        .into())
    }

    /// As one document.
    pub(crate) fn document(&self) -> Value {
        let Outcome {
            code,
            output,
            failure,
            usage,
        } = self.outcome;
        let mut document = json!({ "state": self.outcome.state(), "code": code, "usage": usage });
        if let Value::Object(fields) = &mut document {
            fields.extend(self.id.map(|id| ("id".to_owned(), json!(id))));
            fields.extend(
                self.contract
                    .map(|limits| ("limits".to_owned(), json!(limits))),
            );
            fields.extend(output.as_ref().map(|output| {
                (
                    "output".to_owned(),
                    output_document(output, self.file.as_deref()),
                )
            }));
            fields.extend(
                failure
                    .as_ref()
                    .map(|failure| ("failure".to_owned(), json!(failure))),
            );
        }
        document
    }

    fn show_output(&self, output: &Payload, out: &Output) -> Result<(), CliError> {
        if let Some(path) = &self.file {
            let bytes = figures::size(output.data.len() as u64);
            out.note(&format!(
                "{}: {}, {bytes}",
                path.display(),
                output.content_type
            ));
            return Ok(());
        }
        match (output.is_json(), out.is_terminal) {
            (true, true) => out.line(&pretty(&output.data)),
            (true, false) => {
                out.raw(&output.data)?;
                out.raw(b"\n")
            }
            (false, false) => out.raw(&output.data),
            (false, true) => self.show_bytes(output, out),
        }
    }

    fn show_bytes(&self, output: &Payload, out: &Output) -> Result<(), CliError> {
        let text = std::str::from_utf8(&output.data)
            .ok()
            .filter(|_| output.content_type.starts_with("text/"));
        if let Some(text) = text {
            return out.line(figures::harmless(text).trim_end_matches('\n'));
        }
        Err(CliError::usage(
            format!(
                "the output is {} of {}, not text for a terminal",
                figures::size(output.data.len() as u64),
                output.content_type
            ),
            match self.id {
                Some(id) => format!("`celeriac wait {id} --output FILE` writes it to a file"),
                None => "`--output FILE` writes it to a file".to_owned(),
            },
        ))
    }

    fn show_failure(&self, failure: &Failure, out: &Output) {
        let code = self.outcome.code;
        let kind = match failure.kind.as_str() {
            "" => String::new(),
            kind if kind == code.as_str() => String::new(),
            kind => format!(" ({})", figures::harmless(kind)),
        };
        let message = figures::harmless(&failure.message);
        out.note(&format!("{}: {code}{kind}: {message}", paint(BAD, "error")));
        if let Some(details) = &failure.details {
            out.note(&paint(MINOR, format!("  details {details}")));
        }
        for line in failure
            .trace
            .iter()
            .flat_map(|trace| trace.lines())
            .take(TRACE_LINES)
        {
            out.note(&paint(MINOR, format!("  {}", figures::harmless(line))));
        }
        let name = self
            .id
            .map_or_else(String::new, |id| format!("invocation {id}; "));
        out.note(&paint(
            MINOR,
            format!("  {name}{}", used(&self.outcome.usage)),
        ));
        if let Some(limit) = &failure.limit {
            out.remedy(&limit.remedy);
        }
    }
}

/// What an attempt used, in one line.
pub(crate) fn used(usage: &Usage) -> String {
    format!(
        "attempt {}, {} fuel, {} memory, queued {:.1} ms, ran {:.1} ms",
        usage.attempt,
        figures::fuel(usage.fuel),
        figures::size(usage.peak_memory_bytes),
        usage.queue_ms,
        usage.run_ms
    )
}

/// An output as a part of a document: JSON as itself, bytes as base64, or the file that it was written to.
pub(crate) fn output_document(output: &Payload, file: Option<&Path>) -> Value {
    let mut document = json!({ "content_type": output.content_type, "bytes": output.data.len() });
    let (key, value) = match (file, output.parse::<Value>()) {
        (Some(path), _) => ("file", json!(path)),
        (None, Ok(value)) => ("json", value),
        (None, Err(_)) => ("base64", json!(BASE64_STANDARD.encode(&output.data))),
    };
    if let Value::Object(fields) = &mut document {
        fields.insert(key.to_owned(), value);
    }
    document
}

/// JSON with line breaks; what is not JSON after all stays as it is, harmless.
pub(crate) fn pretty(data: &[u8]) -> String {
    let parsed = serde_json::from_slice::<Value>(data);
    let text = parsed.and_then(|value| serde_json::to_string_pretty(&value));
    figures::harmless(&text.unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned()))
}
