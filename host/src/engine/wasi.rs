//! Which WASI interfaces a guest finds: those that a standard library needs, one by one.
//!
//! `wasi:filesystem` is there without a single directory. Sockets and outgoing HTTP are those of [`net`](super::net),
//! which asks the rights of the execution at each call. Nothing serves HTTP.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
use wasmtime_wasi::random::WasiRandom;

use super::net;
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

struct HasIo;

impl HasData for HasIo {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links them.
pub(crate) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<State, HasIo>(l, |t| t.ctx().table)?;
    io::poll::add_to_linker::<State, HasIo>(l, |t| t.ctx().table)?;
    io::streams::add_to_linker::<State, HasIo>(l, |t| t.ctx().table)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(
        l,
        wasmtime_wasi::random::WasiRandomView::random,
    )?;
    random::insecure::add_to_linker::<State, WasiRandom>(
        l,
        wasmtime_wasi::random::WasiRandomView::random,
    )?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(
        l,
        wasmtime_wasi::random::WasiRandomView::random,
    )?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    net::link_sockets(l)?;
    net::link_http(l)
}
