//! Queues, hosts, health, and what clients need to know of the store.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use celeriac_broker::{Caps, HostInfo, Namespace, Pausable, Paused, QueueStats, SYSTEM_QUEUE};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{api::Api, openapi::Refusals, problem::Problem};

/// How long the broker may take to answer before this process counts as not ready.
const READY: Duration = Duration::from_secs(2);

/// Every queue that was ever used, or is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queues {
    queues: Vec<Queue>,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
struct Queue {
    #[serde(flatten)]
    stats: QueueStats,
    /// How many hosts that live serve it.
    hosts: usize,
    /// Since when it is paused: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_since_ms: Option<u64>,
}

/// Every host that lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hosts {
    hosts: Vec<Host>,
}

/// A host.
#[derive(Debug, Serialize, ToSchema)]
struct Host {
    #[serde(flatten)]
    info: HostInfo,
    /// Since when it is paused: milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_since_ms: Option<u64>,
}

fn paused_since(paused: &[Paused], what: &Pausable) -> Option<u64> {
    let found = paused.iter().find(|pause| pause.what == *what);
    found.map(|pause| pause.since_ms)
}

/// What clients need to know of the store.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Store {
    /// What ids are made with.
    namespace: Namespace,
    /// The largest payloads.
    caps: Caps,
}

/// How this process is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
}

/// Each queue, with what waits and runs
#[utoipa::path(
    get, path = "/queues", tag = "operations", operation_id = "queues", security(("token" = ["read"])),
    responses((status = 200, description = "The queues", body = Queues), Refusals)
)]
pub(crate) async fn queues(State(api): State<Arc<Api>>) -> Result<Json<Queues>, Problem> {
    let mut queues = api.broker.queues().await?;
    let (hosts, paused) = (api.broker.hosts().await?, api.broker.paused().await?);
    // One that is paused before it was ever used is there too: what comes will wait.
    for pause in &paused {
        if let Pausable::Queue(name) = &pause.what
            && !queues.iter().any(|stats| stats.queue == *name)
        {
            let queue = name.clone();
            queues.push(QueueStats {
                queue,
                ..QueueStats::default()
            });
        }
    }
    queues.sort_by(|a, b| a.queue.cmp(&b.queue));
    let queue = |stats: QueueStats| {
        // The host's own queue is served by each.
        let serves =
            |host: &&HostInfo| stats.queue == SYSTEM_QUEUE || host.queues.contains(&stats.queue);
        Queue {
            hosts: hosts.iter().filter(serves).count(),
            paused_since_ms: paused_since(&paused, &Pausable::Queue(stats.queue.clone())),
            stats,
        }
    };
    let queues = queues.into_iter().map(queue).collect();
    Ok(Json(Queues { queues }))
}

/// Each host that lives
#[utoipa::path(
    get, path = "/hosts", tag = "operations", operation_id = "hosts", security(("token" = ["read"])),
    responses((status = 200, description = "The hosts", body = Hosts), Refusals)
)]
pub(crate) async fn hosts(State(api): State<Arc<Api>>) -> Result<Json<Hosts>, Problem> {
    let (hosts, paused) = (api.broker.hosts().await?, api.broker.paused().await?);
    let host = |info: HostInfo| Host {
        paused_since_ms: paused_since(&paused, &Pausable::Host(info.host.clone())),
        info,
    };
    let hosts = hosts.into_iter().map(host).collect();
    Ok(Json(Hosts { hosts }))
}

/// What ids are made with, and the largest payloads
#[utoipa::path(
    get, path = "/store", tag = "operations", operation_id = "store", security(("token" = ["read"])),
    responses((status = 200, description = "The store", body = Store), Refusals)
)]
pub(crate) async fn store(State(api): State<Arc<Api>>) -> Json<Store> {
    Json(Store {
        namespace: api.broker.namespace().clone(),
        caps: api.caps,
    })
}

/// Whether this process answers
#[utoipa::path(
    get, path = "/livez", tag = "operations", operation_id = "livez",
    responses((status = 200, description = "It does", body = Health))
)]
pub(crate) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the broker answers too
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "readyz",
    responses((status = 200, description = "It does", body = Health), Refusals)
)]
pub(crate) async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    // A store that answers lists its names; whatever is wrong with it shows here.
    match timeout(READY, api.broker.hosts()).await {
        Ok(Ok(_)) if !api.closing.is_cancelled() => Ok(Json(Health { status: "ok" })),
        Ok(Ok(_)) => Err(Problem::new("unavailable", "the host is stopping")),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::new(
            "unavailable",
            "the broker does not answer in time",
        )),
    }
}
