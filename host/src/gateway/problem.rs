//! What every error is answered with: `application/problem+json` (RFC 9457) with a stable code.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use celeriac_broker::{BrokerError, Code, Failure, Finding, InvocationId, UploadReport};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Every code with its status and title; docs/http-api.md has the same table.
#[rustfmt::skip]
pub(crate) const CODES: &[(&str, StatusCode, &str)] = &[
    ("malformed", StatusCode::BAD_REQUEST, "The request cannot be read"),
    ("unauthorized", StatusCode::UNAUTHORIZED, "A token is needed"),
    ("forbidden", StatusCode::FORBIDDEN, "The token does not allow it"),
    ("no_route", StatusCode::NOT_FOUND, "There is nothing at this path"),
    ("not_found", StatusCode::NOT_FOUND, "The invocation is not known"),
    ("no_parent", StatusCode::NOT_FOUND, "An invocation to wait for is not known"),
    ("no_schedule", StatusCode::NOT_FOUND, "There is no such schedule"),
    ("no_dead_letter", StatusCode::NOT_FOUND, "There is no such dead letter"),
    ("no_host", StatusCode::NOT_FOUND, "There is no such host"),
    ("no_limit", StatusCode::NOT_FOUND, "There is no such limit"),
    ("no_module", StatusCode::NOT_FOUND, "There is no such module"),
    ("no_task", StatusCode::NOT_FOUND, "There is no such task"),
    ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "The path has other methods"),
    ("timeout", StatusCode::REQUEST_TIMEOUT, "The body did not come in time"),
    ("in_use", StatusCode::CONFLICT, "It is in use"),
    ("idempotency_conflict", StatusCode::CONFLICT, "The key belongs to another task or input"),
    ("not_unique", StatusCode::CONFLICT, "The key is held by another invocation"),
    ("too_many_schedules", StatusCode::CONFLICT, "There are as many schedules as there may be"),
    ("version_taken", StatusCode::CONFLICT, "A version never moves"),
    ("expired", StatusCode::GONE, "The record has expired"),
    ("too_large", StatusCode::PAYLOAD_TOO_LARGE, "It is too large"),
    ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body has another media type"),
    ("invalid", StatusCode::UNPROCESSABLE_ENTITY, "A value is not valid"),
    ("refused", StatusCode::UNPROCESSABLE_ENTITY, "The module was not admitted"),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR, "A defect of the gateway"),
    ("damaged", StatusCode::INTERNAL_SERVER_ERROR, "What is stored cannot be read"),
    ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "There is too much at once"),
    ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "The broker does not answer"),
    ("unfit", StatusCode::SERVICE_UNAVAILABLE, "The broker cannot be used"),
];

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Document>);

/// An error (RFC 9457). `code` is stable; `title` and `detail` are for people.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// `urn:celeriac:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:celeriac:problem:not_found")]
    kind: String,
    /// The kind of problem in words.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What is wrong here, and what to do.
    detail: String,
    /// The kind of problem as a stable word.
    #[schema(example = "not_found")]
    code: String,
    /// The fields that are not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// What is wrong with an uploaded module.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    findings: Vec<Finding>,
    /// Why the invocation has no output.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    /// The invocation that has the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    existing: Option<InvocationId>,
    /// The queue that takes no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// How many wait in that queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u64>,
    /// How many may wait in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The field, as a JSON pointer (RFC 6901) into the body.
    #[schema(example = "/input/width")]
    pub(crate) pointer: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl Problem {
    /// A problem with one of `CODES`.
    pub(crate) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let known = CODES.iter().find(|(known, ..)| *known == code);
        let (status, title) = known.map_or((StatusCode::CONFLICT, code), |(_, status, title)| {
            (*status, *title)
        });
        Self::with_status(code, status, title, detail.into())
    }

    fn with_status(code: &str, status: StatusCode, title: &str, detail: String) -> Self {
        Self(Box::new(Document {
            kind: format!("urn:celeriac:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            code: code.to_owned(),
            errors: Vec::new(),
            findings: Vec::new(),
            failure: None,
            existing: None,
            queue: None,
            depth: None,
            limit: None,
        }))
    }

    /// Fields that are not valid.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new("invalid", told(&errors));
        problem.0.errors = errors;
        problem
    }

    /// One field that is not valid.
    pub(crate) fn field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.into(),
            message: message.into(),
        }])
    }

    /// A module that was not admitted.
    pub(crate) fn refused(report: UploadReport) -> Self {
        let mut problem = Self::new("refused", report.to_string());
        problem.0.findings = report.findings;
        problem
    }

    /// An invocation that has ended without the output that was asked for.
    pub(crate) fn no_output(code: Code, failure: Option<Failure>) -> Self {
        let detail = failure
            .as_ref()
            .map_or_else(|| code.to_string(), |failure| failure.message.clone());
        let title = "The invocation ended without an output";
        let mut problem = Self::with_status(code.as_str(), StatusCode::CONFLICT, title, detail);
        problem.0.failure = failure;
        problem
    }

    /// What the broker says about a call, or about what will be one, with the field that it is about.
    pub(crate) fn of_call(error: BrokerError) -> Self {
        match fields::pointer(&error) {
            Some(pointer) => Self::field(pointer, error.to_string()),
            None => error.into(),
        }
    }

    /// The same of what came back through the client.
    pub(crate) fn of_refused_call(error: celeriac_client::Error) -> Self {
        match error {
            celeriac_client::Error::Broker(error) => Self::of_call(error),
            other => other.into(),
        }
    }

    /// The same, with `pointer` before each of its fields: in `errors` as in `detail`.
    #[must_use]
    pub(crate) fn within(mut self, pointer: &str) -> Self {
        if self.0.errors.is_empty() {
            return self;
        }
        for error in &mut self.0.errors {
            error.pointer.insert_str(0, pointer);
        }
        self.0.detail = told(&self.0.errors);
        self
    }

    pub(crate) fn into_document(self) -> Document {
        *self.0
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What is wrong with fields, for people. What is wrong with the whole body has no field to name.
fn told(errors: &[FieldError]) -> String {
    match errors {
        [error] if error.pointer.is_empty() => error.message.clone(),
        [error] => format!("`{}`: {}", error.pointer, error.message),
        errors => format!("{} fields are not valid", errors.len()),
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        let code = error.code();
        match &error {
            // Where the broker is and how it fails is the operator's business.
            BrokerError::Unavailable { .. } | BrokerError::Unfit { .. } => {
                tracing::warn!(%error, "a request failed");
                Self::new(
                    code,
                    "the broker cannot be used now: try again, or ask the operator",
                )
            }
            BrokerError::Damaged { .. } => {
                tracing::error!(%error, "a request failed");
                Self::new(code, "the record cannot be read: ask the operator")
            }
            BrokerError::IdempotencyConflict { existing, .. }
            | BrokerError::NotUnique { existing, .. } => {
                let mut problem = Self::new(code, error.to_string());
                problem.0.existing = Some(*existing);
                problem
            }
            BrokerError::Overloaded {
                queue,
                depth,
                limit,
            } => {
                let mut problem = Self::new(code, error.to_string());
                problem.0.queue = Some(queue.clone());
                problem.0.depth = Some(*depth);
                problem.0.limit = Some(*limit);
                problem
            }
            _ => Self::new(code, error.to_string()),
        }
    }
}

impl From<celeriac_client::Error> for Problem {
    fn from(error: celeriac_client::Error) -> Self {
        match error {
            celeriac_client::Error::Broker(error) => error.into(),
            celeriac_client::Error::Refused(report) => Self::refused(report),
            celeriac_client::Error::Closed => Self::new("unavailable", "the host is stopping"),
            other => {
                tracing::error!(error = %other, "a request failed");
                Self::new("internal", "the gateway failed: ask the operator")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_code_with_its_status() {
        let page = include_str!("../../../docs/http-api.md");
        for (code, status, _) in CODES {
            let row = page.lines().find(|line| {
                let first = line.split('|').nth(1).unwrap_or_default();
                first.contains(&format!("`{code}`"))
            });
            let row = row.unwrap_or_else(|| panic!("{code} is not in the table"));
            assert!(row.contains(&format!("| {} |", status.as_u16())), "{row}");
        }
    }

    #[test]
    fn detail_names_the_field_as_errors_do() {
        let problem = Problem::field("/b", "too large").within("/input");
        let problem = problem.within("/invocations/3").into_document();
        assert_eq!(problem.errors[0].pointer, "/invocations/3/input/b");
        assert_eq!(problem.detail, "`/invocations/3/input/b`: too large");
        let whole = Problem::field("", "not an object");
        assert_eq!(whole.clone().into_document().detail, "not an object");
        let input = whole.within("/input").into_document();
        assert_eq!(input.detail, "`/input`: not an object");
        let other = Problem::new("no_task", "there is none").within("/input");
        assert_eq!(other.into_document().detail, "there is none");
    }

    #[test]
    fn where_the_broker_is_stays_here() {
        let problem = Problem::from(BrokerError::Unavailable {
            address: "redis://10.0.0.5".to_owned(),
            reason: "refused".to_owned(),
        });
        assert_eq!(problem.0.code, "unavailable");
        assert!(!problem.0.detail.contains("10.0.0.5"));
    }
}
