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

    /// Whether there is nothing in it at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
