//! UDP, which tasks do not have: no socket ever comes to be, so that whatever needs one is never called.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;

use super::wit::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::wit::udp::{
    Host as UdpHost, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
    IncomingDatagram, OutgoingDatagram,
};
use super::wit::udp_create_socket::Host as CreateHost;
use super::{Answer, Network, SocketsView};

/// What there is of UDP.
#[expect(unreachable_pub, reason = "the bindings want it public")]
pub enum Nothing {}

impl CreateHost for SocketsView<'_> {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> Answer<Resource<Nothing>> {
        let why = "tasks have TCP, and not UDP".to_owned();
        self.egress.deny("tcp", "udp".to_owned(), Some(why));
        Ok(Err(ErrorCode::AccessDenied))
    }
}

/// The answer to a call on a socket that cannot be.
fn denied<T>() -> Answer<T> {
    Ok(Err(ErrorCode::AccessDenied))
}

/// The end of a guest that passed a handle that it never got; wasmtime prevents it before.
fn impossible<T>() -> wasmtime::Result<T> {
    Err(wasmtime::format_err!("there are no UDP sockets"))
}

impl UdpHost for SocketsView<'_> {}

impl HostUdpSocket for SocketsView<'_> {
    fn start_bind(
        &mut self,
        _: Resource<Nothing>,
        _: Resource<Network>,
        _: IpSocketAddress,
    ) -> Answer<()> {
        denied()
    }

    fn finish_bind(&mut self, _: Resource<Nothing>) -> Answer<()> {
        denied()
    }

    fn stream(
        &mut self,
        _: Resource<Nothing>,
        _: Option<IpSocketAddress>,
    ) -> Answer<(Resource<Nothing>, Resource<Nothing>)> {
        denied()
    }

    fn local_address(&mut self, _: Resource<Nothing>) -> Answer<IpSocketAddress> {
        denied()
    }

    fn remote_address(&mut self, _: Resource<Nothing>) -> Answer<IpSocketAddress> {
        denied()
    }

    fn address_family(&mut self, _: Resource<Nothing>) -> wasmtime::Result<IpAddressFamily> {
        impossible()
    }

    fn unicast_hop_limit(&mut self, _: Resource<Nothing>) -> Answer<u8> {
        denied()
    }

    fn set_unicast_hop_limit(&mut self, _: Resource<Nothing>, _: u8) -> Answer<()> {
        denied()
    }

    fn receive_buffer_size(&mut self, _: Resource<Nothing>) -> Answer<u64> {
        denied()
    }

    fn set_receive_buffer_size(&mut self, _: Resource<Nothing>, _: u64) -> Answer<()> {
        denied()
    }

    fn send_buffer_size(&mut self, _: Resource<Nothing>) -> Answer<u64> {
        denied()
    }

    fn set_send_buffer_size(&mut self, _: Resource<Nothing>, _: u64) -> Answer<()> {
        denied()
    }

    fn subscribe(&mut self, _: Resource<Nothing>) -> wasmtime::Result<Resource<DynPollable>> {
        impossible()
    }

    fn drop(&mut self, _: Resource<Nothing>) -> wasmtime::Result<()> {
        impossible()
    }
}

impl HostIncomingDatagramStream for SocketsView<'_> {
    fn receive(&mut self, _: Resource<Nothing>, _: u64) -> Answer<Vec<IncomingDatagram>> {
        denied()
    }

    fn subscribe(&mut self, _: Resource<Nothing>) -> wasmtime::Result<Resource<DynPollable>> {
        impossible()
    }

    fn drop(&mut self, _: Resource<Nothing>) -> wasmtime::Result<()> {
        impossible()
    }
}

impl HostOutgoingDatagramStream for SocketsView<'_> {
    fn check_send(&mut self, _: Resource<Nothing>) -> Answer<u64> {
        denied()
    }

    fn send(&mut self, _: Resource<Nothing>, _: Vec<OutgoingDatagram>) -> Answer<u64> {
        denied()
    }

    fn subscribe(&mut self, _: Resource<Nothing>) -> wasmtime::Result<Resource<DynPollable>> {
        impossible()
    }

    fn drop(&mut self, _: Resource<Nothing>) -> wasmtime::Result<()> {
        impossible()
    }
}
