//! `celeriac list`: invocations by state, queue, task, key and age.

use std::{process::ExitCode, time::Duration};

use celeriac::settings::{Settings, units};
use celeriac_broker::{Filter, List, Listing, MAX_LISTED, State, Status, TaskFilter};
use clap::Args;
use comfy_table::Cell;
use serde_json::json;

use super::{
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{ago, state_cell},
    output::Output,
};

/// List invocations by state, queue, task, key and age
///
/// All that are asked for come, in no particular order on Redis and oldest first on an embedded store; what changes
/// while they are listed may come twice or not. Without --state running or scheduled every record that is kept is
/// looked at: a second or so for a million of them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac list --state running
  celeriac list --queue images --state queued --older-than 10m
  celeriac list --task shop/checkout --state failed,expired --newer-than 1d --limit 500
  celeriac list --key tenant-17 --state queued,running
  celeriac list --state queued --json | jq -r '.invocations[].id'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,

    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Which invocations are meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilterArgs {
    /// Only those in these states, with commas between: blocked, scheduled, queued, running, succeeded, failed,
    /// cancelled, expired
    #[arg(long, value_name = "STATE,…", value_delimiter = ',', value_parser = state)]
    pub(crate) state: Vec<State>,

    /// Only those of this queue
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Only those of this task (`images/resize`, in any version) or module (`images`)
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<TaskFilter>,

    /// Only those with this concurrency key or this fairness key
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,

    /// Only those accepted at least this long ago, such as `1h`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    pub(crate) older_than: Option<Duration>,

    /// Only those accepted at most this long ago
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    pub(crate) newer_than: Option<Duration>,
}

impl FilterArgs {
    /// As the broker takes it.
    pub(crate) fn filter(&self) -> Filter {
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Filter {
            states: self.state.clone(),
            queue: self.queue.clone(),
            task: self.task.clone(),
            key: self.key.clone(),
            older_than_ms: self.older_than.map(ms),
            newer_than_ms: self.newer_than.map(ms),
            ..Filter::default()
        }
    }
}

fn state(text: &str) -> Result<State, String> {
    serde_json::from_value(json!(text)).map_err(|_| {
        "expected blocked, scheduled, queued, running, succeeded, failed, cancelled or expired"
            .to_owned()
    })
}

/// Runs the command.
pub(crate) async fn list(
    args: ListArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let mut list = List {
        filter: args.filter.filter(),
        cursor: args.cursor,
        limit: 0,
    };
    let mut found = Listing::default();
    loop {
        list.limit = (args.limit.max(1) - found.invocations.len()).min(MAX_LISTED);
        let page = client.list(&list).await?;
        found.invocations.extend(page.invocations);
        found.cursor = page.cursor;
        list.cursor.clone_from(&found.cursor);
        if found.cursor.is_none() || found.invocations.len() >= args.limit.max(1) {
            break;
        }
    }
    if out.is_json {
        out.document(&found)?;
        return Ok(Exit::Success.into());
    }
    if found.invocations.is_empty() {
        out.note("there is no such invocation");
    } else {
        out.table(
            [
                "ID",
                "TASK",
                "STATE",
                "CODE",
                "QUEUE",
                "ATTEMPTS",
                "SUBMITTED",
            ],
            found.invocations.iter().map(row).collect(),
        )?;
    }
    if let Some(cursor) = found.cursor {
        out.note(&format!("there may be more: --cursor {cursor}"));
    }
    Ok(Exit::Success.into())
}

fn row(status: &Status) -> [Cell; 7] {
    let code = status.outcome.as_ref().map(|head| head.code.to_string());
    [
        Cell::new(status.id),
        Cell::new(&status.task),
        state_cell(status.state),
        Cell::new(code.unwrap_or_default()),
        Cell::new(&status.queue),
        Cell::new(status.attempts),
        Cell::new(ago(status.submitted_at_ms)),
    ]
}
