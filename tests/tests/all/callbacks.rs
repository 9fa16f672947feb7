//! What follows an end: tasks that are run, and servers that are told, signed and until they take it.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, Payload};
use celeriac_tests::{HostProcess, Stage, until};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "a key that nobody knows";

/// One delivery as it came: headers in lower case, and the body.
#[derive(Clone, Debug)]
struct Delivery {
    head: String,
    body: Vec<u8>,
}

impl Delivery {
    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    }

    /// As docs/callbacks.md tells servers to do it.
    fn is_signed(&self, key: &str) -> Option<bool> {
        let (time, signed) = self.header("celeriac-signature")?.split_once(',')?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
        mac.update(format!("{}.", time.strip_prefix("t=")?).as_bytes());
        mac.update(&self.body);
        let hex: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(signed.strip_prefix("v1=")? == hex)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A real server on this machine: answers with these statuses in turn, then with 200.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Delivery>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(statuses: &[u16]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook?a=1", listener.local_addr()?);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let statuses = Arc::new(Mutex::new(VecDeque::from(statuses.to_vec())));
        let kept = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, statuses) = (kept.clone(), statuses.clone());
                tokio::spawn(async move { serve(stream, &seen, &statuses).await });
            }
        });
        Ok(Self { url, seen, task })
    }

    fn seen(&self) -> Vec<Delivery> {
        self.seen.lock().unwrap().clone()
    }

    async fn has_seen(&self, count: usize) -> Result<()> {
        until(PATIENCE, "the server is told", || async {
            Ok(self.seen().len() >= count)
        })
        .await
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Delivery>>,
    statuses: &Mutex<VecDeque<u16>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let mut delivery = Delivery {
        head,
        body: bytes.split_off(head_end),
    };
    let length: usize = delivery.header("content-length")?.parse().ok()?;
    while delivery.body.len() < length {
        (stream.read_buf(&mut delivery.body).await.ok()? > 0).then_some(())?;
    }
    seen.lock().unwrap().push(delivery);
    let status = statuses.lock().unwrap().pop_front().unwrap_or(200);
    // 0: no answer at all, as from a server that hangs.
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()
}

/// A host that may tell servers on this machine.
async fn host(stage: &Stage, grants: &str) -> Result<HostProcess> {
    let dir = stage.dir.path();
    fs::write(dir.join("key"), format!("{KEY}\n"))?;
    let settings = dir.join("celeriac.toml");
    fs::write(&settings, grants.replace("DIR", &dir.display().to_string()))?;
    let settings = settings.to_str().context("a path that is text")?;
    stage.host(&["--config", settings, "--lease", "1s"]).await
}

const GRANTED: &str = r#"
[grants."celeriac"]
http = [{ hosts = ["127.0.0.1"], schemes = ["http"], ports = [PORT], networks = ["127.0.0.0/8"] }]
secrets = { webhook = { file = "DIR/key" } }
"#;

fn granted(server: &Server) -> String {
    let port = server.url.split([':', '/']).nth(4).unwrap();
    GRANTED.replace("PORT", port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_signed_and_again_until_it_takes_it() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let server = Server::start(&[500, 429]).await?;
        let _host = host(&stage, &granted(&server)).await?;
        stage.push(&["basics"]).await?;
        let call = stage.client.task("basics/add")?;
        let call = call
            .on_done(server.url.parse()?)
            .on_failure("basics/echo".parse()?);
        let handle = call.submit(&json!({ "a": 1, "b": 2 })).await?;
        assert_eq!(handle.result::<f64>().await?, 3.0);
        server.has_seen(3).await?;
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        for delivery in &seen {
            assert!(delivery.head.starts_with("post /hook?a=1 http/1.1"));
            assert_eq!(delivery.header("content-type"), Some("application/json"));
            assert_eq!(delivery.is_signed(KEY), Some(true), "{delivery:?}");
            assert_eq!(delivery.is_signed("another"), Some(false));
            let told = delivery.json();
            assert_eq!(told["invocation"]["id"], json!(handle.id()));
            assert_eq!(told["invocation"]["code"], "ok");
            assert_eq!(told["invocation"]["output"], json!(3.0));
            let id = told["delivery"].as_str().unwrap();
            assert_eq!(delivery.header("celeriac-delivery"), Some(id));
        }
        // Recorded as an invocation of its own, with the attempts that failed.
        let id = seen[0].json()["delivery"].as_str().unwrap().parse()?;
        let delivery = stage.client.handle(id);
        assert_eq!(delivery.outcome().await?.code, Code::Ok);
        let trail = delivery.status().await?.trail;
        assert_eq!(trail.len(), 2);
        assert!(trail[0].message.contains("500"), "{trail:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_in_between_loses_no_delivery() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let server = Server::start(&[0]).await?;
        let first = host(&stage, &granted(&server)).await?;
        stage.push(&["basics"]).await?;
        let call = stage.client.task("basics/fail")?;
        let call = call.on_failure(server.url.parse()?);
        let handle = call.submit(&json!({ "message": "no luck" })).await?;
        assert_eq!(handle.outcome().await?.code, Code::TaskError);
        // The server has it, and the host has no answer, when that dies.
        server.has_seen(1).await?;
        first.kill();
        let _second = host(&stage, &granted(&server)).await?;
        server.has_seen(2).await?;
        let seen = server.seen();
        let ids: Vec<_> = seen
            .iter()
            .map(|told| told.json()["delivery"].clone())
            .collect();
        assert_eq!(ids[0], ids[1], "the same delivery has the same id");
        assert_eq!(
            seen[1].json()["invocation"]["failure"]["message"],
            "no luck"
        );
        let delivery = stage.client.handle(ids[0].as_str().unwrap().parse()?);
        assert_eq!(delivery.outcome().await?.code, Code::Ok);
        assert_eq!(delivery.status().await?.crashes, 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_not_told() -> Result<()> {
    let stage = Stage::embedded().await?;
    let server = Server::start(&[]).await?;
    let anywhere = r#"
[grants."celeriac"]
http = [{ hosts = ["*"], schemes = ["http"], ports = [PORT] }]
"#;
    let port = server.url.split([':', '/']).nth(4).unwrap();
    let no_key = anywhere.replace("PORT", port);
    let with_key = format!("{no_key}secrets = {{ webhook = {{ file = \"DIR/key\" }} }}\n");
    let nowhere = "[grants.\"celeriac\"]\nsecrets = { webhook = { file = \"DIR/key\" } }\n";
    for (grants, why) in [
        (no_key.as_str(), "signed"),
        // Any host: but no address that is not public.
        (with_key.as_str(), "loopback"),
        (nowhere, "not granted"),
    ] {
        let _host = host(&stage, grants).await?;
        stage.push(&["basics"]).await?;
        let call = stage.client.task("basics/noop")?;
        // A reference to a webhook's own outcome: it fails, and that is what follows.
        let handle = call.submit_payload(Payload::json_text("null")).await?;
        handle.outcome().await?;
        let told = stage.client.task("celeriac/webhook")?;
        let told = told.after_any_end(handle.id());
        let input = json!({ "url": server.url, "outcome": { "$outcome": 0 } });
        let outcome = told.submit(&input).await?.outcome().await?;
        assert_eq!(outcome.code, Code::TaskError);
        let failure = outcome.failure.clone().unwrap();
        assert!(failure.message.contains(why), "{why}: {failure:?}");
        assert!(!failure.retryable);
    }
    assert!(server.seen().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_run_on_what_it_follows() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics", "counter"]).await?;
        let fail = stage.client.task("basics/fail")?;
        let fail = fail
            .on_failure("basics/echo".parse()?)
            .on_success("basics/noop".parse()?);
        let handle = fail.submit(&json!({ "message": "no luck" })).await?;
        handle.outcome().await?;
        // What follows has an id that nobody was told; the queue says that it has been done.
        until(PATIENCE, "what follows has been done", || async {
            let queues = stage.client.broker().queues().await?;
            Ok(queues
                .iter()
                .all(|queue| queue.blocked + queue.queued + queue.running == 0))
        })
        .await?;
        let refused = stage.client.task("basics/noop")?;
        let refused = refused.on_done("basics/there-is-none".parse()?);
        assert!(refused.submit(&json!(null)).await.is_err());
    }
    Ok(())
}
