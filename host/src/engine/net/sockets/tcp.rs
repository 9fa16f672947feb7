//! TCP sockets that connect, and do nothing else.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::poll_noop;

use super::connection::{Connection, Reader, Writer};
use super::wit::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::wit::tcp::{Host as TcpHost, HostTcpSocket, ShutdownType};
use super::wit::tcp_create_socket::Host as CreateHost;
use super::{Answer, Egress, Network, SocketsView};
use crate::engine::net::dial;

type Dialled = Result<TcpStream, ErrorCode>;

/// A socket. The system has none of it before it connects.
#[expect(unreachable_pub, reason = "the bindings want it public")]
pub struct TcpSocket {
    family: IpAddressFamily,
    state: Progress,
}

enum Progress {
    New,
    Connecting(AbortOnDropHandle<Dialled>),
    Dialled(Dialled),
    Connected(Arc<Connection>),
    Failed,
}

impl TcpSocket {
    fn connection(&self) -> Result<&Arc<Connection>, ErrorCode> {
        match &self.state {
            Progress::Connected(connection) => Ok(connection),
            _ => Err(ErrorCode::InvalidState),
        }
    }
}

impl CreateHost for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Answer<Resource<TcpSocket>> {
        let socket = TcpSocket {
            family,
            state: Progress::New,
        };
        Ok(Ok(self.table.push(socket)?))
    }
}

/// Starts to connect, if that is granted.
fn connect(egress: &Arc<Egress>, to: SocketAddr) -> Result<AbortOnDropHandle<Dialled>, ErrorCode> {
    if !egress.may_connect(to) {
        return Err(ErrorCode::AccessDenied);
    }
    if !egress.begin_connection() {
        return Err(ErrorCode::NewSocketLimit);
    }
    let time = egress.limits.connect_timeout;
    let dialling = async move {
        match tokio::time::timeout(time, dial(&[to.ip()], to.port())).await {
            Ok(dialled) => dialled.map_err(|error| error_code(&error)),
            Err(_) => Err(ErrorCode::Timeout),
        }
    };
    egress
        .network
        .spawn(dialling)
        .ok_or(ErrorCode::NewSocketLimit)
}

pub(super) fn error_code(error: &std::io::Error) -> ErrorCode {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
        std::io::ErrorKind::ConnectionReset => ErrorCode::ConnectionReset,
        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::BrokenPipe => {
            ErrorCode::ConnectionAborted
        }
        std::io::ErrorKind::TimedOut => ErrorCode::Timeout,
        _ => ErrorCode::RemoteUnreachable,
    }
}

/// Whether an address fits a socket at all.
fn fits(family: IpAddressFamily, to: SocketAddr) -> bool {
    let is_family = match to {
        SocketAddr::V4(_) => family == IpAddressFamily::Ipv4,
        SocketAddr::V6(to) => family == IpAddressFamily::Ipv6 && to.ip().to_ipv4_mapped().is_none(),
    };
    is_family && to.port() != 0
}

impl SocketsView<'_> {
    /// Answers whoever wants to be called.
    fn deny_listening<T>(&self) -> Answer<T> {
        let why = "tasks may connect, and not listen".to_owned();
        self.egress.deny("tcp", "listen".to_owned(), Some(why));
        Ok(Err(ErrorCode::AccessDenied))
    }
}

/// A setting of the system's sockets, which stays as it is.
fn fixed<T>() -> Answer<T> {
    Ok(Err(ErrorCode::NotSupported))
}

impl TcpHost for SocketsView<'_> {}

impl HostTcpSocket for SocketsView<'_> {
    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        to: IpSocketAddress,
    ) -> Answer<()> {
        self.table.get(&network)?;
        let to = SocketAddr::from(to);
        let socket = self.table.get_mut(&socket)?;
        match socket.state {
            Progress::New => {}
            Progress::Connecting(_) | Progress::Dialled(_) => {
                return Ok(Err(ErrorCode::ConcurrencyConflict));
            }
            Progress::Connected(_) | Progress::Failed => return Ok(Err(ErrorCode::InvalidState)),
        }
        if !fits(socket.family, to) {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        Ok(connect(self.egress, to).map(|running| socket.state = Progress::Connecting(running)))
    }

    fn finish_connect(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> Answer<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let held = self.table.get_mut(&socket)?;
        let dialled = match std::mem::replace(&mut held.state, Progress::Failed) {
            Progress::Dialled(dialled) => dialled,
            Progress::Connecting(mut running) => match poll_noop(Pin::new(&mut running)) {
                Some(ended) => ended.unwrap_or(Err(ErrorCode::Unknown)),
                None => {
                    held.state = Progress::Connecting(running);
                    return Ok(Err(ErrorCode::WouldBlock));
                }
            },
            other => {
                held.state = other;
                return Ok(Err(ErrorCode::NotInProgress));
            }
        };
        let connection = match dialled {
            Ok(stream) => Connection::new(stream, Arc::clone(self.egress)),
            Err(error) => return Ok(Err(error)),
        };
        held.state = Progress::Connected(Arc::clone(&connection));
        let input: DynInputStream = Box::new(Reader(Arc::clone(&connection)));
        let output: DynOutputStream = Box::new(Writer(connection));
        let input = self.table.push_child(input, &socket)?;
        let output = self.table.push_child(output, &socket)?;
        Ok(Ok((input, output)))
    }

    fn start_bind(
        &mut self,
        _: Resource<TcpSocket>,
        _: Resource<Network>,
        _: IpSocketAddress,
    ) -> Answer<()> {
        self.deny_listening()
    }

    fn finish_bind(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn start_listen(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        self.deny_listening()
    }

    fn finish_listen(&mut self, _: Resource<TcpSocket>) -> Answer<()> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn accept(
        &mut self,
        _: Resource<TcpSocket>,
    ) -> Answer<(
        Resource<TcpSocket>,
        Resource<DynInputStream>,
        Resource<DynOutputStream>,
    )> {
        self.deny_listening()
    }

    fn local_address(&mut self, socket: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        let connection = self.table.get(&socket)?.connection();
        Ok(connection.and_then(|open| {
            let address = open.stream.local_addr();
            address.map(Into::into).map_err(|_| ErrorCode::Unknown)
        }))
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        let connection = self.table.get(&socket)?.connection();
        Ok(connection.and_then(|open| {
            let address = open.stream.peer_addr();
            address.map(Into::into).map_err(|_| ErrorCode::Unknown)
        }))
    }

    fn is_listening(&mut self, _: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family)
    }

    fn subscribe(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, how: ShutdownType) -> Answer<()> {
        let connection = self.table.get(&socket)?.connection();
        Ok(connection.map(|open| {
            if matches!(how, ShutdownType::Receive | ShutdownType::Both) {
                open.shut_read();
            }
            if matches!(how, ShutdownType::Send | ShutdownType::Both) {
                open.shut_write();
            }
        }))
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }

    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        self.deny_listening()
    }

    fn keep_alive_enabled(&mut self, _: Resource<TcpSocket>) -> Answer<bool> {
        fixed()
    }

    fn set_keep_alive_enabled(&mut self, _: Resource<TcpSocket>, _: bool) -> Answer<()> {
        fixed()
    }

    fn keep_alive_idle_time(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        fixed()
    }

    fn set_keep_alive_idle_time(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        fixed()
    }

    fn keep_alive_interval(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        fixed()
    }

    fn set_keep_alive_interval(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        fixed()
    }

    fn keep_alive_count(&mut self, _: Resource<TcpSocket>) -> Answer<u32> {
        fixed()
    }

    fn set_keep_alive_count(&mut self, _: Resource<TcpSocket>, _: u32) -> Answer<()> {
        fixed()
    }

    fn hop_limit(&mut self, _: Resource<TcpSocket>) -> Answer<u8> {
        fixed()
    }

    fn set_hop_limit(&mut self, _: Resource<TcpSocket>, _: u8) -> Answer<()> {
        fixed()
    }

    fn receive_buffer_size(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        fixed()
    }

    fn set_receive_buffer_size(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        fixed()
    }

    fn send_buffer_size(&mut self, _: Resource<TcpSocket>) -> Answer<u64> {
        fixed()
    }

    fn set_send_buffer_size(&mut self, _: Resource<TcpSocket>, _: u64) -> Answer<()> {
        fixed()
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        if let Progress::Connecting(running) = &mut self.state {
            let ended = running.await;
            self.state = Progress::Dialled(ended.unwrap_or(Err(ErrorCode::Unknown)));
        }
    }
}
