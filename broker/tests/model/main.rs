//! The model check: random interleavings of everything that moves invocations, on both engines, against a reference
//! model that fits on a few pages. After each step every invocation of the sequence is looked at.
//!
//! `MODEL_SEED=… cargo test --test model` runs the same sequences again; `MODEL_SEQUENCES` sets how many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "cases are tests: they end at the first surprise"
)]

mod engine;
mod reference;
mod run;
mod step;

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use celeriac_broker::testing::{self, AofMode, RedisServer};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use engine::{Embedded, Engine, Redis};

/// Sequences on each engine.
const SEQUENCES: u32 = 10_000;

/// Sequences after which Redis is connected to again.
const PER_CONNECTION: u32 = 50;

/// Threads, each with a store of its own: what waits for one store leaves room for another.
const LANES: u32 = 8;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_nanos() as u64
}

/// Runs one lane's share of the sequences; what went wrong, the shortest sequence that shows it.
fn lane<E: Engine>(
    seed: u64,
    lane: u32,
    (sequences, per_opening): (u32, u32),
    open: impl AsyncFn() -> E,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&lane.to_le_bytes());
    let config = Config {
        cases: per_opening.min(sequences),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    for share in 0..sequences.div_ceil(per_opening) {
        bytes[12..16].copy_from_slice(&share.to_le_bytes());
        // A runner counts its sequences over all its runs: each share has its own.
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config.clone(), rng);
        // Each host that reserves has a connection to Redis of its own, which lasts as long as the engine's handle.
        let engine = runtime.block_on(open());
        let result = runner.run(&step::sequences(), |steps| {
            runtime
                .block_on(run::run(&engine, &steps))
                .map_err(TestCaseError::fail)
        });
        result.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// All lanes of one engine.
fn check<E: Engine + 'static>(
    name: &str,
    per_opening: u32,
    open: impl AsyncFn(u32) -> E + Send + Sync + 'static,
) {
    let seed = setting("MODEL_SEED").unwrap_or_else(fresh_seed);
    let sequences = setting("MODEL_SEQUENCES").map_or(SEQUENCES, |count| count as u32);
    let open = Arc::new(open);
    let lanes: Vec<_> = (0..LANES)
        .map(|number| {
            let open = Arc::clone(&open);
            let share = sequences.div_ceil(LANES);
            thread::spawn(move || {
                lane(seed, number, (share, per_opening), async || {
                    open(number).await
                })
            })
        })
        .collect();
    let begun = std::time::Instant::now();
    let failures: Vec<_> = lanes
        .into_iter()
        .filter_map(|lane| lane.join().unwrap().err())
        .collect();
    println!(
        "{name}: {sequences} sequences in {:?}, seed {seed}",
        begun.elapsed()
    );
    assert!(
        failures.is_empty(),
        "{name} and the model differ; MODEL_SEED={seed} shows it again:\n{}",
        failures[0]
    );
}

#[test]
fn the_embedded_engine_does_what_the_model_does() {
    testing::simulate_time();
    let dir =
        std::env::temp_dir().join(format!("celeriac-model-{}", uuid::Uuid::new_v4().simple()));
    let root = dir.clone();
    // Its clock is as old as its handle.
    check("embedded", u32::MAX, async move |lane| {
        Embedded::open(&root.join(lane.to_string())).await
    });
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn redis_does_what_the_model_does() {
    testing::simulate_time();
    let server = RedisServer::start(AofMode::Off).unwrap();
    let url = server.url();
    // A database for each lane: its keys and its clock are its own.
    check("redis", PER_CONNECTION, async move |lane| {
        Redis::open(&format!("{url}{lane}")).await
    });
}

/// Longer than any sequence takes, shorter than anything that it waits for.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
