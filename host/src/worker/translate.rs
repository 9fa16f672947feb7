//! Between the engine's words and the broker's: the two know nothing of each other.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use celeriac_broker::{
    Code, EventKind, Failure, LimitHit, LogRecord, Options, Outcome, Payload, Progress,
    TaskOptions, Usage,
};

use crate::engine::{
    self, Event, Execution, Fault, LimitOptions, Recording, Stream, UnknownLimit, Verdict,
};

/// The limits that a caller asks for.
pub(crate) fn asked(options: &Options) -> Result<LimitOptions, UnknownLimit> {
    named(
        &LimitOptions {
            fuel: options.fuel,
            timeout: options.timeout_ms.map(Duration::from_millis),
            memory_bytes: options.memory_bytes,
            ..LimitOptions::default()
        },
        &options.limits,
    )
}

/// The limits that an author asks for.
pub(crate) fn authored(options: &TaskOptions) -> Result<LimitOptions, UnknownLimit> {
    named(
        &LimitOptions {
            fuel: options.fuel,
            timeout: options.timeout_ms.map(Duration::from_millis),
            memory_bytes: options.memory_bytes,
            ..LimitOptions::default()
        },
        &options.limits,
    )
}

/// With limits by name, the lower of the two where both ask.
fn named(
    limits: &LimitOptions,
    named: &BTreeMap<String, u64>,
) -> Result<LimitOptions, UnknownLimit> {
    let mut more = LimitOptions::default();
    for (name, value) in named {
        more.set(name, *value)?;
    }
    Ok(limits.and(&more))
}

/// A stored input as a guest takes it.
pub(crate) fn input(payload: Payload) -> Result<engine::Payload, Box<Outcome>> {
    if !payload.is_json() {
        return Ok(engine::Payload::Bytes {
            content_type: payload.content_type,
            data: payload.data.into(),
        });
    }
    String::from_utf8(payload.data.into())
        .map(engine::Payload::Json)
        .map_err(|error| {
            Box::new(Outcome::failed(
                Code::TaskError,
                format!("the input is not UTF-8 text: {error}"),
            ))
        })
}

/// What an execution came to, as it is stored; of a failure, also what it can be run again with.
pub(crate) fn outcome(execution: Execution) -> (Outcome, Option<Box<Recording>>) {
    let usage = Usage {
        fuel: execution.usage.fuel,
        peak_memory_bytes: execution.usage.peak_memory_bytes,
        run_ms: execution.usage.run_time.as_secs_f64() * 1000.0,
        ..Usage::default()
    };
    let outcome = match execution.verdict {
        Verdict::Success(output) => Outcome {
            code: Code::Ok,
            output: Some(payload(output)),
            failure: None,
            usage,
        },
        Verdict::Failed(fault) => Outcome {
            code: code(fault.code),
            output: None,
            failure: Some(failure(*fault)),
            usage,
        },
    };
    (outcome, execution.recording)
}

/// Something that a task reported, as it is kept.
pub(crate) fn event(event: Event) -> EventKind {
    match event {
        Event::Progress { done, total, note } => {
            EventKind::Progress(Progress { done, total, note })
        }
        Event::Emit(chunk) => EventKind::Chunk(payload(chunk)),
        Event::Log {
            level,
            message,
            fields,
            stream,
        } => EventKind::Log(LogRecord {
            level: word(&level),
            message,
            fields: serde_json::from_str(&fields).ok(),
            stream: (stream != Stream::Log).then(|| word(&stream)),
        }),
    }
}

/// What a guest hands over, as it is stored.
pub(crate) fn payload(payload: engine::Payload) -> Payload {
    match payload {
        engine::Payload::Json(text) => Payload::json_text(text),
        engine::Payload::Bytes { content_type, data } => {
            Payload::bytes(content_type, Bytes::from(data))
        }
    }
}

fn failure(fault: Fault) -> Failure {
    let details = fault
        .details
        .as_deref()
        .and_then(|details| serde_json::from_str(details).ok());
    let trace = match (fault.trace, fault.stderr) {
        (Some(trace), Some(stderr)) => Some(format!("{trace}\nstderr:\n{stderr}")),
        (trace, stderr) => trace.or(stderr),
    };
    Failure {
        kind: fault.kind,
        message: fault.message,
        retryable: fault.retryable,
        retry_after_seconds: fault.retry_after.map(|delay| delay.as_secs_f64()),
        details,
        trace,
        limit: fault.limit.map(|hit| LimitHit {
            name: hit.name,
            allowed: hit.allowed,
            seen: hit.seen,
            remedy: hit.how_to_raise,
        }),
    }
}

/// The engine's codes are a subset of the broker's, under the same words.
fn code(code: engine::Code) -> Code {
    let known = Code::ALL
        .into_iter()
        .find(|known| known.as_str() == code.as_str());
    known.unwrap_or(Code::HostFault)
}

/// A unit variant as serde writes it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_engine_has_the_same_word_at_the_broker() {
        for engine_code in [
            engine::Code::Ok,
            engine::Code::TaskError,
            engine::Code::Panicked,
            engine::Code::OutOfFuel,
            engine::Code::Deadline,
            engine::Code::Cancelled,
            engine::Code::MemoryLimit,
            engine::Code::InputTooLarge,
            engine::Code::OutputTooLarge,
            engine::Code::StackOverflow,
            engine::Code::Trap,
            engine::Code::HostFault,
            engine::Code::Overloaded,
        ] {
            assert_eq!(code(engine_code).as_str(), engine_code.as_str());
        }
    }

    #[test]
    fn printed_lines_keep_their_stream_and_logged_ones_their_fields() {
        let log = |stream, fields: &str| {
            event(Event::Log {
                level: engine::Level::Warn,
                message: "m".into(),
                fields: fields.into(),
                stream,
            })
        };
        let EventKind::Log(printed) = log(Stream::Stderr, "") else {
            panic!("a log stays a log")
        };
        assert_eq!(
            (printed.level.as_str(), printed.stream.as_deref()),
            ("warn", Some("stderr"))
        );
        let EventKind::Log(logged) = log(Stream::Log, r#"{"a":1}"#) else {
            panic!("a log stays a log")
        };
        assert_eq!(
            (logged.stream, logged.fields.unwrap()["a"].as_i64()),
            (None, Some(1))
        );
    }
}
