//! The key-value store as guests see it, over both brokers and in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::{Arc, Mutex};

use celeriac::{
    engine::{Denials, Denied, EngineConfig, Execution, KeyValues, Limits, Module, Rights},
    local::LocalKeyValues,
    worker::BrokerKeyValues,
};
use celeriac_broker::{
    Broker, Caps, StoreOptions, connect_with,
    testing::{AofMode, RedisServer},
};
use serde_json::{Value, json};
use support::{Bench, request, sample};
use tokio::{runtime::Handle, sync::OnceCell};

/// The modules that the tests run: one that does as it is told, and the sample.
async fn guests() -> &'static (Bench, Module, Module) {
    static GUESTS: OnceCell<(Bench, Module, Module)> = OnceCell::const_new();
    GUESTS
        .get_or_init(|| async {
            // Room for all tests of this file at once.
            let bench = Bench::with_config(EngineConfig {
                concurrency: 64,
                ..EngineConfig::default()
            });
            let told = bench.load(sample("testing_secrets")).await;
            let counter = bench.load(sample("counter")).await;
            (bench, told, counter)
        })
        .await
}

/// A broker with whatever keeps it alive.
struct Store {
    broker: Arc<dyn Broker>,
    server: Option<RedisServer>,
    _dir: tempfile::TempDir,
}

impl Store {
    async fn open(url: &str, server: Option<RedisServer>, dir: tempfile::TempDir) -> Self {
        let options = StoreOptions {
            caps: Caps {
                kv_keys: 5,
                kv_bytes: 1 << 20,
                ..Caps::default()
            },
            ..StoreOptions::default()
        };
        Self {
            broker: connect_with(url, options).await.unwrap(),
            server,
            _dir: dir,
        }
    }

    async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}", dir.path().display());
        Self::open(&url, None, dir).await
    }

    async fn redis() -> Self {
        let started = tokio::task::spawn_blocking(|| RedisServer::start(AofMode::Off));
        let server = started.await.unwrap().unwrap();
        let url = server.url();
        Self::open(&url, Some(server), tempfile::tempdir().unwrap()).await
    }

    fn of(&self, module: &str) -> Arc<dyn KeyValues> {
        let store = BrokerKeyValues::new(Arc::clone(&self.broker), module, Handle::current());
        Arc::new(store.unwrap())
    }
}

/// The same over both brokers.
async fn both() -> [Store; 2] {
    [Store::embedded().await, Store::redis().await]
}

async fn call(
    values: Option<Arc<dyn KeyValues>>,
    calls: Value,
    limits: Limits,
) -> (Vec<Value>, Execution) {
    let (bench, told, _) = guests().await;
    let mut request = request("store", &calls.to_string(), limits);
    request.rights = Arc::new(Rights {
        key_values: values,
        ..Rights::default()
    });
    let execution = bench.engine.execute(told, request).await;
    let answers = serde_json::from_str(support::json(&execution)).unwrap();
    (answers, execution)
}

async fn ask(values: Arc<dyn KeyValues>, calls: Value) -> Vec<Value> {
    call(Some(values), calls, Limits::default()).await.0
}

#[track_caller]
fn is(answer: &Value, kind: &str, part: &str) {
    let text = answer[kind].as_str().unwrap_or_default();
    assert!(
        !text.is_empty() && text.contains(part),
        "no {kind} with `{part}`: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_arrives_and_comes_back() {
    let [embedded, redis] = both().await;
    let local: Arc<dyn KeyValues> = Arc::new(LocalKeyValues::default());
    for values in [embedded.of("one"), redis.of("one"), local] {
        let calls = json!([
            { "call": "get", "key": "a" },
            { "call": "set", "key": "a", "bytes": 3 },
            { "call": "get", "key": "a" },
            { "call": "add", "key": "a", "by": 9 },
            { "call": "claim", "key": "b", "value": "x" },
            { "call": "claim", "key": "b", "value": "y" },
            { "call": "list", "prefix": "" },
            { "call": "delete", "key": "a" },
            { "call": "delete", "key": "a" },
            { "call": "list", "prefix": "a" },
        ]);
        let (answers, execution) = call(Some(values), calls, Limits::default()).await;
        let expected = [
            json!(null),
            json!(null),
            json!(3),
            json!(120),
            json!(true),
            json!(false),
            json!(["a", "b"]),
            json!(true),
            json!(false),
            json!([]),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|value| json!({ "ok": value }))
            .collect();
        assert_eq!(answers, expected);
        assert_eq!(execution.usage.kv_calls, 10);
        assert!(execution.usage.host_calls >= 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_modules_keys_are_out_of_reach() {
    for store in both().await {
        ask(
            store.of("victim"),
            json!([{ "call": "set", "key": "key", "bytes": 7 }]),
        )
        .await;
        let tries = json!([
            { "call": "get", "key": "key" },
            { "call": "get", "key": "victim:key" },
            { "call": "get", "key": "../victim/key" },
            { "call": "get", "key": "}:kv:victim" },
            { "call": "delete", "key": "key" },
            { "call": "list", "prefix": "" },
            { "call": "claim", "key": "key", "value": "mine" },
        ]);
        let answers = ask(store.of("intruder"), tries).await;
        for answer in &answers[..4] {
            assert_eq!(*answer, json!({ "ok": null }));
        }
        assert_eq!(
            answers[4..],
            [
                json!({ "ok": false }),
                json!({ "ok": [] }),
                json!({ "ok": true })
            ]
        );
        let found = ask(
            store.of("victim"),
            json!([{ "call": "get", "key": "key" }, { "call": "list", "prefix": "" }]),
        );
        assert_eq!(found.await, [json!({ "ok": 7 }), json!({ "ok": ["key"] })]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_to_the_limit_and_refused_beyond() {
    for store in both().await {
        let limits = Limits {
            kv_calls: 3,
            ..Limits::default()
        };
        let add = json!({ "call": "add", "key": "n", "by": 1 });
        let at = json!([add, add, add]);
        let (answers, _) = call(Some(store.of("one")), at, limits.clone()).await;
        assert_eq!(answers[2], json!({ "ok": 3 }));
        let past = json!([add, add, add, add, { "call": "list", "prefix": "" }]);
        let (answers, execution) = call(Some(store.of("one")), past, limits).await;
        assert_eq!(answers[2], json!({ "ok": 6 }));
        is(&answers[3], "limit", "kv_calls: 3 allowed, 4 seen");
        is(&answers[4], "limit", "limits(kv_calls = …)");
        assert_eq!(execution.usage.kv_calls, 3, "what was refused was not made");
        let sum = ask(
            store.of("one"),
            json!([{ "call": "add", "key": "n", "by": 0 }]),
        )
        .await;
        assert_eq!(sum[0], json!({ "ok": 6 }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_taken_up_to_the_limit_both_ways() {
    for store in both().await {
        let limits = Limits {
            kv_value_bytes: 1_000,
            ..Limits::default()
        };
        let calls = json!([
            { "call": "set", "key": "at", "bytes": 1_000 },
            { "call": "set", "key": "past", "bytes": 1_001 },
            { "call": "claim", "key": "claimed", "value": "x".repeat(999) },
            { "call": "get", "key": "at" },
            { "call": "list", "prefix": "" },
        ]);
        let (answers, _) = call(Some(store.of("one")), calls, limits.clone()).await;
        assert_eq!(answers[0], json!({ "ok": null }));
        is(
            &answers[1],
            "limit",
            "kv_value_bytes: 1000 allowed, 1001 seen",
        );
        // 999 letters have 1001 bytes as JSON.
        is(&answers[2], "limit", "kv_value_bytes");
        assert_eq!(
            answers[3..],
            [json!({ "ok": 1_000 }), json!({ "ok": ["at"] })]
        );
        ask(
            store.of("one"),
            json!([{ "call": "set", "key": "at", "bytes": 1_001 }]),
        )
        .await;
        let (answers, _) = call(
            Some(store.of("one")),
            json!([{ "call": "get", "key": "at" }]),
            limits,
        )
        .await;
        is(
            &answers[0],
            "limit",
            "kv_value_bytes: 1000 allowed, 1001 seen",
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_named() {
    for store in both().await {
        let calls = json!([
            { "call": "get", "key": "" },
            { "call": "get", "key": "k".repeat(512) },
            { "call": "get", "key": "k".repeat(513) },
            { "call": "set", "key": "a\nb", "bytes": 1 },
            { "call": "list", "prefix": "k".repeat(513) },
            { "call": "claim", "key": "text", "value": "x" },
            { "call": "add", "key": "text", "by": 1 },
            { "call": "add", "key": "far", "by": 1_i64 << 53 },
            { "call": "add", "key": "n", "by": (1_i64 << 53) + 1 },
        ]);
        let answers = ask(store.of("one"), calls).await;
        is(&answers[0], "invalid", "1 to 512 bytes");
        assert_eq!(answers[1], json!({ "ok": null }));
        is(&answers[2], "invalid", "513 bytes");
        is(&answers[3], "invalid", "control characters");
        is(&answers[4], "invalid", "512 bytes");
        assert_eq!(answers[5], json!({ "ok": true }));
        is(&answers[6], "invalid", "not a whole number");
        assert_eq!(answers[7], json!({ "ok": 1_i64 << 53 }));
        is(&answers[8], "invalid", "2^53");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_a_limit_with_its_setting() {
    for store in both().await {
        let set = |key: &str, bytes: usize| json!({ "call": "set", "key": key, "bytes": bytes });
        let five: Vec<_> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|key| set(key, 1))
            .collect();
        let answers = ask(store.of("keys"), json!(five)).await;
        assert_eq!(answers[4], json!({ "ok": null }));
        let answers = ask(store.of("keys"), json!([set("f", 1), set("a", 2)])).await;
        is(&answers[0], "limit", "caps.kv_keys");
        assert_eq!(answers[1], json!({ "ok": null }));
        let quarter = (256 << 10) - 1;
        let full = json!([
            set("a", quarter),
            set("b", quarter),
            set("c", quarter),
            set("d", quarter),
            set("e", 0)
        ]);
        let answers = ask(store.of("bytes"), full).await;
        assert_eq!(answers[3], json!({ "ok": null }), "a whole mebibyte");
        is(&answers[4], "limit", "caps.kv_bytes");
    }
}

/// Remembers what was denied.
#[derive(Default)]
struct Log(Mutex<Vec<Denied>>);

impl Denials for Log {
    fn deny(&self, denied: &Denied) -> String {
        self.0.lock().unwrap().push(denied.clone());
        "write `kv = true` into the policy".to_owned()
    }
}

#[tokio::test]
async fn without_a_grant_every_call_is_denied_and_none_traps() {
    let (bench, told, _) = guests().await;
    let calls = json!([
        { "call": "get", "key": "a" },
        { "call": "set", "key": "a", "bytes": 1 },
        { "call": "add", "key": "a", "by": 1 },
        { "call": "claim", "key": "a", "value": "x" },
        { "call": "delete", "key": "a" },
        { "call": "list", "prefix": "" },
    ]);
    let log = Arc::new(Log::default());
    let mut request = request("store", &calls.to_string(), Limits::default());
    request.rights = Arc::new(Rights {
        denials: Some(log.clone()),
        ..Rights::default()
    });
    let execution = bench.engine.execute(told, request).await;
    let answers: Vec<Value> = serde_json::from_str(support::json(&execution)).unwrap();
    assert_eq!(answers.len(), 6);
    for answer in &answers {
        is(answer, "denied", "kv = true");
    }
    assert!(
        log.0
            .lock()
            .unwrap()
            .iter()
            .all(|denied| denied.kind == "kv")
    );
    assert_eq!(execution.usage.kv_calls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_is_unavailable_and_stays_unnamed() {
    let mut store = Store::redis().await;
    let values = store.of("one");
    ask(
        values.clone(),
        json!([{ "call": "add", "key": "n", "by": 1 }]),
    )
    .await;
    let mut server = store.server.take().unwrap();
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    server.kill().unwrap();
    let answers = ask(
        values,
        json!([{ "call": "add", "key": "n", "by": 1 }, { "call": "get", "key": "n" }]),
    )
    .await;
    for answer in &answers {
        is(answer, "unavailable", "later");
        assert!(
            !answer.to_string().contains(port.trim_end_matches('/')),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_cross_cost_fuel() {
    let store = Store::embedded().await;
    let set = |bytes: usize| json!([{ "call": "set", "key": "a", "bytes": bytes }]);
    let get = json!([{ "call": "get", "key": "a" }]);
    let values = store.of("one");
    let fuel = async |calls: &Value| {
        let (_, execution) = call(Some(values.clone()), calls.clone(), Limits::default()).await;
        execution.usage.fuel
    };
    let (little, much) = (fuel(&set(1)).await, fuel(&set(200_001)).await);
    assert!(much >= little + 200_000, "{little}, {much}");
    let read = fuel(&get).await;
    fuel(&set(1)).await;
    assert!(read >= fuel(&get).await + 200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_counts_for_all_invocations_together() {
    let (bench, _, counter) = guests().await;
    for store in both().await {
        let run = async |task: &str, id: &str, input: Value| {
            let mut request = request(task, &input.to_string(), Limits::default());
            id.clone_into(&mut request.invocation.id);
            request.rights = Arc::new(Rights {
                key_values: Some(store.of("counter")),
                ..Rights::default()
            });
            let execution = bench.engine.execute(counter, request).await;
            serde_json::from_str::<Value>(support::json(&execution)).unwrap()
        };
        let hits: Vec<_> = (0..20)
            .map(|_| run("hit", "a", json!({ "name": "home" })))
            .collect();
        let mut counts: Vec<_> = futures(hits)
            .await
            .iter()
            .map(|n| n.as_u64().unwrap())
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, (1..=20).collect::<Vec<_>>());
        run(
            "hit",
            "a",
            json!({ "name": "about", "by": 3, "window": 60 }),
        )
        .await;
        let top = run("top", "a", json!({ "limit": 5 })).await;
        assert_eq!(
            top,
            json!([{ "name": "home", "count": 20 }, { "name": "about", "count": 3 }])
        );
        let once = json!({ "name": "report" });
        assert_eq!(run("once", "a", once.clone()).await, json!(true));
        assert_eq!(run("once", "b", once.clone()).await, json!(false));
        assert_eq!(run("once", "a", once).await, json!(true));
        assert_eq!(run("reset", "a", json!("home")).await, json!(true));
        assert_eq!(run("read", "a", json!("home")).await, json!(0));
    }
}

/// All of them at once.
async fn futures<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut waiting {
            if output.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        match waiting.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    waiting
        .into_iter()
        .map(|(_, output)| output.unwrap())
        .collect()
}

#[tokio::test]
async fn a_store_in_memory_ends_with_its_run() {
    let one: Arc<dyn KeyValues> = Arc::new(LocalKeyValues::default());
    ask(
        one.clone(),
        json!([{ "call": "set", "key": "a", "bytes": 1 }]),
    )
    .await;
    let another: Arc<dyn KeyValues> = Arc::new(LocalKeyValues::default());
    let get = json!([{ "call": "get", "key": "a" }]);
    assert_eq!(ask(one, get.clone()).await, [json!({ "ok": 1 })]);
    assert_eq!(ask(another, get).await, [json!({ "ok": null })]);
    let small: Arc<dyn KeyValues> = Arc::new(LocalKeyValues::new(Caps {
        kv_keys: 1,
        kv_bytes: 10,
        ..Caps::default()
    }));
    let calls = json!([
        { "call": "set", "key": "a", "bytes": 9 },
        { "call": "set", "key": "a", "bytes": 10 },
        { "call": "set", "key": "b", "bytes": 0 },
    ]);
    let answers = ask(small, calls).await;
    assert_eq!(answers[0], json!({ "ok": null }));
    is(&answers[1], "limit", "caps.kv_bytes");
    is(&answers[2], "limit", "caps.kv_keys");
}
