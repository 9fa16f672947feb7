//! Names that a guest looks up, and what it may connect to because of them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::vec;

use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::poll_noop;

use super::wit::ip_name_lookup::{Host as LookupHost, HostResolveAddressStream};
use super::wit::network::{ErrorCode, IpAddress};
use super::{Answer, Egress, Network, SocketsView};
use crate::engine::TcpRule;
use crate::engine::net::destination::{Host, Refused, allowed};
use crate::engine::net::resolver::LookupError;

/// Addresses remembered of one execution.
const MAX_NAMES: usize = 1_024;

/// What a guest is told of a name that it may not ask for.
const NAME_CHARS: usize = 255;

/// Which names had which address in this execution.
#[derive(Default)]
pub(crate) struct Names(HashMap<IpAddr, Vec<Host>>);

impl Names {
    fn remember(&mut self, host: &Host, addresses: &[IpAddr]) -> Result<(), ErrorCode> {
        for address in addresses {
            if self.0.len() >= MAX_NAMES && !self.0.contains_key(address) {
                return Err(ErrorCode::TemporaryResolverFailure);
            }
            let names = self.0.entry(*address).or_default();
            if !names.contains(host) {
                names.push(host.clone());
            }
        }
        Ok(())
    }
}

impl Egress {
    /// Whether a connection may be made to this address; tells of it if not.
    pub(super) fn may_connect(&self, to: SocketAddr) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = names.0.get(&to.ip()).cloned().unwrap_or_default();
        drop(names);
        hosts.push(Host::Address(to.ip()));
        let mut refused = None;
        for host in &hosts {
            let rules = self.rules(host).filter(|rule| rule.port == to.port());
            let rules: Vec<_> = rules.collect();
            if rules.is_empty() {
                continue;
            }
            match check(&[to.ip()], &rules) {
                Ok(_) => return true,
                Err(why) => refused = Some(why.to_string()),
            }
        }
        if let Some(host) = hosts.first() {
            self.deny("tcp", format!("{host}:{}", to.port()), refused);
        }
        false
    }

    /// The rules that mean a host, on any port.
    fn rules(&self, host: &Host) -> impl Iterator<Item = &TcpRule> {
        self.rights
            .tcp
            .iter()
            .filter(|rule| host.is_meant_by(&rule.host))
    }

    /// The addresses of a granted name that may be connected to.
    async fn resolve(self: Arc<Self>, host: Host, name: String) -> Result<Vec<IpAddr>, ErrorCode> {
        let answer = tokio::time::timeout(
            self.limits.connect_timeout,
            self.network.resolver.addresses(&name),
        );
        let addresses = match answer.await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(LookupError::NotFound)) => return Err(ErrorCode::NameUnresolvable),
            Ok(Err(LookupError::Failed(_))) | Err(_) => {
                return Err(ErrorCode::TemporaryResolverFailure);
            }
        };
        let rules: Vec<_> = self.rules(&host).collect();
        let addresses = check(&addresses, &rules).map_err(|refused| {
            self.deny("tcp", name, Some(refused.to_string()));
            ErrorCode::AccessDenied
        })?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.remember(&host, &addresses)?;
        Ok(addresses)
    }
}

/// Those addresses that any of these rules lets through.
fn check(addresses: &[IpAddr], rules: &[&TcpRule]) -> Result<Vec<IpAddr>, Refused> {
    let networks: Vec<_> = rules.iter().flat_map(|rule| &rule.networks).collect();
    allowed(addresses, &networks)
}

/// The addresses of a name, or the wait for them.
#[expect(unreachable_pub, reason = "the bindings want it public")]
pub enum Lookup {
    Running(AbortOnDropHandle<Result<Vec<IpAddr>, ErrorCode>>),
    Done(Result<vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Lookup {
    fn of(addresses: Vec<IpAddr>) -> Self {
        Self::Done(Ok(addresses.into_iter()))
    }

    fn end(&mut self, ended: Result<Result<Vec<IpAddr>, ErrorCode>, tokio::task::JoinError>) {
        let answer = ended.unwrap_or(Err(ErrorCode::TemporaryResolverFailure));
        *self = Self::Done(answer.map(Vec::into_iter));
    }
}

impl LookupHost for SocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Answer<Resource<Lookup>> {
        self.table.get(&network)?;
        match start(self.egress, &name) {
            Ok(lookup) => Ok(Ok(self.table.push(lookup)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Starts the lookup of a name that some rule means.
fn start(egress: &Arc<Egress>, name: &str) -> Result<Lookup, ErrorCode> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Lookup::of(vec![address]));
    }
    let host = Host::parse(name).ok_or(ErrorCode::InvalidArgument)?;
    if egress.rules(&host).next().is_none() {
        egress.deny("tcp", name.chars().take(NAME_CHARS).collect(), None);
        return Err(ErrorCode::AccessDenied);
    }
    if !egress.begin_lookup() {
        return Err(ErrorCode::NewSocketLimit);
    }
    let name = host.to_string();
    let lookup = Arc::clone(egress).resolve(host, name);
    let running = egress.network.spawn(lookup);
    running
        .map(Lookup::Running)
        .ok_or(ErrorCode::TemporaryResolverFailure)
}

impl HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(&mut self, lookup: Resource<Lookup>) -> Answer<Option<IpAddress>> {
        let lookup = self.table.get_mut(&lookup)?;
        if let Lookup::Running(running) = lookup {
            let Some(ended) = poll_noop(Pin::new(running)) else {
                return Ok(Err(ErrorCode::WouldBlock));
            };
            lookup.end(ended);
        }
        Ok(match lookup {
            Lookup::Done(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
            Lookup::Done(Err(error)) => Err(*error),
            Lookup::Running(_) => Err(ErrorCode::WouldBlock),
        })
    }

    fn subscribe(&mut self, lookup: Resource<Lookup>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, lookup)
    }

    fn drop(&mut self, lookup: Resource<Lookup>) -> wasmtime::Result<()> {
        self.table.delete(lookup)?;
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Running(running) = self {
            let ended = running.await;
            self.end(ended);
        }
    }
}
