//! The tape of one execution: keeps what its host answers, or answers in its host's place.
//!
//! A guest is one thread: its calls come one after the other, and so do the answers. What is not an answer of its host needs
//! no tape: randomness comes from the seed, and everything else is the same for the same module.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::stopped::Stopped;
use super::transcript::{Answer, Entry, Transcript};
use crate::engine::recorder::cut;
use crate::engine::redact::Redactor;

/// What is kept of what a call asked for: enough to tell calls apart.
const ASKED_BYTES: usize = 256;

/// Keeps or gives the answers of one execution's host calls.
pub struct Tape {
    inner: Mutex<Inner>,
    /// Of a replay: ends it when its recording does.
    cancel: Option<CancellationToken>,
}

struct Inner {
    transcript: Transcript,
    /// What the calls so far take, and may take, as text.
    bytes: u64,
    cap: u64,
    /// The answer to give next.
    next: usize,
    /// The call that is under way.
    pending: Option<(&'static str, String)>,
    stopped: Option<Stopped>,
    /// Takes out the secrets that the execution knows.
    redactor: Option<Arc<Redactor>>,
}

/// Ends for which the host decides when: of those a recording may have no last answer.
const FROM_OUTSIDE: [&str; 4] = ["deadline", "cancelled", "out_of_fuel", "host_fault"];

impl Tape {
    /// One that keeps answers, as long as they take at most so many bytes.
    #[must_use]
    pub fn recording(cap: u64) -> Arc<Self> {
        Self::new(Transcript::default(), cap, None)
    }

    /// One that gives answers, and raises `cancel` when it has none.
    #[must_use]
    pub fn replaying(transcript: Transcript, cancel: CancellationToken) -> Arc<Self> {
        Self::new(transcript, 0, Some(cancel))
    }

    fn new(transcript: Transcript, cap: u64, cancel: Option<CancellationToken>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                transcript,
                bytes: 0,
                cap,
                next: 0,
                pending: None,
                stopped: None,
                redactor: None,
            }),
            cancel,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it gives answers.
    pub(crate) fn is_replay(&self) -> bool {
        self.cancel.is_some()
    }

    /// Why a replay ended before its time.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        self.lock().stopped.clone()
    }

    /// A call begins: the answer that is recorded for it, or none while it is being recorded.
    pub(crate) fn told(&self, call: &'static str, asked: String) -> Result<Option<Entry>, Stopped> {
        let mut inner = self.lock();
        let mut asked = asked;
        if let Some(redactor) = &inner.redactor {
            // Before it is cut, which would leave a part of one.
            redactor.mask_text(&mut asked);
        }
        let asked = cut(&asked, ASKED_BYTES).to_owned();
        if self.cancel.is_none() {
            inner.pending = Some((call, asked));
            return Ok(None);
        }
        let answer = inner.answer(call, &asked);
        drop(inner);
        answer.map(Some).map_err(|stopped| self.stop(stopped))
    }

    /// The same for calls that no error can end: they wait for their end.
    pub(crate) async fn told_or_wait(&self, call: &'static str, asked: String) -> Option<Entry> {
        match self.told(call, asked) {
            Ok(entry) => entry,
            Err(_) => std::future::pending().await,
        }
    }

    /// The first reason to stop stays the reason.
    fn stop(&self, stopped: Stopped) -> Stopped {
        let stopped = self.lock().stopped.get_or_insert(stopped).clone();
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
        stopped
    }

    /// What was recorded makes no sense as an answer.
    pub(crate) fn nonsense(&self, why: &super::Damaged) -> Stopped {
        let (at, why) = (self.lock().next, why.0.clone());
        self.stop(Stopped::Nonsense { at, why })
    }

    /// The answer of the call that is under way; `charge` bytes were charged by others since the one before.
    pub(crate) fn note(&self, answer: Answer, charge: u64) {
        let mut inner = self.lock();
        let Some((call, asked)) = inner.pending.take() else {
            return;
        };
        if self.cancel.is_none() {
            inner.keep(Entry {
                call: call.to_owned(),
                asked,
                answer,
                charge,
            });
        }
    }

    /// The task uses something whose answers are not kept: there a recording ends, and so does its replay.
    pub(crate) fn gap(&self, what: &'static str) -> Result<(), Stopped> {
        let mut inner = self.lock();
        if self.cancel.is_none() {
            inner
                .transcript
                .facts
                .gap
                .get_or_insert_with(|| what.to_owned());
            return Ok(());
        }
        let stopped = match inner.end(what) {
            Stopped::Over { calls, .. } => Stopped::Gap {
                calls,
                what: what.to_owned(),
            },
            stopped => stopped,
        };
        drop(inner);
        Err(self.stop(stopped))
    }

    /// What was charged by others after the last answer: noted, or as it was noted.
    pub(crate) fn last_charge(&self, charge: u64) -> u64 {
        let mut inner = self.lock();
        if self.cancel.is_some() {
            let is_over = inner.next >= inner.transcript.entries.len();
            return if is_over {
                inner.transcript.facts.charge
            } else {
                0
            };
        }
        inner.transcript.facts.charge = charge;
        charge
    }

    /// The transcript, without secrets.
    pub(super) fn take(&self, code: &str, fuel: u64) -> Transcript {
        let mut inner = self.lock();
        let mut transcript = std::mem::take(&mut inner.transcript);
        let (pending, redactor) = (inner.pending.take(), inner.redactor.take());
        drop(inner);
        code.clone_into(&mut transcript.facts.code);
        transcript.facts.fuel = fuel;
        transcript.facts.pending = pending.map(|(call, asked)| (call.to_owned(), asked));
        if let Some(redactor) = redactor {
            transcript.mask(&redactor);
        }
        transcript
    }

    /// Takes out these secrets, of what is asked and of what is answered.
    pub(super) fn set_redactor(&self, redactor: Option<Arc<Redactor>>) {
        self.lock().redactor = redactor;
    }

    /// Sets what is true of the whole execution.
    pub(super) fn set_facts(&self, set: impl FnOnce(&mut super::transcript::Facts)) {
        set(&mut self.lock().transcript.facts);
    }
}

impl Inner {
    fn keep(&mut self, entry: Entry) {
        let facts = &mut self.transcript.facts;
        if facts.cut_at.is_some() || facts.gap.is_some() {
            return;
        }
        let bytes = self.bytes.saturating_add(entry.size());
        if bytes > self.cap {
            facts.cut_at = Some(self.cap);
            return;
        }
        self.bytes = bytes;
        self.transcript.entries.push(entry);
    }

    fn answer(&mut self, call: &str, asked: &str) -> Result<Entry, Stopped> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let Some(entry) = self.transcript.entries.get_mut(self.next) else {
            return Err(self.end(&shown(call, asked)));
        };
        if entry.call != call || entry.asked != asked {
            return Err(Stopped::Differs {
                at: self.next + 1,
                recorded: shown(&entry.call, &entry.asked),
                asked: shown(call, asked),
            });
        }
        self.next += 1;
        // Given once.
        let answer = std::mem::take(&mut entry.answer);
        Ok(Entry {
            call: String::new(),
            asked: String::new(),
            answer,
            charge: entry.charge,
        })
    }

    /// Why there is no answer.
    fn end(&self, asked: &str) -> Stopped {
        let (facts, calls) = (&self.transcript.facts, self.transcript.entries.len());
        let asked = asked.to_owned();
        if self.next < calls {
            let recorded = self.transcript.entries.get(self.next);
            return Stopped::Differs {
                at: self.next + 1,
                recorded: recorded
                    .map_or_else(String::new, |entry| shown(&entry.call, &entry.asked)),
                asked,
            };
        }
        if let Some(what) = &facts.gap {
            let what = what.clone();
            return Stopped::Gap { calls, what };
        }
        if let Some(bytes) = facts.cut_at {
            return Stopped::Cut { calls, bytes };
        }
        if facts.pending.is_some() || FROM_OUTSIDE.contains(&facts.code.as_str()) {
            let code = facts.code.clone();
            return Stopped::Ended { code };
        }
        Stopped::Over { calls, asked }
    }
}

fn shown(call: &str, asked: &str) -> String {
    match asked {
        "" => call.to_owned(),
        asked => format!("{call} {asked}"),
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape")
            .field("is_replay", &self.is_replay())
            .finish_non_exhaustive()
    }
}
