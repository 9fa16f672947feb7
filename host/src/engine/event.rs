//! What a running task tells the world: progress, logs and partial results.

use std::pin::Pin;

use super::Payload;

/// How grave a log record is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Steps of an algorithm.
    Trace,
    /// For the author.
    Debug,
    /// The ordinary course of things; also stdout.
    Info,
    /// Something odd; also stderr.
    Warn,
    /// Something wrong.
    Error,
}

/// Where a log record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The `log` call of the contract.
    Log,
    /// A line of standard output.
    Stdout,
    /// A line of standard error.
    Stderr,
    /// The host itself, about the invocation: such as that a log was cut.
    Host,
}

/// One thing that a running task told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// How far it has come.
    Progress {
        /// Units done.
        done: f64,
        /// Units in all; 0 when not known.
        total: f64,
        /// A word about it, at most 256 bytes.
        note: String,
    },
    /// A log record.
    Log {
        /// How grave.
        level: Level,
        /// The text.
        message: String,
        /// A JSON object as text, or empty.
        fields: String,
        /// Where it came from.
        stream: Stream,
    },
    /// A partial result.
    Emit(Payload),
}

/// Takes events while the guest waits: it must neither block nor panic. The engine has bounded how many
/// events and bytes arrive.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// Takes a partial result, as soon as there is room for it: the guest waits. Partial results are what a guest
    /// may hand over most of, and a sink that keeps them until others have read them slows it down here instead of
    /// filling memory.
    fn emit(&self, chunk: Payload) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.event(Event::Emit(chunk));
        Box::pin(std::future::ready(()))
    }
}

/// A sink that forgets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl EventSink for Discard {
    fn event(&self, _event: Event) {}
}
