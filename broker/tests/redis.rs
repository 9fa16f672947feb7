//! What only the Redis engine can get wrong: restarts, lost scripts, unfit servers, its footprint.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

#[path = "redis_store/mod.rs"]
mod store;

use std::{
    io::BufRead as _,
    time::{Duration, Instant},
};

use celeriac_broker::{
    Broker, BrokerError, CancelResult, ClientId, Code, Control, EventKind, HostId, OnConflict,
    Payload, Reply, Scope, Settled, State, Unique, Verdict,
    redis::{RedisBroker, RedisOptions},
    testing::{AofMode, RedisServer},
};
use store::{LEASE, Store, done, look, settlement};
use tokio::{sync::mpsc::Receiver, time::timeout};

const SOON: Duration = Duration::from_secs(10);

async fn next(replies: &mut Receiver<Reply>) -> Reply {
    timeout(SOON, replies.recv())
        .await
        .expect("a reply in time")
        .expect("an open stream")
}

async fn query<T: ::redis::FromRedisValue>(store: &Store, command: &[&str]) -> T {
    let client = ::redis::Client::open(store.server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut cmd = ::redis::Cmd::new();
    for part in command {
        cmd.arg(*part);
    }
    cmd.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn pushes_the_outcome_and_empties_the_reply_stream() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    let ids = store.submit(3, Some(&client)).await;
    let host = HostId::random("host");
    let taken = store.broker.reserve(&look(&host, 10)).await.unwrap();
    assert_eq!(taken.iter().map(|r| r.lease.id).collect::<Vec<_>>(), ids);
    let large = vec![b'y'; 5000];
    let batch = vec![
        done(&taken[0], b"small"),
        done(&taken[1], &large),
        done(&taken[2], b""),
    ];
    assert_eq!(
        store.broker.settle(batch.clone()).await.unwrap(),
        [Settled::Written; 3]
    );
    let Reply::Ended(id, Some(outcome)) = next(&mut replies).await else {
        panic!()
    };
    assert_eq!((id, *outcome), (ids[0], batch[0].outcome().clone()));
    assert_eq!(
        next(&mut replies).await,
        Reply::Ended(ids[1], None),
        "5000 bytes are read, not pushed"
    );
    assert_eq!(
        store.broker.outcome(ids[1], None).await.unwrap(),
        Some(batch[1].outcome().clone())
    );
    let Reply::Ended(_, Some(empty)) = next(&mut replies).await else {
        panic!()
    };
    assert_eq!(*empty, batch[2].outcome().clone());
    drop(replies);
    let stream = format!("cel:{{0}}:reply:{}", client.as_str());
    let begun = Instant::now();
    while query::<u32>(&store, &["EXISTS", &stream]).await > 0 {
        assert!(begun.elapsed() < SOON, "the stream is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_repeated_settle_is_written_and_a_late_one_stale() {
    let store = Store::start(AofMode::Off).await;
    let ids = store.submit(1, None).await;
    let host = HostId::random("host");
    let taken = store.broker.reserve(&look(&host, 1)).await.unwrap();
    store
        .broker
        .release(&[taken[0].lease.clone()])
        .await
        .unwrap();
    assert_eq!(
        store
            .broker
            .settle(vec![done(&taken[0], b"late")])
            .await
            .unwrap(),
        [Settled::Stale]
    );
    let again = store.broker.reserve(&look(&host, 1)).await.unwrap();
    assert_eq!(again[0].attempt, 1, "a released attempt does not count");
    assert_ne!(again[0].lease.token, taken[0].lease.token);
    for _ in 0..2 {
        assert_eq!(
            store
                .broker
                .settle(vec![done(&again[0], b"out")])
                .await
                .unwrap(),
            [Settled::Written]
        );
    }
    assert_eq!(
        store
            .broker
            .settle(vec![done(&taken[0], b"late")])
            .await
            .unwrap(),
        [Settled::Stale]
    );
    let status = store.broker.status(ids[0]).await.unwrap();
    assert_eq!(
        (status.state, status.attempts, status.crashes),
        (State::Succeeded, 1, 0)
    );
    assert_eq!(query::<i64>(&store, &["HLEN", "cel:{0}:uses"]).await, 0);
    assert_eq!(query::<i64>(&store, &["ZCARD", "cel:{0}:leases"]).await, 0);
}

#[tokio::test]
async fn one_batch_may_name_a_lease_twice() {
    let store = Store::start(AofMode::Off).await;
    store.submit(2, None).await;
    let taken = store
        .broker
        .reserve(&look(&HostId::random("host"), 1))
        .await
        .unwrap();
    let twice = vec![done(&taken[0], b"a"), done(&taken[0], b"b")];
    assert_eq!(
        store.broker.settle(twice).await.unwrap(),
        [Settled::Written; 2]
    );
    let outcome = store
        .broker
        .outcome(taken[0].lease.id, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(outcome.output.unwrap().data, "a".as_bytes());
    assert_eq!(
        query::<Vec<i64>>(&store, &["HVALS", "cel:{0}:uses"]).await,
        [1],
        "the other one still needs the module"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comes_back_after_a_crash_of_the_server_with_its_scripts_and_streams() {
    let mut store = Store::start(AofMode::Always).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    let host = HostId::random("host");
    let mut controls = store.broker.controls(&host).await.unwrap();
    let ids = store.submit(20, Some(&client)).await;
    let taken = store.broker.reserve(&look(&host, 5)).await.unwrap();
    let mut events = store.broker.watch(taken[0].lease.id, None).await.unwrap();
    store.server.kill().unwrap();
    let error = store.broker.status(ids[0]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let error = store.broker.reserve(&look(&host, 5)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    store.server.restart().unwrap();

    assert_eq!(next(&mut replies).await, Reply::Reconnected);
    assert_eq!(
        timeout(SOON, controls.recv()).await.unwrap(),
        Some(Control::Reconnected)
    );
    let unsettled = store.broker.outcomes(&ids, Some(&client)).await.unwrap();
    assert!(unsettled.iter().all(|outcome| matches!(outcome, Ok(None))));

    // The leases of before still hold, and the scripts are loaded again on the way.
    store
        .broker
        .record(
            &taken[0].lease,
            vec![EventKind::Chunk(Payload::bytes("text/plain", "part"))],
        )
        .await
        .unwrap();
    let event = timeout(SOON, events.recv()).await.unwrap().unwrap();
    assert_eq!(
        event.kind,
        EventKind::Chunk(Payload::bytes("text/plain", "part"))
    );
    let rest = store.broker.reserve(&look(&host, 100)).await.unwrap();
    assert_eq!(taken.len() + rest.len(), 20);
    let batch = taken
        .iter()
        .chain(&rest)
        .map(|reserved| done(reserved, b"out"))
        .collect();
    assert!(
        store
            .broker
            .settle(batch)
            .await
            .unwrap()
            .iter()
            .all(|settled| *settled == Settled::Written)
    );
    let mut ended = Vec::new();
    while ended.len() < 20 {
        match next(&mut replies).await {
            Reply::Ended(id, Some(_)) => ended.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ended, ids);
    store.broker.cancel(ids[0]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_runtime_waits_for_no_sockets_may_be_the_first_to_find_the_connection_lost()
{
    let mut store = Store::start(AofMode::EverySecond).await;
    let ids = store.submit(1, None).await;
    store.server.restart().unwrap();
    let (broker, asked) = (store.broker.clone(), ids.clone());
    // As the runtime of guests is.
    let other = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async { broker.outcomes(&asked, None).await.unwrap() })
    });
    let answers = tokio::task::spawn_blocking(|| other.join().unwrap());
    let answers = answers.await.unwrap();
    assert!(matches!(answers.as_slice(), [Ok(None)]), "{answers:?}");
    // The connection outlives the runtime of the one that found the old one lost.
    let status = store.broker.status(ids[0]).await.unwrap();
    assert_eq!(status.state, State::Queued);
}

#[tokio::test]
async fn loads_scripts_that_the_server_forgot() {
    let store = Store::start(AofMode::Off).await;
    let host = HostId::random("host");
    for _ in 0..2 {
        let _: String = query(&store, &["SCRIPT", "FLUSH"]).await;
        let ids = store.submit(1, None).await;
        let mut request = look(&host, 1);
        request.wait = Duration::from_secs(1);
        let taken = store.broker.reserve(&request).await.unwrap();
        assert_eq!(taken[0].lease.id, ids[0]);
        assert_eq!(
            store
                .broker
                .settle(vec![done(&taken[0], b"")])
                .await
                .unwrap(),
            [Settled::Written]
        );
    }
}

#[tokio::test]
async fn refuses_a_server_that_evicts() {
    let server =
        RedisServer::start_with(AofMode::Off, &["--maxmemory-policy", "allkeys-lru"]).unwrap();
    let broker = RedisBroker::connect(&server.url(), RedisOptions::default())
        .await
        .unwrap();
    let error = broker.require_fit().await.unwrap_err();
    assert!(matches!(error, BrokerError::Unfit { .. }));
    let text = error.to_string();
    assert!(
        text.contains("allkeys-lru") && text.contains("maxmemory-policy noeviction"),
        "{text}"
    );
}

#[tokio::test]
async fn tells_what_is_right_and_what_is_risky() {
    let store = Store::start(AofMode::Off).await;
    store.broker.require_fit().await.unwrap();
    let checks = store.broker.check().await.unwrap();
    let verdict = |name: &str| {
        checks
            .iter()
            .find(|check| check.name == name)
            .unwrap()
            .verdict
    };
    assert_eq!(verdict("version"), Verdict::Good);
    assert_eq!(verdict("eviction"), Verdict::Good);
    assert_eq!(verdict("persistence"), Verdict::Warning);
    assert!(
        checks
            .iter()
            .all(|check| (check.verdict == Verdict::Good) == check.remedy.is_empty())
    );
}

#[tokio::test]
async fn refuses_the_layout_of_another_version() {
    let store = Store::start(AofMode::Off).await;
    let layout: String = query(&store, &["GET", "cel:{0}:layout"]).await;
    let newer = layout.replace("\"version\":1", "\"version\":2");
    let _: String = query(&store, &["SET", "cel:{0}:layout", &newer]).await;
    let error = RedisBroker::connect(&store.server.url(), RedisOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(&error, BrokerError::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("layout 2"), "{error}");
}

#[tokio::test]
async fn says_where_the_server_should_be_and_hides_the_password() {
    let mut server = RedisServer::start(AofMode::Off).unwrap();
    server.stop().unwrap();
    let url = format!("redis://user:secret@127.0.0.1:{}/", server.port());
    let begun = Instant::now();
    let error = RedisBroker::connect(&url, RedisOptions::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert!(
        error.contains(&format!("127.0.0.1:{}", server.port())) && error.contains("refused"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    let error = RedisBroker::connect("redis://:secret@host:x/", RedisOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Invalid { .. }));
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn speaks_tls_to_rediss() {
    let server = RedisServer::start(AofMode::Off).unwrap();
    let url = server.url().replace("redis://", "rediss://");
    let options = RedisOptions {
        connect_timeout: Duration::from_secs(2),
        ..RedisOptions::default()
    };
    let error = RedisBroker::connect(&url, options).await.unwrap_err();
    // A server without TLS does not understand the handshake.
    assert!(
        error.is_transient() && error.to_string().contains("rediss://127.0.0.1"),
        "{error}"
    );
}

#[tokio::test]
async fn an_idle_host_sends_fewer_than_20_commands_a_minute() {
    let store = Store::start(AofMode::Off).await;
    let host = HostId::random("host");
    let mut request = look(&host, 8);
    store.broker.reserve(&request).await.unwrap();
    // A minute of waits of ten seconds, each cut to a hundredth.
    request.wait = Duration::from_millis(100);
    // The marker of the work that was there before wakes it once.
    store.broker.reserve(&request).await.unwrap();
    let mut monitor = store.server.monitor().unwrap();
    for _ in 0..6 {
        assert!(store.broker.reserve(&request).await.unwrap().is_empty());
    }
    store.server.command("ECHO the-end").unwrap();
    let mut sent = 0;
    let mut line = String::new();
    while !line.contains("the-end") {
        line.clear();
        monitor.read_line(&mut line).unwrap();
        // What a script does inside the server is shown as `[0 lua]`: nobody sent it.
        sent += usize::from(line.contains("[0 127.0.0.1"));
    }
    assert_eq!(sent - 1, 12, "one wait and one look for each ten seconds");
}

/// The names of the commands that scripts run inside the server, up to `the-end`, with their keys.
fn inner_calls(monitor: &mut impl std::io::BufRead) -> Vec<String> {
    let mut calls = Vec::new();
    loop {
        let mut line = String::new();
        monitor.read_line(&mut line).unwrap();
        if line.contains("the-end") {
            return calls;
        }
        if let Some((_, call)) = line.split_once("lua] ") {
            calls.push(call.to_owned());
        }
    }
}

#[tokio::test]
async fn a_plain_invocation_costs_six_calls_and_touches_no_times() {
    const COUNT: usize = 50;
    let store = Store::start(AofMode::Off).await;
    let host = HostId::random("host");
    // The ticker has its first look, which it shows for a second, before anything is counted.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1)
        && query::<u64>(&store, &["EXISTS", "cel:{0}:ticker"]).await == 0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut monitor = store.server.monitor().unwrap();
    store.submit(COUNT, None).await;
    let reserved = store.broker.reserve(&look(&host, COUNT)).await.unwrap();
    assert_eq!(reserved.len(), COUNT);
    let batch = reserved.iter().map(|taken| done(taken, b"x")).collect();
    store.broker.settle(batch).await.unwrap();
    store.server.command("ECHO the-end").unwrap();
    let calls = inner_calls(&mut monitor);
    // Submit: 1. Reserve: 2. Settle: 3. And a few for each script, whatever is in it.
    let each_script = calls.len() - 6 * COUNT;
    assert!(each_script <= 20, "{each_script}: {calls:#?}");
    let timed = |call: &&String| call.contains(":due") || call.contains(":scheduled");
    let timed: Vec<_> = calls.iter().filter(timed).collect();
    assert!(timed.is_empty(), "{timed:#?}");
}

#[tokio::test]
async fn a_queued_invocation_costs_at_most_1_kib_beside_its_payload() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    const COUNT: usize = 2000;
    let used = async || {
        let info: String = query(&store, &["INFO", "memory"]).await;
        let line = info
            .lines()
            .find(|line| line.starts_with("used_memory_dataset:"))
            .unwrap()
            .to_owned();
        line.split(':')
            .nth(1)
            .unwrap()
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    let before: i64 = used().await;
    let ids = store.submit(COUNT, Some(&client)).await;
    let grown = (used().await - before) / COUNT as i64;
    let list: i64 = query(
        &store,
        &["MEMORY", "USAGE", "cel:{0}:q:default:1", "SAMPLES", "0"],
    )
    .await;
    let mut sum = list;
    for id in &ids {
        sum += query_memory(&store, &format!("cel:{{0}}:i:{id}")).await;
    }
    let each = sum / COUNT as i64 - 100;
    println!(
        "{each} bytes by MEMORY USAGE, {} by used memory, beside a payload of 100",
        grown - 100
    );
    assert!(each <= 1024, "{each} bytes");
    assert!(grown - 100 <= 1024, "{grown} bytes");
}

async fn query_memory(store: &Store, key: &str) -> i64 {
    let answer = store
        .server
        .command(&format!("MEMORY USAGE {key}"))
        .unwrap();
    answer.trim_start_matches(':').trim().parse().unwrap()
}

#[tokio::test]
async fn finished_work_is_written_down_when_memory_is_full() {
    let store = Store::start(AofMode::Off).await;
    let ids = store.submit(3, None).await;
    let host = HostId::random("host");
    let taken = store.broker.reserve(&look(&host, 2)).await.unwrap();
    let _: String = query(&store, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let error = store
        .broker
        .submit(vec![store.submission(b"x", None)])
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("memory"),
        "{error}"
    );
    let leases: Vec<_> = taken
        .iter()
        .map(|reserved| reserved.lease.clone())
        .collect();
    assert!(
        store
            .broker
            .renew(&host, &leases, LEASE)
            .await
            .unwrap()
            .lost
            .is_empty()
    );
    let batch = taken
        .iter()
        .map(|reserved| done(reserved, b"out"))
        .collect();
    assert_eq!(
        store.broker.settle(batch).await.unwrap(),
        [Settled::Written; 2]
    );
    let last = store.broker.reserve(&look(&host, 2)).await.unwrap();
    assert_eq!(last[0].lease.id, ids[2], "what was accepted still runs");
}

#[tokio::test]
async fn a_damaged_record_is_failed_and_does_not_stop_the_queue() {
    let store = Store::start(AofMode::Off).await;
    let ids = store.submit(3, None).await;
    let _: i64 = query(
        &store,
        &[
            "HSET",
            &format!("cel:{{0}}:i:{}", ids[0]),
            "h",
            "1 default {nonsense",
        ],
    )
    .await;
    let _: i64 = query(&store, &["DEL", &format!("cel:{{0}}:i:{}", ids[1])]).await;
    let _: String = query(
        &store,
        &["SET", &format!("cel:{{0}}:i:{}", ids[1]), "of another type"],
    )
    .await;
    let host = HostId::random("host");
    let taken = store.broker.reserve(&look(&host, 10)).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].lease.id, ids[2]);
    let outcome = store.broker.outcome(ids[0], None).await.unwrap().unwrap();
    assert_eq!(outcome.code, Code::HostFault);
    assert!(outcome.failure.unwrap().message.contains("damaged"));
    assert!(
        store
            .broker
            .reserve(&look(&host, 10))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_costs_little_and_is_told_to_check() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    store.submit(5000, Some(&client)).await;
    let host = HostId::random("host");
    let taken = store.broker.reserve(&look(&host, 5000)).await.unwrap();
    assert_eq!(taken.len(), 5000);
    for reserved in taken {
        store
            .broker
            .settle(vec![done(&reserved, b"out")])
            .await
            .unwrap();
    }
    let entries: u64 = query(
        &store,
        &["XLEN", &format!("cel:{{0}}:reply:{}", client.as_str())],
    )
    .await;
    assert!(entries <= 4096, "{entries} entries");
    let mut replies = store.broker.replies(&client).await.unwrap();
    assert_eq!(next(&mut replies).await, Reply::Reconnected);
}

#[tokio::test]
async fn cancelled_while_queued_leaves_no_hole_in_the_counts() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    let ids = store.submit(10, Some(&client)).await;
    for id in &ids[..5] {
        assert_eq!(
            store.broker.cancel(*id).await.unwrap(),
            CancelResult::Cancelled
        );
        let Reply::Ended(ended, Some(outcome)) = next(&mut replies).await else {
            panic!()
        };
        assert_eq!((ended, outcome.code), (*id, Code::Cancelled));
        assert_eq!(
            store.broker.cancel(*id).await.unwrap(),
            CancelResult::AlreadyEnded
        );
    }
    let queues = store.broker.queues().await.unwrap();
    let depth = queues
        .iter()
        .find(|queue| queue.queue == "default")
        .unwrap()
        .queued;
    assert_eq!(depth, 5);
    let taken = store
        .broker
        .reserve(&look(&HostId::random("host"), 10))
        .await
        .unwrap();
    assert_eq!(
        taken.iter().map(|r| r.lease.id).collect::<Vec<_>>(),
        ids[5..]
    );
    let queues = store.broker.queues().await.unwrap();
    let default = queues
        .iter()
        .find(|queue| queue.queue == "default")
        .unwrap();
    assert_eq!((default.queued, default.running), (0, 5));
    assert_eq!(query::<i64>(&store, &["HLEN", "cel:{0}:stale"]).await, 0);
}

#[tokio::test]
async fn three_dead_hosts_quarantine_what_they_ran() {
    let store = Store::start(AofMode::Off).await;
    let client = ClientId::random();
    let mut replies = store.broker.replies(&client).await.unwrap();
    let ids = store.submit(1, Some(&client)).await;
    let mut leases = Vec::new();
    for attempt in 1..=3 {
        let mut request = look(&HostId::random("host"), 1);
        request.lease = Duration::from_millis(30);
        request.wait = Duration::from_secs(5);
        // The wait ends when a lease may have run out, not with the wait.
        let begun = Instant::now();
        let mut taken = Vec::new();
        while taken.is_empty() {
            taken = store.broker.reserve(&request).await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
        assert_eq!((taken[0].lease.id, taken[0].attempt), (ids[0], attempt));
        leases.push(taken[0].lease.clone());
    }
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(
        store
            .broker
            .reserve(&look(&HostId::random("host"), 1))
            .await
            .unwrap()
            .is_empty()
    );
    let Reply::Ended(_, Some(outcome)) = next(&mut replies).await else {
        panic!()
    };
    assert_eq!(
        (outcome.code, outcome.usage.attempt),
        (Code::Quarantined, 3)
    );
    let status = store.broker.status(ids[0]).await.unwrap();
    assert_eq!((status.state, status.crashes), (State::Failed, 3));
    for lease in leases {
        assert_eq!(
            store
                .broker
                .settle(vec![settlement(&lease, b"late")])
                .await
                .unwrap(),
            [Settled::Stale]
        );
    }
    assert_eq!(query::<i64>(&store, &["HLEN", "cel:{0}:uses"]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_is_never_too_early() {
    let store = Store::start(AofMode::Off).await;
    let host = HostId::random("host");
    for _ in 0..50 {
        let mut request = look(&host, 1);
        request.wait = LEASE;
        let begun = Instant::now();
        let (reserved, interrupted) = tokio::join!(
            store.broker.reserve(&request),
            store.broker.interrupt(&host)
        );
        interrupted.unwrap();
        assert!(reserved.unwrap().is_empty());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

/// The deadline is watched while it waits. Where one call gives it back and takes it again, nothing watches it afterwards.
#[tokio::test]
async fn what_comes_back_and_is_taken_in_one_call_is_watched_by_its_host_alone() {
    let store = Store::start(AofMode::Off).await;
    let mut submission = store.submission(b"1", None);
    submission.options.deadline = Some(Duration::from_secs(3600).into());
    let answers = store.broker.submit(vec![submission]).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(query::<i64>(&store, &["ZCARD", "cel:{0}:due"]).await, 1);
    for attempt in 1..=2 {
        let mut request = look(&HostId::random("host"), 1);
        request.lease = Duration::from_millis(30);
        request.wait = Duration::from_secs(5);
        let mut taken = Vec::new();
        while taken.is_empty() {
            taken = store.broker.reserve(&request).await.unwrap();
        }
        assert_eq!(taken[0].attempt, attempt);
        assert_eq!(query::<i64>(&store, &["ZCARD", "cel:{0}:due"]).await, 0);
    }
}

/// What is replaced is taken off the counts; what replaces it in the same call is not lost by that.
#[tokio::test]
async fn what_is_replaced_in_the_call_that_brought_it_leaves_the_counts_right() {
    let store = Store::start(AofMode::Off).await;
    let debounced = || {
        let mut submission = store.submission(b"1", None);
        submission.options.start = Some(Duration::from_secs(3600).into());
        submission.options.unique = Some(Unique {
            key: "k".to_owned(),
            scope: Scope::default(),
            on_conflict: OnConflict::Replace,
        });
        submission
    };
    let batch = vec![debounced(), debounced(), debounced()];
    let answers = store.broker.submit(batch).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let counts: Vec<String> = query(&store, &["HVALS", "cel:{0}:scheduled"]).await;
    assert_eq!(counts, ["1"]);
    let counts: Vec<String> = query(&store, &["HVALS", "cel:{0}:uses"]).await;
    assert_eq!(counts, ["1"]);
}
