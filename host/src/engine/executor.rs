//! Threads for guests, apart from those that do I/O.
//!
//! A guest computes until the epoch's next tick, and a runtime full of computing guests polls its sockets
//! late. So guests have a runtime of their own, and whoever owns the sockets keeps its threads.
//! Measurements: `docs/threading.md`.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Turns of a worker between two looks at timers: with guests that use their whole tick, a timer is late by
/// so many ticks at most.
const EVENT_INTERVAL: u32 = 7;

/// The priority of guest threads below that of I/O threads: a guest has work without end, a socket has
/// little that is urgent.
const NICE: i32 = 5;

/// Runs futures on the guest threads.
#[derive(Debug)]
pub struct Executor {
    runtime: Option<Runtime>,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the guest threads: {0}")]
pub struct ExecutorError(#[from] std::io::Error);

impl Executor {
    /// Starts `threads` guest threads; as many as there are processors is right.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, ExecutorError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("guest")
            .event_interval(EVENT_INTERVAL)
            .enable_time()
            .on_thread_start(be_nice)
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Starts a future on the guest threads. Aborting the handle drops the future.
    ///
    /// # Panics
    /// Never: the runtime is there until the executor is dropped.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.runtime {
            Some(runtime) => runtime.spawn(future),
            None => unreachable!("the runtime is taken by drop only"),
        }
    }
}

impl Drop for Executor {
    /// Does not wait for guests: their futures are dropped at their next tick.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Linux counts niceness by thread, and 0 means the calling one. Refusal is of no consequence.
fn be_nice() {
    let _ = rustix::process::setpriority_process(None, NICE);
}
