//! The thread that advances the engine's epoch while guests run.
//!
//! Without it a guest that never calls its host could neither be interrupted nor made to share its thread.
//! It parks when nothing has run for a while, so that an idle host does not wake up 500 times a second, and
//! a busy one does not pay a futex for every invocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// Idle ticks before the thread parks.
const IDLE_TICKS: u32 = 50;

/// Runs until dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    is_parked: AtomicBool,
    is_stopped: AtomicBool,
}

/// While it lives, the epoch advances.
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread. It holds the engine weakly.
    pub(crate) fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (for_thread, engine) = (Arc::clone(&shared), engine.weak());
        let handle = std::thread::Builder::new()
            .name("epoch-ticker".to_owned())
            .spawn(move || for_thread.run(&engine, tick))?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
        })
    }

    /// Says that a guest runs, until the answer is dropped.
    pub(crate) fn enter(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        // The thread sets `is_parked` and then looks at `running` once more: one of the two sees the other.
        if self.shared.is_parked.load(SeqCst) && self.shared.is_parked.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }

    /// Guests that run at this moment.
    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak, tick: Duration) {
        let mut idle = 0;
        while !self.is_stopped.load(SeqCst) {
            if self.running.load(SeqCst) > 0 {
                idle = 0;
            } else if idle < IDLE_TICKS {
                idle += 1;
            } else {
                self.park();
                idle = 0;
                continue;
            }
            std::thread::sleep(tick);
            let Some(engine) = engine.upgrade() else {
                return;
            };
            engine.increment_epoch();
        }
    }

    fn park(&self) {
        self.is_parked.store(true, SeqCst);
        while self.running.load(SeqCst) == 0
            && !self.is_stopped.load(SeqCst)
            && self.is_parked.load(SeqCst)
        {
            std::thread::park();
        }
        self.is_parked.store(false, SeqCst);
    }
}
