//! Requests by way of the imports of a component.

use std::time::{Duration, Instant};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

use super::{HttpError, Request, Response};

/// What is read at once.
const CHUNK_BYTES: u64 = 64 << 10;

type Deadline = Option<Instant>;

pub(super) fn send(request: &Request) -> Result<Response, HttpError> {
    let deadline = request.timeout.map(|timeout| Instant::now() + timeout);
    let outgoing = outgoing(request)?;
    let body = if request.body.is_empty() {
        None
    } else {
        Some(outgoing.body().map_err(|()| invalid("the body"))?)
    };
    let response = handle(outgoing, options(request.timeout)?).map_err(error)?;
    if let Some(body) = body {
        write(body, &request.body, deadline)?;
    }
    read(&head(&response, deadline)?, deadline)
}

fn outgoing(request: &Request) -> Result<OutgoingRequest, HttpError> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        let added = headers.append(name, value.as_bytes());
        added.map_err(|cause| invalid(format!("the header `{name}`: {cause}")))?;
    }
    if !request.body.is_empty() && !headers.has("content-length") {
        let length = request.body.len().to_string();
        let added = headers.append("content-length", length.as_bytes());
        added.map_err(|cause| invalid(format!("the length of the body: {cause}")))?;
    }
    let (scheme, authority, path) = parts(&request.url)
        .ok_or_else(|| invalid(format!("`{}` is no absolute URL", request.url)))?;
    let outgoing = OutgoingRequest::new(headers);
    let is_set = outgoing.set_method(&method(&request.method)).is_ok();
    is_set
        .then_some(())
        .ok_or_else(|| invalid(format!("`{}` is no method", request.method)))?;
    let is_set = outgoing.set_scheme(Some(&scheme)).is_ok()
        && outgoing.set_authority(Some(authority)).is_ok()
        && outgoing.set_path_with_query(Some(path)).is_ok();
    is_set
        .then_some(outgoing)
        .ok_or_else(|| invalid(format!("`{}` is no URL", request.url)))
}

/// Scheme, authority, and path with query; what follows `#` is for browsers.
fn parts(url: &str) -> Option<(Scheme, &str, &str)> {
    let url = url.split('#').next()?;
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => Scheme::Other(scheme.to_owned()),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    Some((scheme, authority, if path.is_empty() { "/" } else { path }))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(timeout: Option<Duration>) -> Result<Option<RequestOptions>, HttpError> {
    let Some(timeout) = timeout else {
        return Ok(None);
    };
    let options = RequestOptions::new();
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let is_set = options.set_connect_timeout(Some(nanos)).is_ok()
        && options.set_first_byte_timeout(Some(nanos)).is_ok();
    is_set
        .then_some(Some(options))
        .ok_or_else(|| invalid("the timeout"))
}

fn write(body: OutgoingBody, mut bytes: &[u8], deadline: Deadline) -> Result<(), HttpError> {
    let stream = body.write().map_err(|()| invalid("the body"))?;
    while !bytes.is_empty() {
        wait(&stream.subscribe(), deadline)?;
        // A closed stream is no error by itself: the answer says why.
        let Ok(room) = stream.check_write() else {
            return Ok(());
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (chunk, rest) = bytes.split_at(room.min(bytes.len()));
        if stream.write(chunk).is_err() {
            return Ok(());
        }
        bytes = rest;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(error)
}

fn head(
    response: &FutureIncomingResponse,
    deadline: Deadline,
) -> Result<IncomingResponse, HttpError> {
    wait(&response.subscribe(), deadline)?;
    match response.get() {
        Some(Ok(answer)) => answer.map_err(error),
        _ => Err(HttpError::Protocol("the host has no answer".to_owned())),
    }
}

fn read(head: &IncomingResponse, deadline: Deadline) -> Result<Response, HttpError> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let headers = head.headers().entries();
    let mut response = Response {
        status: head.status(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect(),
        body: Vec::new(),
    };
    let taken = || HttpError::Protocol("the answer has no body".to_owned());
    let body = head.consume().map_err(|()| taken())?;
    let stream = body.stream().map_err(|()| taken())?;
    loop {
        wait(&stream.subscribe(), deadline)?;
        match stream.read(CHUNK_BYTES) {
            Ok(bytes) => response.body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => return Ok(response),
            Err(StreamError::LastOperationFailed(cause)) => {
                let code = wasip2::http::types::http_error_code(&cause);
                return Err(
                    code.map_or_else(|| HttpError::Protocol(cause.to_debug_string()), error)
                );
            }
        }
    }
}

/// Waits until something can be done, or the time is up.
fn wait(what: &Pollable, deadline: Deadline) -> Result<(), HttpError> {
    let Some(deadline) = deadline else {
        what.block();
        return Ok(());
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let timer = subscribe_duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    if poll(&[what, &timer]).contains(&0) {
        return Ok(());
    }
    Err(HttpError::Timeout(
        "the request took longer than it may".to_owned(),
    ))
}

fn invalid(what: impl Into<String>) -> HttpError {
    HttpError::Invalid(format!("the request is not valid: {}", what.into()))
}

fn error(code: ErrorCode) -> HttpError {
    let kind = match &code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => HttpError::Denied,
        ErrorCode::ConnectionLimitReached
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_) => HttpError::Limit,
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            HttpError::Invalid
        }
        ErrorCode::TlsCertificateError
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsAlertReceived(_) => HttpError::Tls,
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::DnsTimeout => HttpError::Timeout,
        ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused => HttpError::Connect,
        _ => HttpError::Protocol,
    };
    let hint = match &code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            "; the invocation's log says what to grant"
        }
        _ => "",
    };
    kind(format!("{code}{hint}"))
}
