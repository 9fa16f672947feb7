//! Gives freed memory back to the system.
//!
//! glibc keeps what was freed for the next allocation, in an arena for every few threads, and gives back by itself only
//! what lies at the end of one. What an upload's validator or a flood of payloads needed for a moment would so stay with
//! the host: `docs/performance.md` has the figures.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// From the first wish on: what follows it is served by the same sweep, and no host sweeps more often. A sweep holds up
/// whoever allocates from the arena that it is at, some milliseconds in a large one.
const PAUSE: Duration = Duration::from_secs(5);

/// Sweeps on request. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trimmer(Arc<Notify>);

impl Trimmer {
    /// Something large was freed, or will be before long.
    pub(crate) fn wish(&self) {
        self.0.notify_one();
    }

    /// Sweeps until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            self.0.notified().await;
            tokio::time::sleep(PAUSE).await;
            // It fails only when the runtime goes down.
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no other way to ask glibc for it")]
fn give_back() {
    // SAFETY: `malloc_trim` takes no pointer and has no precondition; it locks each arena by itself.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
