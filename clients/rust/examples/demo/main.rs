//! The demo behind `make demo`: starts a host on an embedded store, uploads the sample tasks, runs a
//! thousand invocations on real inputs, and shows what came of them.
//!
//! It uses nothing but the client and the `celeriac` binary: what it does, your program can do.

mod attacks;
mod host;
mod show;
mod work;

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use celeriac_client::Client;

/// The sample modules, uploaded in this order.
const MODULES: [&str; 5] = ["basics", "text", "data", "images", "compute"];

/// Invocations in all.
const INVOCATIONS: usize = 1_000;

/// Where things are; the Makefile says so, the defaults suit the checkout's root.
struct Places {
    binary: PathBuf,
    modules: PathBuf,
    inputs: PathBuf,
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let places = places()?;
    show::step("Starting a host on an embedded store");
    let host = host::start(&places).await?;
    let client = Client::connect(&host.url).await?;
    push_all(&client, &places).await?;

    show::step(&format!(
        "Running {INVOCATIONS} invocations, each in a sandbox of its own"
    ));
    let started = Instant::now();
    let done = work::run(&client, &places.inputs, INVOCATIONS).await?;
    let took = started.elapsed();
    show::table(&done);
    println!(
        "  {INVOCATIONS} invocations in {took:.1?}, {:.0} a second",
        done.len() as f64 / took.as_secs_f64()
    );

    show::step("The files they made");
    for file in work::save(&done, &places.out)? {
        println!("  {}", file.display());
    }
    show::step("Tasks that misbehave, and what their callers are told");
    attacks::run(&client).await?;

    show::step("Stopping the host: it drains, then exits");
    host.stop().await?;
    println!(
        "\nDone. Next: README.md, or `{} --help`.",
        places.binary.display()
    );
    Ok(())
}

async fn push_all(client: &Client, places: &Places) -> Result<()> {
    show::step("Uploading the sample tasks");
    for name in MODULES {
        let file = places.modules.join(format!("{name}.wasm"));
        let bytes = fs::read(&file)
            .with_context(|| format!("{} cannot be read: run `make demo`", file.display()))?;
        let (size, started) = (bytes.len(), Instant::now());
        let manifest = client.push(bytes, &format!("{name}@0.1.0")).await?;
        let tasks: Vec<_> = manifest
            .tasks
            .iter()
            .map(|task| task.name.as_str())
            .collect();
        println!(
            "  {name:8} {:4} KiB  sha256:{}…  admitted in {:.1?}: {}",
            size >> 10,
            manifest.digest.short(),
            started.elapsed(),
            tasks.join(", ")
        );
    }
    Ok(())
}

fn places() -> Result<Places> {
    let from = |name: &str, default: &str| {
        PathBuf::from(std::env::var_os(name).unwrap_or_else(|| default.into()))
    };
    let out = PathBuf::from("out/demo");
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("{} cannot be cleared", out.display()))?;
    }
    fs::create_dir_all(&out)?;
    Ok(Places {
        binary: from("CELERIAC_BIN", "target/release/celeriac"),
        modules: from("CELERIAC_TASKS", "tasks/target/wasm32-wasip2/release"),
        inputs: PathBuf::from("tasks/inputs"),
        out: out.canonicalize()?,
    })
}
