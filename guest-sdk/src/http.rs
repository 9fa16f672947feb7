//! HTTP requests, one after another, over the host's `wasi:http`.
//!
//! A task says which hosts it needs, and an operator grants them; a request to any other host is
//! [`HttpError::Denied`]. Redirects come back as they are: following one is another request, which
//! must be granted by itself.
//!
//! ```
//! use celeriac_guest::{Failure, http, task};
//!
//! /// The length of a page.
//! #[task(needs(http = "example.com"))]
//! fn length(path: String) -> Result<usize, Failure> {
//!     let page = http::get(format!("https://example.com/{path}"))?;
//!     Ok(page.body.len())
//! }
//!
//! // Natively the test answers.
//! use celeriac_guest::testing::FakeContext;
//! let _ctx = FakeContext::new().with_http(|request| {
//!     assert_eq!(request.url(), "https://example.com/a");
//!     Ok(http::Response::new(200, "hello"))
//! });
//! assert_eq!(length("a".into()).unwrap(), 5);
//! ```

#[cfg(target_family = "wasm")]
mod wasm;

use std::{fmt, time::Duration};

use crate::Failure;

#[cfg(not(target_family = "wasm"))]
use crate::host::send;
#[cfg(target_family = "wasm")]
use wasm::send;

/// Sends a GET request.
///
/// # Errors
/// When there is no answer; any status is one.
pub fn get(url: impl Into<String>) -> Result<Response, HttpError> {
    Request::new("GET", url).send()
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
}

impl Request {
    /// A request without headers and body. The method is written in capitals; the URL is absolute.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
        }
    }

    /// Adds a header. Those of the connection (`Host`, `Transfer-Encoding`, …) and `X-Celeriac-*` are the
    /// host's: with one of them the request is [`HttpError::Invalid`].
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Bounds the time from now to the last byte of the answer; the host's limits hold besides.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The headers.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Sends it, and waits for the whole answer.
    ///
    /// # Errors
    /// When there is no answer, or not all of it; any status is an answer.
    pub fn send(&self) -> Result<Response, HttpError> {
        send(self)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// The headers, names in lower case. Bytes that are no UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer without headers, for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Whether the status says that it went well: 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer. It converts into a [`Failure`], so `?` just works; that may be retried where
/// another attempt can make a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// Not declared or not granted, or an address that tasks must not talk to. The invocation's log says
    /// what to do.
    Denied(String),
    /// A limit stands in the way. The invocation's log names it.
    Limit(String),
    /// The request makes no sense: a URL, a method, a header.
    Invalid(String),
    /// The server's identity could not be verified.
    Tls(String),
    /// It took too long.
    Timeout(String),
    /// There is no connection: no such host, nobody there.
    Connect(String),
    /// The connection broke, or what came over it is not HTTP.
    Protocol(String),
}

impl HttpError {
    /// The kind of the failure that it becomes.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Denied(_) => "http-denied",
            Self::Limit(_) => "http-limit",
            Self::Invalid(_) => "http-invalid",
            Self::Tls(_) => "http-tls",
            Self::Timeout(_) => "http-timeout",
            Self::Connect(_) => "http-connect",
            Self::Protocol(_) => "http-protocol",
        }
    }

    /// Whether the same request may succeed another time.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Timeout(_) | Self::Connect(_) | Self::Protocol(_)
        )
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Denied(text)
        | Self::Limit(text)
        | Self::Invalid(text)
        | Self::Tls(text)
        | Self::Timeout(text)
        | Self::Connect(text)
        | Self::Protocol(text)) = self;
        f.write_str(text)
    }
}

/// Not by way of `std::error::Error`, which it is not for that reason: that would make each retryable.
impl From<HttpError> for Failure {
    #[track_caller]
    fn from(error: HttpError) -> Self {
        let failure = Self::new(error.kind(), error.to_string());
        if error.is_retryable() {
            failure.retryable()
        } else {
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeContext;

    #[test]
    fn without_an_answer_it_says_how_to_give_one() {
        let _ctx = FakeContext::new();
        let error = get("http://example.com/").unwrap_err();
        assert!(error.to_string().contains("with_http"), "{error}");
    }

    #[test]
    fn failures_are_retryable_where_that_helps() {
        let failure = Failure::from(HttpError::Denied("no".to_owned()));
        assert!(failure.kind == "http-denied" && !failure.is_retryable);
        assert!(Failure::from(HttpError::Connect("no".to_owned())).is_retryable);
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let mut response = Response::new(204, "");
        response.headers.push(("x-a".to_owned(), "1".to_owned()));
        assert_eq!(response.header("X-A"), Some("1"));
        assert!(response.is_success());
    }
}
