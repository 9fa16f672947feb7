//! Servers on 127.0.0.1 that behave well or badly, for tests of the network. Each ends with its handle.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// What a server saw.
pub(crate) struct Seen {
    /// Heads of requests, or whatever else a connection sent.
    pub texts: Mutex<Vec<String>>,
    /// One permit for each connection that the other side has closed.
    pub closed: Semaphore,
    /// Connections accepted.
    pub accepted: Mutex<usize>,
}

impl Seen {
    pub(crate) fn texts(&self) -> Vec<String> {
        self.texts.lock().unwrap().clone()
    }

    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

/// A server, gone when this is dropped.
pub(crate) struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Serves each connection with `behave`.
    pub(crate) async fn start<F, Fut>(at: &str, behave: F) -> Self
    where
        F: Fn(TcpStream, Arc<Seen>, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen {
            texts: Mutex::default(),
            closed: Semaphore::new(0),
            accepted: Mutex::default(),
        });
        let shared = Arc::clone(&seen);
        let accept = async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut accepted = shared.accepted.lock().unwrap();
                    *accepted += 1;
                    *accepted
                };
                connections.spawn(behave(stream, Arc::clone(&shared), number));
            }
        };
        Self {
            address,
            seen,
            _task: AbortOnDropHandle::new(tokio::spawn(accept)),
        }
    }

    /// Answers every request with this, byte for byte.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::answering_at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn answering_at(at: &str, answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(at, move |mut stream, seen, _| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream, &seen).await;
                let _ = stream.write_all(&answer).await;
                until_closed(&mut stream, &seen).await;
            }
        })
        .await
    }

    /// Reads the request, sends `head`, and then `piece` again and again with `pause` between.
    pub(crate) async fn endless(
        head: &'static str,
        piece: Vec<u8>,
        pause: std::time::Duration,
    ) -> Self {
        let piece = Arc::new(piece);
        Self::start("127.0.0.1:0", move |mut stream, seen, _| {
            let piece = Arc::clone(&piece);
            async move {
                read_request(&mut stream, &seen).await;
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&piece).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                seen.closed.add_permits(1);
            }
        })
        .await
    }

    /// Sends back what it gets, once it has all.
    pub(crate) async fn echo(at: &str) -> Self {
        Self::start(at, |mut stream, seen, _| async move {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            let _ = stream.write_all(&bytes).await;
            seen.closed.add_permits(1);
        })
        .await
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Reads a request: its head, and a body of the announced length.
pub(crate) async fn read_request(stream: &mut TcpStream, seen: &Seen) {
    let mut bytes = Vec::new();
    let head = loop {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break String::from_utf8_lossy(&bytes).into_owned();
        }
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes).into_owned();
        }
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    let _ = stream.read_exact(&mut body).await;
    seen.texts.lock().unwrap().push(head);
}

/// Waits for the other side to close.
pub(crate) async fn until_closed(stream: &mut TcpStream, seen: &Seen) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    seen.closed.add_permits(1);
}

/// A DNS server that answers each query for addresses with what `answer` says for its number, from 0; queries
/// for the other family have no answer.
pub(crate) struct Dns {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Dns {
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(usize) -> Vec<IpAddr> + Send + 'static,
    {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let serve = async move {
            let mut packet = [0; 1500];
            let (mut fours, mut sixes) = (0, 0);
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                let (name, kind, end) = question(&packet[..length]);
                let count = if kind == 28 { &mut sixes } else { &mut fours };
                let addresses: Vec<_> = answer(*count)
                    .into_iter()
                    .filter(|address| address.is_ipv6() == (kind == 28))
                    .collect();
                *count += 1;
                log.lock().unwrap().push(format!("{kind} {name}"));
                let _ = socket
                    .send_to(&response(&packet[..end], kind, &addresses), peer)
                    .await;
            }
        };
        Self {
            address,
            asked,
            _task: AbortOnDropHandle::new(tokio::spawn(serve)),
        }
    }
}

/// The name and the type that a query asks for, and where the question ends.
fn question(packet: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..at + 1 + length]).into_owned());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([packet[at + 1], packet[at + 2]]);
    (labels.join("."), kind, at + 5)
}

fn response(query: &[u8], kind: u16, addresses: &[IpAddr]) -> Vec<u8> {
    let mut packet = query.to_vec();
    packet[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    for address in addresses {
        packet.extend([0xc0, 12]);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1, 0, 0, 0, 0]);
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        packet.extend((bytes.len() as u16).to_be_bytes());
        packet.extend(bytes);
    }
    packet
}
