//! Inputs, outputs and partial results: JSON text, or bytes with a content type.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The content type that marks a payload as JSON.
pub const JSON: &str = "application/json";

/// An input, an output, or a partial result. It is carried as bytes and never re-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// A media type; `application/json` for JSON.
    pub content_type: String,
    /// The document itself; UTF-8 text when it is JSON.
    pub data: Bytes,
}

impl Payload {
    /// `value` as JSON.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON, such as a map whose keys are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::json_text(serde_json::to_vec(value)?))
    }

    /// Text that is JSON already; it is not checked.
    pub fn json_text(text: impl Into<Bytes>) -> Self {
        Self {
            content_type: JSON.to_owned(),
            data: text.into(),
        }
    }

    /// Raw bytes with a media type.
    pub fn bytes(content_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            content_type: content_type.into(),
            data: data.into(),
        }
    }

    /// Whether this is a JSON document.
    pub fn is_json(&self) -> bool {
        self.content_type == JSON
    }

    /// The JSON document as a `T`.
    ///
    /// # Errors
    /// When this is not JSON, or not of `T`'s shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        if self.is_json() {
            return serde_json::from_slice(&self.data);
        }
        let got = format!(
            "the payload is {}, not {JSON}: read its bytes instead",
            self.content_type
        );
        Err(serde::de::Error::custom(got))
    }
}
