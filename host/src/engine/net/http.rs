//! HTTP requests of guests: whether each may go where it wants to, with which bounds, and how it goes there.

mod error_code;
mod exchange;
mod response;
mod taped;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

pub(crate) use self::error_code::link;

use self::exchange::{Exchange, exchange};
use self::response::{Response, answer};
use super::super::recording::Answer;
use super::super::{HttpRule, Rights, Tape};
use super::destination::Destination;
use super::egress::{Egress, Slot};

/// What the headers that only a host sets begin with.
const OURS: &str = "x-celeriac-";

/// Says which invocation a request is made for.
const INVOCATION: HeaderName = HeaderName::from_static("x-celeriac-invocation");

/// What a guest may hand over at once of a request's body. One piece waits here and one is being sent.
const CHUNK_BYTES: usize = 64 << 10;

/// How long each part of a request may take: the lower of the limit and what the guest asks for.
#[derive(Clone, Copy, Debug)]
struct Times {
    started: Instant,
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
    total: Duration,
}

/// What a guest's HTTP calls are answered by.
pub(crate) struct Hooks(pub(crate) Arc<Egress>, pub(crate) Option<Arc<Tape>>);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Response, Error>> + Send> {
        if let Some(tape) = &self.1 {
            let asked = format!("{} {}", request.method(), request.uri());
            if !matches!(tape.told("outgoing-handler.handle", asked), Ok(None)) {
                // What comes of it is on the tape.
                return Box::new(std::future::pending());
            }
            tape.note(Answer::default(), 0);
        }
        let begun = begin(&self.0, request, options);
        Box::new(async move { answer(begun?).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    /// All errors of the connection were told apart where they arose.
    fn p2_error_from_hyper(&mut self, _error: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }

    fn p2_error_from_connect(&mut self, _error: &std::io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _error: &std::io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }
}

/// Headers that belong to the connection, or to us.
fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || [header::TE, header::TRAILER].contains(name)
        || name.as_str().starts_with(OURS)
}

/// A request that runs, seen from the guest's side.
struct Running {
    head: oneshot::Receiver<Result<::http::Response<()>, Error>>,
    body: response::Body,
}

/// Checks a request, and starts it.
fn begin(
    egress: &Arc<Egress>,
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Running, Error> {
    let destination = Destination::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
    if *request.method() == Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let networks = granted(egress, &destination, request.method())?;
    let slot = prepare(egress, &destination, &mut request)?;
    let times = times(egress, options.unwrap_or_default());
    let (head, head_to_come) = oneshot::channel();
    let (body, body_to_come) = mpsc::channel(1);
    let exchange = exchange(Exchange {
        egress: Arc::clone(egress),
        destination,
        networks,
        times,
        request,
        head,
        body,
    });
    let task = egress
        .network
        .spawn(exchange)
        .ok_or_else(|| Error::InternalError(Some("the host has no network threads".to_owned())))?;
    Ok(Running {
        head: head_to_come,
        body: response::Body::new(body_to_come, task, slot),
    })
}

/// The networks that may be connected to beyond public ones, if a rule allows the request at all.
fn granted(
    egress: &Egress,
    destination: &Destination,
    method: &Method,
) -> Result<Vec<IpNet>, Error> {
    networks_for(&egress.rights, destination, method).map_err(|why| {
        egress.deny("http", format!("{method} {destination}"), why);
        Error::HttpRequestDenied
    })
}

/// The same for any rights; else why not, where it is not simply that nobody granted the host.
pub(super) fn networks_for(
    rights: &Rights,
    destination: &Destination,
    method: &Method,
) -> Result<Vec<IpNet>, Option<String>> {
    let to_host = |rule: &&HttpRule| {
        rule.hosts
            .iter()
            .any(|host| destination.host.is_meant_by(host))
    };
    let rules: Vec<_> = rights.http.iter().filter(to_host).collect();
    let mut matching = rules
        .iter()
        .filter(|rule| allows(rule, destination, method))
        .peekable();
    if matching.peek().is_some() {
        return Ok(matching.flat_map(|rule| rule.networks.clone()).collect());
    }
    Err((!rules.is_empty())
        .then(|| "the host is granted, but not with this scheme, port and method".to_owned()))
}

/// Whether a rule for the host allows scheme, port and method too.
fn allows(rule: &HttpRule, destination: &Destination, method: &Method) -> bool {
    let is_scheme = |scheme: &String| scheme.eq_ignore_ascii_case(destination.scheme());
    let is_port = if rule.ports.is_empty() {
        destination.is_default_port()
    } else {
        rule.ports.contains(&destination.port)
    };
    let is_method = rule.methods.is_empty()
        || rule
            .methods
            .iter()
            .any(|allowed| allowed == method.as_str());
    is_port && is_method && rule.schemes.iter().any(is_scheme)
}

/// Brings a request into the form in which it is sent: path alone in its first line, and as host the one that
/// was checked; nothing that the guest wrote can say otherwise.
fn prepare(
    egress: &Arc<Egress>,
    destination: &Destination,
    request: &mut Request<WasiBody>,
) -> Result<Slot, Error> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let path = match path.strip_prefix('?') {
        Some(_) => format!("/{path}"),
        None => path.to_owned(),
    };
    if !path.starts_with('/') {
        return Err(Error::HttpRequestUriInvalid);
    }
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = HeaderValue::from_str(&destination.authority())
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(INVOCATION, invocation(&egress.invocation.id));
    check_sizes(egress, request, path.len())?;
    egress.begin_request().ok_or(Error::ConnectionLimitReached)
}

/// Ids are UUIDs; whoever runs the engine with others gets what a header can carry of them.
fn invocation(id: &str) -> HeaderValue {
    let id: String = id.chars().filter(char::is_ascii_graphic).collect();
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""))
}

fn check_sizes(
    egress: &Egress,
    request: &Request<WasiBody>,
    path_bytes: usize,
) -> Result<(), Error> {
    let limits = &egress.limits;
    let bytes = header_bytes(request.headers()) + path_bytes as u64;
    if bytes > limits.http_header_bytes {
        egress.limit("http_header_bytes", limits.http_header_bytes, bytes);
        return Err(Error::HttpRequestHeaderSectionSize(Some(
            u32::try_from(bytes).unwrap_or(u32::MAX),
        )));
    }
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(length) = announced.filter(|length| *length > limits.http_request_bytes) {
        egress.limit("http_request_bytes", limits.http_request_bytes, length);
        return Err(Error::HttpRequestBodySize(Some(length)));
    }
    egress.charge(bytes);
    Ok(())
}

/// The bytes of headers as they are sent: each with a colon, a space and the end of its line.
fn header_bytes(headers: &HeaderMap) -> u64 {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    bytes.sum::<usize>() as u64
}

fn times(egress: &Egress, options: RequestOptions) -> Times {
    let limits = &egress.limits;
    let least =
        |limit: Duration, asked: Option<Duration>| asked.map_or(limit, |asked| asked.min(limit));
    Times {
        started: Instant::now(),
        connect: least(limits.connect_timeout, options.connect_timeout),
        first_byte: least(limits.http_first_byte_timeout, options.first_byte_timeout)
            .min(limits.http_timeout),
        between_bytes: least(limits.http_timeout, options.between_bytes_timeout),
        total: limits.http_timeout,
    }
}
