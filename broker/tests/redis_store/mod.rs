//! What the tests of the Redis engine start from: a server, a broker, a published module.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{
    Broker, ClientId, Code, Digest, HostId, Lease, Options, Outcome, Payload, Publication, Reserve,
    Reserved, SYSTEM_QUEUE, Settled, Settlement, Submission, TaskDefaults, Usage,
    redis::{RedisBroker, RedisOptions},
    testing::{AofMode, RedisServer},
};

pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// A server and a broker on it, with the module `basics` that has the task `echo`.
pub(crate) struct Store {
    pub(crate) server: RedisServer,
    pub(crate) broker: Arc<RedisBroker>,
}

impl Store {
    pub(crate) async fn start(aof: AofMode) -> Self {
        let server = RedisServer::start(aof).unwrap();
        let broker = RedisBroker::connect(&server.url(), RedisOptions::default())
            .await
            .unwrap();
        publish(&broker, "basics", "echo").await;
        Self { server, broker }
    }

    pub(crate) fn submission(&self, input: &[u8], reply_to: Option<&ClientId>) -> Submission {
        Submission {
            id: self.broker.namespace().issue(0),
            task: "basics/echo".parse().unwrap(),
            input: Payload::bytes("text/plain", input.to_vec()),
            options: Options::default(),
            reply_to: reply_to.cloned(),
        }
    }

    /// Submits `count` invocations; their ids.
    pub(crate) async fn submit(
        &self,
        count: usize,
        reply_to: Option<&ClientId>,
    ) -> Vec<celeriac_broker::InvocationId> {
        let batch: Vec<_> = (0..count)
            .map(|_| self.submission(&[b'x'; 100], reply_to))
            .collect();
        let ids = batch.iter().map(|submission| submission.id).collect();
        for answer in self.broker.submit(batch).await.unwrap() {
            answer.unwrap();
        }
        ids
    }
}

pub(crate) async fn publish(broker: &RedisBroker, name: &str, task: &str) -> Digest {
    let digest = broker
        .put_blob(format!("module {name}").into_bytes().into())
        .await
        .unwrap();
    let host = HostId::random("admitter");
    let admission = Submission {
        id: broker.namespace().issue(0),
        task: "celeriac/admit".parse().unwrap(),
        input: Payload::json(&serde_json::json!({})).unwrap(),
        options: Options::default(),
        reply_to: None,
    };
    broker
        .submit(vec![admission])
        .await
        .unwrap()
        .pop()
        .unwrap()
        .unwrap();
    let reserved = broker
        .reserve(&look(&host, 1))
        .await
        .unwrap()
        .pop()
        .unwrap();
    let publication = Publication {
        digest,
        name: name.parse().unwrap(),
        manifest: "{}".to_owned(),
        tasks: vec![(task.to_owned(), TaskDefaults::default())],
    };
    broker.publish(&reserved.lease, publication).await.unwrap();
    let settled = broker.settle(vec![done(&reserved, b"{}")]).await.unwrap();
    assert_eq!(settled, [Settled::Written]);
    digest
}

/// A reserve that does not wait.
pub(crate) fn look(host: &HostId, max: usize) -> Reserve {
    Reserve {
        host: host.clone(),
        queues: vec!["default".to_owned(), SYSTEM_QUEUE.to_owned()],
        quotas: Vec::new(),
        max,
        lease: LEASE,
        wait: Duration::ZERO,
    }
}

pub(crate) fn done(reserved: &Reserved, output: &[u8]) -> Settlement {
    settlement(&reserved.lease, output)
}

pub(crate) fn settlement(lease: &Lease, output: &[u8]) -> Settlement {
    Settlement::end(
        lease.clone(),
        Outcome {
            code: Code::Ok,
            output: Some(Payload::bytes("text/plain", output.to_vec())),
            failure: None,
            usage: Usage {
                fuel: 123_456,
                peak_memory_bytes: 1 << 20,
                queue_ms: 0.5,
                run_ms: 0.1,
                attempt: 1,
                module: Some(Digest::of(b"module")),
                host: "host-0123456789ab".to_owned(),
            },
        },
    )
}
