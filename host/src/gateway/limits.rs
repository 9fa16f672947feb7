//! What is bounded across all hosts.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use celeriac_broker::{Limit, LimitScope, Limited, Rate};
use serde::Serialize;
use utoipa::ToSchema;

use super::{api::Api, body, extract::Path, openapi::Refusals, problem::Problem, submit::json};

/// Every limit that is set, by scope.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    limits: Vec<Shown>,
}

/// A limit that is set.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limited)]
pub(crate) struct Shown {
    /// What it is about.
    scope: LimitScope,
    /// So many may run at once, on all hosts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// So many attempts may start in so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    /// So many may start at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    /// So many may wait in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_queue: Option<u64>,
    /// How many run that count against its concurrency.
    running: u64,
}

impl From<Limited> for Shown {
    fn from(limited: Limited) -> Self {
        let Limit {
            concurrency,
            rate,
            burst,
            max_queue,
        } = limited.limit;
        Self {
            scope: limited.scope,
            concurrency,
            rate,
            burst,
            max_queue,
            running: limited.running,
        }
    }
}

/// Every limit that is set
#[utoipa::path(
    get, path = "/limits", tag = "operations", operation_id = "limits", security(("token" = ["read"])),
    responses((status = 200, description = "The limits", body = Limits), Refusals)
)]
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Limits>, Problem> {
    let limits = api.broker.limits().await?;
    let limits = limits.into_iter().map(Shown::from).collect();
    Ok(Json(Limits { limits }))
}

/// The limit of a scope
#[utoipa::path(
    get, path = "/limits/{scope}", tag = "operations", operation_id = "limit",
    params(("scope" = LimitScope, Path, description = "What is limited; `/` is written `%2F`")), security(("token" = ["read"])),
    responses((status = 200, description = "The limit", body = Shown), Refusals)
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(scope): Path<String>,
) -> Result<Json<Shown>, Problem> {
    find(&api, &scope.parse()?).await.map(Json)
}

async fn find(api: &Api, scope: &LimitScope) -> Result<Shown, Problem> {
    let limits = api.broker.limits().await?;
    let found = limits.into_iter().find(|limited| limited.scope == *scope);
    let found = found.map(Shown::from);
    found.ok_or_else(|| Problem::new("no_limit", format!("`{scope}` has no limit")))
}

/// Set the limit of a scope, in place of the one that it has
///
/// It holds from now on, for every host and every client.
#[utoipa::path(
    put, path = "/limits/{scope}", tag = "operations", operation_id = "set_limit",
    params(("scope" = LimitScope, Path, description = "What is limited; `/` is written `%2F`")), request_body = Limit,
    security(("token" = ["admin"])),
    responses((status = 200, description = "It is set", body = Shown), Refusals)
)]
pub(crate) async fn set(
    State(api): State<Arc<Api>>,
    Path(scope): Path<String>,
    request: Request,
) -> Result<Json<Shown>, Problem> {
    let scope: LimitScope = scope.parse()?;
    let held = json(&api, request).await?;
    let body::Object::<Limit>(limit) = body::parse(&held.bytes)?;
    if limit == Limit::default() {
        let message = "say what is bounded: `concurrency`, `rate` or `max_queue`";
        return Err(Problem::field("", message));
    }
    let set = api.broker.set_limit(&scope, Some(&limit)).await;
    set.map_err(Problem::of_call)?;
    find(&api, &scope).await.map(Json)
}

/// Remove the limit of a scope
#[utoipa::path(
    delete, path = "/limits/{scope}", tag = "operations", operation_id = "remove_limit",
    params(("scope" = LimitScope, Path, description = "What is limited no more; `/` is written `%2F`")),
    security(("token" = ["admin"])),
    responses((status = 204, description = "It is gone"), Refusals)
)]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path(scope): Path<String>,
) -> Result<StatusCode, Problem> {
    let scope = find(&api, &scope.parse()?).await?.scope;
    api.broker.set_limit(&scope, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
