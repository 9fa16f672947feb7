//! No-ops from submit to awaited result, against BullMQ and Celery in the same run, in turn.
//!
//! Each side has a client process, a worker process, and a Redis of its own without persistence; about
//! 100 bytes go in and come out, results are kept. Peers: see `peer`.

use std::time::Instant;

use anyhow::{Result, ensure};
use celeriac_client::{Client, gather};
use serde_json::Value;

use crate::{
    embedded::Embedded,
    figure::{Figure, Goal},
    host::{Site, block_on, payload},
    options::Scale,
    peer::Peer,
    server::Server,
    stats::median,
};

/// Slots of our host: enough that it never waits for a settlement to come back.
const SLOTS: u32 = 512;
/// Commands in one pipeline of the limit's measurement, as in our client's largest batch.
const PIPELINE: usize = 512;

/// The least that a queue with records does for a task: one script that stores the record and queues its id.
const ONE_EVAL: &str = "redis.call('HSET', KEYS[1], 'header', ARGV[1], 'input', ARGV[2])
return redis.call('RPUSH', KEYS[2], KEYS[1])";
/// As long as the header of our records.
const HEADER: &str = r#"{"task":"basics/echo","content_type":"application/json"}"#;

/// How many tasks a round of each side has: some seconds each.
struct Sizes {
    rounds: usize,
    ours: usize,
    bullmq: usize,
    celery: usize,
}

/// Tasks in a second, round by round.
#[derive(Default)]
struct Rates {
    ours: Vec<f64>,
    bullmq: Vec<f64>,
    celery: Vec<f64>,
    limit: Vec<f64>,
    embedded: Vec<f64>,
}

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    let full = Sizes {
        rounds: 7,
        ours: 100_000,
        bullmq: 20_000,
        celery: 1_500,
    };
    let quick = Sizes {
        rounds: 1,
        ours: 500,
        bullmq: 200,
        celery: 20,
    };
    let sizes = scale.pick(full, quick);
    let (mut bullmq, mut celery) = (Peer::bullmq()?, Peer::celery()?);
    let rates = block_on(async {
        let site = Site::start().await?;
        let _host = site.host(SLOTS).await?;
        site.push("basics").await?;
        let embedded = Embedded::start(SLOTS).await?;
        rate(&site.client, sizes.ours / 10).await?;
        let mut rates = Rates::default();
        for round in 1..=sizes.rounds {
            eprintln!("   round {round} of {}", sizes.rounds);
            rates.ours.push(rate(&site.client, sizes.ours).await?);
            rates
                .bullmq
                .push(tokio::task::block_in_place(|| bullmq.rate(sizes.bullmq))?);
            rates
                .celery
                .push(tokio::task::block_in_place(|| celery.rate(sizes.celery))?);
            rates
                .limit
                .push(one_eval_rate(&site.server, sizes.ours).await?);
            rates
                .embedded
                .push(rate(embedded.client(), sizes.ours / 5).await?);
        }
        embedded.stop().await;
        Ok(rates)
    })?;
    Ok(figures(&rates))
}

fn figures(rates: &Rates) -> Vec<Figure> {
    let Rates {
        ours,
        bullmq,
        celery,
        limit,
        embedded,
    } = rates;
    let (ours, bullmq, celery) = (median(ours), median(bullmq), median(celery));
    let (limit, embedded) = (median(limit), median(embedded));
    let peer =
        "in turn, each with its own Redis without persistence, one client and one worker process";
    vec![
        Figure::new(
            "throughput.over_bullmq",
            ours / bullmq,
            "ratio",
            format!("BullMQ 6.7, bulk adds, concurrency 50; {peer}"),
        )
        .goal(Goal::AtLeast(4.0)),
        Figure::new(
            "throughput.over_celery",
            ours / celery,
            "ratio",
            format!("Celery 5.7, prefork, Redis results; {peer}"),
        )
        .goal(Goal::AtLeast(50.0)),
        Figure::new(
            "throughput.of_one_eval_limit",
            ours / limit,
            "ratio",
            "one EVAL of HSET and RPUSH a task, pipelined",
        ),
        Figure::new(
            "throughput.per_s",
            ours,
            "1/s",
            "no-ops awaited, Redis, leases and stored results",
        ),
        Figure::new("throughput.bullmq_per_s", bullmq, "1/s", "BullMQ"),
        Figure::new("throughput.celery_per_s", celery, "1/s", "Celery"),
        Figure::new(
            "throughput.one_eval_per_s",
            limit,
            "1/s",
            "one EVAL of HSET and RPUSH a task, pipelined",
        ),
        Figure::new(
            "throughput.embedded_per_s",
            embedded,
            "1/s",
            "no-ops awaited, embedded broker, one process",
        ),
    ]
}

/// Submits so many no-ops at once, awaits them all, and returns how many ended in a second.
async fn rate(client: &Client, tasks: usize) -> Result<f64> {
    let call = client.task("basics/echo")?;
    let input = payload();
    let began = Instant::now();
    let handles = call.submit_all(std::iter::repeat_n(&input, tasks)).await?;
    let outputs = gather::<Value>(&handles).await;
    let seconds = began.elapsed().as_secs_f64();
    for output in outputs {
        ensure!(output? == input, "echo must return its input");
    }
    Ok(tasks as f64 / seconds)
}

/// What the server allows when each task is one script that stores a record and queues it.
async fn one_eval_rate(server: &Server, tasks: usize) -> Result<f64> {
    let mut connection = server.connect().await?;
    // Beside our own data, to be thrown away afterwards.
    let _: () = redis::cmd("SELECT")
        .arg(1)
        .query_async(&mut connection)
        .await?;
    let script: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(ONE_EVAL)
        .query_async(&mut connection)
        .await?;
    let input = payload().to_string();
    let began = Instant::now();
    for first in (0..tasks).step_by(PIPELINE) {
        let mut pipeline = redis::pipe();
        for id in first..tasks.min(first + PIPELINE) {
            let key = format!("invocation:{id:032x}");
            pipeline
                .cmd("EVALSHA")
                .arg(&script)
                .arg(2)
                .arg(key)
                .arg("ready")
                .arg(HEADER)
                .arg(&input)
                .ignore();
        }
        let _: () = pipeline.query_async(&mut connection).await?;
    }
    let rate = tasks as f64 / began.elapsed().as_secs_f64();
    let _: () = redis::cmd("FLUSHDB").query_async(&mut connection).await?;
    Ok(rate)
}
