//! One request and its answer, from the name to the last byte. Runs on the network's runtime, and is dropped there
//! when the guest loses interest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use ::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};
use wasmtime_wasi_http::{Error, WasiBody};

use super::response::Piece;
use super::{Times, header_bytes};
use crate::engine::net::destination::{Destination, Host, allowed};
use crate::engine::net::dial;
use crate::engine::net::egress::Egress;
use crate::engine::net::resolver::LookupError;

/// What is read ahead of a guest at least: the least that hyper takes.
const BUFFER_BYTES: usize = 16 << 10;

/// Header fields of one answer; the limit of their bytes holds besides.
const MAX_FIELDS: usize = 256;

/// A request with all that was decided about it, and where its answer goes.
pub(super) struct Exchange {
    pub(super) egress: Arc<Egress>,
    pub(super) destination: Destination,
    pub(super) networks: Vec<IpNet>,
    pub(super) times: Times,
    pub(super) request: Request<WasiBody>,
    pub(super) head: oneshot::Sender<Result<::http::Response<()>, Error>>,
    pub(super) body: mpsc::Sender<Piece>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Does it. Whatever goes wrong goes to the guest: with the head before that is sent, with the body afterwards.
pub(super) async fn exchange(exchange: Exchange) {
    let Exchange {
        egress,
        destination,
        networks,
        times,
        request,
        head,
        body,
    } = exchange;
    let end = times.started + times.total;
    let first_byte = times.started + times.first_byte;
    let opened = timeout_at(
        first_byte.into(),
        open(&egress, &destination, &networks, times),
    )
    .await
    .unwrap_or(Err(Error::ConnectionTimeout));
    let stream = match opened {
        Ok(stream) => stream,
        Err(error) => return drop(head.send(Err(error))),
    };
    let talk = talk(&egress, stream, request, times, (head, &body));
    let ended = timeout_at(end.into(), talk).await.unwrap_or_else(|_| {
        let allowed = u64::try_from(times.total.as_millis()).unwrap_or(u64::MAX);
        egress.limit("http_timeout", allowed, allowed);
        Err(Error::HttpResponseTimeout)
    });
    let _ = body.send(ended.map(|()| None)).await;
}

/// Resolves, checks, connects to what was checked, and shakes hands: all within one time.
async fn open(
    egress: &Egress,
    destination: &Destination,
    networks: &[IpNet],
    times: Times,
) -> Result<Box<dyn Stream>, Error> {
    let opening = async {
        let addresses = match &destination.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let answer = egress.network.resolver.addresses(name).await;
                answer.map_err(lookup_error)?
            }
        };
        let networks: Vec<_> = networks.iter().collect();
        let addresses = allowed(&addresses, &networks).map_err(|refused| {
            egress.deny("http", destination.to_string(), Some(refused.to_string()));
            Error::DestinationIpProhibited
        })?;
        let stream = dial(&addresses, destination.port)
            .await
            .map_err(|error| dial_error(&error))?;
        if !destination.is_tls {
            return Ok(Box::new(stream) as Box<dyn Stream>);
        }
        let stream = egress
            .network
            .tls
            .connect(&destination.host, stream)
            .await?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    timeout(times.connect, opening)
        .await
        .unwrap_or(Err(Error::ConnectionTimeout))
}

fn lookup_error(error: LookupError) -> Error {
    let rcode = match error {
        LookupError::NotFound => "NXDOMAIN".to_owned(),
        LookupError::Failed(why) => why,
    };
    Error::DnsError {
        rcode: Some(rcode),
        info_code: None,
    }
}

fn dial_error(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        _ => Error::DestinationUnavailable,
    }
}

/// Where an answer goes.
type Answer<'a> = (
    oneshot::Sender<Result<::http::Response<()>, Error>>,
    &'a mpsc::Sender<Piece>,
);

/// Sends the request and hands on its answer. An error of the head has been handed on when this returns.
async fn talk(
    egress: &Arc<Egress>,
    stream: Box<dyn Stream>,
    request: Request<WasiBody>,
    times: Times,
    (head, body): Answer<'_>,
) -> Result<(), Error> {
    let header_limit = usize::try_from(egress.limits.http_header_bytes).unwrap_or(usize::MAX);
    let handshake = http1::Builder::new()
        .max_buf_size(header_limit.saturating_add(BUFFER_BYTES))
        .max_headers(MAX_FIELDS)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = match handshake {
        Ok(pair) => pair,
        Err(error) => return give_up(head, hyper_error(&error, false)),
    };
    // The connection ends before its last pieces are taken, or with an error that the others report.
    let drive = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let conversation = async {
        let is_over = Arc::new(AtomicBool::new(false));
        let request = request.map(|inner| RequestBody {
            inner,
            sent: 0,
            egress: Arc::clone(egress),
            is_over: Arc::clone(&is_over),
        });
        let first_byte = times.started + times.first_byte;
        let answered = timeout_at(first_byte.into(), sender.send_request(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return give_up(head, hyper_error(&error, is_over.load(Ordering::Relaxed)));
            }
            Err(_) => return give_up(head, Error::ConnectionReadTimeout),
        };
        let (parts, incoming) = response.into_parts();
        if let Err(error) = check_head(egress, &parts) {
            return give_up(head, error);
        }
        let _ = head.send(Ok(::http::Response::from_parts(parts, ())));
        hand_on(egress, incoming, times, body).await
    };
    tokio::select! {
        ended = conversation => ended,
        () = drive => Ok(()),
    }
}

/// Ends a request that has no answer.
fn give_up(
    head: oneshot::Sender<Result<::http::Response<()>, Error>>,
    error: Error,
) -> Result<(), Error> {
    let _ = head.send(Err(error));
    Ok(())
}

fn check_head(egress: &Egress, head: &::http::response::Parts) -> Result<(), Error> {
    if head.status == ::http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::HttpUpgradeFailed);
    }
    let (bytes, allowed) = (header_bytes(&head.headers), egress.limits.http_header_bytes);
    if bytes > allowed {
        egress.limit("http_header_bytes", allowed, bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        return Err(Error::HttpResponseHeaderSectionSize(Some(bytes)));
    }
    egress.charge(bytes);
    Ok(())
}

/// Hands the body on, a piece at a time: the next is read only when the guest has room for it. Its bytes are charged
/// by the stream that the guest reads; what it never reads, it does not pay for.
async fn hand_on(
    egress: &Egress,
    mut incoming: Incoming,
    times: Times,
    body: &mpsc::Sender<Piece>,
) -> Result<(), Error> {
    let (mut received, allowed) = (0_u64, egress.limits.http_response_bytes);
    loop {
        let next = timeout(times.between_bytes, incoming.frame())
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?;
        let Some(frame) = next else { return Ok(()) };
        let frame = frame.map_err(|error| hyper_error(&error, false))?;
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        received = received.saturating_add(bytes);
        if received > allowed {
            egress.limit("http_response_bytes", allowed, received);
            return Err(Error::HttpResponseBodySize(Some(received)));
        }
        if let Some(trailers) = frame.trailers_ref() {
            let bytes = header_bytes(trailers);
            if bytes > egress.limits.http_header_bytes {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                return Err(Error::HttpResponseTrailerSectionSize(Some(bytes)));
            }
            egress.charge(bytes);
        }
        if body.send(Ok(Some(frame))).await.is_err() {
            return Ok(());
        }
    }
}

/// Tells the errors of a connection apart.
fn hyper_error(error: &hyper::Error, is_request_over: bool) -> Error {
    if is_request_over {
        return Error::HttpRequestBodySize(None);
    }
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    if error.is_parse() {
        return Error::HttpProtocolError;
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_user() || error.is_body_write_aborted() {
        return Error::HttpProtocolError;
    }
    Error::ConnectionTerminated
}

/// The body of a request, counted on its way out. The stream that the guest wrote it to has charged its bytes.
struct RequestBody {
    inner: WasiBody,
    sent: u64,
    egress: Arc<Egress>,
    is_over: Arc<AtomicBool>,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            let allowed = self.egress.limits.http_request_bytes;
            self.sent = self.sent.saturating_add(bytes);
            if self.sent > allowed {
                self.is_over.store(true, Ordering::Relaxed);
                self.egress.limit("http_request_bytes", allowed, self.sent);
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.sent)))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}
