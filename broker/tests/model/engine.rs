//! The engines, on clocks that jump.

use std::{path::Path, sync::Arc, time::Duration};

use celeriac_broker::{
    Broker, Digest,
    embedded::{EmbeddedBroker, EmbeddedOptions},
    redis::{RedisBroker, RedisOptions},
};

use crate::run;

/// No result expires while it is looked at, however far clocks jump.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// An engine whose clock a test sets.
pub(crate) trait Engine: Send + Sync {
    /// Its broker.
    fn broker(&self) -> &dyn Broker;

    /// Sets its clock forward.
    async fn jump(&self, span: Duration);

    /// Does what is due.
    async fn tick(&self);
}

/// An embedded store.
pub(crate) struct Embedded(Arc<EmbeddedBroker>);

impl Embedded {
    /// A store in this directory, with the module that sequences call.
    pub(crate) async fn open(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let options = EmbeddedOptions {
            result_ttl: FOR_EVER,
            ..EmbeddedOptions::default()
        };
        let broker = EmbeddedBroker::open(dir, options).unwrap();
        publish(&*broker).await;
        Self(broker)
    }
}

impl Engine for Embedded {
    fn broker(&self) -> &dyn Broker {
        &*self.0
    }

    async fn jump(&self, span: Duration) {
        self.0.jump(span);
    }

    async fn tick(&self) {
        self.0.tick().await.unwrap();
    }
}

/// A database of a Redis.
pub(crate) struct Redis(Arc<RedisBroker>);

impl Redis {
    /// A store in this database, with the module that sequences call.
    pub(crate) async fn open(url: &str) -> Self {
        let options = RedisOptions {
            result_ttl: FOR_EVER,
            ..RedisOptions::default()
        };
        let broker = RedisBroker::connect(url, options).await.unwrap();
        publish(&*broker).await;
        Self(broker)
    }
}

impl Engine for Redis {
    fn broker(&self) -> &dyn Broker {
        &*self.0
    }

    async fn jump(&self, span: Duration) {
        self.0.jump(span).await.unwrap();
    }

    async fn tick(&self) {
        self.0.tick().await.unwrap();
    }
}

/// Admits the module `text` with the task `run`.
async fn publish(broker: &dyn Broker) -> Digest {
    let digest = broker.put_blob("module text".into()).await.unwrap();
    let lease = run::admission(broker, digest).await;
    let publication = celeriac_broker::Publication {
        digest,
        name: "text".parse().unwrap(),
        manifest: format!("{{\"digest\":\"{digest}\"}}"),
        tasks: vec![("run".to_owned(), celeriac_broker::TaskDefaults::default())],
    };
    broker.publish(&lease, publication).await.unwrap();
    let done = celeriac_broker::Settlement::end(lease, run::success());
    broker.settle(vec![done]).await.unwrap();
    digest
}
