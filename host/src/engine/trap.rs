//! Turns what wasmtime reports into a [`Fault`] with a stable code.

use std::collections::HashSet;
use std::fmt::Write as _;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use super::config::TRACE_FRAMES;
use super::execute::handles_in_calls;
use super::files::MountError;
use super::state::{HostLimit, State};
use super::{Code, Fault, LimitHit, Limits};

/// What wasmtime says when a guest hands over more than the host-call fuel. The error's type is private,
/// so that its text is all there is; a test fails when an upgrade changes it.
const TOO_MUCH_COPIED: &str = "too much data is being copied between the host and the guest";

/// What wasmtime says when a guest makes more handles of its own than the store allows: text again.
const NO_MORE_HANDLES: &str = "store handle limit exceeded";

const TOO_MANY_HANDLES: &str = "the task holds too many streams or timers";

/// What a trace may occupy: twenty frames of long mangled names.
const TRACE_BYTES: usize = 8 << 10;

/// The fault behind an error of a guest's call or of its instantiation.
pub(crate) fn fault(error: &wasmtime::Error, state: &State, limits: &Limits) -> Fault {
    let mut fault = classify(error, state, limits);
    fault.trace = error
        .downcast_ref::<WasmBacktrace>()
        .map(backtrace)
        .filter(|trace| !trace.is_empty());
    fault.stderr = state.recorder.stderr_tail();
    fault
}

fn classify(error: &wasmtime::Error, state: &State, limits: &Limits) -> Fault {
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::new(
            Code::Overloaded,
            "the host has no free slot for another invocation",
        );
    }
    if let Some(HostLimit(hit)) = error.downcast_ref() {
        return over_budget(hit);
    }
    if let Some(error) = error.downcast_ref::<MountError>() {
        return Fault::new(Code::HostFault, error.to_string());
    }
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return Fault::new(
            Code::Trap,
            format!("the task called exit({status}) instead of returning"),
        );
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            let hit = LimitHit::new("fuel", limits.fuel, limits.fuel);
            return Fault::limit(Code::OutOfFuel, "the task used up its fuel", hit);
        }
        Some(Trap::StackOverflow) => return stack_overflow(),
        Some(Trap::MemoryOutOfBounds) if is_recursion(error) => return stack_overflow(),
        _ => {}
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return too_many_handles(limits, limits.handles.saturating_add(1));
    }
    if says(error, NO_MORE_HANDLES) {
        let seen = (handles_in_calls(limits) as u64).saturating_add(1);
        return too_many_handles(limits, seen);
    }
    if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) =
        error.downcast_ref()
    {
        let allowed = limits.http_header_bytes;
        return over_budget(&LimitHit::new(
            "http_header_bytes",
            allowed,
            allowed.saturating_mul(2),
        ));
    }
    if says(error, TOO_MUCH_COPIED) {
        return too_much_copied(limits);
    }
    of_the_guest(error, state)
}

/// A budget of work ran out, or the guest handed over more than it may.
fn over_budget(hit: &LimitHit) -> Fault {
    let (code, what) = match hit.name.as_str() {
        "fuel" => (Code::OutOfFuel, "the task used up its fuel"),
        "host_calls" | "random_bytes" => (Code::OutOfFuel, "the task asked its host too often"),
        "handles" => (Code::MemoryLimit, TOO_MANY_HANDLES),
        _ => (
            Code::OutputTooLarge,
            "the task told its host more than it may",
        ),
    };
    Fault::limit(code, what, hit.clone())
}

fn too_many_handles(limits: &Limits, seen: u64) -> Fault {
    let hit = LimitHit::new("handles", limits.handles, seen);
    Fault::limit(Code::MemoryLimit, TOO_MANY_HANDLES, hit)
}

fn stack_overflow() -> Fault {
    let message = "the task's stack overflowed: endless or very deep recursion; a task that needs it can be linked \
                   with a larger stack (`-zstack-size`), and the operator can raise `engine.stack`";
    Fault::new(Code::StackOverflow, message)
}

/// Whether an access out of bounds was the guest's own stack running out at the start of its memory, where
/// linkers put it: then the whole of the captured stack is the same few functions.
fn is_recursion(error: &wasmtime::Error) -> bool {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return false;
    };
    let functions: HashSet<u32> = trace
        .frames()
        .iter()
        .map(wasmtime::FrameInfo::func_index)
        .collect();
    trace.frames().len() >= TRACE_FRAMES && functions.len() <= TRACE_FRAMES / 2
}

/// A guest that gave up: it panicked, ran into a refused growth, or did something wrong.
fn of_the_guest(error: &wasmtime::Error, state: &State) -> Fault {
    let refused = state.limiter.refused();
    if let Some(message) = &state.call.panicked {
        let mut fault = Fault::new(Code::Panicked, message.clone());
        fault.limit = refused.cloned();
        return fault;
    }
    if let Some(hit) = refused {
        return Fault::limit(
            Code::MemoryLimit,
            "the task asked for more memory than it may have",
            hit.clone(),
        );
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::new(Code::Trap, format!("the task trapped: {trap}")),
        None => Fault::new(
            Code::Trap,
            format!("the task broke the contract: {}", chain(error)),
        ),
    }
}

/// The whole chain of an error in one line.
fn chain(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        if let Some(line) = self::text(cause).lines().next() {
            let separator = if text.is_empty() { "" } else { ": " };
            let _ = write!(text, "{separator}{line}");
        }
    }
    text
}

/// What is in the chain of an error, but for the guest's backtrace, which is reported on its own. It must not be
/// asked for its text: wasmtime demangles the names in it as C++ without any bound, and two hundred bytes of a name
/// can mean gigabytes. The element of the chain that holds it is private, so that it is known by its place.
fn causes(error: &wasmtime::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(|backtrace| std::ptr::from_ref(backtrace).addr());
    error.chain().filter(move |cause| {
        let start = std::ptr::from_ref(*cause).cast::<()>().addr();
        let place = start..start + size_of_val(*cause).max(1);
        !backtrace.is_some_and(|backtrace| place.contains(&backtrace))
    })
}

/// Whether an error or what is behind it has these words.
fn says(error: &wasmtime::Error, words: &str) -> bool {
    causes(error).any(|cause| text(cause).contains(words))
}

fn too_much_copied(limits: &Limits) -> Fault {
    let hit = LimitHit::new(
        "output_bytes",
        limits.output_bytes,
        limits.output_bytes.saturating_add(1),
    );
    let message = "the task handed over more bytes at once than it may; how many more is unknown, as none were copied";
    Fault::limit(Code::OutputTooLarge, message, hit)
}

/// A guest's stack as text, one frame a line, innermost first.
pub(crate) fn backtrace(trace: &WasmBacktrace) -> String {
    let mut text = String::new();
    for (index, frame) in trace.frames().iter().enumerate() {
        let module = frame.module().name().unwrap_or("module");
        let name = frame
            .func_name()
            .map_or_else(|| format!("function {}", frame.func_index()), demangled);
        let _ = writeln!(text, "{index:>3}: {module}!{name}");
        if text.len() > TRACE_BYTES {
            text.truncate(text.floor_char_boundary(TRACE_BYTES));
            break;
        }
    }
    text
}

/// The beginning of what something says: guests choose the names of their functions, and whoever writes a long
/// one stops here.
fn text(speaker: impl std::fmt::Display) -> String {
    struct Beginning(String);

    impl std::fmt::Write for Beginning {
        fn write_str(&mut self, more: &str) -> std::fmt::Result {
            let left = TRACE_BYTES.saturating_sub(self.0.len());
            self.0.push_str(
                more.get(..more.floor_char_boundary(left))
                    .unwrap_or_default(),
            );
            if more.len() > left {
                Err(std::fmt::Error)
            } else {
                Ok(())
            }
        }
    }

    let mut beginning = Beginning(String::new());
    let _ = write!(beginning, "{speaker}");
    beginning.0
}

fn demangled(name: &str) -> String {
    text(format_args!("{:#}", rustc_demangle::demangle(name)))
}
