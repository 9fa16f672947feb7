//! Measures the embedded engine in one process: `cargo run --release -p celeriac-broker --example embedded_probe`.
//!
//! Prints invocations per second through submit, reserve and settle with the reply heard, and how long
//! one at a time takes from submit to reply; the latter also with client and host on two handles, as
//! two processes would be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use celeriac_broker::{
    BUILT_IN_MODULE, Broker, ClientId, Code, HostId, ModuleRef, Options, Outcome, Payload, Reply,
    Reserve, SYSTEM_QUEUE, Settlement, Submission, TaskRef, Usage,
    embedded::{EmbeddedBroker, EmbeddedOptions},
};

type Handle = Arc<EmbeddedBroker>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("celeriac-probe-{}", std::process::id()));
    let open = || EmbeddedBroker::open(&dir, EmbeddedOptions::default());
    let (one, two) = (open()?, open()?);
    for batch in [1, 10, 100, 500] {
        throughput("one handle", &one, &one, batch, 20_000).await?;
    }
    throughput("two handles", &one, &two, 100, 20_000).await?;
    latency("one handle", &one, &one).await?;
    latency("two handles", &one, &two).await?;
    drop((one, two));
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn submission(broker: &Handle, client: &ClientId) -> Submission {
    Submission {
        id: broker.namespace().issue(0),
        // Built in, so that no module is needed: all that differs is one look-up a batch.
        task: TaskRef {
            module: ModuleRef::Name(BUILT_IN_MODULE.to_owned()),
            task: "probe".to_owned(),
        },
        input: Payload::json_text(format!("\"{}\"", "x".repeat(98))),
        options: Options::default(),
        reply_to: Some(client.clone()),
    }
}

/// A host that settles whatever it reserves, until it is aborted.
fn host(broker: Handle, max: usize) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let request = Reserve {
            host: HostId::random("probe"),
            queues: vec![SYSTEM_QUEUE.to_owned()],
            quotas: Vec::new(),
            max,
            lease: Duration::from_secs(10),
            wait: Duration::from_secs(5),
        };
        while let Ok(reserved) = broker.reserve(&request).await {
            let batch = reserved.into_iter().map(|reserved| {
                let outcome = Outcome {
                    code: Code::Ok,
                    output: Some(reserved.input),
                    failure: None,
                    usage: Usage::default(),
                };
                Settlement::end(reserved.lease, outcome)
            });
            let (broker, batch) = (Arc::clone(&broker), batch.collect::<Vec<_>>());
            tokio::spawn(async move { broker.settle(batch).await });
        }
    })
}

async fn throughput(
    what: &str,
    client: &Handle,
    server: &Handle,
    batch: usize,
    count: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let me = ClientId::random();
    let mut replies = client.replies(&me).await?;
    let host = host(Arc::clone(server), batch);
    let begun = Instant::now();
    let (submitter, name) = (Arc::clone(client), me.clone());
    let submits = tokio::spawn(async move {
        for _ in 0..count / batch {
            let items = (0..batch).map(|_| submission(&submitter, &name)).collect();
            submitter.submit(items).await?;
        }
        Ok::<_, celeriac_broker::BrokerError>(())
    });
    let mut heard = 0;
    while heard < count / batch * batch {
        match replies.recv().await {
            Some(Reply::Ended(..)) => heard += 1,
            other => return Err(format!("{other:?}").into()),
        }
    }
    submits.await??;
    let rate = heard as f64 / begun.elapsed().as_secs_f64();
    println!("{what}, batches of {batch}: {rate:.0} invocations per second");
    host.abort();
    Ok(())
}

async fn latency(
    what: &str,
    client: &Handle,
    server: &Handle,
) -> Result<(), Box<dyn std::error::Error>> {
    let me = ClientId::random();
    let mut replies = client.replies(&me).await?;
    let host = host(Arc::clone(server), 1);
    let mut times = Vec::new();
    for _ in 0..2000 {
        let begun = Instant::now();
        client.submit(vec![submission(client, &me)]).await?;
        replies.recv().await;
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |share: usize| {
        times
            .get(times.len() * share / 1000)
            .copied()
            .unwrap_or_default()
    };
    let (median, p99, most) = (at(500), at(990), at(999));
    println!("{what}, submit to reply: median {median:?}, p99 {p99:?}, p99.9 {most:?}");
    host.abort();
    Ok(())
}
