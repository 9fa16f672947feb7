//! `mail/send` against a real SMTP server: aiosmtpd, which `make need-mail` installs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use celeriac::engine::{Execution, Limits, Module, Request, Rights, Secret, Secrets, TcpRule};
use serde_json::{Value, json};
use support::{Bench, fault, json as text, request, sample};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

/// An SMTP server for `localhost`, ended with this.
struct Smtp {
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
    authority: String,
    _child: Child,
    _directory: tempfile::TempDir,
}

fn python() -> PathBuf {
    std::env::var_os("CELERIAC_MAIL_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/mail/bin/python"),
        PathBuf::from,
    )
}

impl Smtp {
    async fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &issuer).unwrap();
        let [certificate_file, key_file] =
            ["certificate", "key"].map(|name| directory.path().join(name));
        std::fs::write(&certificate_file, own.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp_server.py");
        let mut child = Command::new(python())
            .arg(script)
            .args([&certificate_file, &key_file])
            .arg(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("no Python with aiosmtpd: run `make need-mail` first");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .next_line()
            .await
            .unwrap()
            .expect("the SMTP server did not start");
        Self {
            lines,
            port: port.parse().unwrap(),
            authority: pem,
            _child: child,
            _directory: directory,
        }
    }

    fn rights(&self, tls: &str) -> Rights {
        let environment = [
            ("SMTP_HOST", "localhost"),
            ("SMTP_PORT", &self.port.to_string()),
            ("SMTP_TLS", tls),
            ("SMTP_USER", "user"),
            ("SMTP_CA", &self.authority),
        ];
        let rule = TcpRule {
            host: "localhost".parse().unwrap(),
            port: self.port,
            networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        };
        Rights {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            secrets: [(
                "smtp-password".to_owned(),
                Secret::new("open sesame".to_owned()),
            )]
            .into(),
            tcp: vec![rule],
            ..Rights::default()
        }
    }

    async fn received(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }
}

/// One engine with the module for all tests: compiling it takes a while.
async fn module() -> &'static (Bench, Module) {
    static MODULE: OnceCell<(Bench, Module)> = OnceCell::const_new();
    MODULE
        .get_or_init(|| async {
            let bench = Bench::new();
            let module = bench.load(sample("mail")).await;
            (bench, module)
        })
        .await
}

async fn send(mail: Value, rights: Rights) -> Execution {
    let (bench, module) = module().await;
    let request = Request {
        rights: Arc::new(rights),
        ..request("send", &mail.to_string(), Limits::default())
    };
    bench.engine.execute(module, request).await
}

fn mail(to: &[&str]) -> Value {
    json!({"from": "Zoë <zoe@example.com>", "to": to, "bcc": ["hidden@example.org"],
        "subject": "Grüße", "text": "first\n.\nlast", "html": "<p>ä</p>"})
}

#[tokio::test]
async fn sends_over_both_kinds_of_tls() {
    for mode in ["starttls", "implicit"] {
        let mut server = Smtp::start(mode).await;
        let execution = send(mail(&["a@example.org"]), server.rights(mode)).await;
        let sent: Value = serde_json::from_str(text(&execution)).unwrap();
        assert_eq!(
            sent["accepted"],
            json!(["a@example.org", "hidden@example.org"])
        );
        assert_eq!(sent["message_id"], "<0192@example.com>");
        let got = server.received().await;
        assert_eq!(got["is_tls"], true);
        assert_eq!(got["from"], "zoe@example.com");
        assert_eq!(got["to"], json!(["a@example.org", "hidden@example.org"]));
        let text = got["text"].as_str().unwrap();
        assert!(
            text.contains("Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n"),
            "{text}"
        );
        assert!(text.contains("first\r\n.\r\nlast\r\n"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}

#[tokio::test]
async fn says_whom_the_server_refused_and_whether_to_try_again() {
    let mut server = Smtp::start("starttls").await;
    let execution = send(mail(&["nobody@example.org"]), server.rights("starttls")).await;
    let sent: Value = serde_json::from_str(text(&execution)).unwrap();
    assert_eq!(sent["refused"][0][0], "nobody@example.org");
    assert_eq!(server.received().await["to"], json!(["hidden@example.org"]));
    for (to, kind, retryable) in [
        ("nobody@example.org", "smtp-rejected", false),
        ("later@example.org", "smtp-temporary", true),
    ] {
        let mut mail = mail(&[to]);
        mail["bcc"] = json!([]);
        let fault = fault(send(mail, server.rights("starttls")).await);
        assert_eq!((fault.kind.as_str(), fault.retryable), (kind, retryable));
    }
}

#[tokio::test]
async fn refuses_a_wrong_password_a_strange_server_and_a_forged_header() {
    let server = Smtp::start("starttls").await;
    let mut rights = server.rights("starttls");
    rights.secrets = [("smtp-password".to_owned(), Secret::new("wrong".to_owned()))].into();
    assert_eq!(fault(send(mail(&["a@b"]), rights).await).kind, "smtp-auth");
    let mut rights = server.rights("starttls");
    rights.secrets = Secrets::default();
    assert_eq!(
        fault(send(mail(&["a@b"]), rights).await).kind,
        "access-denied"
    );
    let mut rights = server.rights("starttls");
    rights.environment.retain(|(name, _)| name != "SMTP_CA");
    let unknown = fault(send(mail(&["a@b"]), rights).await);
    assert_eq!(
        (unknown.kind.as_str(), unknown.retryable),
        ("smtp-tls", false)
    );
    let mut forged = mail(&["a@b"]);
    forged["subject"] = json!("Hi\r\nBcc: everybody@example.org");
    let fault = fault(send(forged, server.rights("starttls")).await);
    assert_eq!(fault.kind, "invalid-input");
}
