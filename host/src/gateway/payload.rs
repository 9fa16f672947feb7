//! Inputs as requests carry them: JSON in `input`, or bytes in `input_base64` with their `content_type`.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use celeriac_broker::{JSON, Payload};
use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::{body, problem::Problem};

/// Takes what other programs write, also where the last digit has bits to spare.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Tells `null` from nothing.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The three fields that say an input.
pub(super) struct Input {
    /// The input, when it is JSON.
    pub(super) json: Option<Box<RawValue>>,
    /// The input, when it is not.
    pub(super) base64: Option<String>,
    /// The media type of the latter.
    pub(super) content_type: Option<String>,
}

impl Input {
    /// Whether nothing is said.
    pub(super) const fn is_absent(&self) -> bool {
        self.json.is_none() && self.base64.is_none() && self.content_type.is_none()
    }

    /// What is said; nothing is null.
    pub(super) fn payload(self) -> Result<Payload, Problem> {
        payload(self.json, self.base64.as_deref(), self.content_type)
    }
}

fn payload(
    json: Option<Box<RawValue>>,
    base64: Option<&str>,
    content_type: Option<String>,
) -> Result<Payload, Problem> {
    let (Some(base64), None) = (base64, &json) else {
        if base64.is_some() || content_type.is_some() {
            let message = "give `input`, or `input_base64` and its `content_type`, and not both";
            return Err(Problem::field("/input_base64", message));
        }
        let text = json.map_or_else(
            || "null".to_owned(),
            |raw| String::from(Box::<str>::from(raw)),
        );
        return json_payload(text.into_bytes(), "/input");
    };
    let data = BASE64
        .decode(base64)
        .map_err(|error| Problem::field("/input_base64", format!("it is not base64: {error}")))?;
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
    check_content_type(&content_type)?;
    if content_type == JSON {
        serde_json::from_slice::<&RawValue>(&data)
            .map_err(|error| Problem::field("/input_base64", format!("it is not JSON: {error}")))?;
        return json_payload(data, "/input_base64");
    }
    Ok(Payload::bytes(content_type, data))
}

fn json_payload(data: Vec<u8>, pointer: &str) -> Result<Payload, Problem> {
    match body::is_shallow(&data) {
        true => Ok(Payload::json_text(data)),
        false => Err(Problem::field(
            pointer,
            "it is nested deeper than 128 levels",
        )),
    }
}

/// A media type: it is sent back as a header.
fn check_content_type(text: &str) -> Result<(), Problem> {
    let is_type = |(kind, rest): (&str, &str)| {
        (1..=60).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_graphic())
            && (1..=120).contains(&rest.len())
            && rest.bytes().all(|byte| (0x20..0x7f).contains(&byte))
            && !rest.starts_with(' ')
    };
    match text.split_once('/').is_some_and(is_type) {
        true => Ok(()),
        false => Err(Problem::field(
            "/content_type",
            "a media type such as `image/png`, at most 180 characters",
        )),
    }
}
