//! The host process of the demo.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use celeriac_client::Client;

use crate::Places;

/// The host process. Killed if the demo fails, drained if it does not.
pub(crate) struct Host {
    pub(crate) url: String,
    child: Option<Child>,
}

/// Starts `celeriac serve` and waits until it is known to the broker.
pub(crate) async fn start(places: &Places) -> Result<Host> {
    let url = format!("embedded:{}", places.out.join("store").display());
    let child = Command::new(&places.binary)
        .args(["serve", "--broker", &url])
        .env("CELERIAC_LOG_LEVEL", "warn")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| {
            format!(
                "{} cannot be started: run `make demo`",
                places.binary.display()
            )
        })?;
    println!(
        "  {} serve --broker {url}   (process {})",
        places.binary.display(),
        child.id()
    );
    let mut host = Host {
        url,
        child: Some(child),
    };
    host.wait_until_known().await?;
    Ok(host)
}

impl Host {
    async fn wait_until_known(&mut self) -> Result<()> {
        for _ in 0..500 {
            if let Some(status) = self
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten()
            {
                bail!("the host ended at its start: {status}");
            }
            let client = Client::connect(&self.url).await?;
            if !client.broker().hosts().await?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the host did not become ready within 10 seconds")
    }

    /// Asks the host to drain, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        Command::new("kill").arg(child.id().to_string()).status()?;
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        println!("  the host ended with {status}");
        if status.success() {
            return Ok(());
        }
        bail!("the host did not end in good order")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The demo has failed already; there is nobody to tell that this did too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
