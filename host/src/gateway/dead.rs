//! Dead letters: what has failed for good, to be looked at, retried or dropped.
//!
//! Retrying one is submitting what was submitted before, and takes the scope `submit`. Retrying all that a filter asks for,
//! and dropping, which takes evidence away, take `admin`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use celeriac_broker::{
    Code, DeadFilter, DeadLetter, DeadList, InvocationId, MAX_LISTED, Options, Retry, TaskFilter,
    WEBHOOK_TASK, check_name,
};
use celeriac_client::BulkDead;
use serde::{Deserialize, Serialize, de::IntoDeserializer as _};
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
    submit::{Accepted, answer, json, json_if_any},
};

/// Dead letters on a page, or retried by one request, unless the caller says otherwise.
const PAGE: usize = 50;

/// Which dead letters are meant: everything that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Their task: `images` for all of a module, `images/resize` for one.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63})?$")]
    task: Option<TaskFilter>,
    /// Their queue.
    #[param(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    queue: Option<String>,
    /// What they failed with, with commas between, such as `trap,deadline`.
    #[param(pattern = "^[a-z_]{1,40}(,[a-z_]{1,40})*$")]
    codes: Option<String>,
    /// Failed at this moment or later: milliseconds since the Unix epoch.
    #[param(minimum = 0)]
    since_ms: Option<u64>,
    /// Failed before this moment: milliseconds since the Unix epoch.
    #[param(minimum = 0)]
    until_ms: Option<u64>,
    /// How many on a page; left out: 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `cursor` of the page before.
    cursor: Option<String>,
}

/// A page of dead letters, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    letters: Vec<DeadLetter>,
    /// Where the next page begins. A page may be short, or empty, and not be the last: only no cursor means that.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A dead letter with what was handed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WholeLetter {
    /// When and how it failed, with the attempts before the last.
    #[serde(flatten)]
    letter: DeadLetter,
    /// How it was to be run.
    options: Options,
    /// Its input, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable)]
    input: Option<Box<RawValue>>,
    /// Its input, when it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_base64: Option<String>,
    /// The input's media type.
    content_type: String,
}

/// How a dead letter is retried. Without an input it is retried with its own.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryLetter {
    /// Another input, any JSON.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>, nullable)]
    input: Option<Box<RawValue>>,
    /// Another input, when it is not JSON.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    input_base64: Option<String>,
    /// The media type of `input_base64`; left out: `application/octet-stream`.
    #[schema(pattern = "^[!-.0-~]{1,60}/[!-~][ -~]{0,119}$", example = "image/png")]
    content_type: Option<String>,
    /// Run what the task's name points to now, instead of the module that failed.
    #[serde(default)]
    #[schema(required = false)]
    latest: bool,
}

/// Which dead letters are retried, a page by each request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryLetters {
    /// Those that everything in here holds for; something must be given.
    #[serde(deserialize_with = "body::object")]
    filter: DeadFilter,
    /// Run what the tasks' names point to now, instead of the modules that failed.
    #[serde(default)]
    #[schema(required = false)]
    latest: bool,
    /// How many by this request; left out: 50.
    #[schema(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `cursor` of the answer before.
    cursor: Option<String>,
}

/// What retrying came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// Those that the filter asked for.
    matched: u64,
    /// Those that were retried.
    done: u64,
    /// Those that could not be, such as for want of their module: they stay.
    refused: u64,
    /// Where the next request goes on: only no cursor means that these were the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// What has failed for good, newest first
#[utoipa::path(
    get, path = "/dead-letters", tag = "dead letters", operation_id = "dead_letters",
    params(Wanted), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = DeadLetters), Refusals)
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<DeadLetters>, Problem> {
    let list = DeadList {
        limit: page_limit(wanted.limit, PAGE)?,
        filter: DeadFilter {
            task: wanted.task,
            queue: wanted.queue,
            codes: codes(wanted.codes.as_deref())?,
            since_ms: wanted.since_ms,
            until_ms: wanted.until_ms,
        },
        cursor: wanted.cursor,
    };
    let page = api.client.dead_letters(&checked(list)?).await?;
    Ok(Json(DeadLetters {
        letters: page.letters,
        cursor: page.cursor,
    }))
}

fn codes(text: Option<&str>) -> Result<Vec<Code>, Problem> {
    let code = |word: &str| {
        let read: Result<_, serde::de::value::Error> = Code::deserialize(word.into_deserializer());
        read.map_err(|error| Problem::new("invalid", format!("`codes`: {error}")))
    };
    let words = text.into_iter().flat_map(|text| text.split(','));
    words.map(code).collect()
}

/// What every engine can look for.
fn checked(mut list: DeadList) -> Result<DeadList, Problem> {
    let filter = &mut list.filter;
    if let Some(queue) = &filter.queue {
        check_name("queue", queue)?;
    }
    for moment in [&mut filter.since_ms, &mut filter.until_ms] {
        *moment = moment.map(|ms| ms.min(i64::MAX.unsigned_abs()));
    }
    Ok(list)
}

/// A dead letter with its input
///
/// What it reported is at `GET /v1/invocations/{id}/events`.
#[utoipa::path(
    get, path = "/dead-letters/{id}", tag = "dead letters", operation_id = "dead_letter",
    params(("id" = InvocationId, Path, description = "The invocation")), security(("token" = ["read"])),
    responses((status = 200, description = "The letter", body = WholeLetter), Refusals)
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
) -> Result<Json<WholeLetter>, Problem> {
    let letter = find(&api, id).await?;
    let request = api.client.request(id).await?;
    let (input, input_base64) = embed(&request.input);
    Ok(Json(WholeLetter {
        letter,
        options: request.options,
        input,
        input_base64,
        content_type: request.input.content_type,
    }))
}

async fn find(api: &Api, id: InvocationId) -> Result<DeadLetter, Problem> {
    let found = api.client.dead_letter(id).await?;
    found.ok_or_else(|| none(id))
}

fn none(id: InvocationId) -> Problem {
    let message = format!("invocation {id} is no dead letter, or no longer");
    Problem::new("no_dead_letter", message)
}

/// Hand a dead letter in once more
///
/// As a new invocation that takes its place, with its own input or another, which is checked as at submit. The same
/// request again, while the letter is there, is the same retry.
#[utoipa::path(
    post, path = "/dead-letters/{id}/retry", tag = "dead letters", operation_id = "retry_dead_letter",
    params(("id" = InvocationId, Path, description = "The invocation"), Wait),
    request_body = Option<RetryLetter>, security(("token" = ["submit"])),
    responses(
        (status = 200, description = "It has ended", body = Ended),
        (status = 202, description = "It is stored and will run", body = Accepted, headers(("Location" = String, description = "Where it is found"))),
        Refusals,
    )
)]
pub(crate) async fn retry(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
    Query(wait): Query<Wait>,
    request: Request,
) -> Result<Response, Problem> {
    let held = json_if_any(&api, request).await?;
    let body::Object::<RetryLetter>(said) = match held.bytes.is_empty() {
        true => body::Object(RetryLetter::default()),
        false => body::parse(&held.bytes)?,
    };
    let input = Input {
        json: said.input,
        base64: said.input_base64,
        content_type: said.content_type,
    };
    let input = match input.is_absent() {
        true => None,
        false => Some(input.payload()?),
    };
    drop(held);
    let is_latest = said.latest;
    let retry = Retry { input, is_latest };
    check_retry(&api, id, &retry).await?;
    let successor = api.client.retry_dead_letter(id, retry).await;
    let successor = successor.map_err(Problem::of_refused_call)?;
    let handle = api.client.handle(successor.ok_or_else(|| none(id))?);
    answer(&api, &handle, wait).await
}

/// Refuses another input that does not fit. The host's own tasks are authority: a webhook is sent again as it was, and an
/// upload is repeated by who may upload.
async fn check_retry(api: &Api, id: InvocationId, retry: &Retry) -> Result<(), Problem> {
    let status = find(api, id).await?.status;
    if status.task.is_built_in() && (retry.input.is_some() || status.task.task != WEBHOOK_TASK) {
        let message =
            "of the host's own tasks webhooks alone are retried here, with their own inputs";
        return Err(Problem::new("forbidden", message));
    }
    let Some(input) = &retry.input else {
        return Ok(());
    };
    let request = api.client.request(id).await?;
    let submission = retry.clone().submission(id, &status, request);
    let checked = api.validators.check(&submission.task, input).await;
    checked.map_err(|problem| problem.within("/input"))
}

/// Hand in once more all that a filter asks for
///
/// A page by each request: go on with the answer's `cursor` until there is none.
#[utoipa::path(
    post, path = "/dead-letters/retry", tag = "dead letters", operation_id = "retry_dead_letters",
    request_body = RetryLetters, security(("token" = ["admin"])),
    responses((status = 200, description = "What it came to", body = Retried), Refusals)
)]
pub(crate) async fn retry_many(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Retried>, Problem> {
    let held = json(&api, request).await?;
    let body::Object::<RetryLetters>(said) = body::parse(&held.bytes)?;
    if said.filter == DeadFilter::default() {
        let message = "say which: `{\"task\": \"images/resize\"}`; `{\"since_ms\": 0}` is all";
        return Err(Problem::field("/filter", message));
    }
    if !(1..=MAX_LISTED).contains(&said.limit.unwrap_or(PAGE)) {
        let message = format!("from 1 to {MAX_LISTED}");
        return Err(Problem::field("/limit", message));
    }
    let list = DeadList {
        filter: said.filter,
        cursor: said.cursor,
        limit: said.limit.unwrap_or(PAGE),
    };
    let list = checked(list)?;
    let (all, cursor) = api.client.retry_dead_page(&list, said.latest).await?;
    let BulkDead {
        matched,
        done,
        refused,
    } = all;
    Ok(Json(Retried {
        matched,
        done,
        refused,
        cursor,
    }))
}

/// Drop a dead letter
///
/// What is known of it goes when its result would have.
#[utoipa::path(
    delete, path = "/dead-letters/{id}", tag = "dead letters", operation_id = "drop_dead_letter",
    params(("id" = InvocationId, Path, description = "The invocation")), security(("token" = ["admin"])),
    responses((status = 204, description = "It is dropped"), Refusals)
)]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
) -> Result<StatusCode, Problem> {
    match api.client.drop_dead_letters(&[id]).await? {
        0 => Err(none(id)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
