//! A host and a client in this very process, with the embedded broker between them.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use celeriac::{
    engine::{EngineConfig, HostLimits},
    module::{CompileLimits, LoaderConfig, UploadCaps},
    policy::Policy,
    worker::{Host, HostOptions},
};
use celeriac_broker::DEFAULT_QUEUE;
use celeriac_client::{Client, ConnectOptions};
use tempfile::TempDir;

use crate::artifacts;

/// Everything in one process; the store is on disk.
#[derive(Debug)]
pub(crate) struct Embedded {
    client: Client,
    host: Host,
    _data: TempDir,
}

impl Embedded {
    /// Starts a host with so many slots and the module `basics`.
    pub(crate) async fn start(concurrency: u32) -> Result<Self> {
        let data = tempfile::tempdir_in(artifacts::workspace("bench-data")?)?;
        let url = format!("embedded:{}", data.path().join("store").display());
        let broker = celeriac_broker::connect(&url).await?;
        let options = HostOptions {
            broker_url: url,
            queues: vec![DEFAULT_QUEUE.to_owned()],
            lease: Duration::from_secs(10),
            grace: Duration::from_secs(1),
            engine: EngineConfig {
                concurrency,
                ..EngineConfig::default()
            },
            limits: HostLimits::default(),
            policy: Policy::default(),
            cache_dir: data.path().join("cache"),
            compile: CompileLimits::default(),
            modules: LoaderConfig::default(),
            upload: UploadCaps::default(),
            emit_backlog: 32 << 20,
        };
        let host = Host::start(Arc::clone(&broker), options).await?;
        let client = Client::new(broker, ConnectOptions::default());
        client
            .push(artifacts::component("basics")?, "basics")
            .await?;
        Ok(Self {
            client,
            host,
            _data: data,
        })
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the host in good order.
    pub(crate) async fn stop(self) {
        self.host.drain().await;
    }
}
