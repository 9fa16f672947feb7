//! `wasi:io`, counted: waiting, and the streams of standard output, files, HTTP bodies and connections alike.
//!
//! A guest says how many bytes it wants; the host never allocates more than [`STREAM_BYTES`] for it. Bytes
//! that the guest hands over are in memory already when a call begins, bounded by what one call may carry.
//!
//! Answers that depend on the world outside go on the tape of a recorded execution (`taped`), and come from it in a replay;
//! streams that end in the log need none.

use wasmtime::component::Resource;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use crate::engine::LimitHit;
use crate::engine::recorder::cut;
use crate::engine::recording::Answer;
use crate::engine::state::{HostLimit, State};

/// What one call reads, skips or splices at most; a guest that wants more calls again. As much as a stream of
/// wasmtime's takes in one write.
const STREAM_BYTES: u64 = 64 << 10;

/// What is shown of an error: a sentence, no backtrace of the host.
const ERROR_BYTES: usize = 1 << 10;

impl State {
    /// Counts a call on a stream.
    fn stream_call(&mut self) -> StreamResult<()> {
        self.meter.call().map_err(fatal)
    }

    /// Charges bytes that went through a stream.
    fn stream_bytes(&mut self, bytes: u64) -> StreamResult<()> {
        self.meter.bytes(bytes).map_err(fatal)
    }

    /// Before the guest waits: a list has no more handles than a task may hold, and a fixed clock knows how
    /// far it may move.
    fn wait_for(&mut self, pollables: &[Resource<DynPollable>]) -> wasmtime::Result<()> {
        self.meter.call()?;
        let (wanted, allowed) = (pollables.len() as u64, self.allowed_handles);
        if wanted > allowed {
            return Err(HostLimit(LimitHit::new("handles", allowed, wanted)).into());
        }
        if let Some(time) = &self.fixed_time {
            time.wait_for(pollables.iter().map(Resource::rep));
        }
        Ok(())
    }
}

/// A budget that ran out in a call on a stream ends the guest, whatever it does with errors.
fn fatal(limit: HostLimit) -> StreamError {
    StreamError::Trap(limit.into())
}

impl poll::Host for State {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.wait_for(&pollables)?;
        if let Some(entry) = self.told("poll.poll", || pollables.len().to_string())? {
            return self.read(&entry);
        }
        let ready = poll::Host::poll(self.ctx().table, pollables).await?;
        self.note(|| Answer::of(&ready));
        Ok(ready)
    }
}

impl poll::HostPollable for State {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.meter.call()?;
        if let Some(entry) = self.told("pollable.ready", String::new)? {
            return self.read(&entry);
        }
        let is_ready = poll::HostPollable::ready(self.ctx().table, pollable).await?;
        self.note(|| Answer::of(&is_ready));
        Ok(is_ready)
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.wait_for(std::slice::from_ref(&pollable))?;
        if self.told("pollable.block", String::new)?.is_some() {
            return Ok(());
        }
        poll::HostPollable::block(self.ctx().table, pollable).await?;
        self.note(Answer::default);
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        if let Some(time) = &mut self.fixed_time {
            time.forget(pollable.rep());
        }
        poll::HostPollable::drop(self.ctx().table, pollable)
    }
}

impl error::Host for State {}

impl error::HostError for State {
    fn to_debug_string(&mut self, error: Resource<error::Error>) -> wasmtime::Result<String> {
        self.meter.call()?;
        let text = self.taped("error.to-debug-string", String::new, |this| {
            let text = error::HostError::to_debug_string(this.ctx().table, error)?;
            Ok(cut(&text, ERROR_BYTES).to_owned())
        })?;
        self.meter.bytes(text.len() as u64)?;
        Ok(text)
    }

    fn drop(&mut self, error: Resource<error::Error>) -> wasmtime::Result<()> {
        error::HostError::drop(self.ctx().table, error)
    }
}

impl streams::Host for State {
    fn convert_stream_error(
        &mut self,
        error: StreamError,
    ) -> wasmtime::Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.ctx().table, error)
    }
}

impl streams::HostInputStream for State {
    async fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        streams::HostInputStream::drop(self.ctx().table, stream).await
    }

    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        self.stream_call()?;
        let len = len.min(STREAM_BYTES);
        let number = stream.rep();
        let told = self.stream_told::<()>("input-stream.read", || len.to_string())?;
        let bytes = match told {
            Some(((), bytes)) => bytes.unwrap_or_default(),
            None => {
                let bytes = streams::HostInputStream::read(self.ctx().table, stream, len);
                self.stream_note_read(&bytes, number);
                bytes?
            }
        };
        self.stream_bytes(bytes.len() as u64)?;
        Ok(bytes)
    }

    async fn blocking_read(
        &mut self,
        stream: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<Vec<u8>> {
        self.stream_call()?;
        let len = len.min(STREAM_BYTES);
        let number = stream.rep();
        let told = self.stream_told::<()>("input-stream.blocking-read", || len.to_string())?;
        let bytes = match told {
            Some(((), bytes)) => bytes.unwrap_or_default(),
            None => {
                let table = self.ctx().table;
                let bytes = streams::HostInputStream::blocking_read(table, stream, len).await;
                self.stream_note_read(&bytes, number);
                bytes?
            }
        };
        self.stream_bytes(bytes.len() as u64)?;
        Ok(bytes)
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        self.stream_call()?;
        let len = len.min(STREAM_BYTES);
        let told = self.stream_told("input-stream.skip", || len.to_string())?;
        let skipped = match told {
            Some((skipped, _)) => skipped,
            None => {
                let skipped = streams::HostInputStream::skip(self.ctx().table, stream, len);
                self.stream_note(&skipped);
                skipped?
            }
        };
        self.stream_bytes(skipped)?;
        Ok(skipped)
    }

    async fn blocking_skip(
        &mut self,
        stream: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.stream_call()?;
        let len = len.min(STREAM_BYTES);
        let told = self.stream_told("input-stream.blocking-skip", || len.to_string())?;
        let skipped = match told {
            Some((skipped, _)) => skipped,
            None => {
                let table = self.ctx().table;
                let skipped = streams::HostInputStream::blocking_skip(table, stream, len).await;
                self.stream_note(&skipped);
                skipped?
            }
        };
        self.stream_bytes(skipped)?;
        Ok(skipped)
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynInputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.meter.call()?;
        streams::HostInputStream::subscribe(self.ctx().table, stream)
    }
}

impl streams::HostOutputStream for State {
    async fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        self.log_streams.remove(&stream.rep());
        streams::HostOutputStream::drop(self.ctx().table, stream).await
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        self.stream_call()?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::check_write(self.ctx().table, stream);
        }
        if let Some((room, _)) = self.stream_told("output-stream.check-write", String::new)? {
            return Ok(room);
        }
        let room = streams::HostOutputStream::check_write(self.ctx().table, stream);
        self.stream_note(&room);
        room
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.stream_call()?;
        self.stream_bytes(bytes.len() as u64)?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::write(self.ctx().table, stream, bytes);
        }
        if self
            .stream_told::<()>("output-stream.write", || bytes.len().to_string())?
            .is_some()
        {
            return Ok(());
        }
        let done = streams::HostOutputStream::write(self.ctx().table, stream, bytes);
        self.stream_note(&done);
        done
    }

    async fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.stream_call()?;
        self.stream_bytes(bytes.len() as u64)?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::blocking_write_and_flush(
                self.ctx().table,
                stream,
                bytes,
            )
            .await;
        }
        if self
            .stream_told::<()>("output-stream.blocking-write-and-flush", || {
                bytes.len().to_string()
            })?
            .is_some()
        {
            return Ok(());
        }
        let done =
            streams::HostOutputStream::blocking_write_and_flush(self.ctx().table, stream, bytes)
                .await;
        self.stream_note(&done);
        done
    }

    /// Allocates them, as many as the stream takes at once: some 64 KiB, and 4 KiB in the call that blocks.
    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        self.stream_call()?;
        self.stream_bytes(len)?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::write_zeroes(self.ctx().table, stream, len);
        }
        if self
            .stream_told::<()>("output-stream.write-zeroes", || len.to_string())?
            .is_some()
        {
            return Ok(());
        }
        let done = streams::HostOutputStream::write_zeroes(self.ctx().table, stream, len);
        self.stream_note(&done);
        done
    }

    async fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.stream_call()?;
        self.stream_bytes(len)?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::blocking_write_zeroes_and_flush(
                self.ctx().table,
                stream,
                len,
            )
            .await;
        }
        if self
            .stream_told::<()>("output-stream.blocking-write-zeroes-and-flush", || {
                len.to_string()
            })?
            .is_some()
        {
            return Ok(());
        }
        let done = streams::HostOutputStream::blocking_write_zeroes_and_flush(
            self.ctx().table,
            stream,
            len,
        )
        .await;
        self.stream_note(&done);
        done
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.stream_call()?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::flush(self.ctx().table, stream);
        }
        if self
            .stream_told::<()>("output-stream.flush", String::new)?
            .is_some()
        {
            return Ok(());
        }
        let done = streams::HostOutputStream::flush(self.ctx().table, stream);
        self.stream_note(&done);
        done
    }

    async fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.stream_call()?;
        if !self.is_outside(&stream) {
            return streams::HostOutputStream::blocking_flush(self.ctx().table, stream).await;
        }
        if self
            .stream_told::<()>("output-stream.blocking-flush", String::new)?
            .is_some()
        {
            return Ok(());
        }
        let done = streams::HostOutputStream::blocking_flush(self.ctx().table, stream).await;
        self.stream_note(&done);
        done
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.stream_call()?;
        let len = len.min(STREAM_BYTES);
        let told = self.stream_told("output-stream.splice", || len.to_string())?;
        let moved = match told {
            Some((moved, _)) => moved,
            None => {
                let moved = streams::HostOutputStream::splice(self.ctx().table, to, from, len);
                self.stream_note(&moved);
                moved?
            }
        };
        self.stream_bytes(moved)?;
        Ok(moved)
    }

    async fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        self.stream_call()?;
        let len = len.min(STREAM_BYTES);
        let told = self.stream_told("output-stream.blocking-splice", || len.to_string())?;
        let moved = match told {
            Some((moved, _)) => moved,
            None => {
                let table = self.ctx().table;
                let moved = streams::HostOutputStream::blocking_splice(table, to, from, len).await;
                self.stream_note(&moved);
                moved?
            }
        };
        self.stream_bytes(moved)?;
        Ok(moved)
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynOutputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.meter.call()?;
        streams::HostOutputStream::subscribe(self.ctx().table, stream)
    }
}
