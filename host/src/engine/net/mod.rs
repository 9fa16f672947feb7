//! The network as guests find it: HTTP requests and TCP connections, each held against the rights of its
//! execution, and each address against what addresses are for.
//!
//! The way of a connection: what the guest wrote is read strictly (`destination`), held against the rules that
//! were granted, resolved (`resolver`); each address of the answer is classified (`address`), and the connection is
//! made to one that passed. All I/O runs on a runtime of its own, so that a host full of computing guests still
//! serves its sockets; a guest that touches no network costs none of it.

mod address;
mod destination;
mod egress;
mod http;
mod post;
mod resolver;
mod sockets;
mod tls;

pub use address::{Class as AddressClass, class as address_class, is_public as is_public_address};
pub use destination::{Destination, Host};
pub(crate) use egress::{Egress, NetworkUsage};
pub(crate) use http::{Hooks, link as link_http};
pub use post::{Post, PostError};
pub(crate) use sockets::{SocketsView, link as link_sockets};

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use self::resolver::Resolver;
use self::tls::Tls;

/// Threads for sockets: they copy and encrypt, and a processor does a gigabyte of either in a second.
const THREADS: usize = 2;

/// What all executions of an engine share of the network. Nothing of it exists until a guest asks for it.
pub(crate) struct Network {
    runtime: OnceLock<Option<Runtime>>,
    resolver: Resolver,
    tls: Tls,
}

impl Network {
    pub(crate) fn new(dns: Option<SocketAddr>) -> Self {
        Self {
            runtime: OnceLock::new(),
            resolver: Resolver::new(dns),
            tls: Tls::default(),
        }
    }

    /// Starts I/O apart from the guest's threads; dropping the handle ends it. None if there are no threads to be had.
    fn spawn<F>(&self, future: F) -> Option<AbortOnDropHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = self.runtime.get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("network")
                .enable_all()
                .build()
                .inspect_err(|error| tracing::error!(%error, "cannot start the network threads"))
                .ok()
        });
        let task = runtime.as_ref()?.spawn(future);
        Some(AbortOnDropHandle::new(task))
    }
}

impl Drop for Network {
    /// Does not wait: whatever runs there belongs to executions that are gone.
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Connects to the first of these addresses that answers. Each was checked; none is looked up again.
async fn dial(addresses: &[IpAddr], port: u16) -> std::io::Result<TcpStream> {
    let mut error = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(stream) => {
                // A guest's small writes are whole messages more often than not.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(refused) => error = refused,
        }
    }
    Err(error)
}
