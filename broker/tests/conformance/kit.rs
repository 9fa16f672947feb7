//! What cases are written with.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use celeriac_broker::{
    Admit, Attempt, Broker, BrokerError, Caps, ClientId, Code, DeadLetters, Digest, Ending,
    EventKind, HostId, InvocationId, Lease, LogRecord, ModuleRef, Options, Outcome, Payload,
    Priority, Publication, Reply, Reserve, Reserved, SYSTEM_QUEUE, Settled, Settlement, Submission,
    TaskDefaults, TaskOptions, Usage,
};
use tokio::sync::mpsc;

pub(crate) type Handle = Arc<dyn Broker>;

/// Longer than anything here takes on a machine that is busy; no case waits for it to pass.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// After this long, what waits in a lower band gets its share: longer than any case takes on a machine that is busy.
pub(crate) const AGEING: Duration = Duration::from_secs(2);

/// A lease that is meant to run out.
pub(crate) const SHORT_LEASE: Duration = Duration::from_millis(200);

/// How the store is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) caps: Caps,
    pub(crate) ageing: Duration,
    pub(crate) dead_letters: DeadLetters,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            caps: Caps {
                input_bytes: 4 << 20,
                output_bytes: 4 << 20,
                module_bytes: 1 << 20,
                kv_keys: 1_500,
                kv_bytes: 4 << 20,
            },
            ageing: AGEING,
            dead_letters: DeadLetters {
                most: 20,
                ..DeadLetters::default()
            },
        }
    }
}

/// A fresh store of one engine.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Another handle on it, as another process would have.
    async fn open(&self) -> Handle;

    /// How many records the store keeps for this client's replies.
    async fn kept_for(&self, client: &ClientId) -> usize;

    /// How many keys are held: idempotency keys and unique keys.
    async fn keys_held(&self) -> usize;

    /// How many times the store keeps for invocations that wait.
    async fn timed(&self) -> usize;

    /// How many entries the store keeps for the order of what waits.
    async fn ordered(&self) -> usize;
}

/// A store with a module and a handle.
pub(crate) struct Kit {
    pub(crate) store: Box<dyn Store>,
    /// What clients use; `host` is another handle, so that all news goes between processes.
    pub(crate) client: Handle,
    pub(crate) host: Handle,
    pub(crate) digest: Digest,
}

impl Kit {
    pub(crate) async fn new(store: Box<dyn Store>) -> Self {
        let (client, host) = (store.open().await, store.open().await);
        let digest = publish(&client, "text", b"module text").await;
        Self {
            store,
            client,
            host,
            digest,
        }
    }

    /// Submits `text/run` and returns its id.
    pub(crate) async fn submit(&self) -> InvocationId {
        self.submit_to("default").await
    }

    pub(crate) async fn submit_to(&self, queue: &str) -> InvocationId {
        let mut submission = self.submission("text/run");
        submission.options.queue = Some(queue.to_owned());
        self.accept(submission).await
    }

    pub(crate) async fn accept(&self, submission: Submission) -> InvocationId {
        let id = submission.id;
        self.client
            .submit(vec![submission])
            .await
            .unwrap()
            .pop()
            .unwrap()
            .unwrap();
        id
    }

    pub(crate) async fn submit_many(&self, count: usize) -> Vec<InvocationId> {
        let batch: Vec<_> = (0..count).map(|_| self.submission("text/run")).collect();
        let ids = batch.iter().map(|submission| submission.id).collect();
        self.client
            .submit(batch)
            .await
            .unwrap()
            .into_iter()
            .for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));
        ids
    }

    pub(crate) fn submission(&self, task: &str) -> Submission {
        submission(&self.client, task)
    }

    /// Reserves one invocation of `default` for a new host, with a long lease.
    pub(crate) async fn take(&self) -> Reserved {
        self.take_for(LONG).await
    }

    /// As `take`, with this lease.
    pub(crate) async fn take_for(&self, lease: Duration) -> Reserved {
        let request = Reserve {
            max: 1,
            lease,
            ..request()
        };
        self.reserve_until_some(request).await.pop().unwrap()
    }

    /// Reserves again until there is something: waits on the store, not on time.
    pub(crate) async fn reserve_until_some(&self, request: Reserve) -> Vec<Reserved> {
        let begun = Instant::now();
        loop {
            let reserved = self.host.reserve(&request).await.unwrap();
            if !reserved.is_empty() {
                return reserved;
            }
            assert!(begun.elapsed() < LONG, "nothing came");
        }
    }

    /// Everything that can be reserved now.
    pub(crate) async fn take_all(&self) -> Vec<InvocationId> {
        let request = Reserve {
            wait: Duration::ZERO,
            max: 10_000,
            ..request()
        };
        let reserved = self.host.reserve(&request).await.unwrap();
        reserved
            .into_iter()
            .map(|reserved| reserved.lease.id)
            .collect()
    }

    /// Settles with success.
    pub(crate) async fn succeed(&self, lease: &Lease) -> Settled {
        self.settle(lease, success("done")).await
    }

    pub(crate) async fn settle(&self, lease: &Lease, outcome: Outcome) -> Settled {
        let lease = lease.clone();
        self.host
            .settle(vec![Settlement::end(lease, outcome)])
            .await
            .unwrap()
            .pop()
            .unwrap()
    }

    /// Has what was taken wait again: given back, or after a failure that is retried at once.
    pub(crate) async fn send_back(&self, taken: &Reserved, is_given_back: bool) {
        if is_given_back {
            let lease = std::slice::from_ref(&taken.lease);
            self.host.release(lease).await.unwrap();
        } else {
            self.retry(taken, Duration::ZERO).await;
        }
    }

    /// Has an attempt that failed followed by another after `pause`.
    pub(crate) async fn retry(&self, taken: &Reserved, pause: Duration) -> Settled {
        let settlement = retry(taken, pause);
        let settled = self.host.settle(vec![settlement]).await;
        settled.unwrap().pop().unwrap()
    }

    /// The code that an invocation has ended with.
    pub(crate) async fn code(&self, id: InvocationId) -> Option<Code> {
        self.client
            .outcome(id, None)
            .await
            .unwrap()
            .map(|outcome| outcome.code)
    }
}

pub(crate) fn submission(broker: &Handle, task: &str) -> Submission {
    Submission {
        id: broker.namespace().issue(0),
        task: task.parse().unwrap(),
        input: Payload::json_text("1"),
        options: Options::default(),
        reply_to: None,
    }
}

/// A new host asks for everything in `default`.
pub(crate) fn request() -> Reserve {
    Reserve {
        host: HostId::random("test"),
        queues: vec![SYSTEM_QUEUE.to_owned(), "default".to_owned()],
        quotas: Vec::new(),
        max: 100,
        lease: LONG,
        wait: LONG,
    }
}

pub(crate) fn success(text: &str) -> Outcome {
    Outcome {
        code: Code::Ok,
        output: Some(Payload::json(text).unwrap()),
        failure: None,
        usage: Usage {
            fuel: 17,
            host: "here".to_owned(),
            attempt: 1,
            ..Usage::default()
        },
    }
}

/// A failure that a retry may help against.
pub(crate) fn failure(taken: &Reserved) -> Outcome {
    let mut outcome = Outcome::failed(Code::TaskError, "not now");
    outcome.usage = Usage {
        fuel: 17,
        host: "here".to_owned(),
        attempt: taken.attempt,
        ..Usage::default()
    };
    outcome
}

/// What a host sends for an attempt that failed and is followed by another.
pub(crate) fn retry(taken: &Reserved, pause: Duration) -> Settlement {
    let outcome = failure(taken);
    let attempt = Attempt::record(
        &outcome,
        taken.reserved_at_ms,
        Duration::from_millis(3),
        pause,
    );
    Settlement {
        lease: taken.lease.clone(),
        ending: Ending::Retry {
            pause,
            trail: celeriac_broker::follow(taken.trail.clone(), attempt),
            outcome,
        },
        recording: None,
    }
}

pub(crate) fn log(message: impl Into<String>) -> EventKind {
    EventKind::Log(LogRecord {
        level: "info".to_owned(),
        message: message.into(),
        fields: None,
        stream: None,
    })
}

/// Takes an admission of `name` that is submitted here, up to where it publishes.
pub(crate) async fn admission(broker: &Handle, digest: Digest, name: &str) -> Lease {
    let mut admit = submission(broker, "celeriac/admit");
    let name = name.parse().unwrap();
    admit.input = Payload::json(&Admit { digest, name }).unwrap();
    let id = admit.id;
    broker
        .submit(vec![admit])
        .await
        .unwrap()
        .pop()
        .unwrap()
        .unwrap();
    let request = Reserve {
        queues: vec![SYSTEM_QUEUE.to_owned()],
        max: 1,
        ..request()
    };
    let lease = broker.reserve(&request).await.unwrap().pop().unwrap().lease;
    assert_eq!(lease.id, id);
    lease
}

/// A publication with the tasks `run`, `slow`, whose queue is `slow`, and `meek`, which has a default for everything.
pub(crate) fn publication(digest: Digest, name: &str) -> Publication {
    let slow = TaskOptions {
        queue: Some("slow".to_owned()),
        ..TaskOptions::default()
    };
    let meek = TaskOptions {
        priority: Some(Priority::Low),
        expires_ms: Some(60_000),
        deadline_ms: Some(120_000),
        result_ttl_ms: Some(100),
        ..TaskOptions::default()
    };
    Publication {
        digest,
        name: name.parse().unwrap(),
        manifest: format!("{{\"digest\":\"{digest}\"}}"),
        tasks: vec![
            ("run".to_owned(), TaskDefaults::default()),
            ("slow".to_owned(), TaskDefaults::from(&slow)),
            ("meek".to_owned(), TaskDefaults::from(&meek)),
        ],
    }
}

/// Stores, admits and publishes; the admission is settled or fails as the publication does.
pub(crate) async fn try_publish(
    broker: &Handle,
    name: &str,
    bytes: &'static [u8],
) -> Result<Digest, BrokerError> {
    let digest = broker.put_blob(bytes.into()).await?;
    let lease = admission(broker, digest, name).await;
    let result = broker.publish(&lease, publication(digest, name)).await;
    let outcome = success("admitted");
    broker.settle(vec![Settlement::end(lease, outcome)]).await?;
    result.map(|()| digest)
}

pub(crate) async fn publish(broker: &Handle, name: &str, bytes: &'static [u8]) -> Digest {
    try_publish(broker, name, bytes).await.unwrap()
}

pub(crate) fn module_ref(text: &str) -> ModuleRef {
    text.parse().unwrap()
}

/// The next reply, which comes within `LONG`.
pub(crate) async fn next_reply(
    replies: &mut mpsc::Receiver<Reply>,
) -> (InvocationId, Option<Box<Outcome>>) {
    match within(replies.recv()).await {
        Some(Reply::Ended(id, outcome)) => (id, outcome),
        other => panic!("not a reply: {other:?}"),
    }
}

/// The future's result, which comes within `LONG`.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future)
        .await
        .expect("it takes too long")
}

/// Asks again and again until it is so: for what happens in the store by itself.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(mut is_so: F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "it does not become so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
