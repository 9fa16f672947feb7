//! Reads what Redis answers, without trusting it: what does not have the expected form is `Damaged`.

use ::redis::Value;

use crate::{BrokerError, InvocationId};

/// That an answer does not have the form it must have.
pub(super) fn damaged(what: impl Into<String>, reason: impl Into<String>) -> BrokerError {
    BrokerError::Damaged {
        what: what.into(),
        reason: reason.into(),
    }
}

/// The elements of a list; none for nil.
pub(super) fn list(value: Value) -> Result<Vec<Value>, BrokerError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(damaged(
            "an answer of Redis",
            format!("a list was expected, not {other:?}"),
        )),
    }
}

/// Bytes; none for nil.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// Text; none for nil. What is not UTF-8 shows its replacement.
pub(super) fn text(value: Value) -> Option<String> {
    let bytes = bytes(value)?;
    Some(
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// A number, written as an integer or as text; none for anything else.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// A count or a time; 0 for nil and for what is negative.
pub(super) fn count(value: &Value) -> u64 {
    number(value)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// An invocation id.
pub(super) fn id(value: Value) -> Result<InvocationId, BrokerError> {
    text(value).unwrap_or_default().parse()
}

/// Takes fixed numbers of values off a flat list.
pub(super) fn records<const N: usize>(values: Vec<Value>) -> impl Iterator<Item = [Value; N]> {
    let mut values = values.into_iter();
    std::iter::from_fn(move || {
        let mut first = Some(values.next()?);
        Some(std::array::from_fn(|_| {
            first.take().or_else(|| values.next()).unwrap_or(Value::Nil)
        }))
    })
}
