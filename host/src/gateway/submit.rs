//! Handing in invocations: one, or many.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use celeriac_broker::{
    Callback, ClientId, InvocationId, Options, Payload, SYSTEM_QUEUE, Submission, Target, TaskRef,
};
use celeriac_client::Handle;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    api::Api,
    body,
    extract::{Query, Wait},
    openapi::Refusals,
    payload::{Input, present},
    problem::{Document, Problem},
    repeat::check_id,
    result::Ended,
};

/// Invocations in one batch: more would hold up other clients.
const MAX_BATCH: usize = 500;

/// One invocation to run. The input is JSON in `input`, or bytes in `input_base64`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submit {
    /// What to run.
    #[schema(example = "basics/add")]
    task: TaskRef,
    /// The input, any JSON; left out: null.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>, nullable, example = json!({"a": 1, "b": 2}))]
    input: Option<Box<RawValue>>,
    /// The input, when it is not JSON.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    input_base64: Option<String>,
    /// The media type of `input_base64`; left out: `application/octet-stream`.
    #[schema(pattern = "^[!-.0-~]{1,60}/[!-~][ -~]{0,119}$", example = "image/png")]
    content_type: Option<String>,
    /// How to run it.
    #[serde(default, deserialize_with = "body::object")]
    #[schema(required = false)]
    options: Options,
    /// The invocation's id, made as `GET /v1/store` says; left out: the gateway makes one. The same id is submitted once.
    id: Option<InvocationId>,
    /// A stream of `GET /v1/replies` that is told of the end.
    reply_to: Option<ClientId>,
}

/// Many invocations to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// The invocations, in order.
    #[schema(min_items = 1, max_items = 500, value_type = Vec<Submit>)]
    invocations: Vec<body::Object<Submit>>,
}

/// An invocation that is stored and will run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Its id.
    pub(crate) id: InvocationId,
}

/// What became of each invocation of a batch, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    results: Vec<BatchItem>,
}

/// What became of one invocation of a batch: it is stored, or there is a problem.
#[derive(Debug, Serialize, ToSchema)]
struct BatchItem {
    /// Its id, when it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<InvocationId>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document>,
}

/// Submit an invocation
///
/// The answer comes when it is stored; with `wait`, when it has ended or that time is over.
#[utoipa::path(
    post, path = "/invocations", tag = "invocations", operation_id = "submit",
    params(Wait), request_body = Submit, security(("token" = ["submit"])),
    responses(
        (status = 200, description = "It has ended", body = Ended),
        (status = 202, description = "It is stored and will run", body = Accepted, headers(("Location" = String, description = "Where it is found"))),
        Refusals,
    )
)]
pub(crate) async fn submit(
    State(api): State<Arc<Api>>,
    Query(wait): Query<Wait>,
    request: Request,
) -> Result<Response, Problem> {
    let held = json(&api, request).await?;
    let body::Object::<Submit>(submit) = body::parse(&held.bytes)?;
    let submission = check(&api, submit.prepare(&api)?).await?;
    // Only a caller who stays is told of the end by this process.
    let is_awaited = wait.seconds() > 0.0 && submission.reply_to.is_none();
    let handle = api.client.hand_in(submission, is_awaited).await;
    let handle = handle.map_err(Problem::of_refused_call)?;
    drop(held);
    answer(&api, &handle, wait).await
}

/// The result when there is one in time, else where to find it.
pub(super) async fn answer(api: &Api, handle: &Handle, wait: Wait) -> Result<Response, Problem> {
    if wait.seconds() > 0.0
        && let Some(outcome) = api.outcome(handle, wait.seconds()).await?
    {
        return Ok(Json(Ended::new(handle.id(), &outcome)).into_response());
    }
    Ok(accepted(handle.id()))
}

/// An invocation that has not ended.
pub(crate) fn accepted(id: InvocationId) -> Response {
    let location = format!("/v1/invocations/{id}");
    let headers = [(header::LOCATION, location)];
    (StatusCode::ACCEPTED, headers, Json(Accepted { id })).into_response()
}

/// Submit many invocations
///
/// Each is accepted or refused by itself.
#[utoipa::path(
    post, path = "/invocations/batch", tag = "invocations", operation_id = "submit_batch",
    request_body = Batch, security(("token" = ["submit"])),
    responses((status = 200, description = "What became of each", body = BatchAnswer), Refusals)
)]
pub(crate) async fn batch(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<BatchAnswer>, Problem> {
    let held = json(&api, request).await?;
    let body::Object::<Batch>(batch) = body::parse(&held.bytes)?;
    let count = batch.invocations.len();
    if !(1..=MAX_BATCH).contains(&count) {
        let message = format!("there are {count} invocations, and a batch has 1 to {MAX_BATCH}");
        return Err(Problem::field("/invocations", message));
    }
    let each = batch.invocations.into_iter().enumerate();
    // What has not the right form refuses the request; what is not there refuses itself alone.
    let prepare = |(index, body::Object(submit)): (usize, body::Object<Submit>)| {
        let prepared = submit.prepare(&api);
        prepared.map_err(|problem| problem.within(&place(index)))
    };
    let prepared = each.map(prepare).collect::<Result<Vec<_>, _>>()?;
    let checked = join_all(
        prepared
            .into_iter()
            .map(|submission| check(&api, submission)),
    )
    .await;
    // In their order: what waits for another of the same batch comes behind it.
    let each = checked.into_iter().enumerate();
    let results = join_all(each.map(|(index, checked)| hand_in(&api, index, checked))).await;
    Ok(Json(BatchAnswer { results }))
}

fn place(index: usize) -> String {
    format!("/invocations/{index}")
}

async fn hand_in(api: &Api, index: usize, checked: Result<Submission, Problem>) -> BatchItem {
    let handed_in = async {
        let handle = api.client.hand_in(checked?, false).await;
        let handle = handle.map_err(Problem::of_refused_call)?;
        Ok::<_, Problem>(handle.id())
    };
    match handed_in.await {
        Ok(id) => BatchItem {
            id: Some(id),
            problem: None,
        },
        Err(problem) => BatchItem {
            id: None,
            problem: Some(problem.within(&place(index)).into_document()),
        },
    }
}

/// Reads a body that is JSON.
pub(crate) async fn json(api: &Api, request: Request) -> Result<body::Held, Problem> {
    body::require_json(request.headers())?;
    body::read(&api.bodies, request, api.json_cap(), "caps.input").await
}

/// The same of a body that may be left out; then it is empty.
pub(crate) async fn json_if_any(api: &Api, request: Request) -> Result<body::Held, Problem> {
    if body::is_there(request.headers()) {
        body::require_json(request.headers())?;
    }
    body::read(&api.bodies, request, api.json_cap(), "caps.input").await
}

impl Submit {
    /// What it says, in the broker's form.
    fn prepare(self, api: &Api) -> Result<Submission, Problem> {
        if let Some(client) = &self.reply_to {
            check_client(client, "/reply_to")?;
        }
        self.options.check().map_err(Problem::of_call)?;
        let input = Input {
            json: self.input,
            base64: self.input_base64,
            content_type: self.content_type,
        };
        let input = input.payload()?;
        Ok(Submission {
            id: self.id.unwrap_or_else(|| api.broker.namespace().issue(0)),
            task: self.task,
            input,
            options: self.options,
            reply_to: self.reply_to,
        })
    }
}

/// Refuses what this gateway does not pass on, and inputs that do not fit their tasks.
async fn check(api: &Api, submission: Submission) -> Result<Submission, Problem> {
    let Submission {
        id,
        task,
        input,
        options,
        ..
    } = &submission;
    check_call(api, task, input, options).await?;
    check_id(api, *id)?;
    Ok(submission)
}

/// The same, of whatever will be an invocation.
pub(super) async fn check_call(
    api: &Api,
    task: &TaskRef,
    input: &Payload,
    options: &Options,
) -> Result<(), Problem> {
    let is_built_in =
        |callback: &Callback| matches!(&callback.to, Target::Task(task) if task.is_built_in());
    if task.is_built_in() || options.callbacks.iter().any(is_built_in) {
        let message = "the host's own tasks are not called from here: `PUT /v1/modules/{name}` uploads a module";
        return Err(Problem::new("forbidden", message));
    }
    // Who called it, which schedule it is of, whose place it takes: hosts alone know.
    let is_said = [
        ("parent", options.parent.is_some()),
        ("schedule", options.schedule.is_some()),
        ("retry_of", options.retry_of.is_some()),
    ];
    if let Some((name, _)) = is_said.into_iter().find(|(_, is_said)| *is_said) {
        let message = "hosts say this themselves: leave it out";
        return Err(Problem::field(format!("/options/{name}"), message));
    }
    if options.queue.as_deref() == Some(SYSTEM_QUEUE) {
        let message = format!("the queue `{SYSTEM_QUEUE}` is for requests to hosts");
        return Err(Problem::field("/options/queue", message));
    }
    // The input of one that waits for others may refer to what they come to.
    if options.after.is_empty() {
        let checked = api.validators.check(task, input).await;
        checked.map_err(|problem| problem.within("/input"))?;
    }
    Ok(())
}

/// A stream's name, which becomes a part of a key.
pub(crate) fn check_client(client: &ClientId, pointer: &str) -> Result<(), Problem> {
    let text = client.as_str();
    let is_name = text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match is_name {
        true => Ok(()),
        false => Err(Problem::field(
            pointer,
            "a stream's name has 32 hex digits: `GET /v1/replies` tells it",
        )),
    }
}
