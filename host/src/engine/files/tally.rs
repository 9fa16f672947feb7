//! Counts what one execution does with files, and says when it is enough.
//!
//! Going over a limit ends no task: the call fails with the error `quota`, and the task's log says once which
//! limit it was. Shared with streams and with work under way on other threads, hence the lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::recorder::Recorder;
use crate::engine::{Level, LimitHit, Limits};

/// What one execution did with files.
pub(crate) struct Tally {
    recorder: Arc<Recorder>,
    allowed: Allowed,
    counts: Mutex<Counts>,
}

struct Allowed {
    open_files: u64,
    file_bytes: u64,
    scratch_bytes: u64,
    scratch_files: u64,
}

/// How much of each limit was used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    /// The most at once.
    pub(crate) open_files: u64,
    pub(crate) file_bytes: u64,
    pub(crate) scratch_bytes: u64,
    pub(crate) scratch_files: u64,
}

#[derive(Default)]
struct Counts {
    used: Used,
    open_now: u64,
    /// The limits that the task's log has been told of.
    told: Vec<&'static str>,
}

/// A limit stands in the way. The guest gets the error `quota`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Quota(LimitHit);

/// One open file or directory: counted until the last that uses it lets go.
pub(crate) struct Slot(Arc<Tally>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().open_now -= 1;
    }
}

impl Tally {
    pub(crate) fn new(limits: &Limits, recorder: Arc<Recorder>) -> Self {
        Self {
            recorder,
            allowed: Allowed {
                open_files: limits.open_files,
                file_bytes: limits.file_bytes,
                scratch_bytes: limits.scratch_bytes,
                scratch_files: limits.scratch_files,
            },
            counts: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn used(&self) -> Used {
        self.lock().used
    }

    /// A file or directory is about to be opened.
    pub(crate) fn open(self: &Arc<Self>) -> Result<Slot, Quota> {
        let mut counts = self.lock();
        let open = counts.open_now + 1;
        if open > self.allowed.open_files {
            return Err(self.hit(counts, "open_files", self.allowed.open_files, open));
        }
        counts.open_now = open;
        counts.used.open_files = counts.used.open_files.max(open);
        drop(counts);
        Ok(Slot(Arc::clone(self)))
    }

    /// What may be asked of a file, of `wanted` bytes: what is left, and one byte where nothing is, as that is how
    /// the end of a file is told from the end of the allowance.
    pub(crate) fn readable(&self, wanted: u64) -> u64 {
        let left = self.allowed.file_bytes - self.lock().used.file_bytes;
        wanted.min(left.max(1))
    }

    /// Bytes were read, not more than were [`readable`](Self::readable).
    pub(crate) fn read(&self, bytes: u64) -> Result<(), Quota> {
        self.write(bytes, 0)
    }

    /// Bytes are about to be written, and to make a file grow by `growth`.
    pub(crate) fn write(&self, bytes: u64, growth: u64) -> Result<(), Quota> {
        let mut counts = self.lock();
        let bytes = counts.used.file_bytes.saturating_add(bytes);
        if bytes > self.allowed.file_bytes {
            return Err(self.hit(counts, "file_bytes", self.allowed.file_bytes, bytes));
        }
        let grown = counts.used.scratch_bytes.saturating_add(growth);
        if grown > self.allowed.scratch_bytes {
            return Err(self.hit(counts, "scratch_bytes", self.allowed.scratch_bytes, grown));
        }
        counts.used.file_bytes = bytes;
        counts.used.scratch_bytes = grown;
        Ok(())
    }

    /// A file, directory or link is about to be made.
    pub(crate) fn create(&self) -> Result<(), Quota> {
        let mut counts = self.lock();
        let created = counts.used.scratch_files + 1;
        if created > self.allowed.scratch_files {
            return Err(self.hit(counts, "scratch_files", self.allowed.scratch_files, created));
        }
        counts.used.scratch_files = created;
        Ok(())
    }

    /// It could not be made after all.
    pub(crate) fn not_created(&self) {
        let mut counts = self.lock();
        counts.used.scratch_files = counts.used.scratch_files.saturating_sub(1);
    }

    /// A limit is hit: the task's log learns of it once.
    fn hit(
        &self,
        mut counts: MutexGuard<'_, Counts>,
        name: &'static str,
        allowed: u64,
        seen: u64,
    ) -> Quota {
        let hit = LimitHit::new(name, allowed, seen);
        let is_new = !counts.told.contains(&name);
        if is_new {
            counts.told.push(name);
        }
        drop(counts);
        if is_new {
            let how = &hit.how_to_raise;
            let message =
                format!("a file limit is hit ({hit}): the call fails with `quota`; {how}");
            self.recorder.host(Level::Warn, &message);
        }
        Quota(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Discard;

    fn tally(limits: &Limits) -> Arc<Tally> {
        let recorder = Arc::new(Recorder::new(Arc::new(Discard), limits, None));
        Arc::new(Tally::new(limits, recorder))
    }

    #[test]
    fn a_slot_counts_until_its_last_user_is_gone() {
        let tally = tally(&Limits {
            open_files: 1,
            ..Limits::default()
        });
        let slot = Arc::new(tally.open().unwrap());
        let stream = Arc::clone(&slot);
        drop(slot);
        assert!(tally.open().is_err(), "a stream holds the file open");
        drop(stream);
        assert!(tally.open().is_ok());
        assert_eq!(tally.used().open_files, 1);
    }

    #[test]
    fn a_write_over_either_limit_counts_for_neither() {
        let tally = tally(&Limits {
            file_bytes: 10,
            scratch_bytes: 5,
            ..Limits::default()
        });
        assert!(tally.write(6, 6).is_err());
        assert!(tally.write(11, 0).is_err());
        let used = tally.used();
        assert_eq!((used.file_bytes, used.scratch_bytes), (0, 0));
        tally.write(10, 5).unwrap();
        assert_eq!(tally.readable(100), 1, "enough to see the end of a file");
        tally.read(0).unwrap();
        assert!(tally.read(1).is_err());
    }
}
