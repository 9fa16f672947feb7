//! `celeriac stubs`: a module's tasks as typed functions of a host language.

mod python;
mod schema;

use std::{path::PathBuf, process::ExitCode};

use celeriac::settings::Settings;
use celeriac_broker::{Manifest, ModuleRef};
use clap::Args;
use serde_json::json;

use super::{connect::connect, error::CliError, exit::Exit, output::Output};

/// Write a module's tasks as typed functions, for editors and type checkers
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac stubs images --python > images.py       functions that take an AsyncClient
  celeriac stubs images@1.2.0 --python --blocking  functions that take a Client
  celeriac stubs images --python --output src/tasks/images.py")]
pub(crate) struct StubsArgs {
    /// A name, a version or a digest
    #[arg(value_name = "MODULE")]
    module: ModuleRef,

    /// Write Python, for the package `celeriac`
    #[arg(long, required = true)]
    python: bool,

    /// Write functions that block, for code that does not await
    #[arg(long)]
    blocking: bool,

    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn stubs(
    args: StubsArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let record = client.broker().module(&args.module).await?;
    let manifest: Manifest = serde_json::from_str(&record.manifest).map_err(|error| {
        CliError::new(
            Exit::Failed,
            format!("the manifest of {} is damaged: {error}", args.module),
            "push the module again",
        )
    })?;
    let text = python::module(&args.module, &manifest, args.blocking);
    match &args.output {
        Some(file) => std::fs::write(file, &text).map_err(|error| {
            CliError::new(
                Exit::Failed,
                format!("{} cannot be written: {error}", file.display()),
                "name a file in a directory that is there and yours",
            )
        })?,
        None if out.is_json => out.document(&json!({ "module": args.module, "python": text }))?,
        None => out.line(text.trim_end())?,
    }
    Ok(Exit::Success.into())
}
