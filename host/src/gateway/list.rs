//! Invocations by state, queue, task and age, a page at a time.

use std::sync::Arc;

use axum::{Json, extract::State};
use celeriac_broker::{Filter, List, MAX_LISTED, State as InvocationState, Status, TaskFilter};
use serde::{Deserialize, Serialize, de::IntoDeserializer as _};
use utoipa::{IntoParams, ToSchema};

use super::{api::Api, extract::Query, openapi::Refusals, problem::Problem};

/// Invocations on a page unless the caller says otherwise.
const PAGE: usize = 50;

/// Which invocations are meant: everything that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Where they stand, with commas between, such as `queued,running`.
    #[param(
        pattern = "^(blocked|scheduled|queued|running|succeeded|failed|cancelled|expired)(,(blocked|scheduled|queued|running|succeeded|failed|cancelled|expired))*$"
    )]
    states: Option<String>,
    /// Their queue.
    #[param(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    queue: Option<String>,
    /// Their task: `images` for all of a module, `images/resize` for one.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63})?$")]
    task: Option<TaskFilter>,
    /// Their concurrency key or their fairness key.
    #[param(pattern = "^[!-~]{1,128}$")]
    key: Option<String>,
    /// Accepted at least this many milliseconds ago.
    #[param(minimum = 0)]
    older_than_ms: Option<u64>,
    /// Accepted at most this many milliseconds ago.
    #[param(minimum = 0)]
    newer_than_ms: Option<u64>,
    /// Accepted at this moment or later: milliseconds since the Unix epoch.
    #[param(minimum = 0)]
    since_ms: Option<u64>,
    /// Accepted before this moment: milliseconds since the Unix epoch.
    #[param(minimum = 0)]
    until_ms: Option<u64>,
    /// How many on a page; left out: 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `cursor` of the page before.
    cursor: Option<String>,
}

/// A page of invocations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page {
    invocations: Vec<Status>,
    /// Where the next page begins. A page may be short, or empty, and not be the last: only no cursor means that.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Invocations by state, queue, task and age
#[utoipa::path(
    get, path = "/invocations", tag = "invocations", operation_id = "list",
    params(Wanted), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = Page), Refusals)
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Problem> {
    let limit = page_limit(wanted.limit, PAGE)?;
    let filter = Filter {
        states: states(wanted.states.as_deref())?,
        queue: wanted.queue,
        task: wanted.task,
        key: wanted.key,
        older_than_ms: wanted.older_than_ms,
        newer_than_ms: wanted.newer_than_ms,
        since_ms: wanted.since_ms,
        until_ms: wanted.until_ms,
    };
    let list = List {
        filter,
        cursor: wanted.cursor,
        limit,
    };
    let page = api.broker.list(&list).await?;
    Ok(Json(Page {
        invocations: page.invocations,
        cursor: page.cursor,
    }))
}

/// How many are on a page.
pub(super) fn page_limit(wanted: Option<usize>, usual: usize) -> Result<usize, Problem> {
    match wanted.unwrap_or(usual) {
        limit @ 1..=MAX_LISTED => Ok(limit),
        _ => Err(Problem::new(
            "malformed",
            format!("`limit` is from 1 to {MAX_LISTED}"),
        )),
    }
}

fn states(text: Option<&str>) -> Result<Vec<InvocationState>, Problem> {
    let state = |word: &str| {
        let read: Result<_, serde::de::value::Error> =
            InvocationState::deserialize(word.into_deserializer());
        read.map_err(|error| Problem::new("malformed", format!("`states`: {error}")))
    };
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(state)
        .collect()
}
