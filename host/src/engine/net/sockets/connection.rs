//! An open TCP connection as two streams of WASI, every byte counted.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::Egress;

/// What is read, or taken for writing, at once; no more of a connection waits in the host.
const CHUNK_BYTES: usize = 64 << 10;

/// An open connection, shared by its socket and its streams.
pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    egress: Arc<Egress>,
    is_read_shut: AtomicBool,
    outgoing: Mutex<Outgoing>,
}

#[derive(Default)]
struct Outgoing {
    pending: BytesMut,
    /// No more is taken; the peer is told once all is sent.
    is_shut: bool,
    failed: Option<io::ErrorKind>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, egress: Arc<Egress>) -> Arc<Self> {
        Arc::new(Self {
            stream,
            egress,
            is_read_shut: AtomicBool::new(false),
            outgoing: Mutex::default(),
        })
    }

    pub(super) fn shut_read(&self) {
        self.is_read_shut.store(true, Ordering::Relaxed);
    }

    pub(super) fn shut_write(&self) {
        let mut outgoing = self.outgoing();
        if !outgoing.is_shut {
            outgoing.is_shut = true;
            self.send(&mut outgoing);
        }
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the system takes just now.
    fn send(&self, outgoing: &mut Outgoing) {
        while !outgoing.pending.is_empty() {
            match self.stream.try_write(&outgoing.pending) {
                Ok(sent) => outgoing.pending.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    outgoing.failed = Some(error.kind());
                    outgoing.pending.clear();
                }
            }
        }
        if outgoing.is_shut {
            let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write);
        }
    }

    fn limit_hit(&self, wanted: usize) -> StreamError {
        let hit = self.egress.tcp_bytes_hit(wanted);
        let error = io::Error::new(
            io::ErrorKind::ConnectionAborted,
            format!("a limit was hit: {hit}"),
        );
        StreamError::LastOperationFailed(error.into())
    }
}

/// What comes from the peer.
pub(super) struct Reader(pub(super) Arc<Connection>);

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let connection = &self.0;
        if connection.is_read_shut.load(Ordering::Relaxed) {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let left = usize::try_from(connection.egress.tcp_bytes_left()).unwrap_or(usize::MAX);
        // At the limit one byte more tells an end from too much.
        let mut buffer = BytesMut::zeroed(size.min(CHUNK_BYTES).min(left.max(1)));
        match connection.stream.try_read(&mut buffer) {
            Ok(0) => {
                connection.shut_read();
                Err(StreamError::Closed)
            }
            Ok(_) if left == 0 => {
                connection.shut_read();
                Err(connection.limit_hit(1))
            }
            Ok(read) => {
                connection.egress.add_tcp_bytes(read);
                buffer.truncate(read);
                Ok(buffer.freeze())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(error) => {
                connection.shut_read();
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if !self.0.is_read_shut.load(Ordering::Relaxed) {
            // An error is there to be read, too.
            let _ = self.0.stream.readable().await;
        }
    }
}

/// What goes to the peer.
pub(super) struct Writer(pub(super) Arc<Connection>);

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let connection = &self.0;
        let mut outgoing = connection.outgoing();
        if outgoing.is_shut {
            return Err(StreamError::Closed);
        }
        if outgoing.pending.len() + bytes.len() > 2 * CHUNK_BYTES {
            return Err(StreamError::trap("more was written than permitted"));
        }
        if bytes.len() as u64 > connection.egress.tcp_bytes_left() {
            return Err(connection.limit_hit(bytes.len()));
        }
        connection.egress.add_tcp_bytes(bytes.len());
        outgoing.pending.extend_from_slice(&bytes);
        connection.send(&mut outgoing);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.send(&mut self.0.outgoing());
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut outgoing = self.0.outgoing();
        self.0.send(&mut outgoing);
        if let Some(kind) = outgoing.failed.take() {
            outgoing.is_shut = true;
            return Err(StreamError::LastOperationFailed(
                io::Error::from(kind).into(),
            ));
        }
        if outgoing.is_shut {
            return Err(StreamError::Closed);
        }
        Ok(if outgoing.pending.is_empty() {
            CHUNK_BYTES
        } else {
            0
        })
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        loop {
            {
                let mut outgoing = self.0.outgoing();
                self.0.send(&mut outgoing);
                if outgoing.pending.is_empty() {
                    return;
                }
            }
            if self.0.stream.writable().await.is_err() {
                return;
            }
        }
    }
}
