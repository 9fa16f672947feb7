//! The `celeriac:task/context` imports: what a running task can ask of, and tell, its host.
//!
//! Written by hand rather than generated, as strings are borrowed from guest memory here: what a budget cuts
//! off is never copied. All of them are quick, and none waits but `emit`, for room.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, WasmStr};

use super::bindings::{CurrentInvocation, GuestAccessError, GuestLevel, Payload};
use super::recorder::cut;
use super::state::{HostLimit, State};
use super::{Denied, Level, Rights, trap};

/// What is kept of a panic message: its first lines say it.
const PANIC_BYTES: usize = 4 << 10;

/// What is repeated of a name that a guest asked for.
const NAME_CHARS: usize = 128;

type Store<'a> = StoreContextMut<'a, State>;

/// Links the whole interface.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance("celeriac:task/types@1.0.0")?;
    let mut context = linker.instance("celeriac:task/context@1.0.0")?;
    questions(&mut context)?;
    reports(&mut context)
}

fn questions(context: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    context.func_wrap("current", |mut store: Store<'_>, (): ()| {
        enter(&mut store)?;
        let deadline = store
            .data_mut()
            .taped("context.deadline", String::new, |state| {
                // JSON would not keep the last bit of it.
                Ok(deadline(state).to_bits())
            })?;
        Ok((current(store.data(), f64::from_bits(deadline)),))
    })?;
    context.func_wrap("is-cancelled", |mut store: Store<'_>, (): ()| {
        enter(&mut store)?;
        let state = store.data_mut();
        let is_cancelled = state.taped("context.is-cancelled", String::new, |state| {
            Ok(state.call.cancel.is_cancelled() || is_late(state))
        })?;
        Ok((is_cancelled,))
    })?;
    context.func_wrap("secret", |mut store: Store<'_>, (name,): (WasmStr,)| {
        enter(&mut store)?;
        let name = name.to_str(&store)?.into_owned();
        let answer = secret(&store.data().rights, &name);
        charge(&mut store, answer.as_ref().map_or(0, String::len))?;
        Ok((answer,))
    })?;
    context.func_wrap("backtrace", |mut store: Store<'_>, (): ()| {
        enter(&mut store)?;
        Ok((trap::backtrace(&wasmtime::WasmBacktrace::force_capture(
            &store,
        )),))
    })
}

fn reports(context: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    context.func_wrap(
        "progress",
        |mut store: Store<'_>, (done, total, note): (f64, f64, WasmStr)| {
            enter(&mut store)?;
            let note = note.to_str(&store)?.into_owned();
            charge(&mut store, note.len())?;
            store.data().recorder.progress(done, total, &note);
            Ok(())
        },
    )?;
    context.func_wrap(
        "log",
        |mut store: Store<'_>, (level, message, fields): (GuestLevel, WasmStr, WasmStr)| {
            enter(&mut store)?;
            let (message, fields) = (message.to_str(&store)?, fields.to_str(&store)?);
            let bytes = message.len() + fields.len();
            store.data().recorder.log(level.into(), &message, &fields);
            drop((message, fields));
            charge(&mut store, bytes)
        },
    )?;
    context.func_wrap_async("emit", |mut store: Store<'_>, (chunk,): (Payload,)| {
        Box::new(async move {
            enter(&mut store)?;
            let chunk = super::Payload::from(chunk);
            let bytes = usize::try_from(chunk.len()).unwrap_or(usize::MAX);
            if let Some(defect) = chunk.defect() {
                return Err(wasmtime::Error::msg(format!("it delivered {defect}")));
            }
            let recorder = Arc::clone(&store.data().recorder);
            let chunk = recorder.count_emit(chunk).map_err(HostLimit)?;
            charge(&mut store, bytes)?;
            recorder.deliver(chunk).await;
            Ok(())
        })
    })?;
    context.func_wrap(
        "panicked",
        |mut store: Store<'_>, (message,): (WasmStr,)| {
            enter(&mut store)?;
            let message = message.to_str(&store)?;
            let clean = store.data().recorder.clean(&message);
            let message = cut(&clean, PANIC_BYTES).to_owned();
            store.data_mut().call.panicked = Some(message);
            Ok(())
        },
    )
}

/// A secret by name.
fn secret(rights: &Rights, name: &str) -> Result<String, GuestAccessError> {
    match rights.secrets.get(name) {
        Some(secret) => Ok(secret.reveal().to_owned()),
        None => Err(GuestAccessError::Denied(rights.deny(&Denied {
            kind: "secret",
            what: shown(rights, name),
            why: None,
        }))),
    }
}

/// A name as it may be repeated: without the secrets that a guest put into it, and not too long.
fn shown(rights: &Rights, name: &str) -> String {
    let clean = rights
        .secrets
        .redactor()
        .map(|redactor| redactor.text(name));
    let clean = clean.as_deref().unwrap_or(name);
    clean.chars().take(NAME_CHARS).collect()
}

/// Counts a call, and settles what calls without access to the store have left to pay.
pub(crate) fn enter(store: &mut Store<'_>) -> wasmtime::Result<()> {
    store.data_mut().meter.call()?;
    charge(store, 0)
}

/// Charges bytes that cross the boundary, with whatever is owed besides.
pub(crate) fn charge(store: &mut Store<'_>, bytes: usize) -> wasmtime::Result<()> {
    let meter = &mut store.data_mut().meter;
    meter.bytes(bytes as u64)?;
    let owed = meter.settle();
    if owed == 0 {
        return Ok(());
    }
    match store.get_fuel()?.checked_sub(owed) {
        Some(left) => store.set_fuel(left),
        None => {
            store.set_fuel(0)?;
            Err(wasmtime::Trap::OutOfFuel.into())
        }
    }
}

/// Whether the soft limit has passed: by the clock that the guest sees, which a fixed one moves only while it sleeps.
fn is_late(state: &State) -> bool {
    let passed = match &state.fixed_time {
        Some(time) => time.passed(),
        None => state.call.started.elapsed(),
    };
    passed >= state.call.soft_timeout
}

/// Parts of a second that a deadline is told in. 10^9 is a multiple of 2^9, so that the deadline is exact both as seconds
/// in floating point and as nanoseconds. A guest that turns one into the other then rounds nothing, takes the same way
/// whatever the time is, and burns the same fuel.
const PARTS: u32 = 512;

/// The deadline in seconds since 1970, at most 2 ms early. It follows from what a recording holds, start and timeout in
/// milliseconds, so that a replay tells the same.
fn deadline(state: &State) -> f64 {
    let call = &state.call;
    let timeout = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
    let started = call.started_at.duration_since(UNIX_EPOCH);
    let end = started
        .unwrap_or_default()
        .saturating_add(Duration::from_millis(timeout));
    let parts = end.subsec_nanos() / (1_000_000_000 / PARTS);
    end.as_secs() as f64 + f64::from(parts) / f64::from(PARTS)
}

/// What the guest is told about itself.
fn current(state: &State, deadline: f64) -> CurrentInvocation {
    let call = &state.call;
    CurrentInvocation {
        id: call.invocation.id.clone(),
        task: call.invocation.task.clone(),
        attempt: call.invocation.attempt,
        deadline,
    }
}

impl From<GuestLevel> for Level {
    fn from(level: GuestLevel) -> Self {
        match level {
            GuestLevel::Trace => Self::Trace,
            GuestLevel::Debug => Self::Debug,
            GuestLevel::Info => Self::Info,
            GuestLevel::Warn => Self::Warn,
            GuestLevel::Error => Self::Error,
        }
    }
}
