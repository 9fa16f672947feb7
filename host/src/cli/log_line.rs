//! What a task reports, one line each.

use anstyle::Style;
use celeriac_broker::{Event, EventKind, LogRecord, Progress};
use serde_json::{Value, json};

use super::{
    figures,
    outcome::output_document,
    output::{BAD, GOOD, MINOR, RISK, paint},
};

/// A log record as a line.
pub(crate) fn show(at_ms: u64, record: &LogRecord) -> String {
    let time = paint(MINOR, figures::time_of_day(at_ms));
    let (style, word) = level(record);
    let mut line = format!(
        "{time} {} {}",
        paint(style, format_args!("{word:<6}")),
        figures::harmless(&record.message)
    );
    if let Some(Value::Object(fields)) = &record.fields {
        for (name, value) in fields {
            line += &paint(
                MINOR,
                format!(
                    " {}={}",
                    figures::harmless(name),
                    figures::harmless(&value.to_string())
                ),
            );
        }
    }
    line
}

fn level(record: &LogRecord) -> (Style, &str) {
    match (record.stream.as_deref(), record.level.as_str()) {
        (Some(stream), _) => (MINOR, stream),
        (None, "error") => (BAD, "ERROR"),
        (None, "warn") => (RISK, "WARN"),
        (None, "info") => (GOOD, "INFO"),
        (None, "trace") => (MINOR, "TRACE"),
        _ => (MINOR, "DEBUG"),
    }
}

/// A progress report as a line.
pub(crate) fn progress(progress: &Progress) -> String {
    let Progress { done, total, note } = progress;
    let note = figures::harmless(note);
    match *total > 0.0 {
        true => format!("progress {done} of {total} {note}")
            .trim_end()
            .to_owned(),
        false => format!("progress {done} {note}").trim_end().to_owned(),
    }
}

/// Any report as a line.
pub(crate) fn any(event: &Event) -> String {
    let time = paint(MINOR, figures::time_of_day(event.at_ms));
    match &event.kind {
        EventKind::Log(record) => show(event.at_ms, record),
        EventKind::Progress(report) => format!("{time} {}", paint(MINOR, progress(report))),
        EventKind::Chunk(chunk) => {
            let size = figures::size(chunk.data.len() as u64);
            format!(
                "{time} {}",
                paint(MINOR, format!("chunk {} {size}", chunk.content_type))
            )
        }
    }
}

/// Any report as a document.
pub(crate) fn document(event: &Event) -> Value {
    let (kind, report) = match &event.kind {
        EventKind::Log(record) => ("log", json!(record)),
        EventKind::Progress(report) => ("progress", json!(report)),
        EventKind::Chunk(chunk) => ("chunk", output_document(chunk, None)),
    };
    json!({ "cursor": event.cursor, "at_ms": event.at_ms, "attempt": event.attempt, "kind": kind, kind: report })
}
