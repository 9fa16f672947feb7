//! `celeriac watch`: follows an invocation live: progress, logs, partial results.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Code, InvocationId};
use clap::Args;
use serde_json::json;

use super::{
    connect::{connect, serve_command},
    error::CliError,
    exit::Exit,
    figures::harmless,
    follow::{Follow, ShowProgress},
    outcome::used,
    output::{BAD, GOOD, Output, paint},
};

/// Follow an invocation until it ends: a bar, its logs above it, its partial results on request
///
/// Whoever comes late gets what is kept of the history first: about a thousand reports. Any number may watch; the
/// invocation does not notice. Ctrl-c ends the watching alone.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac watch 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac watch $id --chunks > parts.jsonl
  celeriac watch $id --json | jq -r 'select(.kind == \"log\") | .log.message'

With --json each report is a document of its own, one a line, and the last one is the outcome.")]
pub(crate) struct WatchArgs {
    /// The invocation
    #[arg(value_name = "ID")]
    id: InvocationId,

    /// Write partial results to standard output: JSON one a line, bytes as they are
    #[arg(long)]
    chunks: bool,

    /// Do not show the task's logs
    #[arg(long)]
    no_logs: bool,

    /// When to show the task's progress
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    progress: ShowProgress,
}

/// Runs the command.
pub(crate) async fn watch(
    args: WatchArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let handle = client.handle(args.id);
    // A wrong id is reported at once, not after the spinner.
    handle.status().await?;
    let follow = Follow {
        client: &client,
        out,
        has_logs: !args.no_logs,
        has_chunks: args.chunks,
        has_documents: out.is_json,
        progress: args.progress,
        patience: None,
        serve: serve_command(&settings),
    };
    let outcome = follow.outcome(&handle).await?;
    if out.is_json {
        let document = json!({
            "kind": "outcome", "state": outcome.state(), "code": outcome.code, "failure": outcome.failure, "usage": outcome.usage,
        });
        out.line(&document.to_string())?;
    } else {
        let style = if outcome.code == Code::Ok { GOOD } else { BAD };
        let why = outcome
            .failure
            .as_ref()
            .map_or_else(String::new, |failure| {
                format!(": {}", harmless(&failure.message))
            });
        out.note(&format!(
            "{}{why} ({})",
            paint(style, outcome.state()),
            used(&outcome.usage)
        ));
    }
    Ok(match outcome.code {
        Code::Ok => Exit::Success,
        _ => Exit::TaskFailed,
    }
    .into())
}
