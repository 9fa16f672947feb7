//! Counters that all invocations share, on all hosts: what the key-value store of a module is for.

use std::time::Duration;

use celeriac_guest::{Context, Failure, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands before a counter's name in its key: the store also holds locks.
const COUNTER: &str = "count:";

/// What stands before a lock's name in its key.
const LOCK: &str = "lock:";

/// One hit, or several.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Hit {
    /// The counter.
    name: String,
    /// How many hits.
    #[serde(default = "one")]
    by: i64,
    /// Forget the counter so many seconds after its first hit.
    window: Option<f64>,
}

fn one() -> i64 {
    1
}

/// Counts, and returns the count.
#[task(needs(kv = "counters"))]
pub fn hit(ctx: &Context, hit: Hit) -> Result<i64, Failure> {
    let (store, key) = (ctx.store(), format!("{COUNTER}{}", hit.name));
    Ok(match hit.window {
        Some(seconds) => {
            store.increment_for(&key, hit.by, Duration::try_from_secs_f64(seconds)?)?
        }
        None => store.increment(&key, hit.by)?,
    })
}

/// Returns a count; 0 when nothing was counted.
#[task(needs(kv = "counters"))]
pub fn read(ctx: &Context, name: String) -> Result<i64, Failure> {
    let count = ctx.store().get(&format!("{COUNTER}{name}"))?;
    Ok(count.unwrap_or(0))
}

/// Forgets a counter, and says whether there was one.
#[task(needs(kv = "counters"))]
pub fn reset(ctx: &Context, name: String) -> Result<bool, Failure> {
    Ok(ctx.store().delete(&format!("{COUNTER}{name}"))?)
}

/// Which counters `top` looks at.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Top {
    /// How their names begin.
    #[serde(default)]
    prefix: String,
    /// How many to return.
    #[serde(default = "ten")]
    #[schemars(range(min = 1))]
    limit: usize,
}

fn ten() -> usize {
    10
}

/// A counter and what it has counted.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Count {
    name: String,
    count: i64,
}

/// Returns the counters that counted most.
#[task(needs(kv = "counters"))]
pub fn top(ctx: &Context, top: Top) -> Result<Vec<Count>, Failure> {
    let mut counts = Vec::new();
    for key in ctx.store().keys(&format!("{COUNTER}{}", top.prefix)) {
        let key = key?;
        // One whose time is over by now is gone, which is no error.
        let Some(count) = ctx.store().get(&key)? else {
            continue;
        };
        let name = key.trim_start_matches(COUNTER).to_owned();
        counts.push(Count { name, count });
    }
    counts.sort_by(|one, two| {
        let by_count = two.count.cmp(&one.count);
        by_count.then_with(|| one.name.cmp(&two.name))
    });
    counts.truncate(top.limit);
    Ok(counts)
}

/// What is to be done once.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Once {
    /// Its name.
    name: String,
    /// For how many seconds nobody else may do it.
    #[serde(default = "minute")]
    seconds: f64,
}

fn minute() -> f64 {
    60.0
}

/// Takes a lock that goes by itself, and says whether it was to be had. The invocation that has it keeps it
/// through its retries.
#[task(needs(kv = "locks"))]
pub fn once(ctx: &Context, once: Once) -> Result<bool, Failure> {
    let (store, key) = (ctx.store(), format!("{LOCK}{}", once.name));
    let ttl = Duration::try_from_secs_f64(once.seconds)?;
    if store.compare_and_set_for(&key, None, Some(ctx.id()), ttl)? {
        return Ok(true);
    }
    Ok(store.get::<String>(&key)?.as_deref() == Some(ctx.id()))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
