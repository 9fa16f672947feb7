//! How an invocation is to be run: what `call` and `schedules add` take alike.

use std::{collections::BTreeMap, time::Duration};

use celeriac::{
    engine::{LimitOptions, Limits},
    settings::units,
};
use celeriac_broker::{Backoff, Options, Priority, SYSTEM_QUEUE};
use clap::Args;

/// Where it waits, what bounds it, and what follows a failure.
#[derive(Args, Clone, Debug)]
pub(crate) struct OptionArgs {
    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    retry: RetryArgs,

    /// The queue, instead of the task's own
    #[arg(long, value_parser = queue)]
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
}

impl OptionArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            queue: self.queue.clone(),
            priority: self.priority,
            fairness_key: self.fairness_key.clone(),
            concurrency_key: self.concurrency_key.clone(),
            record: self.record,
            result_ttl_ms: self.ttl.map(ms),
            retries: self.retry.retries,
            backoff: self.retry.backoff.clone(),
            retry_on: self.retry.retry_on.clone(),
            ..self.limits.options()
        }
    }
}

/// A queue that work may be handed in to.
pub(crate) fn queue(text: &str) -> Result<String, String> {
    match text {
        SYSTEM_QUEUE => Err(format!(
            "the queue `{SYSTEM_QUEUE}` is for what clients ask of hosts: choose another"
        )),
        _ => Ok(text.to_owned()),
    }
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
pub(crate) fn named_limit(text: &str) -> Result<(String, u64), String> {
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
pub(crate) struct RetryArgs {
    /// Try again up to this many times
    #[arg(long, value_name = "COUNT")]
    pub(crate) retries: Option<u32>,

    /// Wait so long before each retry: `5s`, `1s, 10s, 1m` or `exponential(1s, 60s)`
    #[arg(long, value_name = "BACKOFF")]
    pub(crate) backoff: Option<Backoff>,

    /// Retry only failures of these kinds and codes, with commas between
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub(crate) retry_on: Vec<String>,
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

/// As the broker counts it.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
