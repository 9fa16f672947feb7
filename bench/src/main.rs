//! Benchmarks, each a ratio against something named, so that a figure means the same on any machine.
//!
//! One JSON line for each figure goes to stdout, everything for people to stderr:
//! `{"name":"engine.over_bare_ratio","value":1.08,"unit":"ratio","against":"bare wasmtime …","goal":"<= 1.15"}`
//!
//! # Layout
//! - one file for each benchmark; [`suite`] lists them.
//! - [`figure`] is what they print, [`report`] writes figures into `docs/performance.md`.
//! - [`process`], [`server`], [`host`], [`peer`]: the real processes that they measure; [`artifacts`]: the files.
//! - [`sandbox`] and [`bare`]: a module in our engine, and on wasmtime without it.

use std::process::ExitCode;

mod artifacts;
mod await_result;
mod bare;
mod cancel;
mod cold;
mod density;
mod embedded;
mod engine;
mod figure;
mod flow;
mod growth;
mod guest_cpu;
mod host;
mod options;
mod peer;
mod process;
mod python;
mod report;
mod sandbox;
mod schedule;
mod server;
mod stats;
mod suite;
mod throughput;

use celeriac::module::{CHILD_COMMAND, compile_child_main};
use options::{Action, Options};

fn main() -> ExitCode {
    // The engine compiles modules in a child process that is this very program.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((CHILD_COMMAND, rest)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return compile_child_main(rest);
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{}", options::help());
            return ExitCode::from(2);
        }
    };
    match options.action {
        Action::Help => println!("{}", options::help()),
        Action::List => suite::BENCHMARKS
            .iter()
            .for_each(|b| println!("{:<12} {}", b.name, b.about)),
        Action::Report(path) => {
            if let Err(error) = report::rewrite(&path) {
                eprintln!("the report was not written: {error:#}");
                return ExitCode::FAILURE;
            }
        }
        Action::Run { names, scale } => return suite::run(&names, scale),
    }
    ExitCode::SUCCESS
}
