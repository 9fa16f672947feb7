//! `celeriac status`: where invocations stand.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Attempt, BrokerError, InvocationId, On, Status, When};
use clap::Args;
use comfy_table::Cell;
use serde_json::{Value, json};

use super::{
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{ago, fuel, harmless, now_ms, span, state_cell},
    log_line,
    outcome::used,
    output::{Output, STRONG, paint},
};

/// Show where invocations stand
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac status 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac status $a $b $c
  celeriac status $id --json | jq -r '.invocations[0].state'")]
pub(crate) struct StatusArgs {
    /// The invocations
    #[arg(value_name = "ID", required = true)]
    ids: Vec<InvocationId>,
}

/// Runs the command.
pub(crate) async fn status(
    args: StatusArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let mut found = Vec::new();
    for id in args.ids {
        found.push((id, answer(client.broker().status(id).await)?));
    }
    match found.as_slice() {
        _ if out.is_json => {
            let documents: Vec<_> = found
                .iter()
                .map(|(id, status)| document(*id, status))
                .collect();
            out.document(&json!({ "invocations": documents }))?;
        }
        [(_, Ok(status))] => one(status, out)?,
        _ => table(&found, out)?,
    }
    Ok(worst(found.into_iter().map(|(_, status)| status.err()), out).into())
}

/// An answer about one invocation: an error about it, or one about the broker for all.
pub(crate) fn answer<T>(answer: Result<T, BrokerError>) -> Result<Result<T, CliError>, CliError> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error @ (BrokerError::NotFound(_) | BrokerError::Expired(_))) => Ok(Err(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// Reports what was not found and returns the exit code for all. Under `--json` the document has it already.
pub(crate) fn worst(errors: impl Iterator<Item = Option<CliError>>, out: &Output) -> Exit {
    let mut exit = Exit::Success;
    for error in errors.flatten() {
        exit = error.exit;
        if !out.is_json {
            out.error(&error);
        }
    }
    exit
}

/// What stands in a document in place of an invocation that is not there.
pub(crate) fn missing(id: InvocationId, error: &CliError) -> Value {
    json!({ "id": id, "error": { "exit": error.exit as u8, "message": error.message, "remedy": error.remedy } })
}

fn document(id: InvocationId, status: &Result<Status, CliError>) -> Value {
    match status {
        Ok(status) => json!(status),
        Err(error) => missing(id, error),
    }
}

fn table(found: &[(InvocationId, Result<Status, CliError>)], out: &Output) -> Result<(), CliError> {
    let row = |status: &Status| {
        [
            Cell::new(status.id),
            Cell::new(&status.task),
            state_cell(status.state),
            Cell::new(code(status)),
            Cell::new(status.attempts),
            Cell::new(ago(status.submitted_at_ms)),
        ]
    };
    let rows: Vec<_> = found
        .iter()
        .filter_map(|(_, status)| status.as_ref().ok())
        .map(row)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    out.table(
        ["ID", "TASK", "STATE", "CODE", "ATTEMPTS", "SUBMITTED"],
        rows,
    )
}

/// A moment of the broker's clock, and how far off it is by this machine's.
fn moment(at_ms: u64) -> String {
    let at = When::AtMs(at_ms);
    match at_ms.checked_sub(now_ms()) {
        Some(ms) => format!("{at}, in {}", span(ms)),
        None => format!("{at}, {}", ago(at_ms)),
    }
}

/// What it waits for, or has waited for.
fn waits_for(status: &Status) -> Option<String> {
    let parents = status.after.iter().take(3).map(|after| match after.on {
        On::Success => format!("the success of {}", after.id),
        On::Failure => format!("the failure of {}", after.id),
        On::Done => format!("the end of {}", after.id),
    });
    let shown = parents.collect::<Vec<_>>().join(", ");
    match status.after.len() {
        0 => None,
        1..=3 => Some(shown),
        many => Some(format!("{shown} and {} more", many - 3)),
    }
}

/// An attempt that was followed by another.
fn failed(attempt: &Attempt) -> String {
    format!(
        "attempt {} {}, {}: {}: {} ({} on {}, fuel {}; next after {})",
        attempt.attempt,
        ago(attempt.started_at_ms),
        attempt.code,
        attempt.kind,
        attempt.message,
        span(attempt.run_ms.round() as u64),
        attempt.host,
        fuel(attempt.fuel),
        span(attempt.retry_in_ms),
    )
}

fn code(status: &Status) -> String {
    status
        .outcome
        .as_ref()
        .map(|head| head.code.to_string())
        .unwrap_or_default()
}

fn one(status: &Status, out: &Output) -> Result<(), CliError> {
    let mut rows = vec![
        ("id", status.id.to_string()),
        ("task", status.task.to_string()),
        ("state", status.state.to_string()),
        ("queue", status.queue.clone()),
        ("submitted", ago(status.submitted_at_ms)),
        ("attempts", status.attempts.to_string()),
    ];
    let mut add = |name, text: Option<String>| rows.extend(text.map(|text| (name, text)));
    add(
        "crashes",
        (status.crashes > 0).then(|| format!("{} hosts died while they ran it", status.crashes)),
    );
    add("starts", status.due_at_ms.map(moment));
    add("waits for", waits_for(status));
    add(
        "called by",
        status.parent.map(|parent| parent.id.to_string()),
    );
    add(
        "expires",
        status
            .expires_at_ms
            .filter(|_| status.attempts == 0)
            .map(moment),
    );
    add("deadline", status.deadline_at_ms.map(moment));
    add(
        "cancel",
        status.is_cancel_requested.then(|| "requested".to_owned()),
    );
    add("module", status.module.map(|digest| digest.to_string()));
    add("host", status.host.as_ref().map(ToString::to_string));
    add(
        "progress",
        status
            .progress
            .as_ref()
            .map(|progress| log_line::progress(progress).replacen("progress ", "", 1)),
    );
    if let Some(head) = &status.outcome {
        add("code", Some(head.code.to_string()));
        add("output", head.content_type.clone());
        add(
            "failure",
            head.failure
                .as_ref()
                .map(|failure| format!("{}: {}", failure.kind, failure.message)),
        );
        add("used", Some(used(&head.usage)));
    }
    rows.extend(
        status
            .trail
            .iter()
            .map(|attempt| ("failed", failed(attempt))),
    );
    let lines: Vec<_> = rows
        .into_iter()
        .map(|(name, text)| {
            format!(
                "{} {}",
                paint(STRONG, format_args!("{name:<10}")),
                harmless(&text)
            )
        })
        .collect();
    out.line(&lines.join("\n"))
}
