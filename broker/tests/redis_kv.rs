//! What only Redis can get wrong about key-value stores: where the keys lie, and what a lost server costs.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use celeriac_broker::{
    Broker as _, BrokerError,
    redis::{RedisBroker, RedisOptions},
    testing::{AofMode, RedisServer},
};

async fn start(aof: AofMode) -> RedisServer {
    let started = tokio::task::spawn_blocking(move || RedisServer::start(aof));
    started.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_shares_the_hash_tag_and_clearing_leaves_none() {
    let server = start(AofMode::Off).await;
    let broker = RedisBroker::connect(&server.url(), RedisOptions::default())
        .await
        .unwrap();
    let value = Bytes::from_static(b"v");
    broker
        .kv_set("text", "a}b{c", value.clone(), None)
        .await
        .unwrap();
    let long = Some(Duration::from_secs(60));
    broker.kv_set("text", "b", value, long).await.unwrap();
    let keys = server.command("KEYS *").unwrap();
    for name in ["kv:text", "kvkeys:text", "kvttl:text", "kvbytes"] {
        assert!(keys.contains(&format!("cel:{{0}}:{name}")), "{keys}");
    }
    assert_eq!(
        keys.matches("cel:{0}:").count(),
        5,
        "layout and the four: {keys}"
    );
    assert_eq!(broker.kv_clear("text").await.unwrap(), 2);
    let keys = server.command("KEYS *kv*").unwrap();
    assert!(!keys.contains("cel:"), "{keys}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_counts_and_none_is_done_twice() {
    let mut server = start(AofMode::Always).await;
    let broker = RedisBroker::connect(&server.url(), RedisOptions::default())
        .await
        .unwrap();
    for expected in 1..=50 {
        let count = broker.kv_increment("text", "count", 1, None).await.unwrap();
        assert_eq!(count, expected);
    }
    server.kill().unwrap();
    let lost = broker
        .kv_increment("text", "count", 1, None)
        .await
        .unwrap_err();
    assert!(matches!(lost, BrokerError::Unavailable { .. }), "{lost}");
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    assert_eq!(broker.kv_get("text", "count").await.unwrap().unwrap(), "50");
    assert_eq!(
        broker.kv_increment("text", "count", 1, None).await.unwrap(),
        51
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_named() {
    let server = start(AofMode::Off).await;
    let broker = RedisBroker::connect(&server.url(), RedisOptions::default())
        .await
        .unwrap();
    server.command("SET cel:{0}:kv:text x").unwrap();
    let damaged = broker.kv_get("text", "key").await.unwrap_err();
    assert!(matches!(damaged, BrokerError::Damaged { .. }), "{damaged}");
}
