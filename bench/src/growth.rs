//! A million invocations queued against a thousand: the rate of reserve, settle and submit while so many
//! wait, and what each of them costs the server.
//!
//! Straight at the broker, as guests would only dilute the difference. Two servers, one with each length of
//! queue, work in turn; what is taken is put back, so that the lengths stay.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use celeriac_client::broker::{
    Broker, Code, DEFAULT_QUEUE, HostId, Options, Outcome, Payload, Reserve, Reserved,
    SYSTEM_QUEUE, Settled, Settlement, Submission, TaskRef, Usage,
};

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on, payload},
    options::Scale,
    stats::Paired,
};

/// Invocations reserved, settled and submitted at a time.
const BATCH: usize = 256;
/// What one hundred bytes of payload may cost in the server beyond themselves, in bytes.
const OVERHEAD: f64 = 1024.0;

/// A server with a queue of known length.
struct Queue {
    site: Site,
    host: HostId,
    task: TaskRef,
    bytes_each: f64,
}

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    block_on(measure(
        scale.pick(1_000_000, 5_000),
        scale.pick(15, 1),
        scale.pick(40, 4),
    ))
}

async fn measure(long: usize, rounds: usize, batches: usize) -> Result<Vec<Figure>> {
    let short_queue = Queue::of(1_000).await?;
    let long_queue = Queue::of(long).await?;
    eprintln!("   {long} invocations are queued");
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let pair = (
            long_queue.rate(batches).await?,
            short_queue.rate(batches).await?,
        );
        // The first round warms both sides.
        if round > 0 {
            pairs.push(pair);
        }
    }
    let paired = Paired::of(&pairs);
    let allowed = OVERHEAD + payload().to_string().len() as f64;
    Ok(vec![
        Figure::new(
            "growth.throughput_ratio",
            paired.ratio,
            "ratio",
            "the rate with 1,000 queued",
        )
        .goal(Goal::AtLeast(0.9)),
        Figure::new(
            "growth.bytes_per_queued",
            long_queue.bytes_each,
            "bytes",
            "used_memory of Redis; 1 KiB and the payload",
        )
        .goal(Goal::AtMost(allowed)),
        Figure::new(
            "growth.long_per_s",
            paired.a,
            "1/s",
            "reserved, settled and submitted with 1,000,000 queued",
        ),
        Figure::new(
            "growth.short_per_s",
            paired.b,
            "1/s",
            "reserved, settled and submitted with 1,000 queued",
        ),
    ])
}

impl Queue {
    /// A server with so many invocations in its queue.
    async fn of(length: usize) -> Result<Self> {
        let site = Site::start().await?;
        // A host admits the module, and is gone before anything is queued.
        let host = site.host(4).await?;
        site.push("basics").await?;
        drop(host);
        let before = site.server.used_memory().await?;
        let mut queue = Self {
            site,
            host: HostId::random("bench"),
            task: "basics/echo".parse()?,
            bytes_each: 0.0,
        };
        for first in (0..length).step_by(BATCH) {
            queue.submit(BATCH.min(length - first)).await?;
        }
        queue.bytes_each = (queue.site.server.used_memory().await? - before) / length as f64;
        Ok(queue)
    }

    /// Invocations a second that are reserved, settled, and replaced.
    async fn rate(&self, batches: usize) -> Result<f64> {
        let began = Instant::now();
        let mut done = 0;
        for _ in 0..batches {
            let reserved = self.broker().reserve(&self.request()).await?;
            let count = reserved.len();
            ensure!(
                count > 0,
                "nothing could be reserved from a queue that is not empty"
            );
            let settled = self
                .broker()
                .settle(reserved.into_iter().map(settlement).collect())
                .await?;
            ensure!(
                settled.iter().all(|settled| *settled == Settled::Written),
                "a settlement was refused"
            );
            self.submit(count).await?;
            done += count;
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }

    async fn submit(&self, count: usize) -> Result<()> {
        let batch = (0..count).map(|_| self.submission()).collect();
        for accepted in self.broker().submit(batch).await? {
            accepted?;
        }
        Ok(())
    }

    fn submission(&self) -> Submission {
        Submission {
            id: self.broker().namespace().issue(0),
            task: self.task.clone(),
            input: Payload::json_text(payload().to_string()),
            options: Options::default(),
            reply_to: None,
        }
    }

    fn request(&self) -> Reserve {
        Reserve {
            host: self.host.clone(),
            queues: vec![SYSTEM_QUEUE.to_owned(), DEFAULT_QUEUE.to_owned()],
            quotas: Vec::new(),
            max: BATCH,
            lease: Duration::from_secs(10),
            wait: Duration::from_secs(1),
        }
    }

    fn broker(&self) -> &dyn Broker {
        self.site.client.broker().as_ref()
    }
}

/// Success with what went in.
fn settlement(reserved: Reserved) -> Settlement {
    let usage = Usage {
        attempt: reserved.attempt,
        module: reserved.digest,
        host: "bench".to_owned(),
        ..Usage::default()
    };
    let outcome = Outcome {
        code: Code::Ok,
        output: Some(reserved.input),
        failure: None,
        usage,
    };
    Settlement::end(reserved.lease, outcome)
}
