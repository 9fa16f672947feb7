//! The gateway over TLS: real certificates, made here, and clients that trust one authority each.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use celeriac_tests::{HostProcess, Stage, until};
use rustix::process::Signal;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who signs certificates, and is trusted or not.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    own: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = rcgen::CertificateParams::new(vec![])?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate()?;
        let own = params.self_signed(&key)?.der().clone();
        let issuer = rcgen::Issuer::new(params, key);
        Ok(Self { issuer, own })
    }

    /// Writes a certificate for `localhost` and its key to where the host reads them; the certificate.
    fn sign(&self, files: &Files) -> Result<CertificateDer<'static>> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        std::fs::write(&files.certificate, certificate.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(certificate.der().clone())
    }

    /// A connection of a client that trusts this authority alone, to a server that calls itself `name`.
    async fn connect(&self, address: SocketAddr, name: &str) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned())?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await?;
        Ok(timeout(PATIENCE, connector.connect(name, stream)).await??)
    }

    /// The certificate that a new connection is shown, where it is one of this authority.
    async fn shown(&self, address: SocketAddr) -> Result<CertificateDer<'static>> {
        let stream = self.connect(address, "localhost").await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        Ok(shown.context("no certificate")?.clone().into_owned())
    }
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    log: PathBuf,
}

impl Files {
    fn of(stage: &Stage) -> Self {
        let path = |name| stage.dir.path().join(name);
        Self {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            log: path("tls.log"),
        }
    }

    /// A host that answers with these, and where.
    async fn serve(&self, stage: &Stage) -> Result<(HostProcess, SocketAddr)> {
        let certificate = format!("http.certificate={}", self.certificate.display());
        let key = format!("http.key={}", self.key.display());
        let arguments = [
            "--http",
            "127.0.0.1:0",
            "--set",
            &certificate,
            "--set",
            &key,
        ];
        let host = stage.host_logging(&arguments, &self.log).await?;
        let text = self.told()?;
        let address = text.split("https://").nth(1);
        let address = address.and_then(|rest| rest.split_whitespace().next());
        Ok((host, address.context("no address")?.parse()?))
    }

    fn told(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }
}

/// Asks whether the process lives; the status line.
async fn ask(stream: &mut TlsStream<TcpStream>) -> Result<String> {
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await?;
    let mut text = String::new();
    while !text.ends_with('}') {
        let mut piece = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut piece)).await??;
        ensure!(read > 0, "it breaks off: {text}");
        text += std::str::from_utf8(&piece[..read])?;
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_the_certificate_is_answered_and_nobody_else() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (files, known, other) = (Files::of(&stage), Authority::new()?, Authority::new()?);
    known.sign(&files)?;
    let (_host, address) = files.serve(&stage).await?;
    let mut stream = known.connect(address, "localhost").await?;
    assert_eq!(ask(&mut stream).await?, "HTTP/1.1 200 OK");
    assert_eq!(ask(&mut stream).await?, "HTTP/1.1 200 OK", "it stays open");

    let refused = other.connect(address, "localhost").await.unwrap_err();
    assert!(
        refused.to_string().contains("invalid peer certificate"),
        "{refused}"
    );
    let refused = known
        .connect(address, "celeriac.example")
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("not valid for name"),
        "{refused}"
    );
    let mut stream = known.connect(address, "localhost").await?;
    assert_eq!(ask(&mut stream).await?, "HTTP/1.1 200 OK", "others go on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_plainly_learns_nothing() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (files, known) = (Files::of(&stage), Authority::new()?);
    known.sign(&files)?;
    let (_host, address) = files.serve(&stage).await?;
    for request in [
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // A reset is as good an end as a close.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await?;
        // At most the alert with which TLS itself refuses: seven bytes, of which the first says that it is one.
        let is_alert = answer.len() == 7 && answer[0] == 0x15;
        assert!(answer.is_empty() || is_alert, "{answer:?}");
    }
    assert_eq!(
        ask(&mut known.connect(address, "localhost").await?).await?,
        "HTTP/1.1 200 OK"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_a_restart_and_a_broken_one_changes_nothing() -> Result<()>
{
    let stage = Stage::embedded().await?;
    let (files, known, other) = (Files::of(&stage), Authority::new()?, Authority::new()?);
    let first = known.sign(&files)?;
    let (host, address) = files.serve(&stage).await?;
    assert_eq!(known.shown(address).await?, first);
    let mut open = known.connect(address, "localhost").await?;
    assert_eq!(ask(&mut open).await?, "HTTP/1.1 200 OK");

    let second = other.sign(&files)?;
    host.signal(Signal::HUP);
    until(PATIENCE, "the new one is shown", || async {
        Ok(other
            .shown(address)
            .await
            .is_ok_and(|shown| shown == second))
    })
    .await?;
    assert!(known.connect(address, "localhost").await.is_err());
    assert_eq!(
        ask(&mut open).await?,
        "HTTP/1.1 200 OK",
        "what is open goes on"
    );

    std::fs::write(&files.key, "no key")?;
    host.signal(Signal::HUP);
    until(PATIENCE, "the host says so", || async {
        Ok(files.told()?.contains("the old one holds"))
    })
    .await?;
    assert_eq!(other.shown(address).await?, second);
    host.signal(Signal::TERM);
    assert!(host.wait(PATIENCE).await?.success());
    Ok(())
}
