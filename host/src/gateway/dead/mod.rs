//! Dead letters: what has failed for good, to be looked at, retried or dropped.
//!
//! Retrying one is submitting what was submitted before, and takes the scope `submit`. Retrying all that a filter asks for,
//! and dropping, which takes evidence away, take `admin`.

mod form;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use celeriac_broker::{
    DeadFilter, DeadLetter, DeadList, InvocationId, MAX_LISTED, Retry, WEBHOOK_TASK,
};
use celeriac_client::BulkDead;

use self::form::{
    DeadLetters, Retried, RetryLetter, RetryLetters, Wanted, WholeLetter, checked, codes,
};
use super::{
    api::Api,
    body,
    extract::{Path, Query, Wait},
    list::page_limit,
    openapi::Refusals,
    payload::Input,
    problem::Problem,
    repeat::made_before,
    result::{Ended, embed},
    submit::{Accepted, answer, json, json_if_any},
};

/// Dead letters on a page, or retried by one request, unless the caller says otherwise.
const PAGE: usize = 50;

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
/// request again is the same retry while the letter is there; with an `id`, for as long as the new invocation is known.
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
    if let Some(named) = said.id
        && let Some(status) = made_before(&api, named).await?
    {
        return match status.retry_of == Some(id) {
            true => answer(&api, &api.client.handle(named), wait).await,
            false => Err(Problem::field(
                "/id",
                "another invocation has it: make one anew",
            )),
        };
    }
    let is_latest = said.latest;
    let retry = Retry { input, is_latest };
    check_retry(&api, id, &retry).await?;
    let fresh = said.id.unwrap_or_else(|| api.broker.namespace().issue(0));
    let successor = api.client.retry_dead_letter_as(id, fresh, retry).await;
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
