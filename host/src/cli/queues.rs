//! `celeriac queues`: what waits, and who serves it.

use std::{process::ExitCode, time::Duration};

use celeriac::settings::{Settings, units};
use celeriac_broker::{HostInfo, Pausable, Paused, QueueStats, SYSTEM_QUEUE};
use celeriac_client::Client;
use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{ago, span},
    moving::{self, MoveArgs, RenameArgs},
    output::Output,
};

/// List the queues: what waits, what runs, how many hosts serve each; or change them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac queues
  watch -c celeriac queues
  celeriac queues set images --result-ttl 1h
  celeriac queues move images slow --task images/rebuild --dry-run
  celeriac queues rename images pictures
  celeriac queues --json | jq '.queues[] | select(.hosts == 0)'")]
pub(crate) struct QueuesArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Set how long the results of a queue are kept
    ///
    /// Of what is handed in to it from now on, by whomever, unless the caller has said how long. Bounds on what waits and runs
    /// are set by `celeriac limits`.
    #[command(after_help = "\
Examples:
  celeriac queues set images --result-ttl 1h
  celeriac queues set images --result-ttl default")]
    Set(SetArgs),
    /// Move what waits in a queue to another, behind what is there
    ///
    /// What waits for a host, for its time, or for others. All of it keeps its order; what filters pick out goes in the order in
    /// which it was submitted. What runs stays, and so do its retries. It is done in steps: when it is cut short, what was
    /// moved is there, the rest is where it was, and the same command goes on.
    #[command(after_help = "\
Examples:
  celeriac queues move images slow
  celeriac queues move images slow --task images/rebuild --older-than 1h --dry-run
  celeriac queues move default tenant-17 --key tenant-17")]
    Move(MoveArgs),
    /// Give a queue another name: all of it is moved, its settings and schedules go along
    ///
    /// Its limit, its pause, its result TTL, unless the new queue has such a setting itself; and the schedules that name it.
    /// What runs goes on, and comes back to the new queue. Hosts have to serve the new name, callers and tasks to name it: what
    /// is handed in to the old one later waits there.
    #[command(after_help = "\
Examples:
  celeriac queues rename images pictures")]
    Rename(RenameArgs),
}

#[derive(Args, Debug)]
struct SetArgs {
    /// The queue
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// So long, such as `1h`; `default`: as long as the hosts' setting `result_ttl` says
    #[arg(long, value_name = "DURATION", value_parser = result_ttl)]
    result_ttl: Ttl,
}

/// How long results are kept; none: as by default.
#[derive(Clone, Copy, Debug)]
struct Ttl(Option<Duration>);

fn result_ttl(text: &str) -> Result<Ttl, String> {
    match text {
        "default" => Ok(Ttl(None)),
        span => units::parse_duration(span).map(|span| Ttl(Some(span))),
    }
}

/// Runs the command.
pub(crate) async fn queues(
    args: QueuesArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    match args.action {
        None => list(&client, out).await,
        Some(Action::Set(args)) => set(&client, &args, out).await,
        Some(Action::Move(args)) => moving::move_queue(&client, args, out).await,
        Some(Action::Rename(args)) => moving::rename(&client, args, out).await,
    }
}

async fn set(client: &Client, args: &SetArgs, out: &Output) -> Result<ExitCode, CliError> {
    let (queue, Ttl(ttl)) = (&args.queue, args.result_ttl);
    client.broker().set_result_ttl(queue, ttl).await?;
    let ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    match (out.is_json, ms) {
        (true, ms) => out.document(&json!({ "queue": queue, "result_ttl_ms": ms }))?,
        (false, Some(ms)) => out.note(&format!(
            "results of what is handed in to `{queue}` from now on are kept for {}",
            span(ms)
        )),
        (false, None) => out.note(&format!(
            "results of what is handed in to `{queue}` from now on are kept as long as by default"
        )),
    }
    Ok(Exit::Success.into())
}

async fn list(client: &Client, out: &Output) -> Result<ExitCode, CliError> {
    let (mut queues, hosts) = (
        client.broker().queues().await?,
        client.broker().hosts().await?,
    );
    queues.sort_by(|a, b| a.queue.cmp(&b.queue));
    let paused = client.broker().paused().await?;
    let pause = |queue: &QueueStats| {
        let what = Pausable::Queue(queue.queue.clone());
        paused.iter().find(|pause| pause.what == what)
    };
    if out.is_json {
        let documents: Vec<_> = queues
            .iter()
            .map(|queue| document(queue, serving(queue, &hosts), pause(queue)))
            .collect();
        out.document(&json!({ "queues": documents }))?;
    } else if queues.is_empty() {
        out.note("no queue has been used yet: `celeriac call TASK` uses one");
    } else {
        out.table(
            [
                "QUEUE",
                "QUEUED",
                "BLOCKED",
                "SCHEDULED",
                "RUNNING",
                "OLDEST",
                "HOSTS",
                "PAUSED",
                "RESULTS",
            ],
            queues
                .iter()
                .map(|queue| row(queue, serving(queue, &hosts), pause(queue)))
                .collect(),
        )?;
    }
    Ok(Exit::Success.into())
}

/// How many live hosts serve a queue; the host's own queue is served by each.
fn serving(queue: &QueueStats, hosts: &[HostInfo]) -> usize {
    let serves =
        |host: &&HostInfo| queue.queue == SYSTEM_QUEUE || host.queues.contains(&queue.queue);
    hosts.iter().filter(serves).count()
}

fn document(queue: &QueueStats, hosts: usize, pause: Option<&Paused>) -> Value {
    let QueueStats {
        queue,
        queued,
        blocked,
        scheduled,
        running,
        oldest_ms,
        taken,
        result_ttl_ms,
    } = queue;
    json!({ "queue": queue, "queued": queued, "blocked": blocked, "scheduled": scheduled, "running": running, "oldest_ms": oldest_ms, "taken": taken, "hosts": hosts, "paused_since_ms": pause.map(|pause| pause.since_ms), "result_ttl_ms": result_ttl_ms })
}

fn row(queue: &QueueStats, hosts: usize, pause: Option<&Paused>) -> [Cell; 9] {
    let hosts_cell = match (hosts, queue.queued) {
        (0, 1..) => Cell::new("none").fg(Color::Red),
        _ => Cell::new(hosts),
    };
    let oldest = match queue.queued {
        0 => "-".to_owned(),
        _ => span(queue.oldest_ms),
    };
    [
        Cell::new(&queue.queue),
        Cell::new(queue.queued),
        Cell::new(queue.blocked),
        Cell::new(queue.scheduled),
        Cell::new(queue.running),
        Cell::new(oldest),
        hosts_cell,
        match pause {
            Some(pause) => Cell::new(ago(pause.since_ms)).fg(Color::Yellow),
            None => Cell::new("-"),
        },
        Cell::new(queue.result_ttl_ms.map_or("-".to_owned(), span)),
    ]
}
