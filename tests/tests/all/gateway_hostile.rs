//! The gateway under callers who mean harm: each gets a refusal or nothing, and everybody else an answer.

use std::time::{Duration, Instant};

use anyhow::Result;
use celeriac::gateway::tokens::Scope;
use celeriac_tests::{
    Stage,
    http::{Http, read_answer},
    sample,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::gateway::{host, token};

async fn lives(http: &Http) -> Result<()> {
    let started = Instant::now();
    assert_eq!(http.get("/livez").await?.status, 200);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "others wait {:?}",
        started.elapsed()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_slow_or_huge_or_no_http_end() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &[]).await?;
    // A head that never ends: after 15 seconds the connection is closed.
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = http.connect().await?;
        stream
            .get_mut()
            .write_all(b"GET /livez HTTP/1.1\r\nx: ")
            .await?;
        slow.push(stream);
    }
    lives(&http).await?;
    let huge = [("x-huge", "x".repeat(64 << 10))];
    let huge: Vec<_> = huge
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(http.send("GET", "/livez", &huge, b"").await?.status, 431);
    let many: Vec<_> = (0..1000).map(|n| (format!("x-{n}"), "1")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    assert_eq!(http.send("GET", "/livez", &many, b"").await?.status, 431);
    let long = http
        .send(
            "GET",
            &format!("/v1/modules/{}", "a".repeat(100_000)),
            &[],
            b"",
        )
        .await?;
    assert!(matches!(long.status, 414 | 431), "{}", long.status);
    assert_eq!(
        http.exchange(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n")
            .await?
            .status,
        400
    );
    let ended = async {
        for stream in &mut slow {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    };
    timeout(Duration::from_secs(40), ended).await?;
    lives(&http).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_their_cap_are_refused_before_they_are_kept() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (process, http) = host(&stage, &["--set", "caps.input=1MiB"]).await?;
    let before = process.resident_kib()?;
    // Announced: refused although nothing was sent.
    let json = [
        ("content-type", "application/json"),
        ("content-length", "1000000000000"),
    ];
    for (method, path) in [("POST", "/v1/invocations"), ("PUT", "/v1/modules/big")] {
        let head = http.head(method, path, &json) + "\r\n";
        assert_eq!(http.exchange(head.as_bytes()).await?.status, 413, "{path}");
    }
    // Not announced: refused as soon as it is too much.
    for (method, path) in [("POST", "/v1/invocations"), ("PUT", "/v1/modules/big")] {
        let headers = [
            ("content-type", "application/json"),
            ("transfer-encoding", "chunked"),
        ];
        let mut stream = http.connect().await?;
        stream
            .get_mut()
            .write_all((http.head(method, path, &headers) + "\r\n").as_bytes())
            .await?;
        let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
        let mut sent = 0;
        while sent < 200 && stream.get_mut().write_all(&chunk).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 100, "{sent} MiB were taken at {path}");
        if let Ok(answer) = read_answer(&mut stream).await {
            assert_eq!(answer.status, 413, "{path}");
        }
    }
    let grown = process.resident_kib()?.saturating_sub(before);
    assert!(grown < 120 << 10, "the host grew by {grown} KiB");
    lives(&http).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_together_stay_within_their_budget() -> Result<()> {
    for (method, path) in [
        ("POST", "/v1/invocations"),
        ("PUT", "/v1/modules/big"),
        ("PUT", "/v1/schedules/big"),
    ] {
        let stage = Stage::embedded().await?;
        let settings = [
            "--set",
            "http.body_memory=1MiB",
            "--set",
            "caps.module=1MiB",
        ];
        let (_host, http) = host(&stage, &settings).await?;
        let mut held = Vec::new();
        for _ in 0..4 {
            let headers = [
                ("content-type", "application/json"),
                ("content-length", "400000"),
            ];
            let mut stream = http.connect().await?;
            let head = http.head(method, path, &headers) + "\r\n";
            stream
                .get_mut()
                .write_all(&[head.as_bytes(), &vec![b' '; 390_000]].concat())
                .await?;
            held.push(stream);
        }
        // Those that fit wait for their last bytes; whoever does not is told at once.
        let mut refused = 0;
        for stream in &mut held {
            if let Ok(answer) = timeout(Duration::from_millis(1500), read_answer(stream)).await {
                let answer = answer?;
                assert_eq!(
                    (answer.status, &answer.json()?["code"]),
                    (503, &json!("overloaded")),
                    "{path}"
                );
                assert_eq!(answer.header("retry-after"), Some("1"));
                refused += 1;
            }
        }
        assert!(
            (1..4).contains(&refused),
            "{refused} of 4 were refused at {path}"
        );
        drop(held);
        lives(&http).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_streams_over_their_caps_are_told_so() -> Result<()> {
    let stage = Stage::embedded().await?;
    let settings = ["--set", "http.connections=50", "--set", "http.streams=3"];
    let (_host, http) = host(&stage, &settings).await?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(http.events("/v1/replies", &[]).await?);
    }
    let answer = http.get("/v1/replies").await?;
    assert_eq!(
        (answer.status, &answer.json()?["code"]),
        (503, &json!("overloaded"))
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(http.connect().await?);
    }
    let mut told = 0;
    for stream in &mut idle {
        if let Ok(answer) = timeout(Duration::from_millis(20), read_answer(stream)).await {
            assert_eq!(answer?.json()?["code"], "overloaded");
            told += 1;
        }
    }
    assert!((150..=160).contains(&told), "{told} of 200 were told");
    drop(idle);
    celeriac_tests::until(Duration::from_secs(20), "there is room again", || async {
        Ok(http
            .get("/livez")
            .await
            .is_ok_and(|answer| answer.status == 200))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_holds_up_nobody() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (process, http) = host(&stage, &[]).await?;
    stage.push(&["basics"]).await?;
    let mut deaf = Vec::new();
    for _ in 0..20 {
        deaf.push(http.events("/v1/replies", &[]).await?);
    }
    let mut client = String::new();
    for stream in &mut deaf {
        if let Some(open) = stream.next().await? {
            client = open.data["client"].as_str().unwrap_or_default().to_owned();
        }
    }
    let before = process.resident_kib()?;
    let large = "x".repeat(100_000);
    for _ in 0..200 {
        let body = json!({"task": "basics/echo", "input": large, "reply_to": client});
        assert_eq!(http.post("/v1/invocations", &body).await?.status, 202);
    }
    let ended = http
        .post("/v1/invocations?wait=30", &json!({"task": "basics/noop"}))
        .await?;
    assert_eq!(ended.status, 200);
    let grown = process.resident_kib()?.saturating_sub(before);
    assert!(grown < 200 << 10, "the host grew by {grown} KiB");
    lives(&http).await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_no_tokens_no_paths_and_no_json_are_refused() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &["--set", "http.tokens=always"]).await?;
    let good = token(&stage, &Scope::ALL).await?;
    let wrong_secret = format!(
        "{}{}",
        &good[..good.len() - 1],
        if good.ends_with('0') { "1" } else { "0" }
    );
    let long = "x".repeat(10_000);
    for bad in [
        "",
        "cel_",
        "x",
        &wrong_secret,
        &good.to_uppercase(),
        &good[..30],
        "cel_../../etc_x",
        &long,
    ] {
        let answer = http.clone().with_token(bad).get("/v1/modules").await?;
        assert_eq!(
            (answer.status, &answer.json()?["code"]),
            (401, &json!("unauthorized")),
            "{bad}"
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let http = http.with_token(good);
    for path in [
        "/v1/modules/..%2f..%2fetc%2fpasswd",
        "/v1/modules/../../etc/passwd",
        "/v1/invocations/..%2f..%2f",
        "/v1/invocations/00000000-0000-0000-0000-000000000000",
        "/v1/modules/%00",
        "/v1/modules/basics/tasks/%2e%2e",
        "/v1//invocations",
        "/etc/passwd",
        "/",
    ] {
        let answer = http.get(path).await?;
        assert!(
            matches!(answer.status, 400 | 404 | 422),
            "{path}: {}",
            answer.status
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
    }
    let bomb = |inner: String| format!(r#"{{"task":"basics/echo","input":{inner}}}"#);
    let json = [("content-type", "application/json")];
    for (body, status) in [
        (bomb("[".repeat(500_000)), 400),
        (bomb("[".repeat(100_000) + &"]".repeat(100_000)), 422),
        (
            bomb(r#"{"a":"#.repeat(100_000) + "1" + &"}".repeat(100_000)),
            422,
        ),
        ("[".repeat(100_000) + &"]".repeat(100_000), 400),
        (String::new(), 400),
        ("null".to_owned(), 422),
        (
            r#"{"task":"basics/echo","task":"basics/noop"}"#.to_owned(),
            422,
        ),
        (r#"{"task":"basics/echo","input":1e999999}"#.to_owned(), 404),
        ("\u{0}".to_owned(), 400),
    ] {
        let start = &body[..body.len().min(60)];
        let answer = http
            .send("POST", "/v1/invocations", &json, body.as_bytes())
            .await?;
        assert!(
            matches!(answer.status, 400 | 404 | 422),
            "{start}: {}",
            answer.status
        );
        assert!(
            answer.status == status || status == 400 && answer.status == 422,
            "{start}: {}",
            answer.status
        );
    }
    let plain = http
        .send(
            "POST",
            "/v1/invocations",
            &[("content-type", "text/plain")],
            b"{}",
        )
        .await?;
    assert_eq!(plain.status, 415, "what any web page may send is not taken");
    let wrong = http.send("PATCH", "/v1/invocations", &[], b"").await?;
    assert_eq!(
        (wrong.status, &wrong.json()?["code"]),
        (405, &json!("method_not_allowed"))
    );
    assert!(
        wrong
            .header("allow")
            .is_some_and(|allow| allow.contains("POST")),
        "{:?}",
        wrong.headers
    );
    lives(&http).await
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_do_not_reach_an_open_gateway() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &["--set", "http.origins=https://app.example"]).await?;
    stage.push(&["basics"]).await?;
    let body = br#"{"task":"basics/noop"}"#;
    let from = async |origin: &str, host: &str| {
        let headers = [
            ("origin", origin),
            ("host", host),
            ("content-type", "application/json"),
        ];
        http.send("POST", "/v1/invocations", &headers, body).await
    };
    let own = http.address.as_str();
    assert_eq!(from("https://evil.example", own).await?.status, 403);
    assert_eq!(from("null", own).await?.status, 403);
    assert_eq!(
        from("http://rebound.example", "rebound.example")
            .await?
            .status,
        403
    );
    assert_eq!(from("https://app.example", own).await?.status, 202);
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        http.send("OPTIONS", "/v1/invocations", &headers, b"").await
    };
    let allowed = preflight("https://app.example").await?;
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        preflight("https://evil.example")
            .await?
            .header("access-control-allow-origin"),
        None
    );
    // Without origins there is nothing that allows a page anything, not even its own.
    let (_other, closed) = host(&stage, &[]).await?;
    let own = format!("http://{}", closed.address);
    for origin in ["https://app.example", &own, "null"] {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        for method in ["OPTIONS", "GET"] {
            let answer = closed
                .send(method, "/v1/invocations", &headers, b"")
                .await?;
            let allowing = answer
                .headers
                .iter()
                .find(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(allowing, None, "{method} from {origin}");
        }
        let preflight = closed
            .send("OPTIONS", "/v1/invocations", &headers, b"")
            .await?;
        assert!(preflight.status >= 400, "{}", preflight.status);
    }
    // What a task gives as a page is none.
    let page = http
        .send("PUT", "/v1/modules/celeriac", &[], &sample("basics")?)
        .await?;
    assert_eq!(page.status, 422, "the host's own name is nobody's");
    Ok(())
}
