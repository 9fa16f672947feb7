//! What one store carries: the WASI context, the limiter, and the invocation that it serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::files::{Files, FilesView};
use super::key_value::{KeyValueLimits, KeyValueUse};
use super::limiter::Limiter;
use super::meter::Meter;
use super::net::{Egress, Hooks, Network, NetworkUsage, SocketsView};
use super::recorder::Recorder;
use super::stdio::LogStream;
use super::wasi::{Chance, FixedTime};
use super::{EventSink, Invocation, LimitHit, Limits, Rights, Stream};

/// What headers may occupy in the host beyond twice what may be sent: the book-keeping of a hundred fields.
/// Whoever builds larger ones is ended; up to there, sending them is an error that the guest gets.
const FIELDS_BYTES: usize = 16 << 10;

/// The data of a store.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) files: Files,
    pub(crate) limiter: Limiter,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) meter: Meter,
    pub(crate) key_value_limits: KeyValueLimits,
    pub(crate) key_value_use: KeyValueUse,
    /// Other tasks that it has had run, and may have run.
    pub(crate) task_calls: u64,
    pub(crate) allowed_task_calls: u64,
    /// The most handles that a guest may hold.
    pub(crate) allowed_handles: u64,
    /// The clock, where it is not the real one. Boxed, as hardly any invocation has it.
    pub(crate) fixed_time: Option<Box<FixedTime>>,
    pub(crate) chance: Chance,
    /// Of a taped execution: the handles of the streams that end in its log, which need no tape.
    pub(crate) log_streams: BTreeSet<u32>,
    pub(crate) call: Call,
    limits: Arc<Limits>,
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
    pub(crate) started: Instant,
    /// The same by the wall clock, or what the policy or a replay says it is.
    pub(crate) started_at: SystemTime,
    /// How long the whole attempt may take.
    pub(crate) timeout: Duration,
    pub(crate) cancel: CancellationToken,
    /// After this long the guest is told that it is cancelled.
    pub(crate) soft_timeout: Duration,
    /// What the guest's panic hook said.
    pub(crate) panicked: Option<String>,
}

impl State {
    pub(crate) fn new(
        limits: Arc<Limits>,
        rights: Arc<Rights>,
        sink: Arc<dyn EventSink>,
        network: Arc<Network>,
        call: Call,
    ) -> Self {
        let recorder = Arc::new(Recorder::new(
            sink,
            &limits,
            rights.secrets.redactor().cloned(),
        ));
        let stream = |stream| LogStream {
            recorder: Arc::clone(&recorder),
            stream,
        };
        // Nothing is in the environment but what was granted: the builder begins with none.
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&rights.environment);
        wasi.stdout(stream(Stream::Stdout));
        wasi.stderr(stream(Stream::Stderr));
        let determinism = rights.determinism.as_ref();
        let fixed_time = determinism.map(|fixed| Box::new(FixedTime::new(fixed.now)));
        let seed = determinism.map(|fixed| fixed.seed.clone());
        let chance = Chance::new(seed.or_else(|| rights.seed.clone()));
        let mut meter = Meter::new(&limits);
        if rights.tape.is_some() {
            meter.tape();
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        Self {
            wasi: wasi.build(),
            table,
            files: Files::new(&limits, &recorder),
            limiter: Limiter::new(&limits),
            recorder,
            rights,
            meter,
            log_streams: BTreeSet::new(),
            key_value_limits: KeyValueLimits::new(&limits),
            key_value_use: KeyValueUse::default(),
            task_calls: 0,
            allowed_task_calls: limits.task_calls,
            allowed_handles: limits.handles,
            fixed_time,
            chance,
            call,
            limits,
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
                Arc::clone(&self.limits),
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
            let hooks = Hooks(Arc::clone(&egress), self.rights.tape.clone());
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
        if let Some(tape) = &self.rights.tape {
            // What stops a replay is noted; its next call ends it, if the guest has not given up before.
            let _ = tape.gap("sockets");
        }
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

impl State {
    /// What a call about files needs.
    pub(crate) fn files(&mut self) -> FilesView<'_> {
        FilesView {
            files: &mut self.files,
            table: &mut self.table,
            meter: &mut self.meter,
            rights: &self.rights,
            recorder: &self.recorder,
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
