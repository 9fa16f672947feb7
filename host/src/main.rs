//! The program `celeriac`.

mod cli;

use std::process::ExitCode;

use celeriac::module::{CHILD_COMMAND, compile_child_main};

fn main() -> ExitCode {
    // Before anything else: a host waits for this child with every upload, and it runs under tight limits.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|command| command == CHILD_COMMAND)
    {
        let rest: Vec<String> = arguments
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        return compile_child_main(&rest);
    }
    cli::main()
}
