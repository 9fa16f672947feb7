//! A plain HTTP/1.1 client over a socket: what it sends and gets is bytes, so that tests can also send what is wrong.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a gateway listens, and with which token.
#[derive(Clone, Debug)]
pub struct Http {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Sent as a bearer when there is one.
    pub token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

impl Http {
    /// A client without a token.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            token: None,
        }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], b"").await
    }

    /// A POST of JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let json = [("content-type", "application/json")];
        self.send("POST", path, &json, body.to_string().as_bytes())
            .await
    }

    /// A PUT of JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn put(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let json = [("content-type", "application/json")];
        self.send("PUT", path, &json, body.to_string().as_bytes())
            .await
    }

    /// Any request.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut head = self.head(method, path, headers);
        head += &format!(
            "connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    /// The head of a request, without the empty line that ends it.
    pub fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        if let Some(token) = &self.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    /// A connection.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(&self) -> Result<BufReader<TcpStream>> {
        Ok(BufReader::new(TcpStream::connect(&self.address).await?))
    }

    /// Sends bytes and reads the answer.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn exchange(&self, request: &[u8]) -> Result<Answer> {
        let mut stream = self.connect().await?;
        // A server may answer and close before it has read everything.
        let _ = stream.get_mut().write_all(request).await;
        timeout(PATIENCE, read_answer(&mut stream))
            .await
            .context("no answer in time")?
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// When the answer is no stream.
    pub async fn events(&self, path: &str, headers: &[(&str, &str)]) -> Result<Events> {
        let mut stream = self.connect().await?;
        let head = self.head("GET", path, headers) + "\r\n";
        stream.get_mut().write_all(head.as_bytes()).await?;
        let (status, _) = timeout(PATIENCE, read_head(&mut stream)).await??;
        ensure!(status == 200, "the stream answers {status}");
        Ok(Events {
            stream,
            text: String::new(),
        })
    }
}

/// Reads an answer to its end.
///
/// # Errors
/// When it breaks off.
pub async fn read_answer(stream: &mut BufReader<TcpStream>) -> Result<Answer> {
    let (status, headers) = read_head(stream).await?;
    let find = |name: &str| headers.iter().find(|(known, _)| known == name);
    let body = if find("transfer-encoding").is_some() {
        let mut body = Vec::new();
        while let Some(chunk) = read_chunk(stream).await? {
            body.extend(chunk);
        }
        body
    } else {
        let length = find("content-length").map_or(Ok(0), |(_, value)| value.parse())?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        body
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

type Head = (u16, Vec<(String, String)>);

async fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Head> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).context("no status line")?.parse()?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok((status, headers));
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
}

async fn read_chunk(stream: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let length = usize::from_str_radix(line.trim(), 16).context("no chunk")?;
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).await?;
    chunk.truncate(length);
    Ok((length > 0).then_some(chunk))
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Events {
    stream: BufReader<TcpStream>,
    text: String,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Where to go on.
    pub id: String,
    /// Its kind.
    pub name: String,
    /// What it says.
    pub data: serde_json::Value,
}

impl Events {
    /// The next event; none when the stream has ended.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (read_event(block)?, rest.to_owned());
                self.text = rest;
                if event.is_some() {
                    return Ok(event);
                }
            }
            let chunk = timeout(PATIENCE, read_chunk(&mut self.stream)).await;
            match chunk.context("no event in time")?? {
                Some(chunk) => self.text += std::str::from_utf8(&chunk)?,
                None => return Ok(None),
            }
        }
    }
}

fn read_event(block: &str) -> Result<Option<Event>> {
    let (mut event, mut data) = (Event::default(), Vec::new());
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = id.to_owned(),
            Some(("event", name)) => event.name = name.to_owned(),
            Some(("data", line)) => data.push(line),
            _ => {}
        }
    }
    if event.name.is_empty() {
        return Ok(None);
    }
    event.data = serde_json::from_str(&data.join("\n"))?;
    Ok(Some(event))
}
