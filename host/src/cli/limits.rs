//! `celeriac limits`: what is bounded across all hosts.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Limit, LimitScope, Limited, Pausable, Paused, Rate};
use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::json;

use super::{connect::connect, error::CliError, exit::Exit, figures::ago, output::Output};

/// List, set and remove limits that hold across all hosts
///
/// A limit is kept by the broker: it holds from the moment that it is set, for every host and every client.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac limits list
  celeriac limits set queue:default --max-queue 100000 --concurrency 500
  celeriac limits set task:reports/send --rate 100/1m --burst 10
  celeriac limits set 'key:*' --concurrency 5
  celeriac limits remove queue:default")]
pub(crate) struct LimitsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the limits that are set, and the tasks that are paused
    #[command(after_help = "Examples:\n  celeriac limits list\n  celeriac limits list --json")]
    List,
    /// Set the limit of a scope, in place of the one that it has
    #[command(after_help = "Examples:\n  celeriac limits set queue:default --max-queue 100000")]
    Set {
        /// What is limited: `queue:NAME`, `task:MODULE/TASK`, `key:KEY`, or `key:*` for each key that has no limit of its own
        #[arg(value_name = "SCOPE")]
        scope: LimitScope,

        #[command(flatten)]
        limit: LimitFlags,
    },
    /// Remove the limit of a scope
    #[command(after_help = "Examples:\n  celeriac limits remove queue:default")]
    Remove {
        /// What is limited no more
        #[arg(value_name = "SCOPE")]
        scope: LimitScope,
    },
}

#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = true)]
struct LimitFlags {
    /// So many may run at once, on all hosts together
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,

    /// So many attempts may start in so long, such as `100/1m`
    #[arg(long, value_name = "N/DURATION")]
    rate: Option<Rate>,

    /// So many may start at once after a pause [default: what the rate allows in a second, at least 1]
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<u32>,

    /// So many may wait in the queue; what is submitted beyond is refused
    #[arg(long, value_name = "N")]
    max_queue: Option<u64>,
}

/// Runs the command.
pub(crate) async fn limits(
    args: LimitsArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let broker = client.broker();
    match args.action {
        Action::List => {
            let mut paused = broker.paused().await?;
            paused.retain(|pause| matches!(pause.what, Pausable::Task(..)));
            show(&broker.limits().await?, &paused, out)?;
        }
        Action::Set { scope, limit } => {
            let limit = Limit {
                concurrency: limit.concurrency,
                rate: limit.rate,
                burst: limit.burst,
                max_queue: limit.max_queue,
            };
            broker.set_limit(&scope, Some(&limit)).await?;
            out.note(&format!("{scope} is limited from now on"));
        }
        Action::Remove { scope } => {
            let was_set = broker
                .limits()
                .await?
                .iter()
                .any(|limited| limited.scope == scope);
            if !was_set {
                let message = format!("{scope} has no limit");
                return Err(CliError::new(
                    Exit::NotFound,
                    message,
                    "`celeriac limits list` shows what is limited",
                ));
            }
            broker.set_limit(&scope, None).await?;
            out.note(&format!("{scope} is limited no more"));
        }
    }
    Ok(Exit::Success.into())
}

fn show(limits: &[Limited], paused: &[Paused], out: &Output) -> Result<(), CliError> {
    if out.is_json {
        return out.document(&json!({ "limits": limits, "paused_tasks": paused }));
    }
    if limits.is_empty() && paused.is_empty() {
        out.note("no limit is set: `celeriac limits set SCOPE …` sets one");
        return Ok(());
    }
    // What is paused is written as the scope of its limit is.
    let is_of =
        |pause: &&Paused, limited: &Limited| pause.what.to_string() == limited.scope.to_string();
    let mut rows: Vec<_> = limits
        .iter()
        .map(|limited| row(limited, paused.iter().find(|pause| is_of(pause, limited))))
        .collect();
    let has_limit = |pause: &Paused| limits.iter().any(|limited| is_of(&pause, limited));
    let others = paused.iter().filter(|pause| !has_limit(pause));
    rows.extend(others.map(|pause| {
        let none = || Cell::new("-");
        [
            Cell::new(&pause.what),
            none(),
            none(),
            none(),
            none(),
            since(Some(pause)),
        ]
    }));
    let heads = [
        "SCOPE",
        "RUNNING",
        "CONCURRENCY",
        "RATE",
        "MAX QUEUE",
        "PAUSED",
    ];
    out.table(heads, rows)
}

fn row(limited: &Limited, pause: Option<&Paused>) -> [Cell; 6] {
    let Limited {
        scope,
        limit,
        running,
    } = limited;
    let rate = limit.rate.map(|rate| match limit.burst {
        Some(burst) => format!("{rate}, {burst} at once"),
        None => rate.to_string(),
    });
    [
        Cell::new(scope),
        Cell::new(running),
        cell(limit.concurrency),
        cell(rate),
        cell(limit.max_queue),
        since(pause),
    ]
}

fn since(pause: Option<&Paused>) -> Cell {
    match pause {
        Some(pause) => Cell::new(ago(pause.since_ms)).fg(Color::Yellow),
        None => Cell::new("-"),
    }
}

fn cell(value: Option<impl ToString>) -> Cell {
    Cell::new(value.map_or("-".to_owned(), |value| value.to_string()))
}
