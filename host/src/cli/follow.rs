//! Awaiting one invocation: its progress as a bar, its logs as lines, a warning when no host can take it.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{Event, EventKind, Outcome, Progress, State};
use celeriac_client::{Client, Handle};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{sleep, timeout};

use super::{error::CliError, exit::Exit, figures, log_line, output::Output};

/// How long an invocation may wait before it is looked for a host: a live one takes it in milliseconds.
const HOST_PATIENCE: Duration = Duration::from_secs(1);

/// When progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowProgress {
    /// As a bar, when standard error is a terminal
    #[default]
    Auto,
    /// Also without a terminal, one line for each report
    Always,
    /// Not at all
    Never,
}

/// How an invocation is awaited.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) client: &'a Client,
    pub(crate) out: &'a Output,
    /// Whether the task's logs go to standard error.
    pub(crate) has_logs: bool,
    /// Whether its partial results go to standard output.
    pub(crate) has_chunks: bool,
    /// Whether each report goes to standard output as a document.
    pub(crate) has_documents: bool,
    pub(crate) progress: ShowProgress,
    /// How long to wait at most.
    pub(crate) patience: Option<Duration>,
    /// What to type to start a host that serves this broker.
    pub(crate) serve: String,
}

impl Follow<'_> {
    /// Awaits the end, whatever it is. On ctrl-c it stops waiting; the invocation goes on.
    pub(crate) async fn outcome(&self, handle: &Handle) -> Result<Arc<Outcome>, CliError> {
        let bar = self.bar();
        let patience = async {
            match self.patience {
                Some(patience) => sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            outcome = self.watched(handle, &bar) => outcome,
            () = self.warn_without_host(handle, &bar) => unreachable!("it waits for ever once it has warned"),
            () = patience => Err(self.waited(handle)),
            _ = tokio::signal::ctrl_c() => Err(self.interrupted(handle)),
        };
        bar.finish_and_clear();
        ended
    }

    async fn watched(&self, handle: &Handle, bar: &ProgressBar) -> Result<Arc<Outcome>, CliError> {
        let has_progress = self.progress == ShowProgress::Always || !bar.is_hidden();
        if self.has_logs || self.has_chunks || self.has_documents || has_progress {
            let mut events = handle.events().await?;
            while let Some(event) = events.next().await? {
                self.show(&event, bar)?;
            }
        }
        Ok(handle.outcome().await?)
    }

    fn show(&self, event: &Event, bar: &ProgressBar) -> Result<(), CliError> {
        if self.has_documents {
            return self.out.line(&log_line::document(event).to_string());
        }
        match &event.kind {
            EventKind::Chunk(chunk) if self.has_chunks => {
                return bar.suspend(|| {
                    self.out.raw(&chunk.data)?;
                    // Documents of JSON one a line; bytes as they are.
                    if chunk.is_json() {
                        self.out.raw(b"\n")
                    } else {
                        Ok(())
                    }
                });
            }
            EventKind::Log(record) if self.has_logs => {
                bar.suspend(|| self.out.note(&log_line::show(event.at_ms, record)))
            }
            EventKind::Progress(progress) if !bar.is_hidden() => advance(bar, progress),
            EventKind::Progress(progress) if self.progress == ShowProgress::Always => {
                self.out.note(&log_line::progress(progress));
            }
            _ => {}
        }
        Ok(())
    }

    fn bar(&self) -> ProgressBar {
        if self.progress == ShowProgress::Never || !self.out.draws() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("{spinner:.cyan} {msg} {elapsed:.dim}"));
        bar.set_message("waiting");
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Warns once when nobody serves the queue; never returns.
    async fn warn_without_host(&self, handle: &Handle, bar: &ProgressBar) {
        sleep(HOST_PATIENCE).await;
        if let Some(queue) = self.unserved(handle).await {
            let serve = match queue.as_str() {
                celeriac_broker::DEFAULT_QUEUE | celeriac_broker::SYSTEM_QUEUE => {
                    self.serve.clone()
                }
                other => format!("{} --queues {other}", self.serve),
            };
            bar.suspend(|| {
                let message = format!(
                    "no live host serves the queue `{queue}`; the invocation waits for one"
                );
                self.out.warn(&message, &format!("`{serve}` starts one"));
            });
        }
        std::future::pending().await
    }

    /// The invocation's queue, when it waits there and no host serves it. A broker that does not answer
    /// is not reported here: the await itself does that.
    async fn unserved(&self, handle: &Handle) -> Option<String> {
        let look = async {
            let status = handle.status().await.ok()?;
            let hosts = self.client.broker().hosts().await.ok()?;
            let is_served = hosts.iter().any(|host| {
                host.queues.contains(&status.queue) || status.queue == celeriac_broker::SYSTEM_QUEUE
            });
            (status.state == State::Queued && !is_served).then_some(status.queue)
        };
        timeout(Duration::from_secs(5), look).await.ok().flatten()
    }

    fn waited(&self, handle: &Handle) -> CliError {
        let id = handle.id();
        let waited = figures::span(
            u64::try_from(self.patience.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        );
        CliError::new(
            Exit::Waited,
            format!("invocation {id} has not ended within {waited}; it goes on"),
            format!("`celeriac wait {id}` waits on, `celeriac cancel {id}` stops it"),
        )
    }

    fn interrupted(&self, handle: &Handle) -> CliError {
        let id = handle.id();
        CliError::new(
            Exit::Waited,
            format!("stopped waiting; invocation {id} goes on"),
            format!("`celeriac wait {id}` waits on, `celeriac cancel {id}` stops it"),
        )
    }
}

/// Moves the bar; the first report with a total turns the spinner into one.
fn advance(bar: &ProgressBar, progress: &Progress) {
    bar.set_message(figures::harmless(&progress.note).replace('\n', " "));
    if progress.total > 0.0 {
        if bar.length().is_none() {
            bar.set_style(style(
                "{bar:30.cyan/dim} {percent:>3}% {msg} {elapsed:.dim}",
            ));
        }
        // Of whatever unit the task counts in, a bar needs the share alone.
        bar.set_length(1000);
        bar.set_position((progress.done / progress.total * 1000.0).clamp(0.0, 1000.0) as u64);
    }
}

/// A style from a template of this program; one that is wrong falls back to indicatif's own.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
