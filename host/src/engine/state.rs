//! What one store carries: the WASI context, the limiter, and the invocation that it serves.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::limiter::Limiter;
use super::meter::Meter;
use super::net::{Egress, Hooks, Network, NetworkUsage, SocketsView};
use super::recorder::Recorder;
use super::stdio::LogStream;
use super::{EventSink, Invocation, LimitHit, Limits, Rights, Stream};

/// Random bytes of one call: a few hundred keys. All calls together have a limit of their own.
const RANDOM_CALL_BYTES: u64 = 64 << 10;

/// What headers may occupy in the host beyond twice what may be sent: the book-keeping of a hundred fields.
/// Whoever builds larger ones is ended; up to there, sending them is an error that the guest gets.
const FIELDS_BYTES: usize = 16 << 10;

/// The data of a store.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) meter: Meter,
    pub(crate) call: Call,
    limits: Limits,
    network: Arc<Network>,
    /// Made when the guest first asks for the network.
    outside: Option<Box<Outside>>,
}

/// What a guest that uses the network has besides.
struct Outside {
    egress: Arc<Egress>,
    http: WasiHttpCtx,
    hooks: Hooks,
}

/// The invocation that a store serves, as its guest sees it.
pub(crate) struct Call {
    pub(crate) invocation: Invocation,
    pub(crate) deadline: Instant,
    pub(crate) cancel: CancellationToken,
    /// What the guest's panic hook said.
    pub(crate) panicked: Option<String>,
}

impl State {
    pub(crate) fn new(
        limits: &Limits,
        rights: Arc<Rights>,
        sink: Arc<dyn EventSink>,
        network: Arc<Network>,
        call: Call,
    ) -> Self {
        let recorder = Arc::new(Recorder::new(sink, limits));
        let stream = |stream| LogStream {
            recorder: Arc::clone(&recorder),
            stream,
        };
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(stream(Stream::Stdout));
        wasi.stderr(stream(Stream::Stderr));
        wasi.max_random_size(RANDOM_CALL_BYTES);
        wasi.envs(&rights.environment);
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        Self {
            wasi: wasi.build(),
            table,
            limiter: Limiter::new(limits),
            recorder,
            rights,
            meter: Meter::new(limits),
            call,
            limits: limits.clone(),
            network,
            outside: None,
        }
    }

    /// The network as this guest may use it. Each of its calls begins here, and is counted.
    fn outside(&mut self) -> (&mut Outside, &mut ResourceTable) {
        self.meter.count();
        let outside = self.outside.get_or_insert_with(|| {
            let egress = Arc::new(Egress::new(
                Arc::clone(&self.network),
                Arc::clone(&self.rights),
                self.limits.clone(),
                self.call.invocation.clone(),
                (Arc::clone(&self.recorder), self.meter.elsewhere()),
            ));
            let mut http = WasiHttpCtx::new();
            let header_bytes = self.limits.http_header_bytes;
            http.set_field_size_limit(
                usize::try_from(header_bytes.saturating_mul(2))
                    .unwrap_or(usize::MAX)
                    .saturating_add(FIELDS_BYTES),
            );
            let hooks = Hooks(Arc::clone(&egress));
            Box::new(Outside {
                egress,
                http,
                hooks,
            })
        });
        (outside, &mut self.table)
    }

    /// The sockets as this guest may use them.
    pub(crate) fn sockets(&mut self) -> SocketsView<'_> {
        let (outside, table) = self.outside();
        SocketsView {
            egress: &outside.egress,
            table,
        }
    }

    /// What was used of the network.
    pub(crate) fn network_usage(&self) -> NetworkUsage {
        let outside = self.outside.as_ref();
        outside.map_or_else(NetworkUsage::default, |outside| outside.egress.usage())
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (outside, table) = self.outside();
        WasiHttpCtxView {
            hooks: &mut outside.hooks,
            table,
            ctx: &mut outside.http,
        }
    }
}

/// A budget that ran out inside an import: ends the guest.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostLimit(pub(crate) LimitHit);

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
