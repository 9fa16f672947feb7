//! `celeriac queues`: what waits, and who serves it.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{HostInfo, Pausable, Paused, QueueStats, SYSTEM_QUEUE};
use clap::Args;
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{ago, span},
    output::Output,
};

/// List the queues: what waits, what runs, how many hosts serve each
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac queues
  watch -c celeriac queues
  celeriac queues --json | jq '.queues[] | select(.hosts == 0)'")]
pub(crate) struct QueuesArgs {}

/// Runs the command.
pub(crate) async fn queues(
    _: QueuesArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
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
    } = queue;
    json!({ "queue": queue, "queued": queued, "blocked": blocked, "scheduled": scheduled, "running": running, "oldest_ms": oldest_ms, "taken": taken, "hosts": hosts, "paused_since_ms": pause.map(|pause| pause.since_ms) })
}

fn row(queue: &QueueStats, hosts: usize, pause: Option<&Paused>) -> [Cell; 8] {
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
    ]
}
