//! What only the Redis engine can get wrong about invocations that wait for others.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

#[allow(dead_code, reason = "shared with tests that use all of it")]
mod redis_store;

use std::time::{Duration, Instant};

use celeriac_broker::{
    After, Broker as _, Code, HostId, InvocationId, Reserved, State, Submission, testing::AofMode,
};
use redis_store::{Store, done, look};

async fn accept(store: &Store, submission: Submission) -> InvocationId {
    let id = submission.id;
    let answers = store.broker.submit(vec![submission]).await.unwrap();
    answers
        .into_iter()
        .for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));
    id
}

async fn after(store: &Store, parents: &[InvocationId]) -> InvocationId {
    let mut child = store.submission(b"x", None);
    child.options.after = parents.iter().map(|id| After::success(*id)).collect();
    accept(store, child).await
}

async fn take(store: &Store) -> Vec<Reserved> {
    let request = look(&HostId::random("host"), 10);
    store.broker.reserve(&request).await.unwrap()
}

async fn becomes(store: &Store, id: InvocationId, state: State) {
    let begun = Instant::now();
    while store.broker.status(id).await.unwrap().state != state {
        assert!(begun.elapsed() < Duration::from_secs(10), "not {state}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has the sweep come now.
fn sweep(store: &Store, id: InvocationId) {
    let now = format!("ZADD cel:{{0}}:due 1 {id}");
    store.server.command(&now).unwrap();
    store.server.command("PUBLISH cel:{0}:due 0").unwrap();
}

#[tokio::test]
async fn the_sweep_mends_a_count_that_went_wrong() {
    let store = Store::start(AofMode::Off).await;
    let parent = accept(&store, store.submission(b"x", None)).await;
    let child = after(&store, &[parent]).await;
    let wrong = format!("HSET cel:{{0}}:i:{child} k 5");
    store.server.command(&wrong).unwrap();
    let taken = take(&store).await;
    store
        .broker
        .settle(vec![done(&taken[0], b"x")])
        .await
        .unwrap();
    becomes(&store, child, State::Blocked).await;
    sweep(&store, child);
    becomes(&store, child, State::Queued).await;
    assert_eq!(take(&store).await[0].lease.id, child);
}

#[tokio::test]
async fn the_sweep_ends_what_waits_for_a_parent_that_is_gone() {
    let store = Store::start(AofMode::Off).await;
    let parent = accept(&store, store.submission(b"x", None)).await;
    let child = after(&store, &[parent]).await;
    // The ticker comes with the first reserve.
    assert_eq!(take(&store).await.len(), 1);
    store
        .server
        .command(&format!("DEL cel:{{0}}:i:{parent}"))
        .unwrap();
    sweep(&store, child);
    becomes(&store, child, State::Failed).await;
    let outcome = store.broker.outcome(child, None).await.unwrap().unwrap();
    assert_eq!(outcome.code, Code::DependencyFailed);
    let message = outcome.failure.unwrap().message;
    assert!(message.contains("not known any more"), "{message}");
}

#[tokio::test]
async fn a_server_that_crashes_in_between_loses_no_edge() {
    let mut store = Store::start(AofMode::Always).await;
    let parents: Vec<_> = store.submit(30, None).await;
    let child = after(&store, &parents).await;
    let last = after(&store, &[child]).await;
    let request = look(&HostId::random("host"), 100);
    let mut taken = store.broker.reserve(&request).await.unwrap();
    let rest = taken.split_off(15);
    for some in [taken, rest] {
        store.server.kill().unwrap();
        store.server.restart().unwrap();
        let batch: Vec<_> = some.iter().map(|taken| done(taken, b"x")).collect();
        let begun = Instant::now();
        while store.broker.settle(batch.clone()).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    becomes(&store, child, State::Queued).await;
    let taken = take(&store).await;
    store
        .broker
        .settle(vec![done(&taken[0], b"x")])
        .await
        .unwrap();
    becomes(&store, last, State::Queued).await;
}

#[tokio::test]
async fn nothing_is_left_when_all_have_ended() {
    let store = Store::start(AofMode::Off).await;
    let parents = store.submit(20, None).await;
    // More than stand in the record of a parent.
    let mut children = Vec::new();
    for _ in 0..20 {
        children.push(after(&store, &parents).await);
    }
    loop {
        let taken = take(&store).await;
        if taken.is_empty() {
            break;
        }
        let batch = taken.iter().map(|taken| done(taken, b"x")).collect();
        store.broker.settle(batch).await.unwrap();
    }
    for id in parents.iter().chain(&children) {
        let outcome = store.broker.outcome(*id, None).await.unwrap().unwrap();
        assert_eq!(outcome.code, Code::Ok);
        let ttl = store.server.command(&format!("TTL cel:{{0}}:i:{id}"));
        assert_ne!(ttl.unwrap().trim(), ":-1", "kept for ever");
    }
    for key in ["ends", "blocked", "due"] {
        let there = store.server.command(&format!("EXISTS cel:{{0}}:{key}"));
        assert_eq!(there.unwrap().trim(), ":0", "{key}");
    }
    let lists = store.server.command("KEYS cel:{0}:after:*").unwrap();
    assert_eq!(lists.trim(), "*0");
}
