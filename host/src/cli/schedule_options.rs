//! The options of a schedule in a file: the words and units of `celeriac schedules add`.

use std::{collections::BTreeMap, fmt, time::Duration};

use celeriac::settings::units;
use celeriac_broker::{Backoff, Options, Priority, When};
use serde::Deserialize;
use toml::Table;

use super::options::{ms, named_limit, queue};

/// How the runs of a schedule are to be run. `delay`, `expires` and `deadline` are counted from when it fires.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FileOptions {
    queue: Option<String>,
    priority: Option<Priority>,
    fairness_key: Option<String>,
    concurrency_key: Option<String>,
    retries: Option<u32>,
    backoff: Option<Backoff>,
    retry_on: Vec<String>,
    timeout: Option<Amount>,
    fuel: Option<Amount>,
    memory: Option<Amount>,
    limits: BTreeMap<String, Amount>,
    delay: Option<Amount>,
    expires: Option<Amount>,
    deadline: Option<Amount>,
    ttl: Option<Amount>,
    record: bool,
}

/// A number with its unit, or without one where that means something.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number with its unit, such as \"30s\" or \"64MiB\""
)]
enum Amount {
    Number(u64),
    Text(String),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Words of a call that a schedule does not take, and why.
const REFUSED: [(&[&str], &str); 4] = [
    (
        &["parent", "retry_of", "schedule"],
        "hosts say this themselves: leave it out",
    ),
    (
        &["idempotency_key", "unique", "unique_for", "on_conflict"],
        "a schedule takes no keys: `overlap` says how many of its runs there may be",
    ),
    (
        &[
            "after",
            "on",
            "on_unmet",
            "callbacks",
            "on_success",
            "on_failure",
            "on_done",
        ],
        "what a schedule submits waits for nothing and calls nobody back: have its task submit what follows",
    ),
    (
        &["at", "start"],
        "a schedule fires more than once: `delay` is counted from each time",
    ),
];

impl FileOptions {
    /// Reads the table of one schedule.
    pub(super) fn read(table: Table) -> Result<Self, String> {
        for word in table.keys() {
            let refused = REFUSED.iter().find(|(words, _)| words.contains(&&**word));
            if let Some((_, why)) = refused {
                return Err(format!("option `{word}`: {why}"));
            }
        }
        table.try_into().map_err(|error: toml::de::Error| {
            // Which option it is about is on a line of its own.
            format!("options: {}", error.to_string().trim().replace('\n', " "))
        })
    }

    /// As the broker takes them.
    pub(super) fn options(self) -> Result<Options, String> {
        let moment = |span: Option<Duration>| span.map(When::from);
        let mut limits = BTreeMap::new();
        for (name, amount) in self.limits {
            let (name, amount) = named_limit(&format!("{name}={amount}"))?;
            limits.insert(name, amount);
        }
        Ok(Options {
            queue: self.queue.as_deref().map(queue).transpose()?,
            priority: self.priority,
            fairness_key: self.fairness_key,
            concurrency_key: self.concurrency_key,
            retries: self.retries,
            backoff: self.backoff,
            retry_on: self.retry_on,
            timeout_ms: span("timeout", self.timeout)?.map(ms),
            fuel: amount("fuel", self.fuel, units::parse_fuel)?,
            memory_bytes: amount("memory", self.memory, units::parse_size)?,
            limits,
            start: moment(span("delay", self.delay)?),
            expires: moment(span("expires", self.expires)?),
            deadline: moment(span("deadline", self.deadline)?),
            result_ttl_ms: span("ttl", self.ttl)?.map(ms),
            record: self.record,
            ..Options::default()
        })
    }
}

fn span(name: &str, given: Option<Amount>) -> Result<Option<Duration>, String> {
    amount(name, given, units::parse_duration)
}

fn amount<T>(
    name: &str,
    given: Option<Amount>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let Some(text) = given.map(|given| given.to_string()) else {
        return Ok(None);
    };
    match parse(&text) {
        Ok(value) => Ok(Some(value)),
        Err(expected) => Err(format!("`{name}` is `{text}`, expected {expected}")),
    }
}
