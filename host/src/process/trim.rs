//! Gives freed memory back to the system.
//!
//! glibc keeps what was freed for the next allocation, in an arena for every few threads, and gives back by itself only
//! what lies at the end of one. What an upload's validator or a flood of payloads needed for a moment would so stay with
//! the host: `docs/performance.md` has the figures.

use std::time::Duration;

use tokio::sync::mpsc;

/// From the first wish on: what follows it is served by the same sweep, and no host sweeps more often. A sweep holds up
/// whoever allocates from the arena that it is at, some milliseconds in a large one.
const PAUSE: Duration = Duration::from_secs(5);

/// Takes wishes for a sweep. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trimmer(mpsc::Sender<()>);

/// The wishes of all trimmers, at most one at a time.
pub(crate) type Wishes = mpsc::Receiver<()>;

impl Trimmer {
    pub(crate) fn channel() -> (Self, Wishes) {
        let (wishes, heard) = mpsc::channel(1);
        (Self(wishes), heard)
    }

    /// Something large was freed, or will be before long.
    pub(crate) fn wish(&self) {
        // One that waits stands for all.
        let _ = self.0.try_send(());
    }

    /// Sweeps until every trimmer is gone.
    pub(crate) async fn run(mut wishes: Wishes) {
        while wishes.recv().await.is_some() {
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
