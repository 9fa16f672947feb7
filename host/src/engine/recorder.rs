//! Keeps a guest's words within their budgets and hands them on.
//!
//! Saying too much never ends a task: log records beyond the budget are dropped after one record that says
//! so. Only partial results are data, so that going over their budget is refused loudly. Secrets are taken out
//! before anything is counted or cut: a cut would leave a part of one.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::redact::Redactor;
use super::{Event, EventSink, Level, LimitHit, Limits, Payload, Stream};

/// A line of stdout or stderr is cut into records of this size: a terminal shows no more at once.
const LINE_BYTES: usize = 8 << 10;
/// What is kept of stderr for a fault's report: a panic message with some lines around it.
const TAIL_BYTES: usize = 2 << 10;
/// What is kept of a progress note: it is shown beside a bar.
const NOTE_BYTES: usize = 256;

/// The words of one invocation. Shared by the contract's imports and the two standard streams.
pub(crate) struct Recorder {
    sink: Arc<dyn EventSink>,
    /// None when the invocation has no secrets.
    redactor: Option<Arc<Redactor>>,
    inner: Mutex<Inner>,
}

/// What the guest has said so far, counted.
#[derive(Default)]
struct Inner {
    caps: Caps,
    said: Said,
    is_cut: bool,
    redactor: Option<Arc<Redactor>>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: Vec<u8>,
}

#[derive(Default)]
struct Caps {
    log_bytes: u64,
    log_lines: u64,
    progress_events: u64,
    progress_bytes: u64,
    emit_events: u64,
    emit_bytes: u64,
}

/// How much of each budget was used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Said {
    pub(crate) log_bytes: u64,
    pub(crate) log_lines: u64,
    pub(crate) progress_events: u64,
    pub(crate) progress_bytes: u64,
    pub(crate) emit_events: u64,
    pub(crate) emit_bytes: u64,
}

impl Recorder {
    pub(crate) fn new(
        sink: Arc<dyn EventSink>,
        limits: &Limits,
        redactor: Option<Arc<Redactor>>,
    ) -> Self {
        let caps = Caps {
            log_bytes: limits.log_bytes,
            log_lines: limits.log_lines,
            progress_events: limits.progress_events,
            progress_bytes: limits.progress_bytes,
            emit_events: limits.emit_events,
            emit_bytes: limits.emit_bytes,
        };
        Self {
            sink,
            redactor: redactor.clone(),
            inner: Mutex::new(Inner {
                caps,
                redactor,
                ..Inner::default()
            }),
        }
    }

    /// A sink that panics must not take the next reader down with it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Text without secrets.
    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.redactor {
            Some(redactor) => redactor.text(text),
            None => Cow::Borrowed(text),
        }
    }

    /// How far the guest says it has come. What is no number is not known: JSON has no word for it, and whoever
    /// watches must be able to read it.
    pub(crate) fn progress(&self, done: f64, total: f64, note: &str) {
        let [done, total] =
            [done, total].map(|number| if number.is_finite() { number } else { 0.0 });
        let note = &*self.clean(note);
        let mut inner = self.lock();
        if inner.said.progress_events < inner.caps.progress_events {
            inner.said.progress_events += 1;
            let left = inner.caps.progress_bytes - inner.said.progress_bytes;
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let note = cut(note, NOTE_BYTES.min(left)).to_owned();
            inner.said.progress_bytes += note.len() as u64;
            drop(inner);
            self.sink.event(Event::Progress { done, total, note });
        }
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &str) {
        let message = self.clean(message);
        let fields = match &self.redactor {
            Some(redactor) => redactor.fields(fields),
            None => Cow::Borrowed(fields),
        };
        self.lock()
            .log(&*self.sink, level, &message, &fields, Stream::Log);
    }

    /// A record of the host's own, about the invocation.
    pub(crate) fn host(&self, level: Level, message: &str) {
        self.lock()
            .log(&*self.sink, level, message, "", Stream::Host);
    }

    /// Bytes of stdout or stderr: whole lines become records.
    pub(crate) fn write(&self, stream: Stream, mut bytes: &[u8]) {
        let mut inner = self.lock();
        if stream == Stream::Stderr && inner.redactor.is_none() {
            inner.keep_tail(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            inner.append(&*self.sink, stream, line);
            inner.flush(&*self.sink, stream, true);
            bytes = rest.get(1..).unwrap_or_default();
        }
        inner.append(&*self.sink, stream, bytes);
    }

    /// Counts a partial result, and takes the secrets out: what [`Self::deliver`] is to be given.
    pub(crate) fn count_emit(&self, chunk: Payload) -> Result<Payload, LimitHit> {
        let chunk = match &self.redactor {
            Some(redactor) => redactor.payload(chunk),
            None => chunk,
        };
        let mut inner = self.lock();
        let (events, bytes) = (
            inner.said.emit_events + 1,
            inner.said.emit_bytes + chunk.len(),
        );
        if events > inner.caps.emit_events {
            return Err(LimitHit::new("emit_events", inner.caps.emit_events, events));
        }
        if bytes > inner.caps.emit_bytes {
            return Err(LimitHit::new("emit_bytes", inner.caps.emit_bytes, bytes));
        }
        (inner.said.emit_events, inner.said.emit_bytes) = (events, bytes);
        Ok(chunk)
    }

    /// Hands a partial result on, when there is room for it.
    pub(crate) async fn deliver(&self, chunk: Payload) {
        self.sink.emit(chunk).await;
    }

    /// Hands on unfinished lines, and says what was used.
    pub(crate) fn finish(&self) -> Said {
        let mut inner = self.lock();
        inner.flush(&*self.sink, Stream::Stdout, false);
        inner.flush(&*self.sink, Stream::Stderr, false);
        inner.said
    }

    /// The last of what the guest wrote to stderr.
    pub(crate) fn stderr_tail(&self) -> Option<String> {
        let mut inner = self.lock();
        // With secrets, the tail is made of whole lines without them; the one begun comes last.
        if let Some(redactor) = inner.redactor.clone() {
            let begun = redactor.bytes(inner.stderr.clone());
            inner.keep_tail(&begun);
        }
        let start = inner.tail.len().saturating_sub(TAIL_BYTES);
        let tail = String::from_utf8_lossy(inner.tail.get(start..).unwrap_or_default());
        (!tail.trim().is_empty()).then(|| tail.trim_end().to_owned())
    }
}

impl Inner {
    fn log(
        &mut self,
        sink: &dyn EventSink,
        level: Level,
        message: &str,
        fields: &str,
        stream: Stream,
    ) {
        if self.is_cut {
            return;
        }
        let left = usize::try_from(self.caps.log_bytes - self.said.log_bytes).unwrap_or(usize::MAX);
        let message_kept = cut(message, left);
        // Fields are JSON: whole or not at all.
        let fields_kept = if fields.len() <= left - message_kept.len() {
            fields
        } else {
            ""
        };
        let is_whole = message_kept.len() == message.len() && fields_kept.len() == fields.len();
        if self.said.log_lines < self.caps.log_lines && (is_whole || !message_kept.is_empty()) {
            self.said.log_lines += 1;
            self.said.log_bytes += (message_kept.len() + fields_kept.len()) as u64;
            let (message, fields) = (message_kept.to_owned(), fields_kept.to_owned());
            sink.event(Event::Log {
                level,
                message,
                fields,
                stream,
            });
            if is_whole {
                return;
            }
        }
        self.say_cut(sink);
    }

    fn say_cut(&mut self, sink: &dyn EventSink) {
        self.is_cut = true;
        let message = format!(
            "log truncated: {} bytes in {} records are kept (limits log_bytes and log_lines); the task goes on",
            self.caps.log_bytes, self.caps.log_lines
        );
        sink.event(Event::Log {
            level: Level::Warn,
            message,
            fields: String::new(),
            stream: Stream::Host,
        });
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        if stream == Stream::Stdout {
            &mut self.stdout
        } else {
            &mut self.stderr
        }
    }

    fn append(&mut self, sink: &dyn EventSink, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(LINE_BYTES) {
            // The tail of stderr is made of lines where there are secrets, kept or not.
            if self.is_cut && (self.redactor.is_none() || stream == Stream::Stdout) {
                return;
            }
            if self.line(stream).len() + piece.len() > LINE_BYTES {
                self.flush_front(sink, stream);
            }
            self.line(stream).extend_from_slice(piece);
        }
    }

    /// Makes a record of the line gathered so far; an empty one counts when it was ended.
    fn flush(&mut self, sink: &dyn EventSink, stream: Stream, is_ended: bool) {
        let line = std::mem::take(self.line(stream));
        self.say(sink, stream, line, is_ended);
    }

    /// Makes a record of a line that has grown too long, except for an end that may be the start of a secret.
    fn flush_front(&mut self, sink: &dyn EventSink, stream: Stream) {
        let mut front = std::mem::take(self.line(stream));
        if let Some(redactor) = &self.redactor {
            let end = redactor.finished(&front).min(front.len());
            *self.line(stream) = front.split_off(end);
        }
        self.say(sink, stream, front, false);
    }

    /// Makes a record of a line, or of a part of one.
    fn say(&mut self, sink: &dyn EventSink, stream: Stream, mut line: Vec<u8>, is_ended: bool) {
        if let Some(redactor) = &self.redactor {
            line = redactor.bytes(line);
            if stream == Stream::Stderr {
                self.keep_tail(&line);
                self.keep_tail(if is_ended { b"\n" } else { b"" });
            }
        }
        if !line.is_empty() || is_ended {
            let level = if stream == Stream::Stdout {
                Level::Info
            } else {
                Level::Warn
            };
            self.log(sink, level, &String::from_utf8_lossy(&line), "", stream);
        }
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let start = bytes.len().saturating_sub(TAIL_BYTES);
        self.tail
            .extend_from_slice(bytes.get(start..).unwrap_or_default());
        if self.tail.len() > 2 * TAIL_BYTES {
            let surplus = self.tail.len() - TAIL_BYTES;
            self.tail.drain(..surplus);
        }
    }
}

/// The longest prefix of at most `max` bytes that ends between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max))
        .unwrap_or_default()
}
