//! Files as streams: reading through wasmtime's, writing through ours, both counted.
//!
//! Writing is our own because what a write makes a file grow by is known only beside the write itself, on the
//! thread that does it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{
    DynInputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn_blocking};

use super::tally::{Quota, Slot, Tally};

/// What a guest may write at once; as much as wasmtime reads at once.
const PERMIT_BYTES: usize = 64 << 10;

/// A file being read.
pub(super) struct ReadStream {
    pub(super) inner: DynInputStream,
    pub(super) tally: Arc<Tally>,
    pub(super) _slot: Option<Arc<Slot>>,
}

impl ReadStream {
    fn allowed(&self, size: usize) -> usize {
        usize::try_from(self.tally.readable(size as u64)).unwrap_or(size)
    }

    fn counted(&self, bytes: Bytes) -> StreamResult<Bytes> {
        let counted = self.tally.read(bytes.len() as u64);
        counted.map_err(|quota| StreamError::LastOperationFailed(quota.into()))?;
        Ok(bytes)
    }
}

#[async_trait]
impl Pollable for ReadStream {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for ReadStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(self.allowed(size))?;
        self.counted(bytes)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let size = self.allowed(size);
        let bytes = self.inner.blocking_read(size).await?;
        self.counted(bytes)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

/// Where the next bytes go.
#[derive(Clone, Copy)]
pub(super) enum Place {
    At(u64),
    End,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Quota(#[from] Quota),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl WriteError {
    /// With the type by which `filesystem-error-code` finds the code.
    fn into_stream_error(self) -> StreamError {
        StreamError::LastOperationFailed(match self {
            Self::Quota(quota) => quota.into(),
            Self::Io(error) => error.into(),
        })
    }
}

/// Writes all of `bytes`. Blocks.
pub(super) fn put(
    file: &File,
    tally: &Tally,
    bytes: &[u8],
    place: Place,
) -> Result<(), WriteError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let length = bytes.len() as u64;
    let growth = match place {
        Place::At(start) => {
            let end = start.checked_add(length).ok_or(Errno::FBIG)?;
            end.saturating_sub(file.metadata()?.len())
        }
        Place::End => length,
    };
    tally.write(length, growth)?;
    match place {
        Place::At(start) => file.write_all_at(bytes, start)?,
        Place::End => append(file, bytes)?,
    }
    Ok(())
}

impl From<Errno> for WriteError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Appends, whatever else is appended at the same time.
fn append(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwritev2(file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A file being written. At most one write is under way.
pub(super) struct WriteStream {
    file: Arc<File>,
    place: Place,
    tally: Arc<Tally>,
    _slot: Option<Arc<Slot>>,
    state: State,
}

enum State {
    Ready,
    Writing(AbortOnDropJoinHandle<Result<(), WriteError>>),
    Failed(WriteError),
    Closed,
}

impl WriteStream {
    pub(super) fn new(
        file: Arc<File>,
        place: Place,
        tally: Arc<Tally>,
        slot: Option<Arc<Slot>>,
    ) -> Self {
        Self {
            file,
            place,
            tally,
            _slot: slot,
            state: State::Ready,
        }
    }

    /// Whether the last write is over, or how it failed: said once, then the stream is closed.
    fn settled(&mut self) -> StreamResult<bool> {
        match self.state {
            State::Ready => Ok(true),
            State::Writing(_) => Ok(false),
            State::Closed => Err(StreamError::Closed),
            State::Failed(_) => match mem::replace(&mut self.state, State::Closed) {
                State::Failed(error) => Err(error.into_stream_error()),
                _ => Err(StreamError::Closed),
            },
        }
    }

    /// Starts a write; the place moves on at once, as nothing else is accepted before it has succeeded.
    fn start(&mut self, bytes: Bytes) {
        let (file, tally, place) = (Arc::clone(&self.file), Arc::clone(&self.tally), self.place);
        if let Place::At(start) = &mut self.place {
            *start = start.saturating_add(bytes.len() as u64);
        }
        self.state = State::Writing(spawn_blocking(move || put(&file, &tally, &bytes, place)));
    }
}

#[async_trait]
impl Pollable for WriteStream {
    async fn ready(&mut self) {
        if let State::Writing(work) = &mut self.state {
            self.state = match work.await {
                Ok(()) => State::Ready,
                Err(error) => State::Failed(error),
            };
        }
    }
}

#[async_trait]
impl OutputStream for WriteStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.settled()? || bytes.len() > PERMIT_BYTES {
            return Err(StreamError::trap(
                "a write beyond what check-write permitted",
            ));
        }
        self.start(bytes);
        Ok(())
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        self.settled()?;
        self.start(bytes);
        self.ready().await;
        self.settled().map(drop)
    }

    /// There is no buffer of ours to flush.
    fn flush(&mut self) -> StreamResult<()> {
        self.settled().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.settled()? { PERMIT_BYTES } else { 0 })
    }

    /// Waits for a write under way: a guest must not pile up work by dropping streams.
    async fn cancel(&mut self) {
        if let State::Writing(work) = mem::replace(&mut self.state, State::Closed) {
            let _ = work.cancel().await;
        }
    }
}
