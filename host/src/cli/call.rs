//! `celeriac call`: runs a task and prints its output.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use celeriac::{
    engine::{LimitOptions, Limits},
    settings::{Settings, units},
};
use celeriac_broker::{
    After, Backoff, Callback, InvocationId, On, OnConflict, OnUnmet, Options, Priority, Scope,
    Target, TaskRef, Unique, When,
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

    /// One invocation for each line of this file, its input as JSON; prints their ids and goes
    #[arg(long, value_name = "FILE|-")]
    #[arg(conflicts_with_all = ["input", "content_type", "output", "logs", "wait"])]
    batch: Option<String>,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    retry: RetryArgs,

    #[command(flatten)]
    times: TimeArgs,

    #[command(flatten)]
    parents: ParentArgs,

    #[command(flatten)]
    callbacks: CallbackArgs,

    #[command(flatten)]
    once: OnceArgs,

    /// The queue, instead of the task's own
    #[arg(long)]
    queue: Option<String>,

    /// What goes first within the queue, instead of the task's own: `high`, `normal` or `low`
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<Priority>,

    /// Whose it is, such as a tenant: those that wait in a queue are served in turn
    #[arg(long, value_name = "KEY")]
    fairness_key: Option<String>,

    /// What it shares a limit with: `celeriac limits set key:KEY`
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,

    /// Have the host keep what it answers the task, for `celeriac replay` if it fails for good
    #[arg(long)]
    record: bool,

    /// How long the result is kept after the end, such as `1h`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    ttl: Option<Duration>,

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

/// Limits of one attempt: they lower what the operator allows, never raise it.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    /// Stop an attempt after this long, such as `30s`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    pub(crate) timeout: Option<Duration>,

    /// Stop an attempt after this much fuel, such as `10G`; one unit is about one wasm instruction
    #[arg(long, value_parser = units::parse_fuel, value_name = "FUEL")]
    pub(crate) fuel: Option<u64>,

    /// Stop an attempt that wants more memory than this, such as `64MiB`
    #[arg(long, value_parser = units::parse_size, value_name = "SIZE")]
    pub(crate) memory: Option<u64>,

    /// Lower any limit, such as `log_lines=100`, `emit_bytes=1MiB` or `http_timeout=5s`; docs/limits.md has all
    #[arg(long = "limit", value_parser = named_limit, value_name = "NAME=VALUE")]
    pub(crate) named: Vec<(String, u64)>,
}

/// Reads `NAME=VALUE`: a limit that there is, and an amount in its unit.
fn named_limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected NAME=VALUE, such as `log_lines=100`")?;
    let name = name.trim();
    // Asking for it tells whether there is such a limit, and which may have been meant.
    LimitOptions::default()
        .set(name, 0)
        .map_err(|error| error.to_string())?;
    let info = Limits::all().into_iter().find(|info| info.name == name);
    let amount = match info.map(|info| info.unit) {
        Some("ms") => units::parse_duration(value).map(ms),
        Some("bytes") => units::parse_size(value),
        Some("fuel") => units::parse_fuel(value),
        _ => units::parse_count(value),
    };
    amount
        .map(|amount| (name.to_owned(), amount))
        .map_err(|expected| format!("`{name}` is `{value}`, expected {expected}"))
}

/// What is done about failures, whatever the task says.
#[derive(Args, Clone, Debug)]
struct RetryArgs {
    /// Try again up to this many times
    #[arg(long, value_name = "COUNT")]
    retries: Option<u32>,

    /// Wait so long before each retry: `5s`, `1s, 10s, 1m` or `exponential(1s, 60s)`
    #[arg(long, value_name = "BACKOFF")]
    backoff: Option<Backoff>,

    /// Retry only failures of these kinds and codes, with commas between
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    retry_on: Vec<String>,
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
        let client = connect(&settings).await?;
        let call = client.task(&args.task.to_string())?.options(args.options());
        return batch(&call.detached(), source, out).await;
    }
    let input = args.input.read(settings.caps.input_bytes)?;
    let client = connect(&settings).await?;
    let call = client.task(&args.task.to_string())?.options(args.options());
    if args.detach {
        let handle = call.detached().submit_payload(input).await?;
        return detached(&handle, out);
    }
    let handle = call.submit_payload(input).await?;
    let patience = args.wait.flatten();
    show_end(&client, &handle, &settings, args.show, patience, out).await
}

impl CallArgs {
    fn options(&self) -> Options {
        Options {
            queue: self.queue.clone(),
            idempotency_key: self.once.idempotency_key.clone(),
            unique: self.once.unique.clone().map(|key| Unique {
                key,
                scope: self.once.unique_for,
                on_conflict: self.once.on_conflict,
            }),
            priority: self.priority,
            fairness_key: self.fairness_key.clone(),
            concurrency_key: self.concurrency_key.clone(),
            result_ttl_ms: self.ttl.map(ms),
            retries: self.retry.retries,
            backoff: self.retry.backoff.clone(),
            retry_on: self.retry.retry_on.clone(),
            start: self.times.delay.map(When::from).or(self.times.at),
            expires: self.times.expires,
            deadline: self.times.deadline,
            after: self.parents.after(),
            on_unmet: self.parents.on_unmet(),
            callbacks: self.callbacks.all(),
            record: self.record,
            ..self.limits.options()
        }
    }
}

impl LimitArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            timeout_ms: self.timeout.map(ms),
            fuel: self.fuel,
            memory_bytes: self.memory,
            limits: self.lowest(),
            ..Options::default()
        }
    }
}

impl LimitArgs {
    /// The limits by name; of one that is given twice the lower.
    fn lowest(&self) -> BTreeMap<String, u64> {
        let mut limits = BTreeMap::new();
        for (name, amount) in &self.named {
            let lowest = limits.entry(name.clone()).or_insert(*amount);
            *lowest = (*lowest).min(*amount);
        }
        limits
    }
}

/// A point in time: a span is what `--delay` takes.
fn time(text: &str) -> Result<When, String> {
    match text.parse::<When>() {
        Ok(When::InMs(_)) => Err(format!("this is a duration: use `--delay {text}`")),
        other => other.map_err(|error| error.to_string()),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
