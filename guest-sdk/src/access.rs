//! Why something outside the sandbox was not to be had.

use std::fmt;

use crate::Failure;

/// Why something outside the sandbox was not to be had. The text says what to do about it.
///
/// `?` turns it into a [`Failure`] of kind `access-denied`, `access-limit`, `access-invalid` or
/// `access-unavailable`; only the last may be retried. For that it is not a `std::error::Error`, each of
/// which becomes a failure that may be.
///
/// ```
/// use celeriac_guest::{AccessError, Context, Failure, task};
///
/// /// Counts visits, or does without where nobody granted a store.
/// #[task(needs(kv = "visits"))]
/// fn visit(ctx: &Context) -> Result<Option<i64>, Failure> {
///     match ctx.store().increment("visits", 1) {
///         Ok(visits) => Ok(Some(visits)),
///         Err(AccessError::Denied(_)) => Ok(None),
///         Err(other) => Err(other.into()),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessError {
    /// Not declared with `needs(…)`, or not granted by the operator.
    Denied(String),
    /// A limit stands in the way.
    Limit(String),
    /// The request makes no sense: an empty key, a value that is no number.
    Invalid(String),
    /// Not now: the same may succeed later.
    Unavailable(String),
}

impl AccessError {
    /// The text alone.
    pub fn message(&self) -> &str {
        match self {
            Self::Denied(text)
            | Self::Limit(text)
            | Self::Invalid(text)
            | Self::Unavailable(text) => text,
        }
    }

    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Denied(_) => "access-denied",
            Self::Limit(_) => "access-limit",
            Self::Invalid(_) => "access-invalid",
            Self::Unavailable(_) => "access-unavailable",
        }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl From<AccessError> for Failure {
    #[track_caller]
    fn from(error: AccessError) -> Self {
        let failure = Self::new(error.kind(), error.message());
        match error.is_retryable() {
            true => failure.retryable(),
            false => failure,
        }
    }
}
