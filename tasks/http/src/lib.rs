//! One HTTP request as a task: what other systems call a webhook or a dispatcher.

mod redirect;
mod status;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use celeriac_guest::http::{Request, Response};
use celeriac_guest::{Context, Failure, info, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::redirect::{Hop, hop};
use crate::status::Expected;

/// What is repeated of the body of an unexpected answer.
const EXCERPT_CHARS: usize = 512;

/// A request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// An absolute URL.
    pub url: String,
    /// The method, `GET` by default.
    #[serde(default = "get")]
    pub method: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: Option<String>,
    /// The body as Base64, for what is no text.
    pub body_base64: Option<String>,
    /// The body as JSON, such as what another invocation came to. Sent as `application/json` unless a header says else.
    pub json: Option<Value>,
    /// Seconds that the request may take, with all its redirects.
    pub timeout: Option<f64>,
    /// How many redirects are followed; 0 by default: the redirect itself is the answer.
    #[serde(default)]
    pub follow: u32,
    /// Statuses that count as success, such as `"204"` or `"200-299"`; the latter by default.
    #[serde(default)]
    pub expect: Expected,
}

fn get() -> String {
    "GET".to_owned()
}

/// An answer.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Dispatched {
    /// The status.
    pub status: u16,
    /// Where the answer came from, after redirects.
    pub url: String,
    /// Headers, names in lower case; several of one name are joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The body, where it is text.
    pub body: Option<String>,
    /// The body as Base64, where it is no text.
    pub body_base64: Option<String>,
    /// Seconds from the first request to the end of the answer.
    pub elapsed: f64,
}

/// Sends an HTTP request and returns the answer. Fails with `unexpected-status` where the status is none of the
/// expected: retryable for 408, 425, 429 and 5xx, after the `Retry-After` of the answer if it has one.
#[task(needs(http = "*"), retries = 2)]
pub fn dispatch(_ctx: &Context, input: Dispatch) -> Result<Dispatched, Failure> {
    let started = Instant::now();
    let timeout = input
        .timeout
        .map(Duration::try_from_secs_f64)
        .transpose()
        .map_err(|_| Failure::new("invalid-input", "`timeout` is no number of seconds"))?;
    let mut headers: Vec<_> = input.headers.into_iter().collect();
    let is_typed = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
    if input.json.is_some() && !headers.iter().any(is_typed) {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    let mut next = Hop {
        method: input.method,
        url: input.url,
        headers,
        body: body(input.body, input.body_base64, input.json)?,
    };
    let mut followed = 0;
    let response = loop {
        let response = send(
            &next,
            timeout.map(|timeout| timeout.saturating_sub(started.elapsed())),
        )?;
        match hop(&next, &response)? {
            Some(target) if followed < input.follow => {
                followed += 1;
                info!(status = response.status, url = target.url, "redirected");
                next = target;
            }
            Some(_) if input.follow > 0 => {
                let text = format!("there were more than {} redirects", input.follow);
                return Err(Failure::new("too-many-redirects", text));
            }
            _ => break response,
        }
    };
    if !input.expect.contains(response.status) {
        return Err(unexpected(&next.url, &response));
    }
    Ok(dispatched(next.url, response, started.elapsed()))
}

fn body(
    text: Option<String>,
    base64: Option<String>,
    json: Option<Value>,
) -> Result<Vec<u8>, Failure> {
    match (text, base64, json) {
        (Some(text), None, None) => Ok(text.into_bytes()),
        (None, Some(base64), None) => STANDARD
            .decode(base64)
            .map_err(|error| Failure::new("invalid-input", format!("`body_base64`: {error}"))),
        (None, None, Some(json)) => Ok(json.to_string().into_bytes()),
        (None, None, None) => Ok(Vec::new()),
        _ => Err(Failure::new(
            "invalid-input",
            "give one of `body`, `body_base64` and `json`",
        )),
    }
}

fn send(hop: &Hop, timeout: Option<Duration>) -> Result<Response, Failure> {
    let mut request = Request::new(&hop.method, &hop.url).body(hop.body.clone());
    for (name, value) in &hop.headers {
        request = request.header(name, value);
    }
    if let Some(timeout) = timeout {
        request = request.timeout(timeout);
    }
    Ok(request.send()?)
}

fn unexpected(url: &str, response: &Response) -> Failure {
    let status = response.status;
    let excerpt: String = response.text().chars().take(EXCERPT_CHARS).collect();
    let failure = Failure::new("unexpected-status", format!("{url} answered {status}"))
        .details(json!({"status": status, "url": url, "body": excerpt}));
    if !(matches!(status, 408 | 425 | 429) || status >= 500) {
        return failure;
    }
    match response.header("retry-after").and_then(delay) {
        Some(delay) => failure.retry_after(delay),
        None => failure.retryable(),
    }
}

/// `Retry-After` is a number of seconds or a date.
fn delay(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn dispatched(url: String, response: Response, elapsed: Duration) -> Dispatched {
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in response.headers {
        headers
            .entry(name)
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
    let (body, body_base64) = match String::from_utf8(response.body) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.into_bytes()))),
    };
    Dispatched {
        status: response.status,
        url,
        headers,
        body,
        body_base64,
        elapsed: elapsed.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use celeriac_guest::testing::FakeContext;

    fn input(json: serde_json::Value) -> Dispatch {
        serde_json::from_value(json).unwrap()
    }

    fn answer(status: u16, headers: &[(&str, &str)]) -> Response {
        let mut response = Response::new(status, "body");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        response.headers = headers.iter().map(own).collect();
        response
    }

    #[test]
    fn returns_what_it_got() {
        let ctx = FakeContext::new().with_http(|request| {
            assert_eq!(
                (request.method(), request.body_bytes()),
                ("POST", &b"\x01"[..])
            );
            Ok(answer(201, &[("set-cookie", "a"), ("set-cookie", "b")]))
        });
        let request = json!({"url": "http://a/", "method": "POST", "body_base64": "AQ=="});
        let dispatched = dispatch(&ctx, input(request)).unwrap();
        assert_eq!(
            (dispatched.status, dispatched.body.as_deref()),
            (201, Some("body"))
        );
        assert_eq!(dispatched.headers["set-cookie"], "a, b");
    }

    #[test]
    fn json_is_sent_as_json_unless_a_header_says_else() {
        for (headers, expected) in [
            (json!({}), "application/json"),
            (
                json!({"Content-Type": "application/vnd.x+json"}),
                "application/vnd.x+json",
            ),
        ] {
            let ctx = FakeContext::new().with_http(move |request| {
                let header = |(name, value): &(String, String)| {
                    (name.eq_ignore_ascii_case("content-type")).then(|| value.clone())
                };
                let types: Vec<_> = request.headers().iter().filter_map(header).collect();
                assert_eq!(types, [expected]);
                assert_eq!(request.body_bytes(), br#"{"a":[1]}"#);
                Ok(answer(200, &[]))
            });
            let request = json!({"url": "http://a/", "method": "POST", "headers": headers, "json": {"a": [1]}});
            dispatch(&ctx, input(request)).unwrap();
        }
        let both = json!({"url": "http://a/", "body": "x", "json": 1});
        let refused = dispatch(&FakeContext::new(), input(both)).unwrap_err();
        assert_eq!(refused.kind, "invalid-input");
    }

    #[test]
    fn an_overloaded_server_says_when_to_come_back() {
        let ctx = FakeContext::new().with_http(|_| Ok(answer(503, &[("retry-after", "7")])));
        let failure = dispatch(&ctx, input(json!({"url": "http://a/"}))).unwrap_err();
        assert_eq!(failure.kind, "unexpected-status");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        let ctx = FakeContext::new().with_http(|_| Ok(answer(404, &[])));
        let failure = dispatch(&ctx, input(json!({"url": "http://a/"}))).unwrap_err();
        assert!(!failure.is_retryable);
        assert_eq!(failure.details.unwrap()["status"], 404);
    }

    #[test]
    fn follows_as_many_redirects_as_asked() {
        let ctx = FakeContext::new().with_http(|request| {
            Ok(match request.url() {
                "http://a/1" => answer(302, &[("location", "/2")]),
                "http://a/2" => answer(302, &[("location", "3")]),
                _ => answer(200, &[]),
            })
        });
        let of = |follow: u32| {
            input(json!({"url": "http://a/1", "follow": follow, "expect": ["200", "302"]}))
        };
        assert_eq!(dispatch(&ctx, of(0)).unwrap().status, 302);
        assert_eq!(
            dispatch(&ctx, of(1)).unwrap_err().kind,
            "too-many-redirects"
        );
        assert_eq!(dispatch(&ctx, of(2)).unwrap().url, "http://a/3");
    }
}
