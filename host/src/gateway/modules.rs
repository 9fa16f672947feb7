//! Modules: what there is, what is added, what goes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use celeriac_broker::{
    Admit, Admitted, BUILT_IN_MODULE, BrokerError, Digest, Manifest, ModuleName, ModuleRecord,
    ModuleRef, Outcome, TaskInfo, TaskRef, UploadReport,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    api::Api,
    body,
    extract::{Path, Query, Wait},
    openapi::Refusals,
    problem::Problem,
    submit::{Accepted, accepted},
};

/// Every name and version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Names {
    modules: Vec<ModuleName>,
}

/// A module as it is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Module {
    digest: Digest,
    /// Unfinished invocations that refer to it.
    invocations: u64,
    manifest: Manifest,
}

/// Every name and version
#[utoipa::path(
    get, path = "/modules", tag = "modules", operation_id = "modules", security(("token" = ["read"])),
    responses((status = 200, description = "The names", body = Names), Refusals)
)]
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Names>, Problem> {
    let modules = api.broker.names().await?;
    Ok(Json(Names { modules }))
}

/// A module and its tasks
#[utoipa::path(
    get, path = "/modules/{module}", tag = "modules", operation_id = "module",
    params(("module" = ModuleRef, Path, description = "A name, a version or a digest")), security(("token" = ["read"])),
    responses((status = 200, description = "The module", body = Module), Refusals)
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(module): Path<ModuleRef>,
) -> Result<Json<Module>, Problem> {
    let record = api.broker.module(&module).await?;
    Ok(Json(Module {
        digest: record.digest,
        invocations: record.invocations,
        manifest: manifest(&record)?,
    }))
}

fn manifest(record: &ModuleRecord) -> Result<Manifest, Problem> {
    serde_json::from_str(&record.manifest).map_err(|error| {
        Problem::from(BrokerError::Damaged {
            what: format!("the manifest of {}", record.digest),
            reason: error.to_string(),
        })
    })
}

/// One task of a module, with the schemas of its input and output
#[utoipa::path(
    get, path = "/modules/{module}/tasks/{task}", tag = "modules", operation_id = "task",
    params(
        ("module" = ModuleRef, Path, description = "A name, a version or a digest"),
        ("task" = String, Path, description = "The task's name", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"),
    ),
    security(("token" = ["read"])),
    responses((status = 200, description = "The task", body = TaskInfo), Refusals)
)]
pub(crate) async fn task(
    State(api): State<Arc<Api>>,
    Path((module, task)): Path<(ModuleRef, String)>,
) -> Result<Json<TaskInfo>, Problem> {
    celeriac_broker::check_name("task name", &task)?;
    let tasks = manifest(&api.broker.module(&module).await?)?.tasks;
    let found = tasks.into_iter().find(|info| info.name == task);
    found
        .map(Json)
        .ok_or_else(|| BrokerError::NoTask(TaskRef { module, task }).into())
}

/// Upload a module
///
/// The body is the component. A host checks it, compiles it and reads its tasks; only then does the name point to it.
#[utoipa::path(
    put, path = "/modules/{module}", tag = "modules", operation_id = "upload",
    params(("module" = ModuleRef, Path, description = "The name, or name and version, that shall point to it"), Wait),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), security(("token" = ["upload"])),
    responses(
        (status = 200, description = "It is callable", body = Admitted),
        (status = 202, description = "No host has looked at it yet", body = Accepted, headers(("Location" = String, description = "The invocation that admits it"))),
        Refusals,
    )
)]
pub(crate) async fn upload(
    State(api): State<Arc<Api>>,
    Path(name): Path<ModuleRef>,
    Query(wait): Query<Wait>,
    request: Request,
) -> Result<Response, Problem> {
    let is_built_in = matches!(&name, ModuleRef::Name(name) | ModuleRef::Version(name, _) if name == BUILT_IN_MODULE);
    if is_built_in || matches!(name, ModuleRef::Digest(..)) {
        let message = "upload under a name such as `images` or `images@1.2.0`, not a digest, and not `celeriac`";
        return Err(Problem::field("", message));
    }
    let held = body::read(&api.bodies, request, api.caps.module_bytes, "caps.module").await?;
    let digest = api.broker.put_blob(held.bytes.clone()).await?;
    drop(held);
    let admit = api.client.task(&format!("{BUILT_IN_MODULE}/admit"))?;
    let handle = admit.submit(&Admit { digest, name }).await?;
    match api.outcome(&handle, wait.or_longest()).await? {
        Some(outcome) => admitted(&outcome),
        None => Ok(accepted(handle.id())),
    }
}

fn admitted(outcome: &Outcome) -> Result<Response, Problem> {
    if let Some(output) = &outcome.output {
        let admitted: Admitted = output.parse().map_err(|error| {
            tracing::error!(%error, "a host's answer to an upload cannot be read");
            Problem::new(
                "internal",
                "the host's answer cannot be read: is it of this version?",
            )
        })?;
        return Ok(Json(admitted).into_response());
    }
    let failure = outcome.failure.clone().unwrap_or_default();
    let report = failure
        .details
        .clone()
        .and_then(|details| serde_json::from_value::<UploadReport>(details).ok());
    Err(match report {
        Some(report) => Problem::refused(report),
        None => Problem::no_output(outcome.code, Some(failure)),
    })
}

/// Remove a name, a version or a digest
///
/// And every module that no name points to any more.
#[utoipa::path(
    delete, path = "/modules/{module}", tag = "modules", operation_id = "remove_module",
    params(("module" = ModuleRef, Path, description = "A name, a version or a digest")), security(("token" = ["admin"])),
    responses((status = 204, description = "It is gone"), Refusals)
)]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Path(module): Path<ModuleRef>,
) -> Result<StatusCode, Problem> {
    api.broker.remove(&module).await?;
    Ok(StatusCode::NO_CONTENT)
}
