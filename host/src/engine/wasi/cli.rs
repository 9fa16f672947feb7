//! `wasi:cli`, counted: what a program is told about its surroundings, and its standard streams.
//!
//! There are no arguments, standard input is empty, and no stream is a terminal.

use wasmtime::component::Resource;
use wasmtime_wasi::cli::WasiCliView as _;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use crate::engine::state::State;

type Handle<T> = wasmtime::Result<Resource<T>>;
type Terminal<T> = wasmtime::Result<Option<Resource<T>>>;

impl environment::Host for State {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        self.meter.call()?;
        let variables = environment::Host::get_environment(&mut self.cli())?;
        let bytes = variables
            .iter()
            .map(|(name, value)| (name.len() + value.len()) as u64)
            .sum();
        self.meter.bytes(bytes)?;
        Ok(variables)
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        environment::Host::get_arguments(&mut self.cli())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        environment::Host::initial_cwd(&mut self.cli())
    }
}

impl exit::Host for State {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        exit::Host::exit(&mut self.cli(), status)
    }

    fn exit_with_code(&mut self, status_code: u8) -> wasmtime::Result<()> {
        exit::Host::exit_with_code(&mut self.cli(), status_code)
    }
}

impl stdin::Host for State {
    fn get_stdin(&mut self) -> Handle<DynInputStream> {
        self.meter.call()?;
        stdin::Host::get_stdin(&mut self.cli())
    }
}

impl stdout::Host for State {
    fn get_stdout(&mut self) -> Handle<DynOutputStream> {
        self.meter.call()?;
        let stream = stdout::Host::get_stdout(&mut self.cli())?;
        self.mark_log(&stream);
        Ok(stream)
    }
}

impl stderr::Host for State {
    fn get_stderr(&mut self) -> Handle<DynOutputStream> {
        self.meter.call()?;
        let stream = stderr::Host::get_stderr(&mut self.cli())?;
        self.mark_log(&stream);
        Ok(stream)
    }
}

impl terminal_input::Host for State {}

impl terminal_input::HostTerminalInput for State {
    fn drop(&mut self, handle: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        terminal_input::HostTerminalInput::drop(&mut self.cli(), handle)
    }
}

impl terminal_output::Host for State {}

impl terminal_output::HostTerminalOutput for State {
    fn drop(&mut self, handle: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        terminal_output::HostTerminalOutput::drop(&mut self.cli(), handle)
    }
}

impl terminal_stdin::Host for State {
    fn get_terminal_stdin(&mut self) -> Terminal<terminal_input::TerminalInput> {
        self.meter.call()?;
        terminal_stdin::Host::get_terminal_stdin(&mut self.cli())
    }
}

impl terminal_stdout::Host for State {
    fn get_terminal_stdout(&mut self) -> Terminal<terminal_output::TerminalOutput> {
        self.meter.call()?;
        terminal_stdout::Host::get_terminal_stdout(&mut self.cli())
    }
}

impl terminal_stderr::Host for State {
    fn get_terminal_stderr(&mut self) -> Terminal<terminal_output::TerminalOutput> {
        self.meter.call()?;
        terminal_stderr::Host::get_terminal_stderr(&mut self.cli())
    }
}
