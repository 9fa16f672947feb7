//! `celeriac cancel`: stops invocations.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{CancelResult, InvocationId};
use clap::Args;
use comfy_table::Cell;
use serde_json::json;

use super::{
    connect::connect,
    error::CliError,
    output::Output,
    status::{answer, missing, worst},
};

/// Stop invocations: at once when they wait, within milliseconds when they run
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac cancel 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac cancel $a $b $c --json")]
pub(crate) struct CancelArgs {
    /// The invocations
    #[arg(value_name = "ID", required = true)]
    ids: Vec<InvocationId>,
}

/// Runs the command.
pub(crate) async fn cancel(
    args: CancelArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let mut answers = Vec::new();
    for id in args.ids {
        answers.push((id, answer(client.broker().cancel(id).await)?));
    }
    if out.is_json {
        let document = |(id, result): &(InvocationId, Result<CancelResult, CliError>)| match result
        {
            Ok(result) => json!({ "id": id, "result": result }),
            Err(error) => missing(*id, error),
        };
        out.document(&json!({ "invocations": answers.iter().map(document).collect::<Vec<_>>() }))?;
    } else {
        let cancelled = answers
            .iter()
            .filter_map(|(id, result)| Some((id, result.as_ref().ok()?)));
        let rows: Vec<_> = cancelled
            .map(|(id, result)| [Cell::new(id), Cell::new(word(*result))])
            .collect();
        if !rows.is_empty() {
            out.table(["ID", "RESULT"], rows)?;
        }
    }
    Ok(worst(answers.into_iter().map(|(_, result)| result.err()), out).into())
}

fn word(result: CancelResult) -> &'static str {
    match result {
        CancelResult::Cancelled => "cancelled",
        CancelResult::Requested => "its host has been told to stop it",
        CancelResult::AlreadyEnded => "had ended already",
    }
}
