//! What tasks may do on the network, and what they try: real components against real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/servers.rs"]
mod servers;
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use celeriac::engine::{
    Code, Denials, Denied, EngineConfig, Event, Execution, HttpRule, Limits, Module, Request,
    Rights, TcpRule,
};
use serde_json::{Value, json};
use servers::{Dns, Seen, Server, read_request, until_closed};
use support::{Bench, Notes, fault, json as text, request, sample};
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// How long anything that should happen soon may take, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

/// One engine with the probe for all tests that need no DNS server of their own.
async fn probe() -> &'static (Bench, Module) {
    static PROBE: OnceCell<(Bench, Module)> = OnceCell::const_new();
    PROBE.get_or_init(|| probe_with(None)).await
}

async fn probe_with(dns: Option<std::net::SocketAddr>) -> (Bench, Module) {
    let bench = Bench::with_config(EngineConfig {
        concurrency: 20,
        dns,
        ..EngineConfig::default()
    });
    let module = bench.load(sample("netprobe")).await;
    (bench, module)
}

/// Remembers what was denied.
#[derive(Default)]
struct Told(Mutex<Vec<Denied>>);

impl Denials for Told {
    fn deny(&self, denied: &Denied) -> String {
        self.0.lock().unwrap().push(denied.clone());
        format!("grant {denied}")
    }
}

impl Told {
    fn all(&self) -> Vec<(String, String, String)> {
        let denied = self.0.lock().unwrap();
        let parts = |denied: &Denied| {
            let why = denied.why.clone().unwrap_or_default();
            (denied.kind.to_owned(), denied.what.clone(), why)
        };
        denied.iter().map(parts).collect()
    }
}

fn http_rule(host: &str, port: u16) -> HttpRule {
    HttpRule {
        hosts: vec![host.parse().unwrap()],
        schemes: vec!["http".to_owned()],
        ports: vec![port],
        methods: vec![],
        networks: vec!["127.0.0.0/8".parse().unwrap()],
    }
}

fn tcp_rule(host: &str, port: u16, network: &str) -> TcpRule {
    TcpRule {
        host: host.parse().unwrap(),
        port,
        networks: vec![network.parse().unwrap()],
    }
}

fn rights(http: Vec<HttpRule>, tcp: Vec<TcpRule>) -> (Arc<Rights>, Arc<Told>) {
    let told = Arc::new(Told::default());
    let denials: Arc<dyn Denials> = Arc::clone(&told) as _;
    let rights = Rights {
        http,
        tcp,
        denials: Some(denials),
        ..Rights::default()
    };
    (Arc::new(rights), told)
}

/// May ask 127.0.0.1 at the port of a server.
fn may_ask(server: &Server) -> Arc<Rights> {
    rights(vec![http_rule("127.0.0.1", server.port())], vec![]).0
}

fn to(task: &str, input: &Value, limits: Limits, rights: &Arc<Rights>) -> Request {
    Request {
        rights: Arc::clone(rights),
        ..request(task, &input.to_string(), limits)
    }
}

async fn run(task: &str, input: Value, limits: Limits, rights: &Arc<Rights>) -> Execution {
    let (bench, module) = probe().await;
    bench
        .engine
        .execute(module, to(task, &input, limits, rights))
        .await
}

fn value(execution: &Execution) -> Value {
    serde_json::from_str(text(execution)).unwrap()
}

/// Asks, and returns what the guest was told; it never traps.
async fn ask(input: Value, limits: Limits, rights: &Arc<Rights>) -> Value {
    value(&run("ask", input, limits, rights).await)
}

async fn ask_url(url: &str, rights: &Arc<Rights>) -> Value {
    ask(json!({"url": url}), Limits::default(), rights).await
}

/// Waits until the other side of so many connections is closed.
async fn closed(seen: &Seen, connections: u32) {
    let closed = tokio::time::timeout(SOON, seen.closed.acquire_many(connections)).await;
    closed
        .expect("the connection was not closed")
        .unwrap()
        .forget();
}

#[tokio::test]
async fn a_granted_request_is_answered_and_says_who_asks() {
    let server = Server::answering(HELLO).await;
    let execution = run(
        "ask",
        json!({"url": format!("{}a?b=c", server.url()), "method": "POST", "body_bytes": 3}),
        Limits::default(),
        &may_ask(&server),
    )
    .await;
    let told = value(&execution);
    assert_eq!(
        (&told["status"], &told["body"]),
        (&json!(200), &json!("hello"))
    );
    let heads = server.seen.texts();
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("post /a?b=c http/1.1\r\n"), "{head}");
    for line in [
        format!("host: {}\r\n", server.address),
        "x-celeriac-invocation: 0192\r\n".to_owned(),
        "content-length: 3\r\n".to_owned(),
    ] {
        assert!(head.contains(&line), "{line} in {head}");
    }
    let usage = execution.usage;
    assert_eq!((usage.http_requests, usage.http_concurrent), (1, 1));
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn nothing_is_asked_without_a_grant() {
    let server = Server::answering(HELLO).await;
    let (rights, told) = rights(vec![], vec![]);
    let mut request = to(
        "ask",
        &json!({"url": server.url()}),
        Limits::default(),
        &rights,
    );
    let notes = Arc::new(Notes::default());
    request.sink = Arc::clone(&notes) as _;
    let (bench, module) = probe().await;
    let answer = value(&bench.engine.execute(module, request).await);
    assert_eq!(answer["error"], "http-denied");
    let what = format!("GET http://{}", server.address);
    assert_eq!(
        told.all(),
        [("http".to_owned(), what.clone(), String::new())]
    );
    assert_eq!(server.seen.accepted(), 0);
    let notes = notes.0.lock().unwrap();
    let is_told = |event: &Event| format!("{event:?}").contains(&what);
    assert!(notes.iter().any(is_told), "the author is told: {notes:?}");
}

#[tokio::test]
async fn host_scheme_port_and_method_must_all_be_granted() {
    let server = Server::answering(HELLO).await;
    let right = || http_rule("127.0.0.1", server.port());
    let is_denied = async |rule: HttpRule| {
        let (rights, told) = rights(vec![rule], vec![]);
        let denied = ask_url(&server.url(), &rights).await["error"] == "http-denied";
        assert_eq!(told.all().len(), usize::from(denied));
        denied
    };
    assert!(!is_denied(right()).await);
    let mut rule = right();
    rule.hosts = vec!["127.0.0.2".parse().unwrap(), "localhost".parse().unwrap()];
    assert!(is_denied(rule).await, "another host");
    let mut rule = right();
    rule.schemes = vec!["https".to_owned()];
    assert!(is_denied(rule).await, "another scheme");
    let mut rule = right();
    rule.ports = vec![];
    assert!(is_denied(rule).await, "the port of the scheme alone");
    let mut rule = right();
    rule.methods = vec!["POST".to_owned()];
    assert!(is_denied(rule.clone()).await, "another method");
    rule.methods.push("GET".to_owned());
    assert!(!is_denied(rule).await);
    assert_eq!(server.seen.accepted(), 2);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_however_they_are_written() {
    let server = Server::answering(HELLO).await;
    let port = server.port();
    let mut any = http_rule("*", port);
    any.networks.clear();
    let (rights, told) = rights(vec![any], vec![]);
    for (host, why) in [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "metadata"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "shared"),
        ("0.0.0.0", "unspecified"),
        ("[::1]", "loopback"),
        ("[::ffff:10.0.0.1]", "private"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("[64:ff9b::7f00:1]", "loopback"),
        ("[fd00:ec2::254]", "metadata"),
        ("localhost", "loopback"),
    ] {
        let answer = ask_url(&format!("http://{host}:{port}/"), &rights).await;
        assert_eq!(answer["error"], "http-denied", "{host}: {answer}");
        let (_, what, reason) = told.all().pop().unwrap();
        assert!(
            reason.contains(why) && what.contains(host),
            "{host}: {what} {reason}"
        );
    }
    assert_eq!(server.seen.accepted(), 0);
}

#[tokio::test]
async fn odd_spellings_of_an_address_are_no_hosts() {
    let server = Server::answering(HELLO).await;
    let port = server.port();
    let (rights, _) = rights(vec![http_rule("*", port)], vec![]);
    let raw = async |authority: String, path: &str| {
        let input = json!([authority, path]);
        value(&run("ask_raw", input, Limits::default(), &rights).await)
    };
    for host in [
        "0177.0.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "127.1",
        "127.0.0.1.",
        "user@127.0.0.1",
        "a@b@127.0.0.1",
    ] {
        let answer = raw(format!("{host}:{port}"), "/").await;
        let answer = answer.as_str().unwrap();
        assert!(
            answer.contains("UriInvalid") || answer == "refused",
            "{host}: {answer}"
        );
    }
    for path in ["http://10.0.0.1/", "*", "x", "//x\r\nhost: evil"] {
        let answer = raw(server.address.to_string(), path).await;
        assert!(
            answer != "200" || path.starts_with("//"),
            "{path}: {answer}"
        );
    }
    assert_eq!(raw(server.address.to_string(), "/").await, "200");
    assert_eq!(server.seen.accepted(), 1);
}

#[tokio::test]
async fn headers_of_the_connection_and_of_the_host_are_not_the_guests() {
    let server = Server::answering(HELLO).await;
    for name in [
        "Host",
        "X-Celeriac-Invocation",
        "x-celeriac-anything",
        "Connection",
        "Transfer-Encoding",
        "Upgrade",
        "TE",
        "Trailer",
        "Proxy-Authorization",
        "Keep-Alive",
    ] {
        let input = json!({"url": server.url(), "headers": [[name, "forged"]]});
        let answer = ask(input, Limits::default(), &may_ask(&server)).await;
        assert_eq!(answer["error"], "http-invalid", "{name}: {answer}");
    }
    assert_eq!(server.seen.accepted(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_connected_to_where_it_was_checked() {
    let allowed = Server::answering_at("127.0.0.2:0", HELLO).await;
    let port = allowed.port();
    let forbidden = Server::answering_at(&format!("127.0.0.1:{port}"), HELLO).await;
    let dns = Dns::start(|number| {
        let last = if number == 0 { 2 } else { 1 };
        vec![[127, 0, 0, last].into()]
    })
    .await;
    let (bench, module) = probe_with(Some(dns.address)).await;
    let mut rule = http_rule("*.rebind.test", port);
    rule.networks = vec!["127.0.0.2/32".parse().unwrap()];
    let (rights, told) = rights(vec![rule], vec![]);
    let input = json!({"url": format!("http://a.rebind.test:{port}/")});
    let first = bench
        .engine
        .execute(&module, to("ask", &input, Limits::default(), &rights))
        .await;
    assert_eq!(value(&first)["status"], 200);
    assert_eq!(value(&first)["body"], "hello");
    let fours = |asked: &[String]| asked.iter().filter(|line| line.starts_with("1 ")).count();
    assert_eq!(
        fours(&dns.asked.lock().unwrap()),
        1,
        "asked once for one connection"
    );
    let second = bench
        .engine
        .execute(&module, to("ask", &input, Limits::default(), &rights))
        .await;
    assert_eq!(value(&second)["error"], "http-denied");
    assert!(
        told.all()[0].2.contains("127.0.0.1 is loopback"),
        "{:?}",
        told.all()
    );
    assert_eq!((allowed.seen.accepted(), forbidden.seen.accepted()), (1, 0));
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_allowed_addresses_are_used() {
    let server = Server::answering_at("127.0.0.2:0", HELLO).await;
    let port = server.port();
    let dns = Dns::start(|_| {
        vec![
            [10, 0, 0, 1].into(),
            [169, 254, 169, 254].into(),
            [127, 0, 0, 2].into(),
            "::ffff:10.0.0.1".parse().unwrap(),
        ]
    })
    .await;
    let (bench, module) = probe_with(Some(dns.address)).await;
    let mut rule = http_rule("mixed.test", port);
    rule.networks = vec!["127.0.0.2/32".parse().unwrap()];
    let (granted, _) = rights(vec![rule.clone()], vec![]);
    let input = json!({"url": format!("http://mixed.test:{port}/")});
    let limits = Limits::default();
    let answer = bench
        .engine
        .execute(&module, to("ask", &input, limits.clone(), &granted))
        .await;
    assert_eq!(value(&answer)["status"], 200);
    rule.networks.clear();
    let (refused, told) = rights(vec![rule], vec![]);
    let answer = bench
        .engine
        .execute(&module, to("ask", &input, limits, &refused))
        .await;
    assert_eq!(value(&answer)["error"], "http-denied");
    assert_eq!(told.all().len(), 1);
}

#[tokio::test]
async fn a_redirect_to_a_denied_host_ends_there() {
    let target = Server::answering(HELLO).await;
    let head = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        target.url()
    );
    let server = Server::answering(head).await;
    let (bench, _) = probe().await;
    let module = bench.load(sample("http")).await;
    let (rights, told) = rights(vec![http_rule("127.0.0.1", server.port())], vec![]);
    let input = json!({"url": server.url(), "follow": 3});
    let request = to("dispatch", &input, Limits::default(), &rights);
    let fault = fault(bench.engine.execute(&module, request).await);
    assert_eq!(
        (fault.code, fault.kind.as_str()),
        (Code::TaskError, "http-denied")
    );
    assert!(!fault.retryable);
    assert_eq!(told.all()[0].1, format!("GET http://{}", target.address));
    assert_eq!((server.seen.accepted(), target.seen.accepted()), (1, 0));
}

#[tokio::test]
async fn dispatch_follows_granted_redirects_and_judges_the_status() {
    let target =
        Server::answering("HTTP/1.1 201 Created\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nok").await;
    let head = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        target.url()
    );
    let server = Server::answering(head).await;
    let busy =
        Server::answering("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
    let (bench, _) = probe().await;
    let module = bench.load(sample("http")).await;
    let rules = [&server, &target, &busy].map(|server| http_rule("127.0.0.1", server.port()));
    let (rights, _) = rights(rules.into(), vec![]);
    let dispatch = async |input: Value| {
        let request = to("dispatch", &input, Limits::default(), &rights);
        bench.engine.execute(&module, request).await
    };
    let answer = value(&dispatch(json!({"url": server.url(), "follow": 1})).await);
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(201), &json!("ok"))
    );
    assert_eq!(
        (&answer["url"], &answer["headers"]["x-a"]),
        (&json!(target.url()), &json!("1"))
    );
    let fault = fault(dispatch(json!({"url": busy.url()})).await);
    assert_eq!(fault.kind, "unexpected-status");
    assert_eq!(
        (fault.retryable, fault.retry_after),
        (true, Some(Duration::from_secs(7)))
    );
}

#[tokio::test]
async fn a_server_that_drips_its_headers_is_given_up() {
    let pause = Duration::from_millis(20);
    let server = Server::endless("HTTP/1.1 200 OK\r\n", b"x: y\r\n".into(), pause).await;
    let limits = Limits {
        http_first_byte_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let started = Instant::now();
    let answer = ask(json!({"url": server.url()}), limits, &may_ask(&server)).await;
    assert_eq!(answer["error"], "http-timeout", "{answer}");
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < SOON);
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn a_server_that_drips_its_body_is_given_up() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let server = Server::endless(head, b"x".into(), Duration::from_millis(20)).await;
    let limits = Limits {
        http_timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    let answer = ask(json!({"url": server.url()}), limits, &may_ask(&server)).await;
    assert_eq!(answer["error"], "http-timeout", "{answer}");
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn a_guest_may_be_less_patient_than_its_limits_and_not_more() {
    let server = Server::answering("").await;
    let rights = may_ask(&server);
    let input = json!({"url": server.url(), "timeout": 0.2});
    assert_eq!(
        ask(input, Limits::default(), &rights).await["error"],
        "http-timeout"
    );
    let limits = Limits {
        http_first_byte_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let input = json!({"url": server.url(), "timeout": 50.0});
    let started = Instant::now();
    assert_eq!(ask(input, limits, &rights).await["error"], "http-timeout");
    assert!(started.elapsed() < SOON);
    closed(&server.seen, 2).await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_counts_as_connecting() {
    let server = Server::start("127.0.0.1:0", |mut stream, seen, _| async move {
        until_closed(&mut stream, &seen).await;
    })
    .await;
    let mut rule = http_rule("127.0.0.1", server.port());
    rule.schemes = vec!["https".to_owned()];
    let (rights, _) = rights(vec![rule], vec![]);
    let limits = Limits {
        connect_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let url = format!("https://{}/", server.address);
    let answer = ask(json!({"url": url}), limits, &rights).await;
    let kind = answer["error"].as_str().unwrap();
    // Without any root certificates the handshake is not even begun.
    assert!(["http-timeout", "http-tls"].contains(&kind), "{answer}");
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn an_endless_body_ends_at_its_limit() {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let server = Server::endless(head, vec![b'x'; 64 << 10], Duration::ZERO).await;
    let limits = Limits {
        http_response_bytes: 1 << 20,
        ..Limits::default()
    };
    let answer = ask(json!({"url": server.url()}), limits, &may_ask(&server)).await;
    assert_eq!(answer["error"], "http-limit", "{answer}");
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn a_body_is_taken_up_to_its_limit_and_costs_fuel() {
    let body = |bytes: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; bytes]].concat()
    };
    let limits = Limits {
        http_response_bytes: 300_000,
        ..Limits::default()
    };
    let small = Server::answering(body(1)).await;
    let input = json!({"url": small.url()});
    let little = run("ask", input, limits.clone(), &may_ask(&small)).await;
    let exact = Server::answering(body(300_000)).await;
    let input = json!({"url": exact.url()});
    let much = run("ask", input, limits.clone(), &may_ask(&exact)).await;
    assert_eq!(value(&much)["body_bytes"], 300_000);
    let cost = much.usage.fuel - little.usage.fuel;
    assert!(cost > 299_000, "{cost} fuel for 299,999 bytes more");
    let over = Server::answering(body(300_001)).await;
    let answer = ask(json!({"url": over.url()}), limits, &may_ask(&over)).await;
    assert_eq!(answer["error"], "http-limit", "{answer}");
}

#[tokio::test]
async fn each_byte_of_a_body_is_charged_once() {
    let answers = [1_000, 3_000, 1_000];
    let server = Server::start("127.0.0.1:0", move |mut stream, seen, number| async move {
        read_request(&mut stream, &seen).await;
        let bytes = answers[number - 1];
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
        // In one piece, as the guest reads once.
        let answer = [head.into_bytes(), vec![b'x'; bytes]].concat();
        let _ = stream.write_all(&answer).await;
        until_closed(&mut stream, &seen).await;
    })
    .await;
    let mut fuel = Vec::new();
    for (sent, received) in [1_000, 1_000, 3_000].into_iter().zip(answers) {
        let input = json!([server.address.to_string(), sent]);
        let ran = run("cross", input, Limits::default(), &may_ask(&server)).await;
        assert_eq!(value(&ran), received, "all of the answer at once");
        fuel.push(ran.usage.fuel);
    }
    assert_eq!(fuel[1] - fuel[0], 2_000, "2,000 bytes more received");
    assert_eq!(fuel[2] - fuel[0], 2_000, "2,000 bytes more sent");
}

#[tokio::test]
async fn bytes_from_the_network_use_up_the_fuel() {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let server = Server::endless(head, vec![b'x'; 64 << 10], Duration::ZERO).await;
    let limits = Limits {
        fuel: 3_000_000,
        http_response_bytes: 1 << 30,
        ..Limits::default()
    };
    let input = json!({"url": server.url()});
    let execution = run("ask", input, limits, &may_ask(&server)).await;
    assert_eq!(fault(execution).code, Code::OutOfFuel);
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_waits_at_the_server() {
    let written = Arc::new(Mutex::new(0_usize));
    let count = Arc::clone(&written);
    let server = Server::start("127.0.0.1:0", move |mut stream, seen, number| {
        let written = Arc::clone(&count);
        async move {
            read_request(&mut stream, &seen).await;
            if number == 1 {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                    .await;
                while stream.write_all(&[b'x'; 16 << 10]).await.is_ok() {
                    *written.lock().unwrap() += 16 << 10;
                }
                return;
            }
            // Answers once the first connection has not moved for a while.
            let mut last = usize::MAX;
            loop {
                let now = *written.lock().unwrap();
                if now == last && now > 0 {
                    break;
                }
                last = now;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let _ = stream.write_all(HELLO.as_bytes()).await;
            until_closed(&mut stream, &seen).await;
        }
    })
    .await;
    let input = json!([server.url(), 2]);
    let begun = value(&run("ask_at_once", input, Limits::default(), &may_ask(&server)).await);
    assert_eq!(begun, json!([2, ""]));
    let written = *written.lock().unwrap();
    assert!(
        written < 16 << 20,
        "{written} bytes were taken ahead of the guest"
    );
}

#[tokio::test]
async fn a_flood_of_headers_is_cut_off() {
    let server = Server::endless(
        "HTTP/1.1 200 OK\r\n",
        b"x-flood: 0123456789\r\n".repeat(500),
        Duration::ZERO,
    )
    .await;
    let answer = ask_url(&server.url(), &may_ask(&server)).await;
    assert_eq!(answer["error"], "http-limit", "{answer}");
    closed(&server.seen, 1).await;
    let trailers = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
    let server = Server::endless(
        trailers,
        b"x-flood: 0123456789\r\n".repeat(500),
        Duration::ZERO,
    )
    .await;
    let answer = ask_url(&server.url(), &may_ask(&server)).await;
    assert!(
        answer["error"].as_str().unwrap().starts_with("http-"),
        "{answer}"
    );
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn headers_pass_up_to_their_limit_both_ways() {
    let limits = Limits {
        http_header_bytes: 1_000,
        ..Limits::default()
    };
    // Each header counts with `: ` and the end of its line.
    let answer = |pad: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-pad: {}\r\n\r\n",
            "x".repeat(pad)
        )
    };
    let of_answer = 1_000 - (14 + 1 + 4) - (5 + 4);
    for (pad, error) in [(of_answer, ""), (of_answer + 1, "http-limit")] {
        let server = Server::answering(answer(pad)).await;
        let told = ask(
            json!({"url": server.url()}),
            limits.clone(),
            &may_ask(&server),
        )
        .await;
        assert_eq!(told["error"], error, "{told}");
    }
    let server = Server::answering(HELLO).await;
    let host = server.address.to_string().len();
    let of_request = 1_000 - (4 + host + 4) - (21 + 4 + 4) - (5 + 4) - 1;
    for (pad, error) in [(of_request, ""), (of_request + 1, "http-limit")] {
        let input = json!({"url": server.url(), "headers": [["x-pad", "x".repeat(pad)]]});
        let told = ask(input, limits.clone(), &may_ask(&server)).await;
        assert_eq!(told["error"], error, "{told}");
    }
    assert_eq!(server.seen.accepted(), 1);
}

#[tokio::test]
async fn whoever_builds_headers_far_beyond_their_limit_ends() {
    let server = Server::answering(HELLO).await;
    let limits = Limits {
        http_header_bytes: 1_000,
        ..Limits::default()
    };
    let input = json!({"url": server.url(), "headers": [["x-pad", "x".repeat(50_000)]]});
    let fault = fault(run("ask", input, limits, &may_ask(&server)).await);
    assert_eq!(fault.code, Code::OutputTooLarge, "{fault:?}");
    assert_eq!(fault.limit.unwrap().name, "http_header_bytes");
    assert_eq!(server.seen.accepted(), 0);
}

#[tokio::test]
async fn a_request_body_passes_up_to_its_limit() {
    let server = Server::answering(HELLO).await;
    let limits = Limits {
        http_request_bytes: 100_000,
        ..Limits::default()
    };
    for (bytes, error) in [(100_000, ""), (100_001, "http-limit")] {
        let input = json!({"url": server.url(), "method": "PUT", "body_bytes": bytes});
        let told = ask(input, limits.clone(), &may_ask(&server)).await;
        assert_eq!(told["error"], error, "{told}");
    }
    assert_eq!(server.seen.accepted(), 1);
}

#[tokio::test]
async fn requests_are_counted_at_once_and_altogether() {
    let server = Server::answering(HELLO).await;
    let rights = may_ask(&server);
    let limits = Limits {
        http_concurrent: 3,
        http_requests: 5,
        ..Limits::default()
    };
    let execution = run(
        "ask_at_once",
        json!([server.url(), 3]),
        limits.clone(),
        &rights,
    )
    .await;
    assert_eq!(value(&execution), json!([3, ""]));
    assert_eq!(execution.usage.http_concurrent, 3);
    let over = value(
        &run(
            "ask_at_once",
            json!([server.url(), 4]),
            limits.clone(),
            &rights,
        )
        .await,
    );
    assert!(
        over[1].as_str().unwrap().contains("ConnectionLimitReached"),
        "{over}"
    );
    for (times, error) in [(5, ""), (6, "http-limit")] {
        let input = json!({"url": server.url(), "times": times});
        let execution = run("ask", input, limits.clone(), &rights).await;
        assert_eq!(value(&execution)["error"], error);
        assert_eq!(execution.usage.http_requests, 5);
    }
}

#[tokio::test]
async fn a_cancelled_guest_leaves_no_connection_behind() {
    let silent = Server::answering("").await;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let endless = Server::endless(head, b"x".into(), Duration::from_millis(5)).await;
    let drip = Server::start("127.0.0.1:0", |mut stream, seen, _| async move {
        seen.texts.lock().unwrap().push(String::new());
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen.closed.add_permits(1);
    })
    .await;
    let (rights, _) = rights(
        [&silent, &endless]
            .map(|server| http_rule("127.0.0.1", server.port()))
            .into(),
        vec![tcp_rule("127.0.0.1", drip.port(), "127.0.0.0/8")],
    );
    let (bench, module) = probe().await;
    for (server, task, input) in [
        (&silent, "ask", json!({"url": silent.url()})),
        (&endless, "ask", json!({"url": endless.url()})),
        (&drip, "talk", json!({"to": drip.address.to_string()})),
    ] {
        let request = to(task, &input, Limits::default(), &rights);
        let cancel = request.cancel.clone();
        let begun = async {
            while server.seen.texts().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            cancel.cancel();
        };
        let (execution, ()) = tokio::join!(bench.engine.execute(module, request), begun);
        assert_eq!(fault(execution).code, Code::Cancelled);
        closed(&server.seen, 1).await;
    }
}

#[tokio::test]
async fn a_guest_on_the_executors_threads_reaches_the_network() {
    let server = Server::answering(HELLO).await;
    let (bench, module) = probe().await;
    let request = to(
        "ask",
        &json!({"url": server.url(), "times": 3}),
        Limits::default(),
        &may_ask(&server),
    );
    let executor = celeriac::engine::Executor::new(1).unwrap();
    let (engine, module) = (bench.engine.clone(), module.clone());
    let execution = executor
        .spawn(async move { engine.execute(&module, request).await })
        .await;
    assert_eq!(value(&execution.unwrap())["status"], 200);
}

/// A server of HTTPS for `localhost`, and the certificate of its authority.
async fn https() -> (Server, String) {
    let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::start("127.0.0.1:0", move |stream, seen, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                seen.texts.lock().unwrap().push("no handshake".to_owned());
                return;
            };
            let mut bytes = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await;
            let _ = stream.write_all(HELLO.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (server, pem)
}

fn https_rights(port: u16) -> Arc<Rights> {
    let mut rule = http_rule("localhost", port);
    rule.schemes = vec!["https".to_owned()];
    rule.networks.push("::1/128".parse().unwrap());
    rights(vec![rule], vec![]).0
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let (server, _) = https().await;
    let url = format!("https://localhost:{}/", server.port());
    let answer = ask_url(&url, &https_rights(server.port())).await;
    assert_eq!(answer["error"], "http-tls", "{answer}");
}

/// The roots are read once in a process, so that the asking is done by another one.
#[tokio::test]
async fn an_authority_in_ssl_cert_file_is_trusted() {
    let (server, pem) = https().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authority.pem");
    std::fs::write(&file, pem).unwrap();
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "asks_over_tls", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", &file)
        .env_remove("SSL_CERT_DIR")
        .env("CELERIAC_TEST_PORT", server.port().to_string())
        .output();
    let output = child.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, with an authority in SSL_CERT_FILE"]
async fn asks_over_tls() {
    let port = std::env::var("CELERIAC_TEST_PORT")
        .unwrap()
        .parse()
        .unwrap();
    let answer = ask_url(&format!("https://localhost:{port}/"), &https_rights(port)).await;
    assert_eq!(
        (&answer["status"], &answer["body"]),
        (&json!(200), &json!("hello")),
        "{answer}"
    );
    let mut rule = http_rule("127.0.0.1", port);
    rule.schemes = vec!["https".to_owned()];
    let (rights, _) = rights(vec![rule], vec![]);
    let answer = ask_url(&format!("https://127.0.0.1:{port}/"), &rights).await;
    assert_eq!(
        answer["error"], "http-tls",
        "the certificate is for localhost: {answer}"
    );
}

async fn talk(input: Value, limits: Limits, rights: &Arc<Rights>) -> (String, String) {
    let execution = run("talk", input, limits, rights).await;
    serde_json::from_str(text(&execution)).unwrap()
}

#[tokio::test]
async fn a_granted_connection_talks_and_is_counted() {
    let server = Server::echo("127.0.0.1:0").await;
    let (rights, told) = rights(
        vec![],
        vec![tcp_rule("localhost", server.port(), "127.0.0.0/8")],
    );
    let input = json!({"to": format!("localhost:{}", server.port()), "send": "hello"});
    let execution = run("talk", input, Limits::default(), &rights).await;
    assert_eq!(value(&execution), json!(["hello", ""]), "{:?}", told.all());
    assert_eq!(
        (execution.usage.tcp_connections, execution.usage.tcp_bytes),
        (1, 10)
    );
    closed(&server.seen, 1).await;
}

#[tokio::test]
async fn connections_need_a_grant_of_host_port_and_network() {
    let server = Server::echo("127.0.0.1:0").await;
    let port = server.port();
    for (rules, to, what) in [
        (
            vec![],
            format!("127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
        ),
        (vec![], format!("localhost:{port}"), "localhost".to_owned()),
        (
            vec![tcp_rule("127.0.0.1", port.wrapping_add(1), "127.0.0.0/8")],
            format!("127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
        ),
        (
            vec![tcp_rule("*", port, "10.0.0.0/8")],
            format!("127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
        ),
        (
            vec![tcp_rule("localhost", port, "10.0.0.0/8")],
            format!("localhost:{port}"),
            "localhost".to_owned(),
        ),
        (
            vec![tcp_rule("*", 25, "10.0.0.0/8")],
            "169.254.169.254:25".to_owned(),
            "169.254.169.254:25".to_owned(),
        ),
    ] {
        let (rights, told) = rights(vec![], rules);
        let (_, error) = talk(json!({"to": to}), Limits::default(), &rights).await;
        assert!(!error.is_empty(), "{to}");
        let denied = told.all();
        assert_eq!(
            (denied[0].0.as_str(), denied[0].1.as_str()),
            ("tcp", what.as_str())
        );
    }
    assert_eq!(server.seen.accepted(), 0);
}

#[tokio::test]
async fn a_name_allows_its_own_addresses_alone() {
    let named = Server::echo("127.0.0.2:0").await;
    let port = named.port();
    let other = Server::echo(&format!("127.0.0.3:{port}")).await;
    let dns = Dns::start(|_| vec![[127, 0, 0, 2].into(), [10, 0, 0, 1].into()]).await;
    let (bench, module) = probe_with(Some(dns.address)).await;
    let (rights, told) = rights(vec![], vec![tcp_rule("pin.test", port, "127.0.0.0/8")]);
    let connect = async |address: &str| {
        let input = json!([format!("pin.test:{port}"), format!("{address}:{port}")]);
        let request = to("resolve_and_connect", &input, Limits::default(), &rights);
        value(&bench.engine.execute(&module, request).await)
    };
    let found = json!([format!("127.0.0.2:{port}")]);
    assert_eq!(
        connect("127.0.0.2").await,
        json!([found, ""]),
        "{:?}",
        told.all()
    );
    let refused = connect("127.0.0.3").await;
    assert!(
        refused[1].as_str().unwrap().contains("PermissionDenied"),
        "{refused}"
    );
    let refused = connect("10.0.0.1").await;
    assert!(
        refused[1].as_str().unwrap().contains("PermissionDenied"),
        "{refused}"
    );
    assert_eq!(other.seen.accepted(), 0);
}

#[tokio::test]
async fn connections_and_their_bytes_are_limited() {
    let server = Server::echo("127.0.0.1:0").await;
    let (rights, _) = rights(
        vec![],
        vec![tcp_rule("127.0.0.1", server.port(), "127.0.0.0/8")],
    );
    let address = server.address.to_string();
    let limits = Limits {
        tcp_connections: 2,
        tcp_bytes: 2_000,
        ..Limits::default()
    };
    let input = json!({"to": address, "send": "x".repeat(100), "times": 10, "connections": 2});
    let (got, error) = talk(input, limits.clone(), &rights).await;
    assert_eq!((got.len(), error.as_str()), (1_000, ""));
    let input = json!({"to": address, "connections": 3});
    let (_, error) = talk(input, limits.clone(), &rights).await;
    assert!(!error.is_empty(), "a third connection");
    for bytes in [1_001, 2_001] {
        let input = json!({"to": address, "send": "x".repeat(bytes)});
        let (got, error) = talk(input, limits.clone(), &rights).await;
        assert!(
            !error.is_empty() && got.len() < 1_001,
            "{bytes}: {} {error}",
            got.len()
        );
    }
}

#[tokio::test]
async fn nobody_listens_and_there_is_no_udp() {
    let (rights, told) = rights(vec![], vec![tcp_rule("*", 80, "127.0.0.0/8")]);
    let errors = value(&run("serve", Value::Null, Limits::default(), &rights).await);
    for error in errors.as_array().unwrap() {
        assert!(
            error.as_str().unwrap().contains("PermissionDenied"),
            "{errors}"
        );
    }
    assert!(
        told.all().iter().any(|(_, what, _)| what == "udp"),
        "{:?}",
        told.all()
    );
}
