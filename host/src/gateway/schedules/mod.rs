//! Schedules: what is submitted again and again.
//!
//! A body says what a table of a schedules file says, in the same words. Changing one takes the scope `admin`: a
//! schedule goes on submitting when the token that made it has long been revoked.

mod form;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use celeriac_broker::{Put, check_name};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::form::{PutSchedule, RunSchedule, Shown};
use super::{
    api::Api,
    body,
    extract::{Path, Query, Wait},
    list::page_limit,
    openapi::Refusals,
    problem::Problem,
    repeat::made_before,
    result::Ended,
    submit::{Accepted, answer, check_call, json, json_if_any},
};

/// Schedules on a page unless the caller says otherwise.
const PAGE: usize = 50;
/// Bytes of inputs on one page; it ends before the next that would not fit.
const PAGE_BYTES: usize = 4 << 20;

/// Where a page begins, and how long it is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// How many on a page; left out: 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `cursor` of the page before.
    #[param(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    cursor: Option<String>,
}

/// A page of schedules, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedules {
    schedules: Vec<Shown>,
    /// Where the next page begins. A page may be short and not be the last: only no cursor means that.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// What became of a schedule that was put.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PutAnswer {
    /// `added`, `changed` where there was another of this name, or `unchanged`.
    change: Put,
    schedule: Shown,
}

/// Every schedule, by name
#[utoipa::path(
    get, path = "/schedules", tag = "schedules", operation_id = "schedules",
    params(Wanted), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = Schedules), Refusals)
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Schedules>, Problem> {
    let limit = page_limit(wanted.limit, PAGE)?;
    if let Some(cursor) = &wanted.cursor {
        check_name("cursor", cursor)?;
    }
    let after = wanted.cursor.unwrap_or_default();
    let records = api.client.schedules().list().await?;
    let left = records.into_iter();
    let left = left.filter(|record| record.schedule.name > after);
    let (mut schedules, mut bytes) = (Vec::new(), 0);
    for record in left {
        bytes += record.schedule.input.data.len();
        if schedules.len() == limit || (bytes > PAGE_BYTES && !schedules.is_empty()) {
            let cursor = schedules.last().map(|shown: &Shown| shown.name.clone());
            return Ok(Json(Schedules { schedules, cursor }));
        }
        schedules.push(Shown::new(record));
    }
    let cursor = None;
    Ok(Json(Schedules { schedules, cursor }))
}

/// One schedule, with its next times and its last runs
#[utoipa::path(
    get, path = "/schedules/{name}", tag = "schedules", operation_id = "schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    security(("token" = ["read"])),
    responses((status = 200, description = "The schedule", body = Shown), Refusals)
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Problem> {
    shown(&api, &name).await.map(Json)
}

/// A schedule as it is now.
async fn shown(api: &Api, name: &str) -> Result<Shown, Problem> {
    check_name("schedule name", name)?;
    let record = api.client.schedules().get(name).await?;
    Ok(Shown::new(record))
}

/// Add a schedule, or put it in the place of the one of its name
///
/// One that is paused stays so; one whose times stay the same keeps its beat. A task that is not there yet is taken.
#[utoipa::path(
    put, path = "/schedules/{name}", tag = "schedules", operation_id = "put_schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    request_body = PutSchedule, security(("token" = ["admin"])),
    responses(
        (status = 200, description = "It is there", body = PutAnswer),
        (status = 201, description = "It was added", body = PutAnswer, headers(("Location" = String, description = "Where it is found"))),
        Refusals,
    )
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    check_name("schedule name", &name)?;
    let held = json(&api, request).await?;
    let body::Object::<PutSchedule>(put) = body::parse(&held.bytes)?;
    let schedule = put.prepare(name)?;
    drop(held);
    check_call(&api, &schedule.task, &schedule.input, &schedule.options).await?;
    let change = api.client.schedules().put(&schedule).await?;
    let schedule = shown(&api, &schedule.name).await?;
    let location = format!("/v1/schedules/{}", schedule.name);
    let answer = Json(PutAnswer { change, schedule });
    Ok(match change {
        Put::Added => (StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response(),
        Put::Changed | Put::Unchanged => answer.into_response(),
    })
}

/// Remove a schedule
///
/// What it has submitted goes on.
#[utoipa::path(
    delete, path = "/schedules/{name}", tag = "schedules", operation_id = "remove_schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    security(("token" = ["admin"])),
    responses((status = 204, description = "It is gone"), Refusals)
)]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    check_name("schedule name", &name)?;
    api.client.schedules().remove(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have a schedule fire no more until it is resumed
#[utoipa::path(
    post, path = "/schedules/{name}/pause", tag = "schedules", operation_id = "pause_schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    security(("token" = ["admin"])),
    responses((status = 200, description = "The schedule as it is now", body = Shown), Refusals)
)]
pub(crate) async fn pause(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Problem> {
    check_name("schedule name", &name)?;
    api.client.schedules().pause(&name).await?;
    shown(&api, &name).await.map(Json)
}

/// Have a schedule fire again
///
/// Times that passed meanwhile are left out.
#[utoipa::path(
    post, path = "/schedules/{name}/resume", tag = "schedules", operation_id = "resume_schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    security(("token" = ["admin"])),
    responses((status = 200, description = "The schedule as it is now", body = Shown), Refusals)
)]
pub(crate) async fn resume(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Shown>, Problem> {
    check_name("schedule name", &name)?;
    api.client.schedules().resume(&name).await?;
    shown(&api, &name).await.map(Json)
}

/// Submit now what a schedule would submit
///
/// Paused or not, whatever else runs; its next time stays. With an `id` the same request again is the same run.
#[utoipa::path(
    post, path = "/schedules/{name}/run", tag = "schedules", operation_id = "run_schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"), Wait),
    request_body = Option<RunSchedule>, security(("token" = ["admin"])),
    responses(
        (status = 200, description = "It has ended", body = Ended),
        (status = 202, description = "It is stored and will run", body = Accepted, headers(("Location" = String, description = "Where it is found"))),
        Refusals,
    )
)]
pub(crate) async fn run(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(wait): Query<Wait>,
    request: Request,
) -> Result<Response, Problem> {
    check_name("schedule name", &name)?;
    let held = json_if_any(&api, request).await?;
    let body::Object::<RunSchedule>(said) = match held.bytes.is_empty() {
        true => body::Object(RunSchedule::default()),
        false => body::parse(&held.bytes)?,
    };
    drop(held);
    let handle = match said.id {
        None => api.client.schedules().run(&name).await?,
        Some(id) if made_before(&api, id).await?.is_some() => api.client.handle(id),
        Some(id) => api.client.schedules().run_as(&name, id).await?,
    };
    answer(&api, &handle, wait).await
}
