//! What one store carries: the WASI context, the limiter, and the invocation that it serves.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::files::{Files, FilesView};
use super::limiter::Limiter;
use super::meter::Meter;
use super::recorder::Recorder;
use super::stdio::LogStream;
use super::{EventSink, Invocation, LimitHit, Limits, Rights, Stream};

/// Random bytes of one call: a few hundred keys. All calls together have a limit of their own.
const RANDOM_CALL_BYTES: u64 = 64 << 10;

/// The data of a store.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) files: Files,
    pub(crate) limiter: Limiter,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) meter: Meter,
    pub(crate) call: Call,
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
