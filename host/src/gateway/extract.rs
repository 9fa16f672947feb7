//! Paths and queries, whose errors are problems like all others.

use axum::{
    extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery},
    http::request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::problem::Problem;

/// The longest wait, in seconds.
const MAX_WAIT: f64 = 300.0;

/// What stands in the path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = AxumPath::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|error| Problem::new("malformed", error.body_text()))
    }
}

/// What stands behind the question mark.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = AxumQuery::<T>::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|error| Problem::new("malformed", error.body_text()))
    }
}

/// How long to wait for the end.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Seconds to wait for the end; left out: none.
    #[serde(default, deserialize_with = "seconds")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 300, example = 30)]
    wait: Option<f64>,
}

impl Wait {
    /// How long, in seconds.
    pub(crate) fn seconds(self) -> f64 {
        self.wait.unwrap_or(0.0)
    }

    /// How long, in seconds, where nothing said means as long as may be.
    pub(crate) fn or_longest(self) -> f64 {
        self.wait.unwrap_or(MAX_WAIT)
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    match (0.0..=MAX_WAIT).contains(&seconds) {
        true => Ok(Some(seconds)),
        false => Err(serde::de::Error::custom(format!(
            "`wait` is a number of seconds from 0 to {MAX_WAIT}"
        ))),
    }
}
