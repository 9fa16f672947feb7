//! What goes into a task and what comes out of it: JSON, or bytes with a media type.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::Failure;

/// Raw bytes and their media type. As a task's input or output they pass as they are, without a
/// detour through JSON.
///
/// ```
/// use celeriac_guest::{Bytes, task};
///
/// /// Returns what it was given, the other way round.
/// #[task]
/// fn reverse(input: Bytes) -> Bytes {
///     let data = input.data.into_iter().rev().collect();
///     Bytes { data, ..input }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// A media type, such as `image/png`.
    pub content_type: String,
    /// The bytes themselves.
    pub data: Vec<u8>,
}

impl Bytes {
    /// Bytes of the given media type.
    pub fn new(content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self {
            content_type: content_type.into(),
            data: data.into(),
        }
    }
}

/// An input, an output or a partial result on its way between host and task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A JSON document as text.
    Json(String),
    /// Bytes that are not JSON.
    Bytes(Bytes),
}

impl Payload {
    /// Reads this payload as a `T`.
    ///
    /// # Errors
    /// A failure of kind `invalid-input` that says what does not fit, and where.
    pub fn read<T: FromPayload>(self) -> Result<T, Failure> {
        T::from_payload(self)
    }
}

/// A type that can be a task's input: every type with `serde::Deserialize` and
/// `schemars::JsonSchema`, which comes as JSON, and [`Bytes`].
pub trait FromPayload: Sized {
    /// Reads the payload.
    ///
    /// # Errors
    /// A failure of kind `invalid-input` that says what does not fit, and where.
    fn from_payload(payload: Payload) -> Result<Self, Failure>;

    /// The JSON Schema of the accepted documents; empty for raw bytes.
    fn input_schema() -> String;
}

/// A type that can be a task's output or a partial result: every type with `serde::Serialize` and
/// `schemars::JsonSchema`, which leaves as JSON, and [`Bytes`].
pub trait IntoPayload: Sized {
    /// Writes the payload.
    ///
    /// # Errors
    /// A failure of kind `invalid-output` when the value has no JSON form, for instance a map whose
    /// keys are not strings.
    fn into_payload(self) -> Result<Payload, Failure>;

    /// The JSON Schema of the written documents; empty for raw bytes.
    fn output_schema() -> String;
}

impl<T: DeserializeOwned + JsonSchema> FromPayload for T {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        match payload {
            Payload::Json(text) => parse(text.as_bytes()),
            Payload::Bytes(bytes) if is_json(&bytes.content_type) => parse(&bytes.data),
            Payload::Bytes(bytes) => Err(invalid_input(format!(
                "this task takes JSON, not bytes of type `{}`",
                bytes.content_type
            ))),
        }
    }

    fn input_schema() -> String {
        schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
    }
}

impl<T: Serialize + JsonSchema> IntoPayload for T {
    fn into_payload(self) -> Result<Payload, Failure> {
        match serde_json::to_string(&self) {
            Ok(text) => Ok(Payload::Json(text)),
            Err(error) => {
                let message = format!("the result has no JSON form: {error}");
                Err(Failure::untraced("invalid-output", message))
            }
        }
    }

    fn output_schema() -> String {
        schema::<T>(SchemaSettings::draft2020_12().for_serialize())
    }
}

impl FromPayload for Bytes {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        match payload {
            Payload::Bytes(bytes) => Ok(bytes),
            Payload::Json(_) => Err(invalid_input("this task takes raw bytes, not JSON")),
        }
    }

    fn input_schema() -> String {
        String::new()
    }
}

impl IntoPayload for Bytes {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::Bytes(self))
    }

    fn output_schema() -> String {
        String::new()
    }
}

impl FromPayload for Payload {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        Ok(payload)
    }

    fn input_schema() -> String {
        "true".to_owned()
    }
}

impl IntoPayload for Payload {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(self)
    }

    fn output_schema() -> String {
        "true".to_owned()
    }
}

/// `application/json` and the `+json` family, whatever parameters follow.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.to_ascii_lowercase().ends_with("+json")
}

/// Parses plainly first; only a document that does not fit is read a second time, to learn where.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(text).map_err(|error| locate::<T>(text, &error))
}

/// How deep a document may nest for its path to be tracked: tracking takes several times the stack
/// of plain parsing, and a guest has 64 KiB in all.
const MAX_TRACKED_DEPTH: usize = 24;

fn locate<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> Failure {
    // What is no JSON at all has a line and a column, which the error names already.
    let path = if error.is_data() {
        path_of::<T>(text)
    } else {
        None
    };
    match path {
        Some(path) => invalid_input(format!("`{path}`: {error}")).details(json!({ "path": path })),
        None => invalid_input(format!("the input: {error}")),
    }
}

/// The path to what does not fit, such as `items[2].price`; none for the whole document.
fn path_of<T: DeserializeOwned>(text: &[u8]) -> Option<String> {
    if depth(text) > MAX_TRACKED_DEPTH {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let path = error.path().to_string();
    (path != ".").then_some(path)
}

/// How deep the document nests. Brackets inside strings count too: the answer may be too large.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn invalid_input(message: impl Into<String>) -> Failure {
    Failure::untraced("invalid-input", message)
}

fn schema<T: JsonSchema>(settings: SchemaSettings) -> String {
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
        .to_string()
}
