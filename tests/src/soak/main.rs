//! A soak: a mixed load for as long as asked, while hosts and Redis are killed, and an account of every invocation after it.
//!
//! # Layout
//! - [`options`]: the command line.
//! - [`site`]: the processes under test; [`chaos`]: what happens to them.
//! - [`load`]: picks plays and submits; [`plays`] and [`play_flows`]: what those are.
//! - [`account`]: each invocation that was accepted, and what the store says that it came to.
//! - [`memory`], [`keys`]: what the host and Redis hold; [`report`]: what is printed.

mod account;
mod chaos;
mod keys;
mod load;
mod memory;
mod options;
mod play_flows;
mod plays;
mod report;
mod site;
mod soak;

use std::process::ExitCode;

use options::{HELP, Options};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let soaked = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(soak::soak(&options)));
    match soaked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!(
                "the soak could not run to its end, seed {}: {error:#}",
                options.seed
            );
            ExitCode::FAILURE
        }
    }
}
