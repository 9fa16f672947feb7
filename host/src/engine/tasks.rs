//! The `celeriac:task/tasks` imports: other tasks, run as invocations of their own.
//!
//! What a guest may call is checked here, against what it declared and what was granted; who hands the invocation in, and
//! waits for it, is the host's. A guest that waits is suspended: it holds its memory, and no thread.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

use super::bindings::GuestAccessError;
use super::bindings::{CallOptions, GuestCallError, Payload as GuestPayload};
use super::context::{charge, enter};
use super::state::State;
use super::{AccessError, CallFailed, CalledTask, Denied, LimitHit, Payload, Tasks};

/// The longest name of a task with its module.
const TASK_BYTES: usize = 300;

/// The longest time in seconds: ten years.
const SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

type Store<'a> = StoreContextMut<'a, State>;
type Call = (WasmStr, GuestPayload, CallOptions);

/// Links the whole interface.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("celeriac:task/tasks@1.0.0")?;
    interface.func_wrap_async("submit", |mut store: Store<'_>, call: Call| {
        Box::new(async move {
            let (tasks, called) = match begin(&mut store, call)? {
                Ok(begun) => begun,
                Err(refused) => return Ok((Err(GuestAccessError::from(refused)),)),
            };
            let id = tasks.submit(called).await;
            charge(&mut store, id.as_ref().map_or(0, String::len))?;
            Ok((id.map_err(GuestAccessError::from),))
        })
    })?;
    interface.func_wrap_async("call", |mut store: Store<'_>, call: Call| {
        Box::new(async move {
            let (tasks, called) = match begin(&mut store, call)? {
                Ok(begun) => begun,
                Err(refused) => {
                    let refused = GuestCallError::from(CallFailed::Refused(refused));
                    return Ok((Err(refused),));
                }
            };
            let output = tasks.call(called).await;
            let bytes = output.as_ref().map_or(0, Payload::len);
            charge(&mut store, usize::try_from(bytes).unwrap_or(usize::MAX))?;
            Ok((output.map(GuestPayload::from).map_err(GuestCallError::from),))
        })
    })
}

type Begun = Result<(Arc<dyn Tasks>, CalledTask), AccessError>;

/// Counts a call and holds it against the rights. The outer error ends the guest, the inner is its answer.
fn begin(store: &mut Store<'_>, (task, input, options): Call) -> wasmtime::Result<Begun> {
    enter(store)?;
    let task = task.to_str(&*store)?.into_owned();
    let input = Payload::from(input);
    let bytes = usize::try_from(input.len()).unwrap_or(usize::MAX);
    charge(store, task.len().saturating_add(bytes))?;
    Ok(check(store.data_mut(), task, input, options))
}

fn check(state: &mut State, task: String, input: Payload, options: CallOptions) -> Begun {
    if task.len() > TASK_BYTES {
        let message = format!("the name of a task has at most {TASK_BYTES} bytes");
        return Err(AccessError::Invalid(message));
    }
    if !state.rights.callable.allows(&task) {
        let denied = Denied {
            kind: "tasks",
            what: task,
            why: None,
        };
        return Err(AccessError::Denied(state.rights.deny(&denied)));
    }
    if let Some(defect) = input.defect() {
        return Err(AccessError::Invalid(format!("the input is {defect}")));
    }
    let (seen, allowed) = (state.task_calls + 1, state.allowed_task_calls);
    if seen > allowed {
        let hit = LimitHit::new("task_calls", allowed, seen);
        return Err(AccessError::Limit(format!("{hit}; {}", hit.how_to_raise)));
    }
    let called = CalledTask {
        task,
        input,
        queue: options.queue,
        delay_ms: ms("a delay", options.delay)?,
        timeout_ms: ms("a timeout", options.timeout)?,
        retries: options.retries,
    };
    let tasks = state.rights.tasks.clone().ok_or_else(|| {
        let message = "there is no broker here that other tasks could be handed to";
        AccessError::Unavailable(message.to_owned())
    })?;
    state.task_calls = seen;
    Ok((tasks, called))
}

/// Seconds as whole milliseconds, rounded up so that a short time is not none.
fn ms(what: &str, seconds: Option<f64>) -> Result<Option<u64>, AccessError> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (0.0..=SECONDS).contains(&seconds) => {
            Ok(Some((seconds * 1000.0).ceil() as u64))
        }
        Some(seconds) => Err(AccessError::Invalid(format!(
            "{what} is 0 seconds to ten years, not {seconds}"
        ))),
    }
}

impl From<CallFailed> for GuestCallError {
    fn from(error: CallFailed) -> Self {
        match error {
            CallFailed::Refused(refused) => Self::Refused(refused.into()),
            CallFailed::Failed {
                id,
                code,
                kind,
                message,
                retryable,
            } => Self::Failed(super::bindings::FailedCall {
                id,
                code,
                kind,
                message,
                retryable,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_not_negative_and_bounded() {
        assert_eq!(ms("x", Some(0.0001)).unwrap(), Some(1));
        assert_eq!(ms("x", Some(0.0)).unwrap(), Some(0));
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(ms("x", Some(seconds)).is_err(), "{seconds}");
        }
    }
}
