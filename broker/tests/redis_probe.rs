//! Measures the scripts of the Redis engine: `cargo test --release --test redis_probe -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

#[path = "redis_store/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod store;

use std::time::{Duration, Instant};

use celeriac_broker::{
    Broker, ClientId, HostId, Reply,
    redis::{RedisBroker, RedisOptions},
    testing::AofMode,
};
use store::{Store, done, look};

/// Microseconds of CPU that the server's main thread has used.
fn cpu_usec(store: &Store) -> u64 {
    let info = store.server.command("INFO cpu").unwrap();
    let main = info.lines().filter(|line| line.contains("main_thread"));
    main.map(|line| {
        (line
            .split(':')
            .nth(1)
            .unwrap()
            .trim()
            .parse::<f64>()
            .unwrap()
            * 1e6) as u64
    })
    .sum()
}

/// What the server used for the step that ends now.
struct Meter(u64);

impl Meter {
    fn lap(&mut self, store: &Store) -> u64 {
        let now = cpu_usec(store);
        let used = now - self.0;
        self.0 = now;
        used
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measures_each_script() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    let drain = tokio::spawn(async move {
        let mut ended = 0;
        while let Some(reply) = replies.recv().await {
            if matches!(reply, Reply::Ended(..)) {
                ended += 1;
            }
            if ended == 60_000 {
                break;
            }
        }
        ended
    });
    let host = HostId::random("probe");
    for batch in [1, 16, 64, 250] {
        let total = if batch == 1 { 5_000 } else { 15_000 };
        let mut meter = Meter(cpu_usec(&store));
        let begun = Instant::now();
        for _ in 0..total / 500 {
            store.submit(500, Some(&client)).await;
        }
        let (submit_wall, submit) = (begun.elapsed(), meter.lap(&store));
        let mut taken = Vec::new();
        let begun = Instant::now();
        loop {
            let more = store.broker.reserve(&look(&host, batch)).await.unwrap();
            if more.is_empty() {
                break;
            }
            taken.push(more);
        }
        let (reserve_wall, reserve) = (begun.elapsed(), meter.lap(&store));
        let leases: Vec<_> = taken.iter().flatten().map(|r| r.lease.clone()).collect();
        for chunk in leases.chunks(batch) {
            store
                .broker
                .renew(&host, chunk, Duration::from_secs(10))
                .await
                .unwrap();
        }
        let renew = meter.lap(&store);
        let begun = Instant::now();
        let mut settled = 0;
        for reserved in &taken {
            let settlements: Vec<_> = reserved.iter().map(|r| done(r, &[b'x'; 100])).collect();
            settled += store.broker.settle(settlements).await.unwrap().len();
        }
        let (settle_wall, settle) = (begun.elapsed(), meter.lap(&store));
        assert_eq!(settled, total);
        let each = |usec: u64| usec as f64 / total as f64;
        println!(
            "batch {batch:4}: server us per invocation: submit(500) {:.2} reserve {:.2} renew {:.2} settle {:.2} | wall submit {:.2} reserve {:.2} settle {:.2}",
            each(submit),
            each(reserve),
            each(renew),
            each(settle),
            submit_wall.as_secs_f64() * 1e6 / total as f64,
            reserve_wall.as_secs_f64() * 1e6 / total as f64,
            settle_wall.as_secs_f64() * 1e6 / total as f64
        );
    }
    drain.abort();
    let _ = drain.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measures_end_to_end_rate() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    const TOTAL: usize = 200_000;
    let host = HostId::random("probe");
    let worker = RedisBroker::connect(&store.server.url(), RedisOptions::default())
        .await
        .unwrap();
    let mut meter = Meter(cpu_usec(&store));
    let begun = Instant::now();
    let work = tokio::spawn(async move {
        let mut request = look(&host, 250);
        request.wait = Duration::from_secs(5);
        let (sender, mut settlements) = tokio::sync::mpsc::channel::<Vec<_>>(4);
        let settler = {
            let worker = worker.clone();
            tokio::spawn(async move {
                while let Some(batch) = settlements.recv().await {
                    worker.settle(batch).await.unwrap();
                }
            })
        };
        let mut count = 0;
        while count < TOTAL {
            let taken = worker.reserve(&request).await.unwrap();
            count += taken.len();
            sender
                .send(taken.iter().map(|r| done(r, &[b'x'; 100])).collect())
                .await
                .unwrap();
        }
        drop(sender);
        settler.await.unwrap();
    });
    let submit = async {
        for _ in 0..TOTAL / 500 {
            store.submit(500, Some(&client)).await;
        }
    };
    let receive = async {
        let mut ended = 0;
        while ended < TOTAL {
            match replies.recv().await.unwrap() {
                Reply::Ended(..) => ended += 1,
                Reply::Reconnected => panic!("gap after {ended}"),
            }
        }
    };
    tokio::join!(submit, receive);
    work.await.unwrap();
    let cpu = meter.lap(&store) as f64 / TOTAL as f64;
    println!(
        "end to end: {:.0} invocations/s; server {cpu:.2} us of CPU each: {:.0}/s on a core of its own",
        TOTAL as f64 / begun.elapsed().as_secs_f64(),
        1e6 / cpu
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measures_await_latency_against_ping() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    let worker = RedisBroker::connect(&store.server.url(), RedisOptions::default())
        .await
        .unwrap();
    let host = HostId::random("probe");
    let work = tokio::spawn(async move {
        let mut request = look(&host, 8);
        request.wait = Duration::from_secs(5);
        loop {
            let taken = worker.reserve(&request).await.unwrap();
            worker
                .settle(taken.iter().map(|r| done(r, b"pong")).collect())
                .await
                .unwrap();
        }
    });
    let redis = ::redis::Client::open(store.server.url()).unwrap();
    let mut connection = redis.get_multiplexed_async_connection().await.unwrap();
    let (mut pings, mut awaits) = (Vec::new(), Vec::new());
    for _ in 0..3000 {
        let begun = Instant::now();
        let _: String = ::redis::cmd("PING")
            .query_async(&mut connection)
            .await
            .unwrap();
        pings.push(begun.elapsed());
        let begun = Instant::now();
        let id = store.submit(1, Some(&client)).await[0];
        let reply = replies.recv().await.unwrap();
        assert!(matches!(reply, Reply::Ended(ended, Some(_)) if ended == id));
        awaits.push(begun.elapsed());
    }
    work.abort();
    pings.sort();
    awaits.sort();
    let at = |times: &[Duration], share: f64| {
        times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6
    };
    println!(
        "ping p50 {:.0} us; await p50 {:.0} us, p99 {:.0} us; ratio {:.1}; p99/p50 {:.1}",
        at(&pings, 0.5),
        at(&awaits, 0.5),
        at(&awaits, 0.99),
        at(&awaits, 0.5) / at(&pings, 0.5),
        at(&awaits, 0.99) / at(&awaits, 0.5)
    );
}
