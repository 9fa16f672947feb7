//! A failure that was recorded is run again with the answers that its attempt had: the same end, with exactly the same fuel.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::Code;
use celeriac_tests::{Stage, binary};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::replay::{PATIENCE, Scene, assert_same};

/// Answers every request with the same body, in two pieces, until it is dropped.
struct Server {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(body: Vec<u8>) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = vec![0; 64 << 10];
                let _ = socket.read(&mut request).await;
                let head = format!("HTTP/1.1 202 Accepted\r\nx-kind: {}\r\n", "k".repeat(40));
                let head = format!("{head}content-length: {}\r\n\r\n", body.len());
                let _ = socket.write_all(head.as_bytes()).await;
                let (front, back) = body.split_at(body.len() / 2);
                let _ = socket.write_all(front).await;
                let _ = socket.flush().await;
                tokio::time::sleep(Duration::from_millis(30)).await;
                let _ = socket.write_all(back).await;
            }
        });
        Ok(Self { address, task })
    }

    fn grants(&self) -> String {
        let port = self.address.port();
        format!(
            "[grants.replayed]\nrecord = true\nkv = true\nhttp = [{{ hosts = [\"127.0.0.1\"], schemes = [\"http\"], \
             ports = [{port}], networks = [\"127.0.0.1/32\"] }}]\n"
        )
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Bytes of which each counts for something else.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * at % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_take_the_place_of_the_world() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let server = Server::start(noise(100_000)).await?;
        let mut scene = Scene::on(stage, &server.grants()).await?;
        let (there, nowhere) = (server.url("there?x=1"), "http://127.0.0.1:1/".to_owned());
        let (there, nowhere) = (format!("http {there}"), format!("http {nowhere}"));
        let steps = [
            "random",
            "clock",
            "deadline",
            "sleep 20",
            "elapsed",
            "count a",
            "set b",
            "get b",
            "get c",
            "keys ",
            &there,
            "elapsed",
            &nowhere,
            "secret unknown",
            "spin 500",
            "clock",
            "random",
        ];
        let (id, outcome) = scene.fail(&steps).await?;
        server.stop().await;
        // The key is counted on; a replay counts it where it was.
        let (other, another) = scene.fail(&["count a", "panic"]).await?;
        scene.end_host();
        let replayed = scene.replay(id, &[]).await?;
        assert_same(&replayed, &outcome);
        let message = replayed.1["failure"]["message"].as_str().unwrap();
        assert!(message.contains("202 100000 bytes"), "{message}");
        assert!(replayed.1["replay"]["calls"].as_u64().unwrap() > 20);
        assert_same(&scene.replay(id, &[]).await?, &outcome);
        let replayed = scene.replay(other, &[]).await?;
        assert_eq!(replayed.1["usage"]["fuel"], another.usage.fuel);
        // Whoever does something else is told where.
        let input = json!({ "steps": ["random", "clock", "deadline", "elapsed"] }).to_string();
        let (output, document) = scene.replay(id, &["--input", &input]).await?;
        assert_eq!(output.status.code(), Some(1));
        let stopped = document["replay"]["stopped"].as_str().unwrap();
        assert!(stopped.starts_with("at call "), "{stopped}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_can_be_recorded() -> Result<()> {
    let scene = Scene::on(Stage::embedded().await?, "").await?;
    let task = scene.stage.client.task("replayed/fail")?.record(true);
    let handle = task
        .submit(&json!({ "steps": ["clock", "elapsed"] }))
        .await?;
    let outcome = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
    assert_same(&scene.replay(handle.id(), &[]).await?, &outcome);
    let mut show = Command::new(binary());
    show.args([
        "dead",
        "show",
        &handle.id().to_string(),
        "--broker",
        &scene.stage.url,
    ]);
    let shown = tokio::task::spawn_blocking(move || show.output()).await??;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("calls of its host"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_ended_from_outside_ends_at_the_same_fuel() -> Result<()> {
    let scene = Scene::on(
        Stage::embedded().await?,
        "[grants.replayed]\nrecord = true\n",
    )
    .await?;
    let sleeps = vec!["clock", "sleep 600000"];
    let computes = [vec!["clock"], vec!["spin 10000000"; 100]].concat();
    for steps in [sleeps, computes] {
        let task = scene.stage.client.task("replayed/fail")?;
        let task = task.timeout(Duration::from_millis(400));
        let handle = task.submit(&json!({ "steps": steps })).await?;
        let outcome = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
        assert_eq!(outcome.code, Code::Deadline, "{outcome:?}");
        let (output, document) = scene.replay(handle.id(), &[]).await?;
        assert_eq!(document["code"], "deadline", "{document:#}");
        assert_eq!(
            document["usage"]["fuel"], outcome.usage.fuel,
            "{document:#}"
        );
        assert_eq!(output.status.code(), Some(0), "{document:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_a_recording_ends_its_replay_with_a_word() -> Result<()> {
    let stage = Stage::embedded().await?;
    let settings = "record_bytes = \"1KiB\"\n[grants.replayed]\nrecord = true\nscratch = true\n";
    let scene = Scene::on(stage, settings).await?;
    let (id, _) = scene.fail(&["clock"; 60]).await?;
    let (output, document) = scene.replay(id, &[]).await?;
    let stopped = document["replay"]["stopped"].as_str().unwrap();
    assert!(
        stopped.starts_with("the recording was cut after"),
        "{stopped}"
    );
    assert_eq!(output.status.code(), Some(1));
    let (id, _) = scene.fail(&["clock", "file x"]).await?;
    let (output, document) = scene.replay(id, &[]).await?;
    let stopped = document["replay"]["stopped"].as_str().unwrap();
    assert!(
        stopped.contains("used files, which cannot be recorded"),
        "{stopped}"
    );
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_recording() -> Result<()> {
    const SECRET: &str = "open-sesame-4711";
    let stage = Stage::embedded().await?;
    // The answer has it across the two pieces in which it is sent.
    let body = format!("{}{SECRET}{}", "a".repeat(1000), "b".repeat(1000));
    let server = Server::start(body.into_bytes()).await?;
    let file = stage.dir.path().join("word");
    std::fs::write(&file, SECRET)?;
    let secrets = format!(
        "secrets = {{ word = {{ file = \"{}\" }} }}\n",
        file.display()
    );
    let scene = Scene::on(stage, &format!("{}{secrets}", server.grants())).await?;
    let echo = format!("http {}", server.url(SECRET));
    let set = format!("set {SECRET}");
    let (id, _) = scene.fail(&["secret word", &set, &echo]).await?;
    let (used, outcome) = scene.fail(&["secret word", "clock"]).await?;
    server.stop().await;
    let broker = scene.stage.client.broker();
    for id in [id, used] {
        let recording = broker.recording(id).await?.unwrap();
        let text = String::from_utf8(recording.to_vec())?;
        assert!(!text.contains(SECRET) && !text.contains("sesame"), "{text}");
        for line in text.lines() {
            let Some((_, bytes)) = line.split_once("\"bytes\":\"") else {
                continue;
            };
            let bytes = bytes.split('"').next().unwrap();
            let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, bytes)?;
            let bytes = String::from_utf8_lossy(&bytes);
            assert!(
                !bytes.contains("sesame") && !bytes.contains("open-"),
                "{bytes}"
            );
        }
    }
    // One that is only used is another one in the replay, of the same length.
    assert_same(&scene.replay(used, &[]).await?, &outcome);
    Ok(())
}
