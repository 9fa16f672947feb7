//! What tests of the network ask of a guest, good and bad. No sample: it does what tasks should not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use celeriac_guest::http::Request;
use celeriac_guest::{Failure, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One request, or several of it.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Ask {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Bytes of a body to send.
    #[serde(default)]
    body_bytes: usize,
    #[serde(default)]
    timeout: Option<f64>,
    /// How often, one after the other.
    #[serde(default)]
    times: Option<u32>,
}

/// What came of it: an answer, or the kind of an error.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Told {
    status: u16,
    body: String,
    body_bytes: usize,
    headers: Vec<(String, String)>,
    error: String,
    message: String,
}

/// Sends a request, and says what came of it; an error is no failure here.
#[task(needs(http = "*"))]
pub fn ask(input: Ask) -> Told {
    let mut request = Request::new(input.method.as_deref().unwrap_or("GET"), &input.url)
        .body(vec![b'x'; input.body_bytes]);
    for (name, value) in &input.headers {
        request = request.header(name, value);
    }
    if let Some(seconds) = input.timeout {
        request = request.timeout(std::time::Duration::from_secs_f64(seconds));
    }
    let mut told = Told::default();
    for _ in 0..input.times.unwrap_or(1) {
        told = match request.send() {
            Ok(response) => Told {
                status: response.status,
                body: response.text().chars().take(4096).collect(),
                body_bytes: response.body.len(),
                headers: response.headers,
                ..Told::default()
            },
            Err(error) => {
                return Told {
                    error: error.kind().to_owned(),
                    message: error.to_string(),
                    ..told
                };
            }
        };
    }
    told
}

/// Opens requests at once and keeps them; says how many were begun, and the first error.
#[task(needs(http = "*"))]
pub fn ask_at_once(input: (String, u32)) -> (u32, String) {
    let (url, many) = input;
    parallel::begin(&url, many)
}

/// Sends a request with the authority and the path exactly as given; says what the host thinks of it.
#[task(needs(http = "*"))]
pub fn ask_raw(input: (String, String)) -> String {
    parallel::raw(&input.0, &input.1)
}

/// Posts so many bytes and skips the answer's body, and does the same work whatever the numbers are; says how many
/// bytes it skipped, or what went wrong.
#[task(needs(http = "*"))]
pub fn cross(input: (String, u32)) -> Result<u64, Failure> {
    parallel::cross(&input.0, input.1).map_err(|error| Failure::new("cross", error))
}

/// One connection.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Talk {
    to: String,
    #[serde(default)]
    send: String,
    /// How often `send` is sent.
    #[serde(default)]
    times: Option<u32>,
    /// How many connections are opened and kept.
    #[serde(default)]
    connections: Option<u32>,
}

/// Connects, sends, tells the peer that this was all, and returns what it answers, or the kind of error.
#[task(needs(tcp = "*"))]
pub fn talk(input: Talk) -> (String, String) {
    let mut kept = Vec::new();
    for _ in 1..input.connections.unwrap_or(1) {
        match TcpStream::connect(&input.to) {
            Ok(stream) => kept.push(stream),
            Err(error) => return (kept.len().to_string(), said(&error)),
        }
    }
    let mut got = Vec::new();
    let mut talk = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(&input.to)?;
        for _ in 0..input.times.unwrap_or(1) {
            stream.write_all(input.send.as_bytes())?;
        }
        stream.flush()?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut got)?;
        Ok(())
    };
    let error = talk().err().map_or_else(String::new, |error| said(&error));
    (String::from_utf8_lossy(&got).into_owned(), error)
}

/// Resolves a name first and connects to a given address afterwards.
#[task(needs(tcp = "*"))]
pub fn resolve_and_connect(input: (String, String)) -> (Vec<String>, String) {
    use std::net::ToSocketAddrs;
    let found = match input.0.to_socket_addrs() {
        Ok(found) => found.map(|address| address.to_string()).collect(),
        Err(error) => return (Vec::new(), said(&error)),
    };
    let Ok(address) = input.1.parse::<SocketAddr>() else {
        return (found, "no address".to_owned());
    };
    let error = TcpStream::connect(address).err();
    (found, error.map_or_else(String::new, |error| said(&error)))
}

/// Tries to listen and to use UDP; returns both errors.
#[task]
pub fn serve() -> Result<(String, String), Failure> {
    let listen = TcpListener::bind("127.0.0.1:0").err();
    let udp = UdpSocket::bind("127.0.0.1:0").err();
    let text = |error: Option<std::io::Error>| error.map_or_else(String::new, |error| said(&error));
    Ok((text(listen), text(udp)))
}

fn said(error: &std::io::Error) -> String {
    format!("{:?}: {error}", error.kind())
}

#[cfg(not(target_family = "wasm"))]
mod parallel {
    pub(crate) fn begin(_: &str, _: u32) -> (u32, String) {
        (0, "only in a component".to_owned())
    }

    pub(crate) fn raw(_: &str, _: &str) -> String {
        "only in a component".to_owned()
    }

    pub(crate) fn cross(_: &str, _: u32) -> Result<u64, String> {
        Err("only in a component".to_owned())
    }
}

#[cfg(target_family = "wasm")]
mod parallel {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
        Scheme,
    };

    pub(crate) fn begin(url: &str, many: u32) -> (u32, String) {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = format!("/{path}");
        let mut kept: Vec<FutureIncomingResponse> = Vec::new();
        for _ in 0..many {
            match start(authority, &path) {
                Ok(response) => kept.push(response),
                Err(error) => return (u32::try_from(kept.len()).unwrap_or(0), error),
            }
        }
        let mut answers = Vec::new();
        for response in &kept {
            match wait(response) {
                Ok(answer) => answers.push(answer),
                Err(error) => return (u32::try_from(answers.len()).unwrap_or(0), error),
            }
        }
        (u32::try_from(answers.len()).unwrap_or(0), String::new())
    }

    pub(crate) fn raw(authority: &str, path: &str) -> String {
        let sent = start(authority, path).and_then(|response| wait(&response));
        sent.map_or_else(|error| error, |answer| answer.status().to_string())
    }

    /// What is posted: not made, so that its length costs no work.
    static BYTES: [u8; 4096] = [b'x'; 4096];

    pub(crate) fn cross(authority: &str, bytes: u32) -> Result<u64, String> {
        let sent = usize::try_from(bytes).ok().and_then(|end| BYTES.get(..end));
        let sent = sent.ok_or("too many bytes")?;
        let request = request(authority, "/")?;
        request.set_method(&Method::Post).map_err(|()| "refused")?;
        let body = request.body().map_err(|()| "no body")?;
        let pending = handle(request, None).map_err(|error| error.to_string())?;
        let stream = body.write().map_err(|()| "no stream")?;
        stream
            .blocking_write_and_flush(sent)
            .map_err(|error| error.to_string())?;
        drop(stream);
        OutgoingBody::finish(body, None).map_err(|error| error.to_string())?;
        let answer = wait(&pending)?;
        let body = answer.consume().map_err(|()| "no body")?;
        let stream = body.stream().map_err(|()| "no stream")?;
        stream.subscribe().block();
        stream.skip(1 << 20).map_err(|error| error.to_string())
    }

    fn start(authority: &str, path: &str) -> Result<FutureIncomingResponse, String> {
        handle(request(authority, path)?, None).map_err(|error| error.to_string())
    }

    fn request(authority: &str, path: &str) -> Result<OutgoingRequest, String> {
        let request = OutgoingRequest::new(Fields::new());
        let refused = |()| "refused".to_owned();
        request.set_scheme(Some(&Scheme::Http)).map_err(refused)?;
        request.set_authority(Some(authority)).map_err(refused)?;
        request.set_path_with_query(Some(path)).map_err(refused)?;
        Ok(request)
    }

    fn wait(response: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
        response.subscribe().block();
        match response.get() {
            Some(Ok(answer)) => answer.map_err(|error| error.to_string()),
            _ => Err("no answer".to_owned()),
        }
    }
}
