//! What attacks with a grant reach for: servers that behave badly, one that nobody may reach, a name server that
//! changes its mind, directories with ways out, another module's keys. After each attack it is looked whether any of
//! it was had.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use celeriac_client::Client;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use crate::{
    attack::Attack,
    servers::{Dns, Seen, Server, read_request, until_closed},
};

/// What stands where no attack may read it.
const TREASURE: &str = "treasure";
/// Whose store holds a key that no attack may read or change.
const KEEPER: &str = "basics";
/// Between two bytes of a server that drips.
const DRIP: Duration = Duration::from_millis(20);

/// Everything around the host that an attack could harm or be helped by.
pub(crate) struct Surroundings {
    /// On 127.0.0.2, which policies grant: drips, floods and redirects, by path.
    granted: Server,
    /// On 127.0.0.1 with the same port, which no policy grants.
    forbidden: Server,
    /// Answers with the granted address and the forbidden one in turn.
    dns: Dns,
    directory: PathBuf,
    _socket: UnixListener,
}

impl Surroundings {
    pub(crate) async fn build(directory: &Path) -> Result<Self> {
        let forbidden = Server::answering(answer(TREASURE)).await;
        let port = forbidden.port();
        let granted = Server::start(&format!("127.0.0.2:{port}"), |stream, seen, _| {
            misbehave(stream, seen)
        })
        .await;
        let dns = Dns::start(|number| {
            let last = if number % 2 == 0 { 2 } else { 1 };
            vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))]
        })
        .await;
        let directory = directory.join("surroundings");
        Ok(Self {
            granted,
            forbidden,
            dns,
            _socket: furnish(&directory).context("the directories of the arena")?,
            directory,
        })
    }

    /// The name server, as the host's setting wants it.
    pub(crate) fn dns(&self) -> String {
        self.dns.address.to_string()
    }

    /// A settings file that grants each attack what its row says, and nothing to the others.
    pub(crate) fn settings(&self, attacks: &[&Attack]) -> Result<PathBuf> {
        let mut text = String::new();
        for attack in attacks {
            if let Some(grant) = attack.grant {
                let grant = grant
                    .replace("$PORT", &self.granted.port().to_string())
                    .replace("$DIR", &self.directory.display().to_string());
                write!(text, "[grants.\"{}\"]\n{grant}\n", attack.name)?;
            }
        }
        let path = self.directory.join("celeriac.toml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Gives the keeper something to lose.
    pub(crate) async fn hide_a_key(&self, client: &Client) -> Result<()> {
        let value = Bytes::from_static(TREASURE.as_bytes());
        let broker = client.broker();
        broker.kv_set(KEEPER, TREASURE, value, None).await?;
        Ok(())
    }

    /// What was had or changed that should not have been.
    pub(crate) async fn harm(&self, client: &Client) -> Result<Vec<String>> {
        let mut harm = Vec::new();
        let reached = self.forbidden.seen.accepted();
        if reached > 0 {
            harm.push(format!("the forbidden server was reached {reached} times"));
        }
        let outside = self.directory.join("outside");
        let left = fs::read_to_string(outside.join(TREASURE)).unwrap_or_default();
        if left != TREASURE || fs::read_dir(&outside)?.count() != 1 {
            harm.push("the directory outside was changed".to_owned());
        }
        let document = fs::read_to_string(self.directory.join("documents/file"));
        if document.unwrap_or_default() != "document" {
            harm.push("the document was changed".to_owned());
        }
        let broker = client.broker();
        let kept = broker.kv_get(KEEPER, TREASURE).await?;
        let stats = broker.kv_stats(KEEPER).await?;
        if kept.as_deref() != Some(TREASURE.as_bytes()) || stats.keys != 1 {
            harm.push("another module's store was changed".to_owned());
        }
        Ok(harm)
    }
}

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the granted server does, as the path says.
async fn misbehave(mut stream: TcpStream, seen: Arc<Seen>) {
    read_request(&mut stream, &seen).await;
    let head = seen.texts().pop().unwrap_or_default();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.texts.lock().unwrap().clear();
    let address = stream.local_addr().unwrap();
    let endless = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    match path.as_str() {
        "/redirect" => {
            let to = format!("http://127.0.0.1:{}/", address.port());
            let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            until_closed(&mut stream, &seen).await;
        }
        "/drip-head" => pour(stream, "HTTP/1.1 200 OK\r\nx-drip: ", b"x", DRIP).await,
        "/drip-body" => pour(stream, endless, b"x", DRIP).await,
        "/silence" => until_closed(&mut stream, &seen).await,
        "/endless" => pour(stream, endless, &[b'x'; 64 << 10], Duration::ZERO).await,
        "/headers" => {
            let field = format!("x-flood: {}\r\n", "x".repeat(1_000));
            pour(
                stream,
                "HTTP/1.1 200 OK\r\n",
                field.as_bytes(),
                Duration::ZERO,
            )
            .await;
        }
        _ => {
            let _ = stream.write_all(answer("open").as_bytes()).await;
            until_closed(&mut stream, &seen).await;
        }
    }
}

/// Sends `head`, and `piece` until nobody takes it any more.
async fn pour(mut stream: TcpStream, head: &str, piece: &[u8], pause: Duration) {
    let _ = stream.write_all(head.as_bytes()).await;
    while stream.write_all(piece).await.is_ok() {
        sleep(pause).await;
    }
}

/// Two directories to grant, and one outside of them with links, devices and pipes that could lead there.
fn furnish(directory: &Path) -> Result<UnixListener> {
    let (work, outside) = (directory.join("work"), directory.join("outside"));
    fs::create_dir_all(work.join("sub"))?;
    fs::create_dir_all(work.join("race/swap"))?;
    fs::create_dir_all(&outside)?;
    fs::create_dir_all(directory.join("documents"))?;
    fs::write(outside.join(TREASURE), TREASURE)?;
    fs::write(directory.join("documents/file"), "document")?;
    fs::write(directory.join("word"), "open sesame, said he\n")?;
    fs::write(directory.join("other"), "quite another word\n")?;
    fs::write(work.join("file"), "work")?;
    fs::write(work.join("race/swap").join(TREASURE), "decoy")?;
    symlink("../../outside", work.join("race/link"))?;
    symlink(outside.join(TREASURE), work.join("file-link"))?;
    symlink("../outside", work.join("directory-link"))?;
    symlink("file-link", work.join("chain"))?;
    symlink("/proc/self", work.join("proc-link"))?;
    // Only root may make a device; without it one attack tries less.
    let _ = Command::new("mknod")
        .arg(work.join("null"))
        .args(["c", "1", "3"])
        .status();
    let made = Command::new("mkfifo").arg(work.join("pipe")).status()?;
    anyhow::ensure!(made.success(), "mkfifo failed");
    Ok(UnixListener::bind(work.join("socket"))?)
}
