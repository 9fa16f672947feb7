//! `celeriac logs`: what an invocation has reported.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Event, InvocationId};
use clap::Args;
use serde_json::json;

use super::{connect::connect, error::CliError, exit::Exit, log_line, output::Output};

/// Events that are printed at most: more are not kept of one invocation.
const LIMIT: usize = 10_000;

/// Print what an invocation has reported: logs, progress, partial results
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac logs 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac logs $id --follow
  celeriac logs $id --json | jq '.events[] | select(.kind == \"log\") | .log.message'

With --follow --json each event is a document of its own, one a line.")]
pub(crate) struct LogsArgs {
    /// The invocation
    #[arg(value_name = "ID")]
    id: InvocationId,

    /// Go on until the invocation ends
    #[arg(long, short)]
    follow: bool,
}

/// Runs the command.
pub(crate) async fn logs(
    args: LogsArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    if args.follow {
        let handle = client.handle(args.id);
        let mut events = handle.events().await?;
        while let Some(event) = events.next().await? {
            show(&event, out)?;
        }
        return Ok(Exit::Success.into());
    }
    let events = client.broker().events(args.id, LIMIT).await?;
    if out.is_json {
        let documents: Vec<_> = events.iter().map(log_line::document).collect();
        out.document(&json!({ "id": args.id, "events": documents }))?;
        return Ok(Exit::Success.into());
    }
    for event in &events {
        show(event, out)?;
    }
    if events.is_empty() && out.is_error_terminal {
        out.note("nothing was reported so far");
    }
    Ok(Exit::Success.into())
}

fn show(event: &Event, out: &Output) -> Result<(), CliError> {
    match out.is_json {
        true => out.line(&log_line::document(event).to_string()),
        false => out.line(&log_line::any(event)),
    }
}
