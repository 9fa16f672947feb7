//! From names to addresses, as the system does it, or by a DNS server that the operator names.
//!
//! Each answer is used for the connection that it was asked for: nobody asks a second time between the check of
//! an address and the connection to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Addresses of one answer that are looked at: large services have eight or so.
const MAX_ADDRESSES: usize = 16;

/// How long one query may take; the limit `connect_timeout` holds besides.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Answers are kept by their own time to live, and no longer than this.
const MAX_TTL: Duration = Duration::from_secs(60);

/// Answers kept.
const CACHED: u64 = 1_024;

/// Resolves names. One per engine, made at the first name.
pub(crate) struct Resolver {
    /// Asked instead of the servers in `/etc/resolv.conf`.
    dns: Option<SocketAddr>,
    inner: OnceLock<Result<TokioResolver, String>>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("there is no such host")]
    NotFound,
    #[error("the name could not be resolved: {0}")]
    Failed(String),
}

impl Resolver {
    pub(crate) fn new(dns: Option<SocketAddr>) -> Self {
        Self {
            dns,
            inner: OnceLock::new(),
        }
    }

    /// The addresses of a name, at least one. To be called on the network's runtime.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let resolver = self
            .inner
            .get_or_init(|| build(self.dns).map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|error| LookupError::Failed(error.clone()))?;
        let answer = match resolver.lookup_ip(name).await {
            Ok(answer) => answer,
            Err(error) if error.is_no_records_found() => return Err(LookupError::NotFound),
            Err(error) => return Err(LookupError::Failed(error.to_string())),
        };
        let addresses: Vec<_> = answer.iter().take(MAX_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(LookupError::NotFound);
        }
        Ok(addresses)
    }
}

fn build(dns: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match dns {
        None => TokioResolver::builder_tokio()?,
        Some(server) => TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(vec![name_server(server)]),
            TokioRuntimeProvider::default(),
        ),
    };
    bound(builder.options_mut());
    builder.build()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .map(|mut connection| {
            connection.port = server.port();
            connection
        })
        .into();
    NameServerConfig::new(server.ip(), true, connections)
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = QUERY_TIMEOUT;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = CACHED;
    options.positive_max_ttl = Some(MAX_TTL);
    options.negative_max_ttl = Some(MAX_TTL);
}
