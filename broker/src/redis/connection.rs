//! A connection to Redis that comes back: commands from all tasks share it, one reconnects for all.
//!
//! Every call may be repeated without harm, so a call that finds its connection broken is sent once more
//! on a new one; a second failure is the caller's to see.

use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisError, ServerErrorKind, Value,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{runtime::Handle, sync::Mutex, time::timeout};

use super::script::Call;
use crate::BrokerError;

/// How long one answer may take. Generous: a module of 32 MiB on a slow line is an answer too.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How soon a silent connection is probed: one that only listens would not notice otherwise that its
/// server is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Opens connections and keeps the shared one.
pub(super) struct Link {
    client: Client,
    address: String,
    connect_timeout: Duration,
    /// Where connections are opened and driven: the runtime that the link was made on. Who finds the shared one lost may be
    /// on another, such as one for guests, which waits for no sockets, or one that ends before others have done with it.
    runtime: Handle,
    /// The shared connection with the number of the connect that made it; none before the first
    /// use and after a loss. Closed when the link is dropped.
    shared: Mutex<(u64, Option<MultiplexedConnection>)>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Reads the URL; connects to nothing yet. Must be called on a runtime.
    pub(super) fn new(url: &str, connect_timeout: Duration) -> Result<Self, BrokerError> {
        let expected = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS";
        // The URL may hold a password: the error shows its scheme only.
        let invalid = || {
            BrokerError::invalid(
                "broker URL",
                url.split("//").next().unwrap_or_default(),
                expected,
            )
        };
        let info = url.into_connection_info().map_err(|_| invalid())?;
        let scheme = match info.addr() {
            ConnectionAddr::TcpTls { .. } => {
                // An error is that the program has chosen a provider already.
                let _ = rustls::crypto::ring::default_provider().install_default();
                "rediss"
            }
            _ => "redis",
        };
        let address = match info.redis_settings().db() {
            0 => format!("{scheme}://{}", info.addr()),
            db => format!("{scheme}://{}/{db}", info.addr()),
        };
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let tcp = TcpSettings::default().set_keepalive(
            TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE),
        );
        let info = info.set_tcp_settings(tcp);
        let client = Client::open(info.set_redis_settings(settings)).map_err(|_| invalid())?;
        Ok(Self {
            client,
            address,
            connect_timeout,
            runtime: Handle::current(),
            shared: Mutex::new((0, None)),
        })
    }

    /// Where it leads, without credentials.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A connection for one purpose: for what blocks.
    pub(super) async fn dedicated(&self) -> Result<MultiplexedConnection, BrokerError> {
        self.open(None).await
    }

    /// A connection for subscriptions.
    pub(super) async fn subscriber(&self) -> Result<PubSub, BrokerError> {
        let client = self.client.clone();
        let opening = self.on_own_runtime(async move { client.get_async_pubsub().await });
        match timeout(self.connect_timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(self.too_slow()),
        }
    }

    /// Runs a command on the shared connection.
    pub(super) async fn run(&self, cmd: &Cmd) -> Result<Value, BrokerError> {
        let mut result = self.attempt(cmd).await?;
        if result.as_ref().is_err_and(is_lost) {
            result = self.attempt(cmd).await?;
        }
        result.map_err(|error| self.error(&error))
    }

    /// Runs a script on the shared connection; loads it first where the server does not have it.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, BrokerError> {
        let mut result = self.attempt(call.command()).await?;
        if result.as_ref().is_err_and(is_lost) {
            result = self.attempt(call.command()).await?;
        }
        if result.as_ref().is_err_and(is_unknown_script) {
            result = self.attempt(&call.command_with_source()).await?;
        }
        result.map_err(|error| self.script_error(call.name(), &error))
    }

    /// As `call`, for what must not be done twice: when the connection breaks, nobody knows whether it was done.
    pub(super) async fn call_once(&self, call: &Call) -> Result<Value, BrokerError> {
        let mut result = self.attempt(call.command()).await?;
        if result.as_ref().is_err_and(is_unknown_script) {
            result = self.attempt(&call.command_with_source()).await?;
        }
        result.map_err(|error| self.script_error(call.name(), &error))
    }

    /// As `call`, where a late answer is of no use: the connection is given up after `limit`, so that
    /// the next call has a new one.
    pub(super) async fn call_within(
        &self,
        limit: Duration,
        call: &Call,
    ) -> Result<Value, BrokerError> {
        match timeout(limit, self.call(call)).await {
            Ok(result) => result,
            Err(_) => {
                self.shared.lock().await.1 = None;
                Err(self.unavailable(format!("no answer within {limit:?}")))
            }
        }
    }

    /// What a client error means; `what` is being read or written.
    pub(super) fn script_error(&self, what: &str, error: &RedisError) -> BrokerError {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension
                if !matches!(
                    error.code(),
                    Some("OOM" | "NOAUTH" | "MISCONF" | "BUSY" | "NOREPLICAS")
                ) =>
            {
                BrokerError::Damaged {
                    what: format!("what `{what}` needs"),
                    reason: error.to_string(),
                }
            }
            _ => self.error(error),
        }
    }

    /// What a client error means.
    pub(super) fn error(&self, error: &RedisError) -> BrokerError {
        let unfit = |remedy: &str| BrokerError::Unfit {
            address: self.address.clone(),
            reason: error.to_string(),
            remedy: remedy.to_owned(),
        };
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
                unfit("put the right user and password into the URL: redis://USER:PASSWORD@HOST")
            }
            (ErrorKind::Server(ServerErrorKind::NoPerm), _) => unfit(
                "allow this user all commands on keys and channels `cel:*`, or use another user",
            ),
            (_, Some("OOM")) => {
                self.unavailable("it is out of memory: raise `maxmemory`, or let hosts catch up")
            }
            _ => self.unavailable(error.to_string()),
        }
    }

    /// That the server does not answer.
    pub(super) fn unavailable(&self, reason: impl Into<String>) -> BrokerError {
        BrokerError::Unavailable {
            address: self.address.clone(),
            reason: reason.into(),
        }
    }

    fn too_slow(&self) -> BrokerError {
        self.unavailable(format!("no connection within {:?}", self.connect_timeout))
    }

    /// The outer error is that there is no connection, the inner what went wrong on it.
    async fn attempt(&self, cmd: &Cmd) -> Result<Result<Value, RedisError>, BrokerError> {
        let (number, mut connection) = self.shared().await?;
        let result = connection
            .send_packed_command(cmd)
            .await
            .and_then(Value::extract_error);
        if result.as_ref().is_err_and(is_lost) {
            self.forget(number).await;
        }
        Ok(result)
    }

    async fn shared(&self) -> Result<(u64, MultiplexedConnection), BrokerError> {
        let mut shared = self.shared.lock().await;
        if let (number, Some(connection)) = &*shared {
            return Ok((*number, connection.clone()));
        }
        let connection = self.open(Some(RESPONSE_TIMEOUT)).await?;
        let number = shared.0 + 1;
        *shared = (number, Some(connection.clone()));
        Ok((number, connection))
    }

    async fn forget(&self, number: u64) {
        let mut shared = self.shared.lock().await;
        if shared.0 == number {
            shared.1 = None;
        }
    }

    async fn open(
        &self,
        response_timeout: Option<Duration>,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(response_timeout);
        let client = self.client.clone();
        self.on_own_runtime(async move {
            client
                .get_multiplexed_async_connection_with_config(&config)
                .await
        })
        .await
    }

    /// Opens something on the runtime that is to drive it.
    async fn on_own_runtime<T: Send + 'static>(
        &self,
        opening: impl Future<Output = Result<T, RedisError>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        match self.runtime.spawn(opening).await {
            Ok(opened) => opened.map_err(|error| self.error(&error)),
            Err(error) => Err(self.unavailable(format!("nothing can be opened any more: {error}"))),
        }
    }
}

/// Runs a pipeline on a dedicated connection; each answer may be a server error.
pub(super) async fn run_pipeline(
    connection: &mut MultiplexedConnection,
    pipeline: &mut Pipeline,
) -> Result<Vec<Value>, RedisError> {
    pipeline.ignore_errors();
    connection
        .send_packed_commands(pipeline, 0, pipeline.len())
        .await
}

/// Whether the server does not know the script: it was restarted, or its scripts were flushed.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript))
}

/// Whether the connection is of no use any more.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}
