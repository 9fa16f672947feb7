//! The HTTP gateway: the same API for every client that does not reach the broker.
//!
//! It decides nothing and keeps nothing: each request becomes calls of the broker, and awaits go through one client with
//! one reply stream for the process. What it does is bound: connections, streams, heads, bodies, schemas and waits, each
//! before anything is allocated for it.
//!
//! # Layout
//! - [`Gateway`]: from start to drain; `listener` has the socket, `tls` the certificate.
//! - `guard` and [`tokens`]: who may do what. `body`, `extract`, `words`, `input`: what is taken. `problem`: what is refused, and how.
//! - `submit`, `repeat`, `result`, `list`, `bulk`, `sse`, `modules`, `schedules`, `dead`, `operations`, `control`, `limits`: the requests. `openapi`: the document about them.

mod api;
mod body;
mod bulk;
mod control;
mod dead;
mod extract;
mod fields;
mod guard;
mod input;
mod limits;
mod list;
mod listener;
mod modules;
mod openapi;
mod operations;
mod payload;
mod problem;
mod repeat;
mod result;
mod schedules;
mod sse;
mod submit;
mod tls;
pub mod tokens;
mod words;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
    middleware::from_fn_with_state,
    routing::get,
};
use celeriac_broker::Broker;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::cors::CorsLayer;
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::tls::TlsFiles;
use self::{
    api::Api,
    guard::{Guard, guard},
    listener::Listener,
    problem::Problem,
    tls::Tls,
    tokens::Scope,
    words::Words,
};
use crate::process::Alarm;

/// How long open requests may take to end once there is nothing left to wait for.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether requests need no token: only ever on loopback.
    pub is_open: bool,
    /// The certificate, for TLS.
    pub tls: Option<TlsFiles>,
    /// The origins whose pages may call.
    pub origins: Vec<String>,
    /// Connections that may be open at once.
    pub connections: usize,
    /// Streams that may be open at once.
    pub streams: usize,
    /// Bytes of request bodies that are kept at once.
    pub body_bytes: u64,
    /// The longest that a request waits for a result.
    pub wait: Duration,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The address cannot be listened on.
    #[error("HTTP cannot listen on {address}: {reason}")]
    Listen {
        /// Where it should.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate of HTTP cannot be used: {0}")]
    Tls(String),
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    api: Arc<Api>,
    open: TaskTracker,
    stop: CancellationToken,
    alarm: Alarm,
}

impl Gateway {
    /// Begins to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address is taken, or the certificate cannot be used.
    pub async fn start(broker: Arc<dyn Broker>, options: Options) -> Result<Self, GatewayError> {
        let tls = options.tls.clone().map(Tls::load).transpose();
        let tls = tls.map_err(GatewayError::Tls)?.map(Arc::new);
        let refused = |reason| GatewayError::Listen {
            address: options.listen,
            reason,
        };
        let socket = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let api = Arc::new(Api::new(broker, &options));
        let (open, stop, alarm) = (
            TaskTracker::new(),
            CancellationToken::new(),
            Alarm::default(),
        );
        let listener = Listener {
            socket,
            router: router(&api),
            tls: tls.clone(),
            connections: Arc::new(Semaphore::new(options.connections)),
            open: open.clone(),
            stop: stop.clone(),
        };
        tokio::spawn(alarm.clone().watch("HTTP listener", listener.run()));
        Ok(Self {
            address,
            tls,
            api,
            open,
            stop,
            alarm,
        })
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Whether requests need no token.
    pub fn is_open(&self) -> bool {
        self.api.is_open
    }

    /// Waits until the listener has panicked, for ever if need be, and names it.
    pub fn failed(&self) -> impl Future<Output = &'static str> + use<> {
        self.alarm.raised()
    }

    /// Takes certificate and key as they are now; false when there are none.
    ///
    /// # Errors
    /// When they cannot be used: then those from before hold.
    pub fn reload(&self) -> Result<bool, GatewayError> {
        let Some(tls) = &self.tls else {
            return Ok(false);
        };
        tls.reload().map_err(GatewayError::Tls)?;
        Ok(true)
    }

    /// Takes no more connections; requests that are here go on, and may still get their results.
    pub fn close(&self) {
        self.stop.cancel();
        self.open.close();
    }

    /// Ends what waits for results, and returns when all answers are out.
    pub async fn drain(self) {
        self.close();
        self.api.closing.cancel();
        if timeout(LAST_ANSWERS, self.open.wait()).await.is_err() {
            tracing::warn!(
                connections = self.open.len(),
                "HTTP connections are cut off"
            );
        }
    }
}

/// The document that `GET /v1/openapi.json` answers.
pub fn openapi() -> serde_json::Value {
    let all = Scope::ALL
        .into_iter()
        .fold(health(), |all, scope| all.merge(group(scope)));
    let all = OpenApiRouter::with_openapi(openapi::Head::openapi()).nest("/v1", all);
    openapi::document(&all.into_openapi())
}

type Routes = OpenApiRouter<Arc<Api>>;

/// The requests that need `scope`.
fn group(scope: Scope) -> Routes {
    let routes = OpenApiRouter::new();
    match scope {
        Scope::Submit => routes
            .routes(routes!(submit::submit))
            .routes(routes!(submit::batch))
            .routes(routes!(result::cancel))
            .routes(routes!(dead::retry)),
        Scope::Read => routes
            .routes(routes!(list::list))
            .routes(routes!(result::status))
            .routes(routes!(result::result))
            .routes(routes!(result::output))
            .routes(routes!(result::results))
            .routes(routes!(sse::events))
            .routes(routes!(sse::replies))
            .routes(routes!(modules::list))
            .routes(routes!(modules::show))
            .routes(routes!(modules::task))
            .routes(routes!(operations::queues))
            .routes(routes!(operations::hosts))
            .routes(routes!(operations::store))
            .routes(routes!(schedules::list))
            .routes(routes!(schedules::show))
            .routes(routes!(dead::list))
            .routes(routes!(dead::show))
            .routes(routes!(limits::list))
            .routes(routes!(limits::show)),
        Scope::Upload => routes.routes(routes!(modules::upload)),
        Scope::Admin => routes
            .routes(routes!(modules::remove))
            .routes(routes!(schedules::put))
            .routes(routes!(schedules::remove))
            .routes(routes!(schedules::pause))
            .routes(routes!(schedules::resume))
            .routes(routes!(schedules::run))
            .routes(routes!(dead::retry_many))
            .routes(routes!(dead::remove))
            .routes(routes!(bulk::cancel))
            .routes(routes!(control::pause_queue))
            .routes(routes!(control::resume_queue))
            .routes(routes!(control::pause_host))
            .routes(routes!(control::resume_host))
            .routes(routes!(control::drain_host))
            .routes(routes!(control::change_host))
            .routes(routes!(limits::set))
            .routes(routes!(limits::remove)),
    }
}

/// What needs no token.
fn health() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(operations::livez))
        .routes(routes!(operations::readyz))
}

fn router(api: &Arc<Api>) -> Router {
    let document = openapi();
    let words = Arc::new(Words::of(&document));
    let mut routes = Router::new().nest("/v1", Router::from(health()));
    for scope in Scope::ALL {
        let guard_of_scope = Guard {
            api: api.clone(),
            scope,
            words: words.clone(),
        };
        let guarded = Router::from(group(scope));
        let guarded = guarded.route_layer(from_fn_with_state(guard_of_scope, guard));
        routes = routes.merge(Router::new().nest("/v1", guarded));
    }
    let document = document.to_string();
    let json = [(header::CONTENT_TYPE, "application/json")];
    let routes = routes
        .merge(Router::from(health()))
        .route(
            "/v1/openapi.json",
            get(async move || (json, document.clone())),
        )
        .fallback(async || {
            Problem::new(
                "no_route",
                "there is nothing at this path: `GET /v1/openapi.json` has all paths",
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                "method_not_allowed",
                "the header `Allow` has the methods of this path",
            )
        });
    with_cors(routes, &api.origins).with_state(api.clone())
}

/// Pages of these origins may call; without any, none may.
fn with_cors(routes: Router<Arc<Api>>, origins: &[String]) -> Router<Arc<Api>> {
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    if origins.is_empty() {
        return routes;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([header::LOCATION]);
    routes.layer(cors)
}
