//! The host behind the component's imports.

use std::time::{Duration, SystemTime};

use crate::{
    AccessError, Level, Payload,
    bindings::celeriac::task::{context as imports, key_value, tasks, types},
    context::Invocation,
    tasks::{CallError, CallOptions, FailedCall},
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

    pub(crate) fn emit(&self, chunk: Payload) {
        imports::emit(&chunk.into());
    }

    pub(crate) fn secret(&self, name: &str) -> Result<String, AccessError> {
        Ok(imports::secret(name)?)
    }

    pub(crate) fn config(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    pub(crate) fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        Ok(key_value::get(key)?)
    }

    pub(crate) fn kv_set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), AccessError> {
        Ok(key_value::set(key, value, seconds(ttl))?)
    }

    pub(crate) fn kv_delete(&self, key: &str) -> Result<bool, AccessError> {
        Ok(key_value::delete(key)?)
    }

    pub(crate) fn kv_increment(
        &self,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, AccessError> {
        if by.unsigned_abs() > EXACT {
            let message = format!("what is added is between -2^53 and 2^53, not {by}");
            return Err(AccessError::Invalid(message));
        }
        Ok(key_value::increment(key, by as f64, seconds(ttl))? as i64)
    }

    pub(crate) fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl: Option<Duration>,
    ) -> Result<bool, AccessError> {
        Ok(key_value::compare_and_set(
            key,
            expected,
            value,
            seconds(ttl),
        )?)
    }

    pub(crate) fn kv_list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, AccessError> {
        Ok(key_value::list_keys(prefix, after, limit)?)
    }
}

impl Host {
    pub(crate) fn submit(
        &self,
        task: &str,
        input: Payload,
        options: &CallOptions,
    ) -> Result<String, AccessError> {
        Ok(tasks::submit(task, &input.into(), &options.into())?)
    }

    pub(crate) fn call(
        &self,
        task: &str,
        input: Payload,
        options: &CallOptions,
    ) -> Result<Payload, CallError> {
        match tasks::call(task, &input.into(), &options.into()) {
            Ok(output) => Ok(output.into()),
            Err(tasks::CallError::Refused(refused)) => Err(AccessError::from(refused).into()),
            Err(tasks::CallError::Failed(failed)) => Err(CallError::Failed(FailedCall {
                id: failed.id,
                code: failed.code,
                kind: failed.kind,
                message: failed.message,
                is_retryable: failed.retryable,
            })),
        }
    }
}

impl From<&CallOptions> for tasks::CallOptions {
    fn from(options: &CallOptions) -> Self {
        Self {
            queue: options.queue.clone(),
            delay: seconds(options.delay),
            timeout: seconds(options.timeout),
            retries: options.retries,
        }
    }
}

/// Whole numbers beyond it do not travel exactly.
const EXACT: u64 = 1 << 53;

fn seconds(ttl: Option<Duration>) -> Option<f64> {
    ttl.map(|ttl| ttl.as_secs_f64())
}

impl From<types::AccessError> for AccessError {
    fn from(error: types::AccessError) -> Self {
        match error {
            types::AccessError::Denied(text) => Self::Denied(text),
            types::AccessError::Limit(text) => Self::Limit(text),
            types::AccessError::Invalid(text) => Self::Invalid(text),
            types::AccessError::Unavailable(text) => Self::Unavailable(text),
        }
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
