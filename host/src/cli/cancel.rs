//! `celeriac cancel`: stops invocations, by id or all that a filter asks for.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{CancelResult, Filter, InvocationId};
use celeriac_client::{BulkCancel, Client};
use clap::Args;
use comfy_table::Cell;
use serde_json::json;

use super::{
    bulk,
    connect::connect,
    error::CliError,
    list::FilterArgs,
    output::Output,
    status::{answer, missing, worst},
};

/// Stop invocations: at once when they wait, within milliseconds when they run
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac cancel 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac cancel $a $b $c --json
  celeriac cancel $a --children
  celeriac cancel --queue images --task images/resize --older-than 1h --dry-run
  celeriac cancel --key tenant-17 --dry-run
  celeriac cancel --state queued --queue reports")]
pub(crate) struct CancelArgs {
    /// The invocations; none: all that the filters ask for
    #[arg(value_name = "ID", conflicts_with_all = ["state", "queue", "task", "key", "older_than", "newer_than", "dry_run"])]
    ids: Vec<InvocationId>,

    /// Stop also what they have called, and what that has called
    #[arg(long, requires = "ids")]
    children: bool,

    #[command(flatten)]
    filter: FilterArgs,

    /// Only count what would be stopped
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(crate) async fn cancel(
    args: CancelArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    if args.ids.is_empty() && args.filter.filter() == Filter::default() {
        return Err(bulk::nothing_meant(
            "cancelled",
            "`--state`, `--queue`, `--task`, `--key`, `--older-than`, `--newer-than`; `--dry-run` counts them first",
        ));
    }
    let client = connect(&settings).await?;
    match args.ids.is_empty() {
        true => cancel_matching(&client, &args, out).await,
        false => cancel_each(&client, args.ids, args.children, out).await,
    }
}

async fn cancel_each(
    client: &Client,
    ids: Vec<InvocationId>,
    has_children: bool,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let mut answers = Vec::new();
    for id in ids {
        let result = match has_children {
            true => client.broker().cancel_with_children(id).await,
            false => client.broker().cancel(id).await,
        };
        answers.push((id, answer(result)?));
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

async fn cancel_matching(
    client: &Client,
    args: &CancelArgs,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let bar = bulk::counter(out);
    let done = client
        .cancel_matching(args.filter.filter(), args.dry_run, |done| {
            bar.set_message(sentence(done, args.dry_run));
        })
        .await;
    bar.finish_and_clear();
    let done = done?;
    bulk::show(&done, &sentence(&done, args.dry_run), args.dry_run, out)
}

fn sentence(done: &BulkCancel, is_dry: bool) -> String {
    if is_dry {
        return format!("{} would be cancelled; nothing was done", done.matched);
    }
    let mut text = format!("{} cancelled", done.cancelled);
    if done.requested > 0 {
        text += &format!(", the hosts of {} that run have been told", done.requested);
    }
    if done.already_ended > 0 {
        text += &format!(", {} had ended", done.already_ended);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_done_and_what_was_not() {
        let mut done = BulkCancel {
            matched: 7,
            cancelled: 4,
            requested: 2,
            already_ended: 1,
        };
        assert_eq!(
            sentence(&done, false),
            "4 cancelled, the hosts of 2 that run have been told, 1 had ended"
        );
        assert!(sentence(&done, true).starts_with("7 would be"));
        done.requested = 0;
        done.already_ended = 0;
        assert_eq!(sentence(&done, false), "4 cancelled");
    }
}
