//! Small tasks that show, one each, what a task can do and what can become of it.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{hint::black_box, thread};

use celeriac_guest::{Bytes, Context, Failure, info, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Does nothing: what an invocation costs by itself.
#[task]
pub fn noop() {}

/// Returns its input.
#[task]
pub fn echo(input: Value) -> Value {
    input
}

/// Returns its bytes, with the media type that they came with.
#[task(name = "echo-bytes")]
pub fn echo_bytes(input: Bytes) -> Bytes {
    input
}

/// Two numbers.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Pair {
    a: f64,
    b: f64,
}

/// Adds two numbers.
#[task]
pub fn add(input: Pair) -> f64 {
    input.a + input.b
}

/// How `fail` fails.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Fail {
    /// What the failure says.
    message: String,
    /// Whether a retry may help.
    #[serde(default)]
    retryable: bool,
}

/// Fails with the given message.
#[task]
pub fn fail(ctx: &Context, input: Fail) -> Result<(), Failure> {
    let failure =
        Failure::new("on-request", input.message).details(json!({ "attempt": ctx.attempt() }));
    Err(if input.retryable {
        failure.retryable()
    } else {
        failure
    })
}

/// How `flaky` behaves.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Flaky {
    /// How many attempts fail before one succeeds.
    failures: u32,
    /// How long a failure asks to wait before the next attempt, in seconds.
    #[serde(default)]
    retry_after: Option<f64>,
}

/// Fails the given number of times and then returns the number of the attempt: what retries are for.
#[task(
    retries = 5,
    backoff = "exponential(100ms, 1s)",
    retry_on("busy"),
    deadline = "1d"
)]
pub fn flaky(ctx: &Context, input: Flaky) -> Result<u32, Failure> {
    ctx.progress(ctx.attempt().min(input.failures), input.failures);
    if ctx.attempt() > input.failures {
        return Ok(ctx.attempt());
    }
    let failure = Failure::new("busy", format!("attempt {} fails", ctx.attempt())).retryable();
    Err(match input.retry_after {
        Some(seconds) => failure.retry_after(Duration::try_from_secs_f64(seconds)?),
        None => failure,
    })
}

/// What `panic` says.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Panic {
    message: String,
}

/// Panics with the given message.
#[task]
#[expect(clippy::panic, reason = "it is what this task is for")]
pub fn panic(input: Panic) {
    panic!("{}", input.message)
}

/// How long `sleep` sleeps.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Sleep {
    /// For how long, in all.
    #[schemars(range(min = 0))]
    seconds: f64,
    /// In how many parts: progress is reported, and a cancellation seen, after each.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    steps: u32,
}

fn one() -> u32 {
    1
}

/// How long it slept.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Slept {
    /// The steps that were finished.
    steps: u32,
    /// Whether it was asked to stop before the end.
    cancelled: bool,
}

/// Sleeps, reports progress, and stops early when asked to.
#[task]
pub fn sleep(ctx: &Context, input: Sleep) -> Result<Slept, Failure> {
    let total = Duration::try_from_secs_f64(input.seconds)?;
    let steps = input.steps.max(1);
    info!(seconds = input.seconds, steps = steps, "going to sleep");
    for done in 0..steps {
        ctx.progress(done, steps);
        if ctx.is_cancelled() {
            return Ok(Slept {
                steps: done,
                cancelled: true,
            });
        }
        thread::sleep(total / steps);
    }
    ctx.progress(steps, steps);
    Ok(Slept {
        steps,
        cancelled: false,
    })
}

/// Waits until it is told to come to an end, which its own soft limit does, and returns in good order.
#[task(name = "until-told", timeout = "1m", soft_timeout = "300ms")]
pub fn until_told(ctx: &Context) -> &'static str {
    while !ctx.is_cancelled() {
        thread::sleep(Duration::from_millis(10));
    }
    "told"
}

/// Computes for ever: only a limit or a cancellation ends it.
#[task]
pub fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// How many partial results `emit` delivers.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Emit {
    count: u32,
}

/// Delivers partial results, `{"index": 0}` and so on, and returns how many.
#[task]
pub fn emit(ctx: &Context, input: Emit) -> Result<u32, Failure> {
    for index in 0..input.count {
        ctx.emit(json!({ "index": index }))?;
    }
    Ok(input.count)
}

/// How much `alloc` allocates.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Alloc {
    /// In units of 1,048,576 bytes.
    mib: u32,
}

const BYTES_PER_MIB: usize = 1 << 20;

/// Allocates memory, one MiB at a time, touches every page of it, and returns the number of bytes.
#[task]
pub fn alloc(input: Alloc) -> u64 {
    let mut held = Vec::new();
    for _ in 0..input.mib {
        held.push(black_box(vec![1_u8; BYTES_PER_MIB]));
    }
    held.iter().map(|block| block.len() as u64).sum()
}

/// How deep `recurse` goes.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Recurse {
    depth: u32,
}

/// Calls itself `depth` times and returns how deep it came. Deep enough, the stack overflows.
#[task]
pub fn recurse(input: Recurse) -> u32 {
    descend(input.depth)
}

#[inline(never)]
fn descend(depth: u32) -> u32 {
    // Something on the stack that has to outlive the call, so that it cannot become a loop.
    let here = black_box([depth; 4]);
    if depth == 0 {
        0
    } else {
        descend(depth - 1) + black_box(here).len() as u32 / 4
    }
}

/// How many lines `print` prints.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Print {
    lines: u32,
}

/// Prints lines to stdout and to stderr, in turn.
#[task]
pub fn print(input: Print) {
    for line in 0..input.lines {
        println!("out {line}");
        eprintln!("err {line}");
    }
}

/// How many reports `report` makes, and with which note.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Report {
    count: u32,
    note: String,
}

/// Reports progress with a note.
#[task]
pub fn report(ctx: &Context, input: Report) {
    for done in 0..input.count {
        ctx.progress_note(done, input.count, &input.note);
    }
}

/// How many random bytes `random` draws.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Random {
    bytes: u32,
}

/// Draws random bytes and returns how many of them are odd.
#[task]
pub fn random(input: Random) -> Result<usize, Failure> {
    let mut bytes = vec![0; input.bytes as usize];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().filter(|byte| *byte % 2 == 1).count())
}

/// What differs from one run to the next, unless the host makes it the same.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Observed {
    /// Keys of a map in the order that the map has them, which is random.
    order: Vec<u32>,
    /// Random bytes.
    random: Vec<u8>,
    /// Seconds since 1970 at the start.
    started_at: f64,
    /// Seconds that a sleep of 1.5 ms took by the monotonic clock.
    slept: f64,
    /// Seconds that it took by the wall clock.
    slept_by_wall_clock: f64,
    /// Seconds that the task has from its start to its deadline.
    allowed: f64,
}

/// Looks at clocks and draws randomness: all that a task can see of the world without a grant.
#[task]
pub fn observe(ctx: &Context) -> Result<Observed, Failure> {
    let (wall, clock) = (SystemTime::now(), Instant::now());
    let map: HashMap<u32, ()> = (0..32).map(|key| (key, ())).collect();
    let mut random = vec![0; 16];
    getrandom::fill(&mut random)?;
    thread::sleep(Duration::from_micros(1_500));
    let observed = Observed {
        order: map.into_keys().collect(),
        random,
        started_at: wall.duration_since(UNIX_EPOCH)?.as_secs_f64(),
        slept: clock.elapsed().as_secs_f64(),
        slept_by_wall_clock: wall.elapsed()?.as_secs_f64(),
        allowed: ctx.deadline().duration_since(wall)?.as_secs_f64(),
    };
    println!("{observed:?}");
    Ok(observed)
}

#[cfg(test)]
mod tests;
