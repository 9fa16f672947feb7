//! The socket: how many connections there may be, and how long each may stall.
//!
//! A connection costs a few kilobytes until its request is complete, and it has to be complete soon. One over the cap
//! is told so and closed. One whose other end does not read is given up, however slowly a stream fills it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Sleep, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::tls::Tls;

/// How long the head of a request may take, and a handshake, and the pause between two requests.
const HEAD: Duration = Duration::from_secs(15);
/// How long a peer may take no byte of what is there for it.
const STALL: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 32 << 10;
/// Headers of a request.
const HEADERS: usize = 64;
/// The pause after the system had no connection to give: it has run out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection too many is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 163\r\n\r\n\
{\"type\":\"urn:celeriac:problem:overloaded\",\"title\":\"There is too much at once\",\"status\":503,\"code\":\"overloaded\",\"detail\":\"too many connections are open: try again\"}";

/// Takes connections until it is told to stop.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) router: Router,
    pub(super) tls: Option<Arc<Tls>>,
    /// Connections that may be open at once.
    pub(super) connections: Arc<Semaphore>,
    /// The connections that are open.
    pub(super) open: TaskTracker,
    /// Ends the taking, and each connection after the request that it is at.
    pub(super) stop: CancellationToken,
}

impl Listener {
    pub(super) async fn run(self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "no connection could be taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            // What fits into the socket's empty buffer; whoever speaks TLS sees it close.
            if self.tls.is_none() {
                let _ = stream.try_write(FULL);
            }
            return;
        };
        let _ = stream.set_nodelay(true);
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let tls = self.tls.clone();
        self.open.spawn(async move {
            let _permit = permit;
            let served = match tls {
                None => serve(stream, router, stop).await,
                Some(tls) => match timeout(HEAD, tls.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, router, stop).await,
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the handshake took too long".to_owned()),
                },
            };
            if let Err(reason) = served {
                tracing::debug!(%peer, reason, "a connection ended early");
            }
        });
    }
}

async fn serve<S>(stream: S, router: Router, stop: CancellationToken) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let stream = TokioIo::new(Impatient::new(stream));
    let mut connection = std::pin::pin!(http.serve_connection(stream, service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(|error| error.to_string())
}

/// A stream that fails when its peer takes no byte for too long.
#[derive(Debug)]
struct Impatient<S> {
    stream: S,
    /// Runs while there is something to write and it cannot be.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            stalled: None,
        }
    }

    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(shut, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn what_a_connection_too_many_is_told_is_whole() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "overloaded");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (near, far) = tokio::io::duplex(16);
        let mut near = Impatient::new(near);
        near.stalled = Some(Box::pin(sleep(Duration::from_millis(20))));
        let written = near.write_all(&[0; 1000]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(far);
    }
}
