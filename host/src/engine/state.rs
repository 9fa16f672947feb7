//! What one store carries: the WASI context, the limiter, and the invocation that it serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::files::{Files, FilesView};
use super::key_value::{KeyValueLimits, KeyValueUse};
use super::limiter::Limiter;
use super::meter::Meter;
use super::recorder::Recorder;
use super::redact::Redactor;
use super::stdio::LogStream;
use super::wasi::{FixedTime, RANDOM_CALL_BYTES, seeded};
use super::{EventSink, Invocation, LimitHit, Limits, Rights, Stream};

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
    /// The most handles that a guest may hold.
    pub(crate) allowed_handles: u64,
    /// The clock, where it is not the real one. Boxed, as hardly any invocation has it.
    pub(crate) fixed_time: Option<Box<FixedTime>>,
    pub(crate) call: Call,
}

/// The invocation that a store serves, as its guest sees it.
pub(crate) struct Call {
    pub(crate) invocation: Invocation,
    pub(crate) deadline: Instant,
    /// How long the whole attempt may take: the deadline as a fixed clock has it.
    pub(crate) timeout: Duration,
    pub(crate) cancel: CancellationToken,
    /// What the guest's panic hook said.
    pub(crate) panicked: Option<String>,
}

impl State {
    pub(crate) fn new(
        limits: &Limits,
        rights: Arc<Rights>,
        sink: Arc<dyn EventSink>,
        call: Call,
    ) -> Self {
        let recorder = Arc::new(Recorder::new(sink, limits, Redactor::new(&rights)));
        let stream = |stream| LogStream {
            recorder: Arc::clone(&recorder),
            stream,
        };
        // Nothing is in the environment but what was granted: the builder begins with none.
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&rights.environment);
        wasi.stdout(stream(Stream::Stdout));
        wasi.stderr(stream(Stream::Stderr));
        wasi.max_random_size(RANDOM_CALL_BYTES);
        let fixed_time = rights.determinism.as_ref().map(|determinism| {
            seeded(&mut wasi, determinism.seed);
            Box::new(FixedTime::new(determinism.now))
        });
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        Self {
            wasi: wasi.build(),
            table,
            files: Files::new(limits, &recorder),
            limiter: Limiter::new(limits),
            recorder,
            rights,
            meter: Meter::new(limits),
            key_value_limits: KeyValueLimits::new(limits),
            key_value_use: KeyValueUse::default(),
            allowed_handles: limits.handles,
            fixed_time,
            call,
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
