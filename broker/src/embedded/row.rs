//! Reading columns without trusting them: a damaged record must not keep others from being read.

use rusqlite::{Row, types::ValueRef};

use super::fault::damaged;
use crate::{Attempt, BrokerError, InvocationId, Token};

/// Bytes of a text or blob; none for anything else.
pub(super) fn bytes(row: &Row<'_>, column: usize) -> Option<Vec<u8>> {
    match row.get_ref(column) {
        Ok(ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// A text; none for anything else.
pub(super) fn text(row: &Row<'_>, column: usize) -> Option<String> {
    bytes(row, column).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// A number; none for anything else.
pub(super) fn number(row: &Row<'_>, column: usize) -> Option<i64> {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => Some(number),
        _ => None,
    }
}

/// A number that is not negative; 0 for anything else.
pub(super) fn count(row: &Row<'_>, column: usize) -> u64 {
    number(row, column)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// An invocation's id.
pub(super) fn id(row: &Row<'_>, column: usize) -> Option<InvocationId> {
    match row.get_ref(column) {
        Ok(ValueRef::Blob(bytes)) => Some(InvocationId::from_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// How an invocation has fared so far. Travels with it from the queue to the lease and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fare {
    /// Tokens made so far: makes each one unique.
    pub(super) taken: i64,
    /// Those that did not count as attempts.
    pub(super) given_back: i64,
    /// Hosts that died while they ran it.
    pub(super) crashes: i64,
}

impl Fare {
    /// From three columns beginning with `first`.
    pub(super) fn read(row: &Row<'_>, first: usize) -> Self {
        let field = |offset| number(row, first + offset).unwrap_or(0);
        Self {
            taken: field(0),
            given_back: field(1),
            crashes: field(2),
        }
    }

    /// Attempts that counted.
    pub(super) fn attempts(self) -> u32 {
        u32::try_from(self.taken.saturating_sub(self.given_back)).unwrap_or(0)
    }

    pub(super) fn crashes(self) -> u32 {
        u32::try_from(self.crashes).unwrap_or(u32::MAX)
    }
}

/// The token of `host`'s reservation number `taken`.
pub(super) fn token(host: &str, taken: i64) -> Token {
    Token::from(format!("{host}.{taken}"))
}

/// The host and the number in a token.
pub(super) fn split_token(token: &Token) -> Option<(&str, i64)> {
    let (host, taken) = token.as_str().rsplit_once('.')?;
    Some((host, taken.parse().ok()?))
}

/// The attempts that failed; none when there is nothing.
pub(super) fn parse_trail(
    id: InvocationId,
    json: Option<&[u8]>,
) -> Result<Vec<Attempt>, BrokerError> {
    json.map_or(Ok(Vec::new()), |json| parse(id, json))
}

/// JSON that belongs to the record of an invocation.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    id: InvocationId,
    json: &[u8],
) -> Result<T, BrokerError> {
    serde_json::from_slice(json).map_err(|error| damaged(format!("invocation {id}"), error))
}
