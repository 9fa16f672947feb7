//! Stopping all that a filter asks for, a page by each request.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use celeriac_broker::{Filter, List, MAX_LISTED};
use celeriac_client::BulkCancel;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{api::Api, body, openapi::Refusals, problem::Problem, submit::json};

/// Which invocations are stopped, a page by each request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelMany {
    /// Those that everything in here holds for; something must be given. Without `states`: all that have not ended.
    #[serde(deserialize_with = "body::object")]
    filter: Filter,
    /// Only count them.
    #[serde(default)]
    #[schema(required = false)]
    dry_run: bool,
    /// How many by this request; left out: 500.
    #[schema(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `cursor` of the answer before.
    cursor: Option<String>,
}

/// What stopping came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelledMany {
    /// Those that the filter asked for.
    matched: u64,
    /// Those that had not started: they are cancelled now.
    cancelled: u64,
    /// Those that run: their hosts have been told.
    requested: u64,
    /// Those that had ended before they were reached.
    already_ended: u64,
    /// Where the next request goes on: only no cursor means that these were the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Stop all that a filter asks for
///
/// A page by each request: go on with the answer's `cursor` until there is none. Uploads are left alone unless the filter
/// names their queue.
#[utoipa::path(
    post, path = "/invocations/cancel", tag = "invocations", operation_id = "cancel_many",
    request_body = CancelMany, security(("token" = ["admin"])),
    responses((status = 200, description = "What it came to", body = CancelledMany), Refusals)
)]
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<CancelledMany>, Problem> {
    let held = json(&api, request).await?;
    let body::Object::<CancelMany>(said) = body::parse(&held.bytes)?;
    if said.filter == Filter::default() {
        let message = "say which: `{\"queue\": \"images\"}`; `{\"older_than_ms\": 0}` is all";
        return Err(Problem::field("/filter", message));
    }
    let limit = said.limit.unwrap_or(MAX_LISTED);
    if !(1..=MAX_LISTED).contains(&limit) {
        let message = format!("from 1 to {MAX_LISTED}");
        return Err(Problem::field("/limit", message));
    }
    let list = List {
        filter: said.filter,
        cursor: said.cursor,
        limit,
    };
    let (all, cursor) = api.client.cancel_page(&list, said.dry_run).await?;
    let BulkCancel {
        matched,
        cancelled,
        requested,
        already_ended,
    } = all;
    Ok(Json(CancelledMany {
        matched,
        cancelled,
        requested,
        already_ended,
        cursor,
    }))
}
