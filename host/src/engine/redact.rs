//! Takes secrets out of everything that a guest says: `[secret NAME]` stands in their place.
//!
//! Looked for are the value itself, each long line of one that has several, and the forms that a value usually
//! travels in: escaped for JSON, Base64 at any alignment, percent-encoded, hexadecimal. JSON is read string by
//! string, so that no way of escaping hides a value, and it stays JSON. A guest that wants to can still smuggle
//! (reversed, in pieces, letter by letter): this catches accidents, and makes leaking a deliberate act.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use zeroize::Zeroizing;

use super::{Fault, Payload, Secret, Verdict};

/// Shorter secrets would be found everywhere: policies refuse them, and they are not looked for.
pub const MIN_SECRET_BYTES: usize = 4;

/// A line of a secret with several counts as a secret itself when it is as long: a line of a key in PEM form has
/// 64 characters, a brace on its own is none.
const LINE_BYTES: usize = 8;

/// The inner part of an encoded secret is looked for when it is as long: 36 bits do not occur by chance.
const CORE_BYTES: usize = 6;

/// Secrets in one text. One with more is nothing but secrets, and would grow many times over.
const LABELS: usize = 10_000;

/// A secret is too short to be taken out of what a task says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret `{name}` has {bytes} bytes, and less than {MIN_SECRET_BYTES} cannot be told from ordinary text: \
     use a longer one"
)]
pub struct ShortSecret {
    /// Its name.
    pub name: String,
    /// How long it is, without white space around it.
    pub bytes: usize,
}

/// Refuses a secret that could not be redacted.
///
/// # Errors
/// When it has less than [`MIN_SECRET_BYTES`] bytes.
pub fn check_secret(name: &str, value: &str) -> Result<(), ShortSecret> {
    let bytes = value.trim().len();
    if bytes >= MIN_SECRET_BYTES {
        return Ok(());
    }
    Err(ShortSecret {
        name: name.to_owned(),
        bytes,
    })
}

/// What is looked for, and what stands in its place.
pub(crate) struct Redactor {
    /// Each form of each secret, with the place of its label.
    forms: Vec<(Zeroizing<Vec<u8>>, usize)>,
    labels: Vec<String>,
    longest: usize,
}

impl Redactor {
    /// One for these secrets; none when there are none.
    pub(crate) fn new(secrets: &BTreeMap<String, Secret>) -> Option<Self> {
        let mut this = Self {
            forms: Vec::new(),
            labels: Vec::new(),
            longest: 0,
        };
        for (name, secret) in secrets {
            this.add(name, secret.reveal());
        }
        this.longest = this.forms.iter().map(|(form, _)| form.len()).max()?;
        Some(this)
    }

    fn add(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if value.len() < MIN_SECRET_BYTES {
            return;
        }
        let label = self.labels.len();
        // The label must fit into JSON, a header and a terminal as it is.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let shown: String = name
            .chars()
            .map(|c| if is_plain(c) { c } else { '_' })
            .collect();
        self.labels.push(format!("[secret {shown}]"));
        let mut forms = Vec::new();
        forms_of(value, &mut forms);
        let lines = value.lines().map(str::trim);
        for line in lines.filter(|line| line.len() >= LINE_BYTES && *line != value) {
            forms_of(line, &mut forms);
        }
        forms.sort_by(|one, two| one.as_slice().cmp(two.as_slice()));
        forms.dedup();
        self.forms
            .extend(forms.into_iter().map(|form| (form, label)));
    }

    /// What is found, in order; what touches is one. The whole text where there is too much.
    fn find(&self, text: &[u8]) -> Vec<(Range<usize>, usize)> {
        let mut found: Vec<(Range<usize>, usize)> = Vec::new();
        for (form, label) in &self.forms {
            for start in memmem::find_iter(text, form.as_slice()) {
                found.push((start..start + form.len(), *label));
                if found.len() > LABELS {
                    return vec![(0..text.len(), *label)];
                }
            }
        }
        found.sort_by_key(|(range, _)| (range.start, usize::MAX - range.end));
        let mut merged: Vec<(Range<usize>, usize)> = Vec::with_capacity(found.len());
        for (range, label) in found {
            match merged.last_mut() {
                Some((last, _)) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push((range, label)),
            }
        }
        merged
    }

    /// Asterisks in the place of secrets, as many as they have bytes.
    pub(crate) fn mask(&self, bytes: &mut [u8]) {
        for (range, _) in self.find(bytes) {
            bytes.get_mut(range).unwrap_or_default().fill(b'*');
        }
    }

    /// The same for text.
    pub(crate) fn mask_text(&self, text: &mut String) {
        let mut bytes = std::mem::take(text).into_bytes();
        self.mask(&mut bytes);
        // A form is whole characters of UTF-8, and so is what is left.
        *text = String::from_utf8(bytes).unwrap_or_default();
    }

    fn label(&self, index: usize) -> &str {
        self.labels.get(index).map_or("[secret]", String::as_str)
    }

    /// Bytes without secrets; none when there were none in them.
    fn replaced(&self, text: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(text);
        if found.is_empty() {
            return None;
        }
        let mut clean = Vec::with_capacity(text.len());
        let mut end = 0;
        for (range, label) in found {
            clean.extend_from_slice(text.get(end..range.start).unwrap_or_default());
            clean.extend_from_slice(self.label(label).as_bytes());
            end = range.end;
        }
        clean.extend_from_slice(text.get(end..).unwrap_or_default());
        Some(clean)
    }

    /// Bytes without secrets.
    pub(crate) fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.replaced(&bytes).unwrap_or(bytes)
    }

    /// Text without secrets.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.replaced(text.as_bytes()) {
            // A form is whole characters of UTF-8, and so is what is left.
            Some(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    /// A JSON document without secrets, which is JSON still.
    pub(crate) fn json<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.find(text.as_bytes());
        match found.first() {
            None if !text.contains('\\') => return Cow::Borrowed(text),
            Some((all, label)) if all.len() == text.len() => {
                return Cow::Owned(format!("\"{}\"", self.label(*label)));
            }
            _ => {}
        }
        let clean = Tokens { rest: text }
            .map(|token| self.token(token))
            .collect::<String>();
        match self.find(clean.as_bytes()).first() {
            // It goes across tokens, so that no token can be replaced.
            Some((_, label)) => Cow::Owned(format!("\"{}\"", self.label(*label))),
            None => Cow::Owned(clean),
        }
    }

    /// One token of JSON.
    fn token<'a>(&self, token: Token<'a>) -> Cow<'a, str> {
        match token {
            Token::Text(raw) => {
                let Ok(decoded) = serde_json::from_str::<String>(raw).map(Zeroizing::new) else {
                    return self.text(raw);
                };
                match self.text(&decoded) {
                    Cow::Borrowed(_) => Cow::Borrowed(raw),
                    Cow::Owned(clean) => Cow::Owned(serde_json::Value::String(clean).to_string()),
                }
            }
            Token::Scalar(raw) => match self.find(raw.as_bytes()).first() {
                Some((_, label)) => Cow::Owned(format!("\"{}\"", self.label(*label))),
                None => Cow::Borrowed(raw),
            },
            Token::Between(raw) => Cow::Borrowed(raw),
        }
    }

    /// The fields of a log record: a JSON object, or nothing.
    pub(crate) fn fields<'a>(&self, fields: &'a str) -> Cow<'a, str> {
        let clean = self.json(fields);
        if fields.trim_start().starts_with('{') && !clean.trim_start().starts_with('{') {
            return Cow::Owned(format!("{{\"redacted\":{clean}}}"));
        }
        clean
    }

    /// A payload without secrets.
    pub(crate) fn payload(&self, payload: Payload) -> Payload {
        match payload {
            Payload::Json(text) => match self.json(&text) {
                Cow::Owned(clean) => Payload::Json(clean),
                Cow::Borrowed(_) => Payload::Json(text),
            },
            Payload::Bytes { content_type, data } => Payload::Bytes {
                content_type: self.text(&content_type).into_owned(),
                data: self.bytes(data),
            },
        }
    }

    /// A failure without secrets.
    pub(crate) fn fault(&self, fault: &mut Fault) {
        for text in [&mut fault.kind, &mut fault.message] {
            self.replace(text);
        }
        for text in [&mut fault.trace, &mut fault.stderr].into_iter().flatten() {
            self.replace(text);
        }
        if let Some(details) = &mut fault.details
            && let Cow::Owned(clean) = self.json(details)
        {
            *details = clean;
        }
    }

    fn replace(&self, text: &mut String) {
        if let Cow::Owned(clean) = self.text(text) {
            *text = clean;
        }
    }

    /// A verdict without secrets.
    pub(crate) fn verdict(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Success(output) => Verdict::Success(self.payload(output)),
            Verdict::Failed(mut fault) => {
                self.fault(&mut fault);
                Verdict::Failed(fault)
            }
        }
    }

    /// How much of the front of a line that is not finished may go: no secret begins in it and ends beyond.
    pub(crate) fn finished(&self, line: &[u8]) -> usize {
        let end = line.len().saturating_sub(self.longest.saturating_sub(1));
        let spanning = |(range, _): &(Range<usize>, usize)| range.start < end && end < range.end;
        match self.find(line).iter().find(|found| spanning(found)) {
            Some((range, _)) if range.start > 0 => range.start,
            Some((range, _)) => range.end,
            None => end,
        }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// The forms in which a value usually travels.
fn forms_of(value: &str, forms: &mut Vec<Zeroizing<Vec<u8>>>) {
    let mut add = |form: String| forms.push(Zeroizing::new(form.into_bytes()));
    add(value.to_owned());
    let quoted = serde_json::Value::String(value.to_owned()).to_string();
    add(quoted
        .get(1..quoted.len() - 1)
        .unwrap_or_default()
        .to_owned());
    // Some writers escape the slash, which need not be.
    add(quoted
        .get(1..quoted.len() - 1)
        .unwrap_or_default()
        .replace('/', "\\/"));
    for is_upper in [true, false] {
        add(percent(value, is_upper));
        add(percent(value, is_upper).replace("%20", "+"));
        add(hex(value, is_upper));
    }
    for alignment in 0..3 {
        for base64 in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let before = b"\0\0".get(..alignment).unwrap_or_default();
            let shifted = Zeroizing::new([before, value.as_bytes()].concat());
            let encoded = base64.encode(shifted.as_slice());
            if alignment == 0 {
                add(encoded.clone());
            }
            // The first characters also hold bits of what stands before, the last of what comes after.
            let first = [0, 2, 3].get(alignment).copied().unwrap_or(0);
            let last =
                shifted.len() / 3 * 4 + [0, 1, 2].get(shifted.len() % 3).copied().unwrap_or(0);
            let core = encoded.get(first..last).unwrap_or_default();
            if core.len() >= CORE_BYTES {
                add(core.to_owned());
            }
        }
    }
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
fn percent(value: &str, is_upper: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => {
                text.push('%');
                push_hex(&mut text, byte, is_upper);
            }
        }
    }
    text
}

fn hex(value: &str, is_upper: bool) -> String {
    let mut text = String::with_capacity(2 * value.len());
    for byte in value.bytes() {
        push_hex(&mut text, byte, is_upper);
    }
    text
}

fn push_hex(text: &mut String, byte: u8, is_upper: bool) {
    for digit in [byte >> 4, byte & 15] {
        let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
        text.push(if is_upper {
            digit.to_ascii_uppercase()
        } else {
            digit
        });
    }
}

/// A piece of JSON.
#[derive(Clone, Copy)]
enum Token<'a> {
    /// A string with its quotes.
    Text(&'a str),
    /// A number, `true`, `false`, `null`; or what is no JSON.
    Scalar(&'a str),
    /// Brackets, commas, colons and blanks.
    Between(&'a str),
}

/// Cuts JSON into its pieces. What is no JSON is cut somehow, and nothing of it is lost.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let is_between = |c: char| "{}[]:, \t\r\n".contains(c);
        let first = self.rest.chars().next()?;
        let end = match first {
            '"' => string_end(self.rest),
            c if is_between(c) => self
                .rest
                .find(|c| !is_between(c))
                .unwrap_or(self.rest.len()),
            _ => self
                .rest
                .find(|c| is_between(c) || c == '"')
                .unwrap_or(self.rest.len()),
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(match first {
            '"' => Token::Text(token),
            c if is_between(c) => Token::Between(token),
            _ => Token::Scalar(token),
        })
    }
}

/// Where a string ends that begins here, its closing quote included.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
