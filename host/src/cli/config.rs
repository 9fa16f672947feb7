//! `celeriac config`: the resolved settings, each with its source.

use std::process::ExitCode;

use celeriac::settings::{self, Entry, Settings, Source};
use clap::Args;
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{error::CliError, exit::Exit, output::Output};

/// Print every setting, its value, and where that came from
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac config
  celeriac config --example > celeriac.toml       a commented file to start from
  celeriac config --json | jq -r '.settings.broker.value'
  CELERIAC_LIMITS_FUEL=50G celeriac config --set lease=5s")]
pub(crate) struct ConfigArgs {
    /// Print a commented settings file with every default
    #[arg(long)]
    pub(crate) example: bool,
}

/// Prints the resolved settings.
pub(crate) fn config(
    _: &ConfigArgs,
    settings: &Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    if out.is_json {
        let entry = |entry: &Entry| (entry.row.key.to_owned(), document(entry));
        let entries: serde_json::Map<_, _> = settings.entries().iter().map(entry).collect();
        out.document(&json!({ "file": settings.file, "settings": entries }))?;
    } else {
        out.table(
            ["SETTING", "VALUE", "SOURCE"],
            settings.entries().iter().map(row).collect(),
        )?;
    }
    Ok(Exit::Success.into())
}

/// Prints the commented file; `--json` does not change it, as it is a file.
pub(crate) fn example(out: &Output) -> Result<ExitCode, CliError> {
    out.raw(settings::example().as_bytes())?;
    Ok(Exit::Success.into())
}

fn row(entry: &Entry) -> [Cell; 3] {
    let source = Cell::new(&entry.source);
    let source = match entry.source {
        Source::Default => source.fg(Color::DarkGrey),
        _ => source.fg(Color::Cyan),
    };
    [Cell::new(entry.row.key), Cell::new(&entry.value), source]
}

fn document(entry: &Entry) -> Value {
    let (kind, place) = match &entry.source {
        Source::Default => ("default", None),
        Source::File(path) => ("file", Some(path.display().to_string())),
        Source::Environment(name) => ("environment", Some(name.clone())),
        Source::Flag(name) => ("flag", Some(name.clone())),
    };
    json!({ "value": entry.value.to_json(), "source": kind, "place": place, "environment": entry.row.env() })
}
