//! Memory of a host while 10,000 invocations sleep in it, each in an instance of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on},
    options::Scale,
    process::Process,
};

/// How long the sleepers sleep, in seconds: within the default timeout, and until all of them are there.
const SLEEP: u32 = 55;

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    block_on(measure(scale.pick(10_000, 50)))
}

async fn measure(sleepers: u32) -> Result<Vec<Figure>> {
    let site = Site::start().await?;
    let host = site.host(sleepers).await?;
    site.push("basics").await?;
    let empty = host.resident_mib()?;
    let began = Instant::now();
    let call = site.client.task("basics/sleep")?.detached();
    call.submit_all((0..sleepers).map(|_| json!({ "seconds": SLEEP })))
        .await?;
    site.until_running(u64::from(sleepers), Duration::from_secs(50))
        .await?;
    let full = settled(&host).await?;
    ensure!(
        began.elapsed() < Duration::from_secs(u64::from(SLEEP)),
        "the first sleepers have woken up already"
    );
    let proportional = host.proportional_mib()?;
    host.kill();
    let each = (full - empty) * 1024.0 / f64::from(sleepers);
    Ok(vec![
        Figure::new(
            "density.mib_for_10000",
            full,
            "MiB",
            "VmRSS of the host process with all of them asleep",
        )
        .goal(Goal::AtMost(640.0)),
        Figure::new(
            "density.kib_each",
            each,
            "KiB",
            "the same less the host without invocations, for each",
        ),
        Figure::new(
            "density.pss_mib_for_10000",
            proportional,
            "MiB",
            "Pss of the host process: pages of the module's image, which all instances share, count once",
        ),
        Figure::new(
            "density.mib_empty",
            empty,
            "MiB",
            "VmRSS of the host process without invocations",
        ),
    ])
}

/// Resident memory once it has stopped to grow: what is reserved has been started by then.
async fn settled(host: &Process) -> Result<f64> {
    let mut last = 0.0;
    loop {
        let now = host.resident_mib()?;
        if now <= last * 1.001 {
            return Ok(now.max(last));
        }
        last = now;
        sleep(Duration::from_millis(1_000)).await;
    }
}
