//! The host behind the component's imports.

use std::time::{Duration, SystemTime};

use crate::{
    AccessError, Level, Payload, bindings::celeriac::task::context as imports,
    bindings::celeriac::task::types as wit, context::Invocation,
};

/// The host that runs this instance. There is nothing to hold: the imports are ambient.
#[derive(Debug)]
pub(crate) struct Host;

impl Host {
    #[expect(clippy::unused_self, reason = "same shape as the fake")]
    pub(crate) fn invocation(&self) -> Invocation {
        let current = imports::current();
        let since_epoch = Duration::try_from_secs_f64(current.deadline).unwrap_or_default();
        Invocation {
            id: current.id,
            task: current.task,
            attempt: current.attempt,
            deadline: SystemTime::UNIX_EPOCH + since_epoch,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        imports::is_cancelled()
    }

    pub(crate) fn progress(&self, done: f64, total: f64, note: &str) {
        imports::progress(done, total, note);
    }

    pub(crate) fn secret(&self, name: &str) -> Result<String, AccessError> {
        imports::secret(name).map_err(|error| match error {
            wit::AccessError::Denied(text) => AccessError::Denied(text),
            wit::AccessError::Limit(text) => AccessError::Limit(text),
            wit::AccessError::Invalid(text) => AccessError::Invalid(text),
            wit::AccessError::Unavailable(text) => AccessError::Unavailable(text),
        })
    }

    pub(crate) fn emit(&self, chunk: Payload) {
        imports::emit(&chunk.into());
    }
}

pub(crate) fn log(level: Level, message: &str, fields: &str) {
    let level = match level {
        Level::Trace => imports::Level::Trace,
        Level::Debug => imports::Level::Debug,
        Level::Info => imports::Level::Info,
        Level::Warn => imports::Level::Warn,
        Level::Error => imports::Level::Error,
    };
    imports::log(level, message, fields);
}

pub(crate) fn backtrace() -> String {
    imports::backtrace()
}
