//! The `celeriac:task/context` imports: what a running task can ask of, and tell, its host.
//!
//! Written by hand rather than generated, as strings are borrowed from guest memory here: what a budget cuts
//! off is never copied. All of them are quick and none blocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, WasmStr};

use super::bindings::{CurrentInvocation, GuestLevel, Payload};
use super::recorder::cut;
use super::state::{HostLimit, State};
use super::{Level, trap};

/// What is kept of a panic message: its first lines say it.
const PANIC_BYTES: usize = 4 << 10;

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
        store.data_mut().call.count()?;
        Ok((current(store.data()),))
    })?;
    context.func_wrap("is-cancelled", |mut store: Store<'_>, (): ()| {
        store.data_mut().call.count()?;
        Ok((store.data().call.cancel.is_cancelled(),))
    })?;
    context.func_wrap("backtrace", |mut store: Store<'_>, (): ()| {
        store.data_mut().call.count()?;
        Ok((trap::backtrace(&wasmtime::WasmBacktrace::force_capture(
            &store,
        )),))
    })
}

fn reports(context: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    context.func_wrap(
        "progress",
        |mut store: Store<'_>, (done, total, note): (f64, f64, WasmStr)| {
            store.data_mut().call.count()?;
            let note = note.to_str(&store)?;
            store.data().recorder.progress(done, total, &note);
            Ok(())
        },
    )?;
    context.func_wrap(
        "log",
        |mut store: Store<'_>, (level, message, fields): (GuestLevel, WasmStr, WasmStr)| {
            store.data_mut().call.count()?;
            let (message, fields) = (message.to_str(&store)?, fields.to_str(&store)?);
            store.data().recorder.log(level.into(), &message, &fields);
            Ok(())
        },
    )?;
    context.func_wrap("emit", |mut store: Store<'_>, (chunk,): (Payload,)| {
        store.data_mut().call.count()?;
        store
            .data()
            .recorder
            .emit(chunk.into())
            .map_err(HostLimit)?;
        Ok(())
    })?;
    context.func_wrap(
        "panicked",
        |mut store: Store<'_>, (message,): (WasmStr,)| {
            store.data_mut().call.count()?;
            let message = cut(&message.to_str(&store)?, PANIC_BYTES).to_owned();
            store.data_mut().call.panicked = Some(message);
            Ok(())
        },
    )
}

/// What the guest is told about itself. The deadline is turned into wall-clock time only here, so that an
/// invocation that does not ask pays nothing for it.
fn current(state: &State) -> CurrentInvocation {
    let call = &state.call;
    let left = call.deadline.saturating_duration_since(Instant::now());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    CurrentInvocation {
        id: call.invocation.id.clone(),
        task: call.invocation.task.clone(),
        attempt: call.invocation.attempt,
        deadline: (now + left).as_secs_f64(),
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
