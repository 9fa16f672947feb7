//! What the host answered an execution, in order.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Damaged;
use crate::engine::redact::Redactor;

/// The answers of one execution's host calls, in order, with what else it found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    pub(super) facts: Facts,
    pub(super) entries: Vec<Entry>,
}

/// What an execution found that is not the answer of one call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Facts {
    /// Its environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) environment: Vec<(String, String)>,
    /// How long its secrets are, by name: never what they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) secrets: BTreeMap<String, usize>,
    /// Whether it had a key-value store.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_key_values: bool,
    /// Whether somebody could have other tasks run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_tasks: bool,
    /// The tasks that it declared, and those that were granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) declared: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) granted: Vec<String>,
    /// The directories that it found, without their slashes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) directories: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_scratch: bool,
    /// Bytes after which nothing more was kept, if it came to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut_at: Option<u64>,
    /// What it used whose answers cannot be kept; nothing was kept from there on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gap: Option<String>,
    /// The call that its host ended it in: none, and it was computing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<(String, String)>,
    /// Bytes charged after the last answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) charge: u64,
    /// How it ended, and the fuel until then.
    pub(super) code: String,
    pub(super) fuel: u64,
}

/// One call and its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) call: String,
    /// What tells it apart from other calls of the same function.
    pub(crate) asked: String,
    pub(crate) answer: Answer,
    /// Bytes that others have charged since the answer before.
    pub(crate) charge: u64,
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) bytes: Option<Vec<u8>>,
    /// The stream that the bytes are of: what stands across two reads of it is one text.
    pub(crate) stream: Option<u32>,
}

impl Answer {
    /// A value.
    pub(crate) fn of(value: &impl Serialize) -> Self {
        Self {
            value: serde_json::to_value(value).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// A value with bytes.
    pub(crate) fn with(value: &impl Serialize, bytes: Option<&[u8]>, stream: Option<u32>) -> Self {
        Self {
            bytes: bytes.map(<[u8]>::to_vec),
            stream,
            ..Self::of(value)
        }
    }

    /// The value again; a recording that was made by another version may have others.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Damaged> {
        T::deserialize(&self.value).map_err(|error| Damaged(error.to_string()))
    }
}

impl Entry {
    /// About how many bytes it takes as text.
    pub(super) fn size(&self) -> u64 {
        let bytes = self.answer.bytes.as_ref().map_or(0, Vec::len);
        let texts = self.call.len() + self.asked.len() + self.answer.value.to_string().len();
        (texts + bytes.div_ceil(3) * 4 + 48) as u64
    }
}

/// An entry as it is written: one line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    call: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    asked: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    answer: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    charge: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        Self {
            call: entry.call.clone(),
            asked: entry.asked.clone(),
            answer: entry.answer.value.clone(),
            bytes: entry
                .answer
                .bytes
                .as_ref()
                .map(|bytes| BASE64_STANDARD.encode(bytes)),
            charge: entry.charge,
        }
    }
}

impl TryFrom<Line> for Entry {
    type Error = Damaged;

    fn try_from(line: Line) -> Result<Self, Damaged> {
        let bytes = line.bytes.map(|text| BASE64_STANDARD.decode(text));
        let bytes = bytes
            .transpose()
            .map_err(|error| Damaged(error.to_string()))?;
        Ok(Self {
            call: line.call,
            asked: line.asked,
            answer: Answer {
                value: line.answer,
                bytes,
                stream: None,
            },
            charge: line.charge,
        })
    }
}

impl Transcript {
    /// Answers that were kept.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.entries.len()
    }

    /// What the execution ended with.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.facts.code
    }

    /// Bytes after which nothing more was kept, if it came to that.
    #[must_use]
    pub fn cut_at(&self) -> Option<u64> {
        self.facts.cut_at
    }

    /// What was used whose answers cannot be kept.
    #[must_use]
    pub fn gap(&self) -> Option<&str> {
        self.facts.gap.as_deref()
    }

    /// Puts asterisks in the place of secrets, as many as they have bytes: lengths stay, and with them what bytes cost.
    pub(super) fn mask(&mut self, redactor: &Redactor) {
        for (_, value) in &mut self.facts.environment {
            redactor.mask_text(value);
        }
        if let Some((_, asked)) = &mut self.facts.pending {
            redactor.mask_text(asked);
        }
        let mut streams: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for entry in &mut self.entries {
            redactor.mask_text(&mut entry.asked);
            mask_value(redactor, &mut entry.answer.value);
            match (&mut entry.answer.bytes, entry.answer.stream) {
                (Some(bytes), Some(stream)) => {
                    streams.entry(stream).or_default().extend_from_slice(bytes);
                }
                (Some(bytes), None) => redactor.mask(bytes),
                (None, _) => {}
            }
        }
        for bytes in streams.values_mut() {
            redactor.mask(bytes);
        }
        let mut streams: BTreeMap<u32, &[u8]> = streams
            .iter()
            .map(|(stream, bytes)| (*stream, bytes.as_slice()))
            .collect();
        for entry in &mut self.entries {
            let (Some(bytes), Some(stream)) = (&mut entry.answer.bytes, entry.answer.stream) else {
                continue;
            };
            if let Some(rest) = streams.get_mut(&stream)
                && let Some((masked, more)) = rest.split_at_checked(bytes.len())
            {
                bytes.copy_from_slice(masked);
                *rest = more;
            }
        }
    }
}

/// Masks every text of a value.
fn mask_value(redactor: &Redactor, value: &mut Value) {
    match value {
        Value::String(text) => redactor.mask_text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_value(redactor, item)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| mask_value(redactor, field)),
        _ => {}
    }
}
