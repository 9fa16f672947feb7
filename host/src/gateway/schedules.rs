//! Schedules: what is submitted again and again.
//!
//! A body says what a table of a schedules file says, in the same words. Changing one takes the scope `admin`: a
//! schedule goes on submitting when the token that made it has long been revoked.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use celeriac_broker::{
    CatchUp, Options, Overlap, Put, Run, Schedule, ScheduleRecord, TaskRef, Timing, check_name,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    api::Api,
    body,
    extract::{Path, Query, Wait},
    list::page_limit,
    openapi::Refusals,
    payload::{Input, present},
    problem::Problem,
    result::{Ended, embed},
    submit::{Accepted, answer, check_call, json},
};
use crate::settings::units;

/// Schedules on a page unless the caller says otherwise.
const PAGE: usize = 50;
/// Bytes of inputs on one page; it ends before the next that would not fit.
const PAGE_BYTES: usize = 4 << 20;
/// Times that an answer tells.
const UPCOMING: usize = 5;

/// What is to run, when, and how: `cron` with a `zone`, or `every`. The input is as at `POST /v1/invocations`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutSchedule {
    /// What to run: the module is the one that the name points to when the time comes.
    #[schema(example = "basics/noop")]
    task: TaskRef,
    /// The input, any JSON; left out: null.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>, nullable)]
    input: Option<Box<RawValue>>,
    /// The input, when it is not JSON.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    input_base64: Option<String>,
    /// The media type of `input_base64`; left out: `application/octet-stream`.
    #[schema(pattern = "^[!-.0-~]{1,60}/[!-~][ -~]{0,119}$", example = "image/png")]
    content_type: Option<String>,
    /// At these times: minute, hour, day of month, month, day of week; with seconds in front where there are six.
    #[schema(example = "30 2 * * *")]
    cron: Option<String>,
    /// Whose calendar: the name of a time zone; left out: UTC.
    #[schema(example = "Europe/Berlin")]
    zone: Option<String>,
    /// Again and again after this time, 100 ms to ten years.
    #[schema(pattern = "^([0-9]+(d|h|m|s|ms))+$", example = "15m")]
    every: Option<String>,
    /// What becomes of times that passed while no host lived.
    #[serde(default)]
    #[schema(required = false)]
    catch_up: CatchUp,
    /// What becomes of a time that comes while an earlier run has not ended.
    #[serde(default)]
    #[schema(required = false)]
    overlap: Overlap,
    /// How to run it. Moments are spans (`in_ms`), counted from when it fires; keys, dependencies and callbacks are
    /// refused.
    #[serde(default, deserialize_with = "body::object")]
    #[schema(required = false)]
    options: Options,
}

impl PutSchedule {
    /// What it says, in the broker's form.
    fn prepare(self, name: String) -> Result<Schedule, Problem> {
        let timing = timing(
            self.cron.as_deref(),
            self.zone.as_deref(),
            self.every.as_deref(),
        )?;
        let input = Input {
            json: self.input,
            base64: self.input_base64,
            content_type: self.content_type,
        };
        let schedule = Schedule {
            name,
            task: self.task,
            input: input.payload()?,
            options: self.options,
            timing,
            catch_up: self.catch_up,
            overlap: self.overlap,
        };
        schedule.check().map_err(Problem::of_call)?;
        Ok(schedule)
    }
}

fn timing(cron: Option<&str>, zone: Option<&str>, every: Option<&str>) -> Result<Timing, Problem> {
    let timing = match (cron, zone, every) {
        (Some(pattern), zone, None) => Timing::cron(pattern, zone.unwrap_or_default()),
        (None, None, Some(text)) => {
            let interval = units::parse_duration(text);
            Timing::every(interval.map_err(|reason| Problem::field("/every", reason))?)
        }
        (None, Some(_), Some(_)) => {
            let message = "an interval has no time zone: leave it out";
            return Err(Problem::field("/zone", message));
        }
        (Some(_), _, Some(_)) => {
            let message = "give `cron` or `every`, and not both";
            return Err(Problem::field("/every", message));
        }
        (None, _, None) => {
            let message =
                "say when: either `cron`, such as `30 2 * * *`, or `every`, such as `15m`";
            return Err(Problem::field("/cron", message));
        }
    };
    timing.map_err(Problem::of_call)
}

/// A schedule and where it stands. What a `PUT` takes is in the fields of the same names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(crate) struct Shown {
    /// Its name.
    name: String,
    /// What it runs.
    task: TaskRef,
    /// The input, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable)]
    input: Option<Box<RawValue>>,
    /// The input, when it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_base64: Option<String>,
    /// The media type of `input_base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The times of a calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    /// Whose calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// The interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "15m")]
    every: Option<String>,
    catch_up: CatchUp,
    overlap: Overlap,
    options: Options,
    /// Whether it fires at all for now.
    is_paused: bool,
    /// Its next times, by the broker's clock: milliseconds since the Unix epoch. None while it is paused.
    next_ms: Vec<u64>,
    /// The time that waits for an earlier run to end, where `overlap` is `queue-one`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_ms: Option<u64>,
    /// Its last 20 runs, newest first.
    runs: Vec<Run>,
}

impl Shown {
    fn new(record: ScheduleRecord) -> Self {
        let next = record.next_ms;
        let upcoming = next.and_then(|next| record.schedule.timing.upcoming(next, UPCOMING).ok());
        let schedule = record.schedule;
        let (input, input_base64) = embed(&schedule.input);
        let (cron, zone, every) = match schedule.timing {
            Timing::Cron { pattern, zone } => (Some(pattern), Some(zone), None),
            Timing::EveryMs(ms) => {
                let interval = std::time::Duration::from_millis(ms);
                (None, None, Some(units::show_duration(interval)))
            }
        };
        Self {
            name: schedule.name,
            task: schedule.task,
            content_type: input_base64
                .is_some()
                .then_some(schedule.input.content_type),
            input,
            input_base64,
            cron,
            zone,
            every,
            catch_up: schedule.catch_up,
            overlap: schedule.overlap,
            options: schedule.options,
            is_paused: record.is_paused,
            next_ms: upcoming.unwrap_or_default(),
            waiting_ms: record.waiting_ms,
            runs: record.runs,
        }
    }
}

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
/// Paused or not, whatever else runs; its next time stays.
#[utoipa::path(
    post, path = "/schedules/{name}/run", tag = "schedules", operation_id = "run_schedule",
    params(("name" = String, Path, description = "Its name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"), Wait),
    security(("token" = ["admin"])),
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
) -> Result<Response, Problem> {
    check_name("schedule name", &name)?;
    let handle = api.client.schedules().run(&name).await?;
    answer(&api, &handle, wait).await
}
