//! Which WASI interfaces a guest finds: those that a standard library needs, one by one.
//!
//! Each call of clocks, random, io and cli goes through a wrapper that counts it, charges the bytes that cross,
//! and bounds what the host allocates for it; the work itself is wasmtime's. Files are those of
//! `files`, sockets and outgoing HTTP those of `net`: they refuse what is not granted.

mod cli;
mod clocks;
mod io;
mod random;

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings;

pub(crate) use self::clocks::FixedTime;
pub(crate) use self::random::Chance;
use super::state::State;

/// The version of the contract that this host serves.
pub const CONTRACT_VERSION: (u64, u64, u64) = (1, 0, 0);

/// The series of WASI releases that this host serves: any patch of 0.2.
pub const WASI_SERIES: (u64, u64) = (0, 2);

/// The interfaces that a module may import, without their versions.
pub const ALLOWED_IMPORTS: &[&str] = &[
    "celeriac:task/types",
    "celeriac:task/context",
    "celeriac:task/key-value",
    "celeriac:task/tasks",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/wall-clock",
    "wasi:clocks/monotonic-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:sockets/network",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
    "wasi:http/types",
    "wasi:http/outgoing-handler",
];

/// Links them.
pub(crate) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    link_io(l)?;
    link_cli(l)?;
    bindings::clocks::wall_clock::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::clocks::monotonic_clock::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::random::random::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::random::insecure::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::random::insecure_seed::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    super::files::link(l)?;
    super::net::link_sockets(l)?;
    super::net::link_http(l)
}

fn link_io(l: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::io::error::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::io::poll::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::io::streams::add_to_linker::<State, HasSelf<State>>(l, itself)
}

fn link_cli(l: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::cli::environment::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::exit::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::stdin::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::stdout::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::stderr::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::terminal_input::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::terminal_output::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::terminal_stdin::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::terminal_stdout::add_to_linker::<State, HasSelf<State>>(l, itself)?;
    bindings::cli::terminal_stderr::add_to_linker::<State, HasSelf<State>>(l, itself)
}

/// The wrappers are implemented by the state itself.
fn itself(state: &mut State) -> &mut State {
    state
}
