//! `wasi:sockets` of guests: names and TCP connections that were granted. Nobody listens, and there is no UDP; every
//! standard library imports all of it, so that the answer to the rest is "access denied".
//!
//! A connection may go to an address that the lookup of a granted name gave in this very execution, or that was
//! granted by itself.

mod bindings;
mod connection;
mod lookup;
mod tcp;
mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use self::bindings::wasi::sockets as wit;
use self::wit::network::{
    ErrorCode, IpAddress, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use super::super::state::State;
use super::egress::Egress;

pub(crate) use self::lookup::Names;

/// What a WASI call answers: an error of the guest's is a value, never a trap.
type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

/// What socket calls work on.
pub(crate) struct SocketsView<'a> {
    pub(crate) egress: &'a Arc<Egress>,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// Links all of `wasi:sockets`.
pub(crate) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = wit::network::LinkOptions::default();
    wit::network::add_to_linker::<State, HasSockets>(l, &options, State::sockets)?;
    wit::instance_network::add_to_linker::<State, HasSockets>(l, State::sockets)?;
    wit::ip_name_lookup::add_to_linker::<State, HasSockets>(l, State::sockets)?;
    wit::tcp::add_to_linker::<State, HasSockets>(l, State::sockets)?;
    wit::tcp_create_socket::add_to_linker::<State, HasSockets>(l, State::sockets)?;
    wit::udp::add_to_linker::<State, HasSockets>(l, State::sockets)?;
    wit::udp_create_socket::add_to_linker::<State, HasSockets>(l, State::sockets)
}

/// The network of an instance. Public as `bindgen!` wants it, in a module that is not.
/// It grants nothing by itself: each call is checked.
#[expect(unreachable_pub, reason = "the bindings want it public")]
pub struct Network;

impl wit::network::Host for SocketsView<'_> {
    /// What went wrong with a stream, as far as the system said.
    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?.downcast_ref::<std::io::Error>();
        Ok(error.map(tcp::error_code))
    }
}

impl wit::network::HostNetwork for SocketsView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl wit::instance_network::Host for SocketsView<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(self.table.push(Network)?)
    }
}

impl From<IpAddr> for IpAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address.octets().into()),
            IpAddr::V6(address) => Self::Ipv6(address.segments().into()),
        }
    }
}

impl From<IpSocketAddress> for SocketAddr {
    fn from(address: IpSocketAddress) -> Self {
        match address {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }) => {
                (Ipv4Addr::from(<[u8; 4]>::from(address)), port).into()
            }
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, address, .. }) => {
                (Ipv6Addr::from(<[u16; 8]>::from(address)), port).into()
            }
        }
    }
}

impl From<SocketAddr> for IpSocketAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::Ipv4(Ipv4SocketAddress {
                port: v4.port(),
                address: v4.ip().octets().into(),
            }),
            SocketAddr::V6(v6) => Self::Ipv6(Ipv6SocketAddress {
                port: v6.port(),
                flow_info: v6.flowinfo(),
                address: v6.ip().segments().into(),
                scope_id: v6.scope_id(),
            }),
        }
    }
}
