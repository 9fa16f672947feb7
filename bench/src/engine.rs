//! One isolated invocation in process: our `execute` against bare wasmtime doing the same with the same
//! bytes, configuration and limits, in turn.

use std::time::Instant;

use anyhow::{Result, ensure};
use celeriac::engine::{EngineConfig, Limits, Payload};

use crate::{
    artifacts,
    bare::{Bare, Parts},
    figure::{Figure, Goal},
    options::Scale,
    sandbox::{self, Sandbox},
    stats::{Paired, median},
};

/// The task: reads JSON, writes JSON.
const TASK: &str = "echo";
/// 64 bytes of input.
const INPUT: &str = r#"{"id":1234567,"name":"a usual small document","tags":["a","b"]}"#;

/// Pool slots on either side. One invocation is in flight at a time; fewer slots than a host has, so that
/// two pools fit into the address space side by side.
const SLOTS: u32 = 64;

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    let (rounds, batch) = (scale.pick(201, 5), scale.pick(500, 20));
    let wasm = artifacts::component("basics")?;
    let config = EngineConfig {
        concurrency: SLOTS,
        ..EngineConfig::default()
    };
    let bare = Bare::new(&wasm, &config, Limits::default())?;
    sandbox::runtime()?.block_on(async {
        let ours = Sandbox::new(&wasm, config, Limits::default()).await?;
        ensure!(
            bare.invoke(TASK, INPUT.to_owned()).await?.len() == INPUT.len(),
            "echo must return its input"
        );
        our_round(&ours, batch).await?;
        bare_round(&bare, batch).await?;
        let mut pairs = Vec::with_capacity(rounds);
        for round in 0..rounds {
            // Who is first changes, so that neither gains from what the other left in the caches.
            let pair = if round % 2 == 0 {
                let ours = our_round(&ours, batch).await?;
                (ours, bare_round(&bare, batch).await?)
            } else {
                let bare = bare_round(&bare, batch).await?;
                (our_round(&ours, batch).await?, bare)
            };
            pairs.push(pair);
        }
        let parts = parts(&bare, rounds * batch / 10).await?;
        Ok(figures(Paired::of(&pairs), &parts))
    })
}

fn figures(paired: Paired, parts: &[Parts]) -> Vec<Figure> {
    let against = "bare wasmtime: the same component, Config, pool, fuel, epoch, memory limit and WASI context";
    let mut figures = vec![
        Figure::new("engine.over_bare_ratio", paired.ratio, "ratio", against)
            .goal(Goal::AtMost(1.15)),
        Figure::new(
            "engine.us",
            paired.a,
            "µs",
            "our execute(), store to drop, 64 bytes of JSON echoed",
        ),
        Figure::new("engine.bare_us", paired.b, "µs", "bare wasmtime, the same"),
    ];
    for (n, (name, _)) in Parts::default().named().into_iter().enumerate() {
        let values: Vec<_> = parts
            .iter()
            .filter_map(|parts| parts.named().get(n).map(|(_, us)| *us))
            .collect();
        figures.push(Figure::new(
            format!("engine.bare_{name}_us"),
            median(&values),
            "µs",
            "part of engine.bare_us",
        ));
    }
    figures
}

/// µs for one invocation in our engine.
async fn our_round(ours: &Sandbox, batch: usize) -> Result<f64> {
    let input = || Payload::Json(INPUT.to_owned());
    let requests: Vec<_> = (0..batch).map(|_| ours.request(TASK, input())).collect();
    let began = Instant::now();
    for request in requests {
        ours.execute(request).await?;
    }
    Ok(per_item(began, batch))
}

/// µs for one invocation on bare wasmtime.
async fn bare_round(bare: &Bare, batch: usize) -> Result<f64> {
    let inputs: Vec<_> = (0..batch).map(|_| INPUT.to_owned()).collect();
    let began = Instant::now();
    for input in inputs {
        bare.invoke(TASK, input).await?;
    }
    Ok(per_item(began, batch))
}

async fn parts(bare: &Bare, count: usize) -> Result<Vec<Parts>> {
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        parts.push(bare.invoke_in_parts(TASK, INPUT.to_owned()).await?);
    }
    Ok(parts)
}

fn per_item(began: Instant, items: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / items as f64
}
