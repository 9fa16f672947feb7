//! The payload that travels into and out of a task.

use super::bindings;

/// An input, an output, or a partial result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A JSON document as text.
    Json(String),
    /// Bytes with their media type.
    Bytes {
        /// A media type, such as `image/png`.
        content_type: String,
        /// The bytes themselves.
        data: Vec<u8>,
    },
}

impl Payload {
    /// Bytes that the payload occupies: the text, or the data with its media type.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Json(text) => text.len() as u64,
            Self::Bytes { content_type, data } => (content_type.len() + data.len()) as u64,
        }
    }

    /// What is wrong with it, if anything: its next reader may be in any language, and put the media type into
    /// a header.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        match self {
            Self::Json(text) => json_defect(text),
            Self::Bytes { content_type, data } if content_type == JSON => {
                std::str::from_utf8(data).map_or(Some(NO_JSON), json_defect)
            }
            Self::Bytes { content_type, .. } => (!is_media_type(content_type)).then_some(
                "bytes under a media type that is none: it has 1 to 255 visible ASCII characters and spaces",
            ),
        }
    }

    /// Whether there is nothing in it at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The media type of JSON.
const JSON: &str = "application/json";
/// The longest media type that any registry has is half as long.
const MEDIA_TYPE_BYTES: usize = 255;
/// How deep a document may nest: readers in most languages give up at some hundred, or overflow their stacks.
const JSON_DEPTH: usize = 127;
const NO_JSON: &str = "text that is not JSON";

fn is_media_type(text: &str) -> bool {
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    (1..=MEDIA_TYPE_BYTES).contains(&text.len()) && text.bytes().all(is_visible)
}

fn json_defect(text: &str) -> Option<&'static str> {
    if !is_json(text) {
        return Some(NO_JSON);
    }
    (depth(text) > JSON_DEPTH).then_some("JSON that nests more than 127 deep, which few can read")
}

/// Whether text is one JSON document.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// How deep a valid JSON document nests.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl From<bindings::Payload> for Payload {
    fn from(payload: bindings::Payload) -> Self {
        match payload {
            bindings::Payload::Json(text) => Self::Json(text),
            bindings::Payload::Bytes(bindings::Blob { content_type, data }) => {
                Self::Bytes { content_type, data }
            }
        }
    }
}

impl From<Payload> for bindings::Payload {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Json(text) => Self::Json(text),
            Payload::Bytes { content_type, data } => {
                Self::Bytes(bindings::Blob { content_type, data })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content_type: &str, data: &[u8]) -> Payload {
        Payload::Bytes {
            content_type: content_type.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn takes_what_any_reader_can_take() {
        for sound in [
            Payload::Json(r#"{"a": ["]]]", "\\"]}"#.to_owned()),
            Payload::Json("[".repeat(127) + &"]".repeat(127)),
            bytes("image/png", &[0xff]),
            bytes("text/plain; charset=utf-8", b""),
            bytes("application/json", b"[1]"),
        ] {
            assert_eq!(sound.defect(), None, "{sound:?}");
        }
    }

    #[test]
    fn refuses_what_would_harm_a_reader() {
        for defective in [
            Payload::Json("[".repeat(128) + &"]".repeat(128)),
            Payload::Json("{".to_owned()),
            bytes("application/json", b"{"),
            bytes("application/json", &[0xff]),
            bytes("", b""),
            bytes("text/plain\r\nset-cookie: a=b", b""),
            bytes(&"x".repeat(256), b""),
        ] {
            assert!(defective.defect().is_some(), "{defective:?}");
        }
    }
}
