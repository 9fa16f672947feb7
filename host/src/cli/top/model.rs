//! What `celeriac top` shows, from two looks at the broker: pure, so that it can be tested without either.

use std::time::Duration;

use celeriac_broker::{HostInfo, Pausable, Paused, QueueStats, SYSTEM_QUEUE, Status};
use serde::Serialize;

use crate::cli::{
    figures::{harmless, now_ms, span},
    hosts, log_line,
};

/// One look at the broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// When it was taken, counted from the first.
    pub(crate) at: Duration,
    pub(crate) queues: Vec<QueueStats>,
    pub(crate) hosts: Vec<HostInfo>,
    pub(crate) paused: Vec<Paused>,
    /// Some of what runs.
    pub(crate) running: Vec<Status>,
}

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct View {
    pub(crate) queues: Vec<QueueLine>,
    pub(crate) hosts: Vec<HostLine>,
    pub(crate) running: Vec<RunningLine>,
    /// Tasks that are paused.
    pub(crate) paused_tasks: Vec<String>,
    /// How many wait for a host, in all queues.
    pub(crate) queued: u64,
    /// How many run.
    pub(crate) in_progress: u64,
    /// How many could run at once, on all hosts.
    pub(crate) slots: u64,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct QueueLine {
    pub(crate) queue: String,
    pub(crate) queued: u64,
    pub(crate) scheduled: u64,
    pub(crate) running: u64,
    pub(crate) oldest_ms: u64,
    /// That came to wait, a second; none after one look.
    pub(crate) in_per_second: Option<f64>,
    /// That were taken by hosts, a second; none after one look.
    pub(crate) out_per_second: Option<f64>,
    pub(crate) hosts: usize,
    pub(crate) is_paused: bool,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HostLine {
    pub(crate) host: String,
    pub(crate) state: &'static str,
    pub(crate) running: u64,
    pub(crate) concurrency: u32,
    pub(crate) ceiling: u32,
    pub(crate) queues: String,
    pub(crate) seen_ms_ago: u64,
}

/// An invocation that runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunningLine {
    pub(crate) id: String,
    pub(crate) task: String,
    pub(crate) queue: String,
    pub(crate) host: String,
    pub(crate) attempt: u32,
    /// Since it was accepted.
    pub(crate) age_ms: u64,
    pub(crate) progress: String,
}

impl View {
    /// What two looks tell; rates need both.
    pub(crate) fn of(look: &Look, before: Option<&Look>) -> Self {
        Self {
            queues: look
                .queues
                .iter()
                .map(|queue| QueueLine::of(queue, look, before))
                .collect(),
            hosts: look
                .hosts
                .iter()
                .map(|host| HostLine::of(host, look))
                .collect(),
            running: look.running.iter().map(RunningLine::of).collect(),
            paused_tasks: look.paused.iter().filter_map(paused_task).collect(),
            queued: look.queues.iter().map(|queue| queue.queued).sum(),
            in_progress: look.queues.iter().map(|queue| queue.running).sum(),
            slots: look
                .hosts
                .iter()
                .map(|host| u64::from(host.concurrency))
                .sum(),
        }
    }
}

impl QueueLine {
    fn of(queue: &QueueStats, look: &Look, before: Option<&Look>) -> Self {
        let rates = before.and_then(|before| rates(queue, look, before));
        let serves =
            |host: &&HostInfo| queue.queue == SYSTEM_QUEUE || host.queues.contains(&queue.queue);
        Self {
            queue: queue.queue.clone(),
            queued: queue.queued,
            scheduled: queue.scheduled,
            running: queue.running,
            oldest_ms: queue.oldest_ms,
            in_per_second: rates.map(|(came, _)| came),
            out_per_second: rates.map(|(_, taken)| taken),
            hosts: look.hosts.iter().filter(serves).count(),
            is_paused: is_paused(look, &Pausable::Queue(queue.queue.clone())).is_some(),
        }
    }
}

/// How many came to wait and how many were taken, a second. What was taken is counted by the broker; what came is what was taken and what there is
/// more than before.
fn rates(queue: &QueueStats, look: &Look, before: &Look) -> Option<(f64, f64)> {
    let seconds = look.at.checked_sub(before.at)?.as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    let former = before
        .queues
        .iter()
        .find(|former| former.queue == queue.queue);
    let (queued, taken) = former.map_or((0, 0), |former| (former.queued, former.taken));
    let taken = queue.taken.saturating_sub(taken) as f64;
    let came = (taken + queue.queued as f64 - queued as f64).max(0.0);
    Some((came / seconds, taken / seconds))
}

fn is_paused<'a>(look: &'a Look, what: &Pausable) -> Option<&'a Paused> {
    look.paused.iter().find(|pause| pause.what == *what)
}

fn paused_task(pause: &Paused) -> Option<String> {
    match &pause.what {
        Pausable::Task(module, task) => Some(format!("{module}/{task}")),
        _ => None,
    }
}

impl HostLine {
    fn of(host: &HostInfo, look: &Look) -> Self {
        let pause = is_paused(look, &Pausable::Host(host.host.clone()));
        Self {
            host: host.host.to_string(),
            state: hosts::state(host, pause),
            running: host.running,
            concurrency: host.concurrency,
            ceiling: host.ceiling.max(host.concurrency),
            queues: host.queues.join(","),
            seen_ms_ago: host.seen_ms_ago,
        }
    }
}

impl RunningLine {
    fn of(status: &Status) -> Self {
        let progress = status.progress.as_ref().map(log_line::progress);
        let progress = progress.unwrap_or_default().replacen("progress ", "", 1);
        Self {
            id: status.id.to_string(),
            task: harmless(&status.task.to_string()),
            queue: status.queue.clone(),
            host: status
                .host
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            attempt: status.attempts,
            age_ms: now_ms().saturating_sub(status.submitted_at_ms),
            progress: progress.replace(['\n', '\t'], " "),
        }
    }
}

/// A rate for people.
pub(crate) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// The age of the oldest for people.
pub(crate) fn oldest(queue: &QueueLine) -> String {
    match queue.queued {
        0 => "-".to_owned(),
        _ => span(queue.oldest_ms),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn look(seconds: u64, queued: u64, taken: u64) -> Look {
        let queue = QueueStats {
            queue: "images".to_owned(),
            queued,
            taken,
            running: 2,
            oldest_ms: 61_000,
            ..QueueStats::default()
        };
        let host = HostInfo {
            host: "web-1".to_owned().into(),
            machine: "web".to_owned(),
            pid: 1,
            queues: vec!["celeriac".to_owned(), "images".to_owned()],
            concurrency: 4,
            ceiling: 8,
            is_draining: false,
            version: "1".to_owned(),
            started_at_ms: 0,
            running: 2,
            seen_ms_ago: 30,
        };
        Look {
            at: Duration::from_secs(seconds),
            queues: vec![queue],
            hosts: vec![host],
            paused: [
                Pausable::Queue("images".to_owned()),
                Pausable::Task("images".to_owned(), "resize".to_owned()),
            ]
            .map(|what| Paused { what, since_ms: 1 })
            .to_vec(),
            running: Vec::new(),
        }
    }

    #[test]
    fn tells_what_came_from_what_was_taken() {
        let view = View::of(&look(12, 40, 130), Some(&look(10, 60, 100)));
        let queue = &view.queues[0];
        assert_eq!(
            (queue.in_per_second, queue.out_per_second),
            (Some(5.0), Some(15.0))
        );
        assert_eq!((view.queued, view.in_progress, view.slots), (40, 2, 4));
        assert!(queue.is_paused && queue.hosts == 1);
        assert_eq!(view.paused_tasks, ["images/resize"]);
        // One look has no rates, and a store that was emptied has none that are negative.
        assert_eq!(View::of(&look(1, 5, 0), None).queues[0].in_per_second, None);
        let fresh = View::of(&look(2, 0, 0), Some(&look(1, 90, 50)));
        assert_eq!(fresh.queues[0].in_per_second, Some(0.0));
    }
}
