//! What invocations came to, and where they stand.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use celeriac_broker::{
    CancelResult, ClientId, Code, Failure, InvocationId, Outcome, Payload,
    State as InvocationState, Status, Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    api::Api,
    body,
    extract::{Path, Query, Wait},
    openapi::Refusals,
    problem::{Document, Problem},
    submit::{Accepted, accepted, check_client, json},
};

/// Ids in one request.
const MAX_IDS: usize = 500;
/// Ids read from the broker at once.
const PIECE: usize = 16;
/// Bytes of outputs in one answer; what is left over is asked for again.
const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// What an invocation came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ended {
    id: InvocationId,
    state: InvocationState,
    code: Code,
    /// The output's media type, where there is an output.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The output, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable)]
    output: Option<Box<RawValue>>,
    /// The output, when it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_base64: Option<String>,
    /// Why there is no output.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    usage: Usage,
}

impl Ended {
    pub(crate) fn new(id: InvocationId, outcome: &Outcome) -> Self {
        let (output, output_base64) = outcome.output.as_ref().map(embed).unwrap_or_default();
        Self {
            id,
            state: outcome.state(),
            code: outcome.code,
            content_type: outcome
                .output
                .as_ref()
                .map(|output| output.content_type.clone()),
            output,
            output_base64,
            failure: outcome.failure.clone(),
            usage: outcome.usage.clone(),
        }
    }
}

/// A payload within JSON: as it is when it is JSON, else as base64.
pub(crate) fn embed(payload: &Payload) -> (Option<Box<RawValue>>, Option<String>) {
    let text = payload
        .is_json()
        .then(|| String::from_utf8(payload.data.to_vec()).ok())
        .flatten();
    match text.and_then(|text| RawValue::from_string(text).ok()) {
        Some(json) => (Some(json), None),
        None => (None, Some(STANDARD.encode(&payload.data))),
    }
}

/// Where an invocation stands
#[utoipa::path(
    get, path = "/invocations/{id}", tag = "invocations", operation_id = "status",
    params(("id" = InvocationId, Path, description = "The invocation")), security(("token" = ["read"])),
    responses((status = 200, description = "Where it stands", body = Status), Refusals)
)]
pub(crate) async fn status(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
) -> Result<Json<Status>, Problem> {
    Ok(Json(api.broker.status(id).await?))
}

/// What an invocation came to
#[utoipa::path(
    get, path = "/invocations/{id}/result", tag = "invocations", operation_id = "result",
    params(("id" = InvocationId, Path, description = "The invocation"), Wait), security(("token" = ["read"])),
    responses(
        (status = 200, description = "It has ended", body = Ended),
        (status = 202, description = "It has not ended", body = Accepted, headers(("Location" = String, description = "Where it is found"))),
        Refusals,
    )
)]
pub(crate) async fn result(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let handle = api.client.handle(id);
    Ok(match api.outcome(&handle, wait.seconds()).await? {
        Some(outcome) => Json(Ended::new(id, &outcome)).into_response(),
        None => accepted(id),
    })
}

/// The output alone, as it is
///
/// With its own media type. An invocation that ended without an output answers `409` with its code and failure.
#[utoipa::path(
    get, path = "/invocations/{id}/output", tag = "invocations", operation_id = "output",
    params(("id" = InvocationId, Path, description = "The invocation"), Wait), security(("token" = ["read"])),
    responses(
        (status = 200, description = "The output", content_type = "*/*", body = Vec<u8>),
        (status = 202, description = "It has not ended", body = Accepted, headers(("Location" = String, description = "Where it is found"))),
        Refusals,
    )
)]
pub(crate) async fn output(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let handle = api.client.handle(id);
    let Some(outcome) = api.outcome(&handle, wait.seconds()).await? else {
        return Ok(accepted(id));
    };
    match &outcome.output {
        Some(output) => Ok(raw(output)),
        None => Err(Problem::no_output(outcome.code, outcome.failure.clone())),
    }
}

/// Bytes as a task gave them. A browser must not take them for a page of ours, whatever they call themselves.
fn raw(output: &Payload) -> Response {
    let content_type = HeaderValue::from_str(&output.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'"),
        ),
    ];
    (headers, output.data.clone()).into_response()
}

/// What a cancel came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    /// `cancelled`: it had not started; `requested`: its host has been told; `already_ended`.
    result: CancelResult,
}

/// How far a cancel goes.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reach {
    /// Stop also what it has called, and what that has called.
    #[serde(default)]
    #[param(required = false)]
    children: bool,
}

/// Stop an invocation
#[utoipa::path(
    post, path = "/invocations/{id}/cancel", tag = "invocations", operation_id = "cancel",
    params(("id" = InvocationId, Path, description = "The invocation"), Reach), security(("token" = ["submit"])),
    responses((status = 200, description = "What it came to", body = Cancelled), Refusals)
)]
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
    Query(reach): Query<Reach>,
) -> Result<Json<Cancelled>, Problem> {
    let result = match reach.children {
        true => api.broker.cancel_with_children(id).await?,
        false => api.broker.cancel(id).await?,
    };
    Ok(Json(Cancelled { result }))
}

/// Which results to read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The invocations.
    #[schema(min_items = 1, max_items = 500)]
    ids: Vec<InvocationId>,
    /// A stream of `GET /v1/replies` that is told when one that has not ended does.
    waiter: Option<ClientId>,
}

/// Results, in the order of the ids.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Results {
    results: Vec<Item>,
}

/// One of many results: it has ended, or not yet (nothing is set), or there is a problem.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Item {
    /// What it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// Why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document>,
    /// The answer was full before this one: ask for it again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    later: bool,
}

/// The results of many invocations
#[utoipa::path(
    post, path = "/invocations/results", tag = "invocations", operation_id = "results",
    request_body = Wanted, security(("token" = ["read"])),
    responses((status = 200, description = "The results, in order", body = Results), Refusals)
)]
pub(crate) async fn results(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Results>, Problem> {
    let held = json(&api, request).await?;
    let body::Object(Wanted { ids, waiter }) = body::parse(&held.bytes)?;
    if !(1..=MAX_IDS).contains(&ids.len()) {
        let message = format!(
            "there are {} ids, and a request has 1 to {MAX_IDS}",
            ids.len()
        );
        return Err(Problem::field("/ids", message));
    }
    if let Some(waiter) = &waiter {
        check_client(waiter, "/waiter")?;
    }
    let (mut results, mut bytes) = (Vec::with_capacity(ids.len()), 0);
    for piece in ids.chunks(PIECE) {
        if bytes >= MAX_OUTPUT_BYTES {
            results.extend(piece.iter().map(|_| Item {
                later: true,
                ..Item::default()
            }));
            continue;
        }
        let answers = api.broker.outcomes(piece, waiter.as_ref()).await?;
        for (id, answer) in piece.iter().zip(answers) {
            results.push(item(*id, answer, &mut bytes));
        }
    }
    Ok(Json(Results { results }))
}

fn item(
    id: InvocationId,
    answer: Result<Option<Outcome>, celeriac_broker::BrokerError>,
    bytes: &mut usize,
) -> Item {
    match answer {
        Ok(None) => Item::default(),
        Ok(Some(outcome)) => {
            *bytes += outcome
                .output
                .as_ref()
                .map_or(0, |output| output.data.len());
            Item {
                ended: Some(Ended::new(id, &outcome)),
                ..Item::default()
            }
        }
        Err(error) => Item {
            problem: Some(Problem::from(error).into_document()),
            ..Item::default()
        },
    }
}
