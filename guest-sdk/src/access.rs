//! Why something outside the sandbox was not to be had.

use std::fmt;

use crate::Failure;

/// Why something outside the sandbox was not to be had. It converts into a [`Failure`], so `?` just works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessError {
    /// Not declared or not granted; the text says what to do.
    Denied(String),
    /// A limit stands in the way; the text names it.
    Limit(String),
    /// The request makes no sense.
    Invalid(String),
    /// Not now.
    Unavailable(String),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Denied(text)
        | Self::Limit(text)
        | Self::Invalid(text)
        | Self::Unavailable(text)) = self;
        f.write_str(text)
    }
}

/// Not by way of `std::error::Error`, which it is not for that reason: that would make each retryable.
impl From<AccessError> for Failure {
    #[track_caller]
    fn from(error: AccessError) -> Self {
        let kind = match &error {
            AccessError::Denied(_) => "access-denied",
            AccessError::Limit(_) => "access-limit",
            AccessError::Invalid(_) => "access-invalid",
            AccessError::Unavailable(_) => "access-unavailable",
        };
        let failure = Self::new(kind, error.to_string());
        match error {
            AccessError::Unavailable(_) => failure.retryable(),
            _ => failure,
        }
    }
}
