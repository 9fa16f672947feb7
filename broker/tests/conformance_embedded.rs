//! The conformance suite over the embedded engine, and what only this engine can get wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "cases are tests: they end at the first surprise"
)]

#[macro_use]
mod conformance;

use std::path::PathBuf;

use async_trait::async_trait;
use celeriac_broker::{
    Broker as _, BrokerError, ClientId, Code, HostId, HostInfo, Outcome, Payload, Reserve,
    embedded::{EmbeddedBroker, EmbeddedOptions},
};
use conformance::kit::{Handle, Kit, Settings, Store};

/// A store in a directory of its own, which goes with it.
struct Embedded {
    dir: PathBuf,
    options: EmbeddedOptions,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[async_trait]
impl Store for Embedded {
    async fn open(&self) -> Handle {
        EmbeddedBroker::open(&self.dir, self.options.clone()).unwrap()
    }

    async fn kept_for(&self, client: &ClientId) -> usize {
        let db = self.database();
        let sql = "SELECT (SELECT count(*) FROM replies WHERE client = ?1)
                        + (SELECT count(*) FROM listeners WHERE topic = 'c:' || ?1)";
        db.query_row(sql, [client.as_str()], |row| row.get(0))
            .unwrap()
    }

    async fn keys_held(&self) -> usize {
        let sql = "SELECT count(*) FROM once";
        self.database()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }

    async fn ordered(&self) -> usize {
        let sql = "SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM lanes) + (SELECT count(*) FROM turns)";
        self.database()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }

    async fn timed(&self) -> usize {
        let sql = "SELECT (SELECT count(*) FROM ends) + (SELECT count(*) FROM scheduled)";
        self.database()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }
}

impl Embedded {
    fn new(settings: Settings) -> Self {
        let options = EmbeddedOptions {
            caps: settings.caps,
            ageing: settings.ageing,
            dead_letters: settings.dead_letters,
            ..EmbeddedOptions::default()
        };
        let dir =
            std::env::temp_dir().join(format!("celeriac-test-{}", uuid::Uuid::new_v4().simple()));
        Self { dir, options }
    }

    fn database(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.dir.join("celeriac.db")).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        db
    }
}

async fn fresh(settings: Settings) -> Box<dyn Store> {
    Box::new(Embedded::new(settings))
}

suite!(crate::fresh);

/// A store that this file can look into, with a kit on it.
async fn kit() -> (PathBuf, rusqlite::Connection, Kit) {
    let store = Embedded::new(Settings::default());
    let dir = store.dir.clone();
    EmbeddedBroker::open(&dir, store.options.clone()).unwrap();
    let db = store.database();
    (dir, db, Kit::new(Box::new(store)).await)
}

fn rows(db: &rusqlite::Connection, table: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

#[tokio::test]
async fn a_damaged_record_ends_as_a_failure_and_does_not_block_its_queue() {
    let (_, db, kit) = kit().await;
    let ids = kit.submit_many(4).await;
    let damage =
        |sql: &str, at: usize| assert_eq!(db.execute(sql, [ids[at].as_bytes()]).unwrap(), 1);
    damage("UPDATE invocations SET header = '{' WHERE id = ?1", 0);
    damage("UPDATE invocations SET input = NULL WHERE id = ?1", 1);
    damage("DELETE FROM invocations WHERE id = ?1", 2);
    db.execute(
        "INSERT INTO ready VALUES ('default', -5, x'00', 0, 0, 0, 0, NULL, NULL)",
        [],
    )
    .unwrap();
    assert_eq!(kit.take_all().await, [ids[3]]);
    for id in &ids[..2] {
        assert_eq!(kit.code(*id).await, Some(Code::HostFault));
    }
    assert_eq!((rows(&db, "ready"), rows(&db, "leases")), (0, 1));
}

#[tokio::test]
async fn what_has_expired_is_removed_whole() {
    let settings = Settings {
        dead_letters: celeriac_broker::DeadLetters {
            ttl: std::time::Duration::from_millis(1),
            most: 5,
        },
        ..Settings::default()
    };
    let store = Embedded::new(settings);
    EmbeddedBroker::open(&store.dir, store.options.clone()).unwrap();
    let (db, kit) = (store.database(), Kit::new(Box::new(store)).await);
    let mut submission = kit.submission("text/run");
    submission.options.result_ttl_ms = Some(1);
    submission.input = Payload::bytes("a/b", vec![1; 5000]);
    kit.accept(submission.clone()).await;
    let lease = kit.take().await.lease;
    kit.host
        .record(&lease, vec![conformance::kit::log("x")])
        .await
        .unwrap();
    kit.settle(&lease, Outcome::failed(Code::Trap, "no")).await;
    assert_eq!((rows(&db, "payloads"), rows(&db, "events")), (1, 1));
    // Any transaction of a fresh process takes a piece along.
    conformance::kit::eventually(async || {
        kit.store
            .open()
            .await
            .announce(&info(), false)
            .await
            .unwrap();
        rows(&db, "payloads") + rows(&db, "events") + rows(&db, "dead") == 0
    })
    .await;
    assert!(matches!(
        kit.client.status(submission.id).await,
        Err(BrokerError::Expired(_))
    ));
}

#[tokio::test]
async fn the_sweep_mends_what_waits_in_vain() {
    let (_, db, kit) = kit().await;
    let parents = kit.submit_many(2).await;
    let mut children = Vec::new();
    for parent in &parents {
        let mut child = kit.submission("text/run");
        child.options.after = vec![celeriac_broker::After::success(*parent)];
        children.push(kit.accept(child).await);
    }
    db.execute("UPDATE blocked SET pending = 5", ()).unwrap();
    let gone = "DELETE FROM invocations WHERE id = ?1";
    db.execute(gone, [parents[1].as_bytes()]).unwrap();
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert_eq!(rows(&db, "blocked"), 2);
    db.execute("UPDATE blocked SET look_at = 0", ()).unwrap();
    // The ticker of a fresh process has its first look at once.
    let fresh = kit.store.open().await;
    let taken = fresh.reserve(&conformance::kit::request()).await.unwrap();
    assert_eq!(taken[0].lease.id, children[0]);
    let code = async || kit.code(children[1]).await;
    conformance::kit::eventually(async || code().await == Some(Code::DependencyFailed)).await;
    assert_eq!(rows(&db, "blocked") + rows(&db, "untold"), 0);
}

#[tokio::test]
async fn refuses_the_layout_of_a_newer_version() {
    let (dir, db, kit) = kit().await;
    db.pragma_update(None, "user_version", 99).unwrap();
    let refused = EmbeddedBroker::open(&dir, EmbeddedOptions::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Unfit { .. }), "{refused}");
    assert!(refused.to_string().contains("layout is 99"), "{refused}");
    drop(kit);
}

#[tokio::test]
async fn says_what_is_wrong_with_a_directory() {
    let (dir, _, kit) = kit().await;
    let file = dir.join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = EmbeddedBroker::open(&file, EmbeddedOptions::default()).unwrap_err();
    assert!(matches!(refused, BrokerError::Unfit { .. }), "{refused}");
    drop(kit);
}

#[tokio::test]
async fn keeps_others_out_of_its_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, _, kit) = kit().await;
    assert_eq!(
        std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    drop(kit);
}

#[tokio::test]
async fn a_dropped_handle_takes_its_bells_and_listeners_along() {
    let (dir, db, kit) = kit().await;
    let client = ClientId::random();
    let replies = kit.client.replies(&client).await.unwrap();
    let controls = kit.host.controls(&info().host).await.unwrap();
    assert_eq!(rows(&db, "listeners"), 2);
    drop((replies, controls));
    drop((kit.client, kit.host));
    let bells = || std::fs::read_dir(dir.join("bells")).unwrap().count();
    conformance::kit::eventually(async || bells() == 0 && rows(&db, "listeners") == 0).await;
    drop(kit.store);
}

#[tokio::test]
async fn a_killed_process_leaves_a_bell_that_is_taken_down() {
    let (dir, db, kit) = kit().await;
    let client = ClientId::random();
    // As SIGKILL leaves it: a socket that nobody reads, and the rows about it.
    drop(std::os::unix::net::UnixDatagram::bind(dir.join("bells/talk-dead")).unwrap());
    db.execute(
        "INSERT INTO listeners VALUES ('c:' || ?1, 'talk-dead')",
        [client.as_str()],
    )
    .unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(client.clone());
    kit.accept(submission).await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    kit.submit().await;
    assert!(!dir.join("bells/talk-dead").exists());
    conformance::kit::eventually(async || {
        kit.host.interrupt(&info().host).await.unwrap();
        kit.succeed(&lease).await;
        kit.store.kept_for(&client).await == 0
    })
    .await;
}

#[tokio::test]
async fn works_in_a_directory_whose_name_is_long() {
    let mut store = Embedded::new(Settings::default());
    let outer = store.dir.clone();
    store.dir = outer.join("d".repeat(150));
    let kit = Kit::new(Box::new(store)).await;
    let host = kit.host.clone();
    let waiting =
        tokio::spawn(async move { host.reserve(&conformance::kit::request()).await.unwrap() });
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    let id = kit.submit().await;
    assert_eq!(waiting.await.unwrap()[0].lease.id, id);
    drop(kit);
    std::fs::remove_dir_all(outer).unwrap();
}

/// Not a test by itself: the process that `a_process_ended_with_sigkill_loses_nothing` ends.
#[tokio::test]
#[ignore = "the other half of a test"]
async fn reserves_and_hangs() {
    let Ok(dir) = std::env::var("CELERIAC_TEST_DIR") else {
        return;
    };
    let broker = EmbeddedBroker::open(dir.as_ref(), EmbeddedOptions::default()).unwrap();
    let _controls = broker.controls(&info().host).await.unwrap();
    let asked = Reserve {
        max: 3,
        lease: conformance::kit::SHORT_LEASE,
        ..conformance::kit::request()
    };
    assert_eq!(broker.reserve(&asked).await.unwrap().len(), 3);
    println!("held");
    std::future::pending().await
}

#[tokio::test]
async fn a_process_ended_with_sigkill_loses_nothing() {
    use std::io::{BufRead as _, BufReader};
    let (dir, db, kit) = kit().await;
    let ids = kit.submit_many(5).await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reserves_and_hangs", "--ignored", "--nocapture"])
        .env("CELERIAC_TEST_DIR", &dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("held"))
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rows(&db, "leases"), 3);
    let mut taken = kit.take_all().await;
    while taken.len() < 5 {
        let reserved = kit.reserve_until_some(conformance::kit::request()).await;
        taken.extend(reserved.into_iter().map(|reserved| reserved.lease.id));
    }
    taken.sort();
    assert_eq!(taken, ids);
    kit.submit().await;
    let bells = std::fs::read_dir(dir.join("bells")).unwrap().flatten();
    let work = bells.filter(|bell| bell.file_name().to_string_lossy().starts_with("work-"));
    assert_eq!(
        work.count(),
        2,
        "the dead process's bell for work still hangs"
    );
}

/// Not a test by itself: the process that `a_process_ended_with_sigkill_keeps_its_counts` ends.
#[tokio::test]
#[ignore = "the other half of a test"]
async fn counts_for_ever() {
    let Ok(dir) = std::env::var("CELERIAC_TEST_DIR") else {
        return;
    };
    let broker = EmbeddedBroker::open(dir.as_ref(), EmbeddedOptions::default()).unwrap();
    loop {
        let count = broker.kv_increment("text", "count", 1, None).await.unwrap();
        println!("counted {count}");
    }
}

#[tokio::test]
async fn a_process_ended_with_sigkill_keeps_its_counts() {
    use std::io::{BufRead as _, BufReader};
    let (dir, _, kit) = kit().await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "counts_for_ever", "--ignored", "--nocapture"])
        .env("CELERIAC_TEST_DIR", &dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let count = |line: String| line.split_once("counted ")?.1.parse::<i64>().ok();
    while lines.next().unwrap().ok().and_then(count) != Some(100) {}
    child.kill().unwrap();
    child.wait().unwrap();
    // What was said was kept; what was under way happened, or did not.
    let said = lines.map_while(Result::ok).filter_map(count).last();
    let said = said.unwrap_or(100);
    let next = kit
        .host
        .kv_increment("text", "count", 1, None)
        .await
        .unwrap();
    assert!((said + 1..=said + 2).contains(&next), "{next} after {said}");
}

fn info() -> HostInfo {
    HostInfo {
        host: HostId::random("x"),
        machine: String::new(),
        pid: 1,
        queues: Vec::new(),
        concurrency: 1,
        ceiling: 1,
        is_draining: false,
        version: String::new(),
        started_at_ms: 0,
        running: 0,
        seen_ms_ago: 0,
    }
}
