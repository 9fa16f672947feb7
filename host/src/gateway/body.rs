//! Request bodies: bounded before they are kept, each and all together, and never waited for without end.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::problem::{FieldError, Problem};

/// How long a body may pause.
const IDLE: Duration = Duration::from_secs(20);
/// How long a body may take in all: 32 MiB over a slow line.
const WHOLE: Duration = Duration::from_secs(300);
/// What is read, and for how long, of a body that nobody wants.
const DISCARD_BYTES: usize = 4 << 20;
const DISCARD_FOR: Duration = Duration::from_secs(2);
/// What one permit of the budget stands for.
const UNIT: usize = 1024;
/// JSON that is nested deeper is refused: no task's types are, and parsers recurse.
const MAX_DEPTH: u32 = 128;

/// The bytes of bodies that are kept at once.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }
}

/// A body that counts against the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `cap` bytes; `what` and `setting` name it and what raises the cap.
pub(crate) async fn read(
    budget: &Budget,
    request: Request,
    cap: u64,
    setting: &str,
) -> Result<Held, Problem> {
    let (parts, mut body) = request.into_parts();
    if announced(&parts.headers).is_some_and(|length| length > cap) {
        return Err(too_large(cap, setting));
    }
    let whole = Instant::now() + WHOLE;
    let (mut bytes, mut permit) = (BytesMut::new(), None);
    while let Some(chunk) = next(&mut body, whole).await? {
        if (bytes.len() + chunk.len()) as u64 > cap {
            return Err(too_large(cap, setting));
        }
        reserve(budget, &mut permit, bytes.len(), chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(Held {
        bytes: bytes.freeze(),
        _permit: permit,
    })
}

/// Reads on and keeps nothing, within bounds: a client that still sends when the connection closes sees a reset
/// instead of the answer.
pub(crate) async fn discard(mut body: Body) {
    let (until, mut left) = (Instant::now() + DISCARD_FOR, DISCARD_BYTES);
    while let Ok(Some(chunk)) = next(&mut body, until).await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn next(body: &mut Body, whole: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        let patience = whole.min(Instant::now() + IDLE);
        let frame = timeout_at(patience, body.frame())
            .await
            .map_err(|_| Problem::new("timeout", "the body did not come in time"))?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => return Err(Problem::new("malformed", "the body broke off")),
        }
    }
}

/// Takes what `more` bytes need beside the `have` that are paid for.
fn reserve(
    budget: &Budget,
    permit: &mut Option<OwnedSemaphorePermit>,
    have: usize,
    more: usize,
) -> Result<(), Problem> {
    let units = (have + more).div_ceil(UNIT) - have.div_ceil(UNIT);
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    let taken = budget.0.clone().try_acquire_many_owned(units);
    let taken = taken.map_err(|_| {
        Problem::new(
            "overloaded",
            "too many bytes of other requests are kept now: try again in a moment",
        )
    })?;
    match permit {
        Some(permit) => permit.merge(taken),
        None => *permit = Some(taken),
    }
    Ok(())
}

fn too_large(cap: u64, setting: &str) -> Problem {
    Problem::new(
        "too_large",
        format!(
            "the body has more than the {cap} bytes that are taken here: make it smaller, or have the operator raise `{setting}`"
        ),
    )
}

/// Whether a body comes with a request, or may come.
pub(crate) fn is_there(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_TYPE)
        || headers.contains_key(header::TRANSFER_ENCODING)
        || announced(headers).is_some_and(|length| length > 0)
}

/// Refuses a body that does not say that it is JSON: such a request can come from any web page without being asked for.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    match essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        true => Ok(()),
        false => Err(Problem::new(
            "unsupported_media_type",
            "the body must have `Content-Type: application/json`",
        )),
    }
}

/// A JSON object. Types that are derived would also take an array of their fields, which nobody means.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

/// Reads a JSON object as a `T`.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Reads a JSON document, and names the field that does not fit.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        (pointer, error.into_inner())
    });
    let parsed = parsed.and_then(|value| match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => Err((String::new(), error)),
    });
    parsed.map_err(|(pointer, error)| match error.is_data() {
        true => Problem::fields(vec![FieldError {
            pointer,
            message: error.to_string(),
        }]),
        false => Problem::new("malformed", format!("the body is not JSON: {error}")),
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// Whether a JSON text is nested no deeper than is taken. Only brackets outside of strings count.
pub(crate) fn is_shallow(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_u32, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_and_not_text() {
        assert!(is_shallow("[".repeat(128).as_bytes()));
        assert!(!is_shallow("[".repeat(129).as_bytes()));
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
        assert!(is_shallow(text.as_bytes()));
        assert!(is_shallow("[]".repeat(500).as_bytes()));
    }

    #[test]
    fn a_field_that_does_not_fit_is_named() {
        let read = |text: &str| {
            parse::<Vec<std::collections::BTreeMap<String, u8>>>(text.as_bytes())
                .map_err(|problem| serde_json::to_value(problem.into_document()).unwrap())
        };
        let wrong = read(r#"[{"a/b":300}]"#).unwrap_err();
        assert_eq!(wrong["errors"][0]["pointer"], "/0/a~1b");
        assert_eq!(read("[{").unwrap_err()["code"], "malformed");
        assert_eq!(read("[] x").unwrap_err()["code"], "malformed");
        assert!(read("[]").is_ok());
    }
}
