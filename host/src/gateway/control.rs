//! What operators do while hosts work: pause and resume queues and hosts, drain hosts, throttle them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use celeriac_broker::{Control, HostId, HostInfo, Pausable, check_name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{api::Api, body, extract::Path, openapi::Refusals, problem::Problem, submit::json};

/// What pausing or resuming came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Switched {
    /// Whether it is paused now.
    is_paused: bool,
    /// Whether it was otherwise before.
    has_changed: bool,
}

/// What a host was told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Told {
    host: HostId,
    /// How many invocations it runs.
    running: u64,
    /// How many it runs at once from now on.
    concurrency: u32,
    /// How many it was built for.
    ceiling: u32,
}

/// What changes at a host, until it is started again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeHost {
    /// Invocations to run at once: at most its `ceiling`, as its pool has no room for more.
    #[schema(minimum = 1)]
    concurrency: u32,
}

/// Have no host take anything from a queue until it is resumed
///
/// What runs goes on, and what is submitted waits.
#[utoipa::path(
    post, path = "/queues/{queue}/pause", tag = "operations", operation_id = "pause_queue",
    params(("queue" = String, Path, description = "The queue", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    security(("token" = ["admin"])),
    responses((status = 200, description = "It is paused", body = Switched), Refusals)
)]
pub(crate) async fn pause_queue(
    State(api): State<Arc<Api>>,
    Path(queue): Path<String>,
) -> Result<Json<Switched>, Problem> {
    check_name("queue", &queue)?;
    let has_changed = api.broker.pause(&Pausable::Queue(queue)).await?;
    Ok(Json(Switched {
        is_paused: true,
        has_changed,
    }))
}

/// End the pause of a queue: what waits is taken at once
#[utoipa::path(
    post, path = "/queues/{queue}/resume", tag = "operations", operation_id = "resume_queue",
    params(("queue" = String, Path, description = "The queue", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    security(("token" = ["admin"])),
    responses((status = 200, description = "It is not paused", body = Switched), Refusals)
)]
pub(crate) async fn resume_queue(
    State(api): State<Arc<Api>>,
    Path(queue): Path<String>,
) -> Result<Json<Switched>, Problem> {
    check_name("queue", &queue)?;
    let has_changed = api.broker.resume(&Pausable::Queue(queue)).await?;
    Ok(Json(Switched {
        is_paused: false,
        has_changed,
    }))
}

/// Have a host take nothing until it is resumed
///
/// What it runs goes on.
#[utoipa::path(
    post, path = "/hosts/{host}/pause", tag = "operations", operation_id = "pause_host",
    params(("host" = HostId, Path, description = "The whole name of the host")), security(("token" = ["admin"])),
    responses((status = 200, description = "It is paused", body = Switched), Refusals)
)]
pub(crate) async fn pause_host(
    State(api): State<Arc<Api>>,
    Path(host): Path<HostId>,
) -> Result<Json<Switched>, Problem> {
    let host = live(&api, &host).await?.host;
    let has_changed = api.broker.pause(&Pausable::Host(host)).await?;
    Ok(Json(Switched {
        is_paused: true,
        has_changed,
    }))
}

/// End the pause of a host
#[utoipa::path(
    post, path = "/hosts/{host}/resume", tag = "operations", operation_id = "resume_host",
    params(("host" = HostId, Path, description = "The whole name of the host")), security(("token" = ["admin"])),
    responses((status = 200, description = "It is not paused", body = Switched), Refusals)
)]
pub(crate) async fn resume_host(
    State(api): State<Arc<Api>>,
    Path(host): Path<HostId>,
) -> Result<Json<Switched>, Problem> {
    let has_changed = api.broker.resume(&Pausable::Host(host.clone())).await?;
    // One that lives no more may still be paused.
    if !has_changed {
        live(&api, &host).await?;
    }
    Ok(Json(Switched {
        is_paused: false,
        has_changed,
    }))
}

/// Have a host take nothing more, end what it runs, and stop, as SIGTERM does
#[utoipa::path(
    post, path = "/hosts/{host}/drain", tag = "operations", operation_id = "drain_host",
    params(("host" = HostId, Path, description = "The whole name of the host")), security(("token" = ["admin"])),
    responses((status = 200, description = "It has been told", body = Told), Refusals)
)]
pub(crate) async fn drain_host(
    State(api): State<Arc<Api>>,
    Path(host): Path<HostId>,
) -> Result<Json<Told>, Problem> {
    let host = live(&api, &host).await?;
    let concurrency = host.concurrency;
    tell(&api, host, Control::Drain, concurrency).await
}

/// Have a host run fewer or more at once, until it is started again
#[utoipa::path(
    patch, path = "/hosts/{host}", tag = "operations", operation_id = "change_host",
    params(("host" = HostId, Path, description = "The whole name of the host")), request_body = ChangeHost,
    security(("token" = ["admin"])),
    responses((status = 200, description = "It has been told", body = Told), Refusals)
)]
pub(crate) async fn change_host(
    State(api): State<Arc<Api>>,
    Path(host): Path<HostId>,
    request: Request,
) -> Result<Json<Told>, Problem> {
    let held = json(&api, request).await?;
    let body::Object(ChangeHost { concurrency }) = body::parse(&held.bytes)?;
    if concurrency == 0 {
        let message = "at least 1: `POST /v1/hosts/{host}/pause` has it take nothing";
        return Err(Problem::field("/concurrency", message));
    }
    let host = live(&api, &host).await?;
    if concurrency > host.ceiling {
        let message = format!(
            "the host was built for {} at once: start it again with a higher `--concurrency`",
            host.ceiling
        );
        return Err(Problem::field("/concurrency", message));
    }
    let word = Control::Concurrency(concurrency);
    tell(&api, host, word, concurrency).await
}

/// The host of this name, which must live.
async fn live(api: &Api, host: &HostId) -> Result<HostInfo, Problem> {
    let found = api.broker.hosts().await?;
    let found = found.into_iter().find(|info| info.host == *host);
    found.ok_or_else(|| {
        let message = "no host that lives has this name: `GET /v1/hosts` lists them";
        Problem::new("no_host", message)
    })
}

async fn tell(
    api: &Api,
    host: HostInfo,
    word: Control,
    concurrency: u32,
) -> Result<Json<Told>, Problem> {
    if !api.broker.tell(&host.host, word).await? {
        let message = "the host does not listen at this moment: it may be reconnecting or gone";
        return Err(Problem::new("unavailable", message));
    }
    Ok(Json(Told {
        host: host.host,
        running: host.running,
        concurrency,
        ceiling: host.ceiling,
    }))
}
