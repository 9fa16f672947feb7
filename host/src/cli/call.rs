//! `celeriac call`: runs a task and prints its output.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use celeriac::settings::{Settings, units};
use celeriac_broker::{
    After, Callback, InvocationId, On, OnConflict, OnUnmet, Options, Scope, Target, TaskRef,
    Unique, When,
};
use celeriac_client::{Client, Handle};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    batch::batch,
    connect::{connect, serve_command},
    error::CliError,
    exit::Exit,
    follow::{Follow, ShowProgress},
    input::InputArgs,
    options::OptionArgs,
    outcome::Ended,
    output::Output,
};

/// Run a task and print its output
///
/// The output goes to standard output: JSON indented on a terminal and untouched elsewhere, bytes as they
/// are. When the task does not succeed, the exit code is 1 and standard error says why.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac call basics/add --input '{\"a\":1,\"b\":2}'
  celeriac call images@1.2.0/thumbnail --input @photo.jpg --content-type image/jpeg --output small.png
  cat orders.csv | celeriac call data/to-json --input - --content-type text/csv | jq .
  id=$(celeriac call compute/primes --input 100000 --detach); celeriac wait $id
  celeriac call mail/send --batch recipients.jsonl --priority low > ids
  celeriac call reports/send --retries 5 --backoff 'exponential(1s, 60s)' --deadline 1h
  celeriac call reports/send --at '2026-11-21 09:00 Europe/Berlin' --expires 2h --detach
  celeriac call reports/merge --input '{\"$outputs\":true}' --after $a --after $b")]
pub(crate) struct CallArgs {
    /// What to run: MODULE/TASK, MODULE@VERSION/TASK or MODULE@sha256:…/TASK
    #[arg(value_name = "TASK")]
    task: TaskRef,

    #[command(flatten)]
    input: InputArgs,

    /// One invocation for each line of this file, its input as JSON; prints their ids and goes. With neither keys, callbacks
    /// nor `--after`, as these are about a single one
    #[arg(long, value_name = "FILE|-")]
    #[arg(conflicts_with_all = ["input", "content_type", "output", "logs", "wait"])]
    batch: Option<String>,

    #[command(flatten)]
    how: OptionArgs,

    #[command(flatten)]
    times: TimeArgs,

    #[command(flatten)]
    parents: ParentArgs,

    #[command(flatten)]
    callbacks: CallbackArgs,

    #[command(flatten)]
    once: OnceArgs,

    /// Await the end [the default], for at most this long if one is given: `--wait=10s`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
    #[arg(conflicts_with = "detach")]
    wait: Option<Option<Duration>>,

    /// Print the invocation's id and go
    #[arg(long, conflicts_with_all = ["output", "logs"])]
    detach: bool,

    #[command(flatten)]
    show: ShowArgs,
}

/// When it may run. A moment is a duration from now, or a time with its zone.
#[derive(Args, Clone, Copy, Debug)]
struct TimeArgs {
    /// Start it this long from now at the earliest, such as `10m`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    delay: Option<Duration>,

    /// Start it at this time at the earliest, such as `2026-11-21T09:00:00Z` or `2026-11-21 09:00 Europe/Berlin`
    #[arg(long, value_parser = time, value_name = "TIME", conflicts_with = "delay")]
    at: Option<When>,

    /// Have it expire unless it was started by then: a duration or a time
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,

    /// Have it fail unless it has ended by then, retries and all: a duration or a time
    #[arg(long, value_name = "WHEN")]
    deadline: Option<When>,
}

/// What it waits for.
#[derive(Args, Clone, Debug)]
struct ParentArgs {
    /// Start it when this invocation has ended as `--on` says; may be given many times
    #[arg(long, value_name = "ID")]
    after: Vec<InvocationId>,

    /// Which end of those it waits for
    #[arg(
        long,
        value_enum,
        value_name = "END",
        default_value_t,
        requires = "after"
    )]
    on: End,

    /// What becomes of it when one of them ends otherwise
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value_t,
        requires = "after"
    )]
    on_unmet: Unmet,
}

/// What follows its end: a task, run on the outcome, or a URL that it is sent to.
#[derive(Args, Clone, Debug)]
struct CallbackArgs {
    /// Run this task on the outcome, or send it to this URL, when it has succeeded; may be given many times
    #[arg(long, value_name = "TASK|URL")]
    on_success: Vec<Target>,

    /// The same, when it has failed for good or expired
    #[arg(long, value_name = "TASK|URL")]
    on_failure: Vec<Target>,

    /// The same, when it has ended, whatever it came to
    #[arg(long, value_name = "TASK|URL")]
    on_done: Vec<Target>,
}

impl CallbackArgs {
    fn all(&self) -> Vec<Callback> {
        let lists = [
            (On::Success, &self.on_success),
            (On::Failure, &self.on_failure),
            (On::Done, &self.on_done),
        ];
        let callbacks = lists.into_iter().flat_map(|(on, targets)| {
            let targets = targets.iter().cloned();
            targets.map(move |to| Callback { on, to })
        });
        callbacks.collect()
    }
}

/// Which end is waited for.
#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum End {
    /// They have succeeded.
    #[default]
    Success,
    /// They have failed or expired.
    Failure,
    /// They have ended, whatever they came to.
    Done,
}

/// What becomes of what waits in vain.
#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum Unmet {
    /// It fails, with the code dependency_failed.
    #[default]
    Fail,
    /// It is cancelled, with the code skipped.
    Skip,
}

impl ParentArgs {
    fn after(&self) -> Vec<After> {
        let on = match self.on {
            End::Success => On::Success,
            End::Failure => On::Failure,
            End::Done => On::Done,
        };
        self.after.iter().map(|id| After { id: *id, on }).collect()
    }

    fn on_unmet(&self) -> OnUnmet {
        match self.on_unmet {
            Unmet::Fail => OnUnmet::Fail,
            Unmet::Skip => OnUnmet::Skip,
        }
    }
}

/// Keys that keep it from being there twice.
#[derive(Args, Clone, Debug)]
struct OnceArgs {
    /// Print the invocation that has this key already, if there is one: the same task and input are not submitted twice
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Have it be the only one with this key
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,

    /// For how long: while it is `queued`, until it is `done`, or a time such as `10m`
    #[arg(long, value_name = "SCOPE", requires = "unique", default_value_t)]
    unique_for: Scope,

    /// What becomes of it when the key is held: `reject`, `return-existing` or `replace` (what still waits)
    #[arg(long, value_name = "POLICY", requires = "unique", default_value_t)]
    on_conflict: OnConflict,
}

impl OnceArgs {
    /// Of a key that is held although `replace` was asked for: why.
    fn explain(&self, error: CliError) -> CliError {
        let is_replacing = self.on_conflict == OnConflict::Replace;
        match error.key_holder {
            Some(holder) if is_replacing => CliError {
                message: format!(
                    "{}, which runs, or has run and keeps the key for its time: `replace` takes the place of what still waits only",
                    error.message
                ),
                remedy: format!(
                    "`celeriac wait {holder}` awaits it, `celeriac cancel {holder}` stops it; then call again"
                ),
                ..error
            },
            _ => error,
        }
    }
}

/// What is shown of an invocation, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShowArgs {
    /// Write the output to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Show the task's logs on standard error
    #[arg(long)]
    pub(crate) logs: bool,

    /// When to show the task's progress
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) progress: ShowProgress,
}

/// Runs the command.
pub(crate) async fn call(
    args: CallArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    if let Some(source) = &args.batch {
        args.check_batch()?;
        let client = connect(&settings).await?;
        let call = client.task(&args.task.to_string())?.options(args.options());
        return batch(&call.detached(), source, out).await;
    }
    let input = args.input.read(settings.caps.input_bytes)?;
    let client = connect(&settings).await?;
    let call = client.task(&args.task.to_string())?.options(args.options());
    let call = if args.detach { call.detached() } else { call };
    let handle = call.submit_payload(input).await;
    let handle = handle.map_err(|error| args.once.explain(error.into()))?;
    if args.detach {
        return detached(&handle, out);
    }
    let patience = args.wait.flatten();
    show_end(&client, &handle, &settings, args.show, patience, out).await
}

impl CallArgs {
    /// Refuses what a chunk of a batch, accepted whole or not at all, cannot have.
    fn check_batch(&self) -> Result<(), CliError> {
        let given = [
            ("--idempotency-key", self.once.idempotency_key.is_some()),
            ("--unique", self.once.unique.is_some()),
            ("--after", !self.parents.after.is_empty()),
            ("--on-success", !self.callbacks.on_success.is_empty()),
            ("--on-failure", !self.callbacks.on_failure.is_empty()),
            ("--on-done", !self.callbacks.on_done.is_empty()),
        ];
        let given = given.iter().filter(|(_, is_given)| *is_given);
        let names: Vec<_> = given.map(|(name, _)| format!("`{name}`")).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(CliError::usage(
            format!("`--batch` does not go with {}", names.join(", ")),
            "these are about one invocation: call the task once for each input, with `--input` instead of `--batch`",
        ))
    }

    fn options(&self) -> Options {
        Options {
            idempotency_key: self.once.idempotency_key.clone(),
            unique: self.once.unique.clone().map(|key| Unique {
                key,
                scope: self.once.unique_for,
                on_conflict: self.once.on_conflict,
            }),
            start: self.times.delay.map(When::from).or(self.times.at),
            expires: self.times.expires,
            deadline: self.times.deadline,
            after: self.parents.after(),
            on_unmet: self.parents.on_unmet(),
            callbacks: self.callbacks.all(),
            ..self.how.options()
        }
    }
}

/// A point in time: a span is what `--delay` takes.
fn time(text: &str) -> Result<When, String> {
    match text.parse::<When>() {
        Ok(When::InMs(_)) => Err(format!("this is a duration: use `--delay {text}`")),
        other => other.map_err(|error| error.to_string()),
    }
}

fn detached(handle: &Handle, out: &Output) -> Result<ExitCode, CliError> {
    match out.is_json {
        true => out.document(&json!({ "id": handle.id() }))?,
        false => out.line(&handle.id().to_string())?,
    }
    Ok(Exit::Success.into())
}

/// Awaits an invocation and shows what it came to.
pub(crate) async fn show_end(
    client: &Client,
    handle: &Handle,
    settings: &Settings,
    show: ShowArgs,
    patience: Option<Duration>,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let follow = Follow {
        client,
        out,
        has_logs: show.logs,
        has_chunks: false,
        has_documents: false,
        progress: show.progress,
        patience,
        serve: serve_command(settings),
    };
    let outcome = follow.outcome(handle).await?;
    let ended = Ended {
        id: Some(handle.id()),
        outcome: &outcome,
        file: show.output,
        contract: None,
    };
    ended.show(out)
}
