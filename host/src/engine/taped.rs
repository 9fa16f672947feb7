//! Calls on the tape: the real answer is kept, or a kept answer takes the place of the real one. Without a tape, which is the
//! usual case, a call is as it was.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynOutputStream, StreamError, StreamResult};

use super::recording::{Answer, Damaged, Entry};
use super::state::State;

impl State {
    /// One call of a function that does not wait.
    pub(crate) fn taped<T: Serialize + DeserializeOwned>(
        &mut self,
        call: &'static str,
        asked: impl FnOnce() -> String,
        real: impl FnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        if let Some(entry) = self.told(call, asked)? {
            return self.read(&entry);
        }
        let answer = real(self)?;
        self.note(|| Answer::of(&answer));
        Ok(answer)
    }

    /// A call begins: the answer that was kept of it, if this is a replay.
    pub(crate) fn told(
        &mut self,
        call: &'static str,
        asked: impl FnOnce() -> String,
    ) -> wasmtime::Result<Option<Entry>> {
        let Some(tape) = &self.rights.tape else {
            return Ok(None);
        };
        let entry = tape.told(call, asked())?;
        if let Some(entry) = &entry {
            self.meter.owe(entry.charge);
        }
        Ok(entry)
    }

    /// The answer of the call that has begun, to be kept.
    pub(crate) fn note(&mut self, answer: impl FnOnce() -> Answer) {
        let Some(tape) = &self.rights.tape else {
            return;
        };
        let charge = self.meter.take_elsewhere();
        tape.note(answer(), charge);
    }

    /// What a kept answer says.
    pub(crate) fn read<T: DeserializeOwned>(&self, entry: &Entry) -> wasmtime::Result<T> {
        entry.answer.read().map_err(|why| self.nonsense(&why))
    }

    fn nonsense(&self, why: &Damaged) -> wasmtime::Error {
        match &self.rights.tape {
            Some(tape) => tape.nonsense(why).into(),
            None => wasmtime::format_err!("{why}"),
        }
    }

    /// Charges what was charged elsewhere since the last answer, at the end.
    pub(crate) fn end_tape(&mut self) {
        let Some(tape) = &self.rights.tape else {
            return;
        };
        let charge = self.meter.take_elsewhere();
        let charge = tape.last_charge(charge);
        if tape.is_replay() {
            self.meter.owe(charge);
        }
    }

    /// A stream that ends in the log: what is written to it is the same each time.
    pub(crate) fn mark_log(&mut self, stream: &Resource<DynOutputStream>) {
        if self.rights.tape.is_some() {
            self.log_streams.insert(stream.rep());
        }
    }

    /// Whether calls on a stream go on the tape.
    pub(crate) fn is_outside(&self, stream: &Resource<DynOutputStream>) -> bool {
        self.rights.tape.is_some() && !self.log_streams.contains(&stream.rep())
    }
}

/// What a stream answered, as it is kept.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Streamed<T> {
    Done(T),
    Closed,
    Failed(String),
}

impl State {
    /// A call on a stream begins.
    pub(crate) fn stream_told<T: DeserializeOwned>(
        &mut self,
        call: &'static str,
        asked: impl FnOnce() -> String,
    ) -> StreamResult<Option<(T, Option<Vec<u8>>)>> {
        let Some(entry) = self.told(call, asked).map_err(StreamError::Trap)? else {
            return Ok(None);
        };
        match self
            .read::<Streamed<T>>(&entry)
            .map_err(StreamError::Trap)?
        {
            Streamed::Done(value) => Ok(Some((value, entry.answer.bytes))),
            Streamed::Closed => Err(StreamError::Closed),
            Streamed::Failed(text) => {
                Err(StreamError::LastOperationFailed(wasmtime::Error::msg(text)))
            }
        }
    }

    /// What a stream answered, to be kept. A trap is no answer: it is the guest's end.
    pub(crate) fn stream_note<T: Serialize + Clone>(&mut self, answer: &StreamResult<T>) {
        let kept = match answer {
            Ok(value) => Streamed::Done(value.clone()),
            Err(StreamError::Closed) => Streamed::Closed,
            Err(StreamError::LastOperationFailed(error)) => Streamed::Failed(error.to_string()),
            Err(StreamError::Trap(_)) => return,
        };
        self.note(|| Answer::of(&kept));
    }

    /// The same for bytes that were read from the stream `number`.
    pub(crate) fn stream_note_read(&mut self, answer: &StreamResult<Vec<u8>>, number: u32) {
        match answer {
            Ok(bytes) => {
                self.note(|| Answer::with(&Streamed::Done(()), Some(bytes), Some(number)));
            }
            Err(StreamError::Closed) => self.note(|| Answer::of(&Streamed::<()>::Closed)),
            Err(StreamError::LastOperationFailed(error)) => {
                let text = error.to_string();
                self.note(|| Answer::of(&Streamed::<()>::Failed(text)));
            }
            Err(StreamError::Trap(_)) => {}
        }
    }
}
