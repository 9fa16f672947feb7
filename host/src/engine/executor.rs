//! Threads for guests, apart from those that do I/O.
//!
//! A guest computes until the epoch's next tick, and a runtime full of computing guests polls its sockets
//! late. So guests have threads of their own, and whoever owns the sockets keeps its threads. There are two
//! lanes: every guest starts on the express lane, whose threads the system prefers; one that computes for a
//! whole slice moves to the bulk lane, where guests share what is left. A short task so never waits for a
//! long one's slice. Measurements: `docs/threading.md`.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Turns of a worker between two looks at timers: with guests that use their whole tick, a timer is late by
/// so many ticks at most.
const EVENT_INTERVAL: u32 = 7;

/// The priority of the bulk lane below that of all else: its guests have work without end, a socket or a
/// short task has little that is urgent.
const NICE: i32 = 10;

/// A guest that computes this long in one turn belongs to the bulk lane. Half a tick: the first tick may
/// come soon after the guest has started, the second finds it.
const SLICE: Duration = Duration::from_millis(1);

/// Runs futures on the guest threads.
#[derive(Debug)]
pub struct Executor {
    express: Option<Runtime>,
    bulk: Option<Runtime>,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the guest threads: {0}")]
pub struct ExecutorError(#[from] std::io::Error);

impl Executor {
    /// Starts `threads` guest threads for each lane; as many as there are processors is right.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, ExecutorError> {
        let lane = |name: &str, nice: i32| {
            Builder::new_multi_thread()
                .worker_threads(threads.max(1))
                .thread_name(name)
                .event_interval(EVENT_INTERVAL)
                .enable_time()
                .on_thread_start(move || be_nice(nice))
                .build()
        };
        Ok(Self {
            express: Some(lane("guest", 0)?),
            bulk: Some(lane("guest-bulk", NICE)?),
        })
    }

    /// Starts a future on the guest threads. Aborting the handle drops the future.
    ///
    /// # Panics
    /// Never: the lanes are there until the executor is dropped.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match (&self.express, &self.bulk) {
            (Some(express), Some(bulk)) => {
                express.spawn(change_lanes(Box::pin(future), bulk.handle().clone()))
            }
            _ => unreachable!("the lanes are taken by drop only"),
        }
    }
}

/// Runs a guest here until it has computed for a whole slice, then on the bulk lane.
async fn change_lanes<F>(mut guest: Pin<Box<F>>, bulk: Handle) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let ended = poll_fn(|cx| {
        let started = Instant::now();
        match guest.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if started.elapsed() >= SLICE => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match ended {
        Some(output) => output,
        None => OnBulk(bulk.spawn(guest)).output().await,
    }
}

/// A guest on the bulk lane; dropping this drops the guest.
struct OnBulk<T>(JoinHandle<T>);

impl<T> OnBulk<T> {
    async fn output(mut self) -> T {
        match (&mut self.0).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The lane is being taken down, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }
}

impl<T> Drop for OnBulk<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Executor {
    /// Does not wait for guests: their futures are dropped at their next tick.
    fn drop(&mut self) {
        for lane in [self.express.take(), self.bulk.take()]
            .into_iter()
            .flatten()
        {
            lane.shutdown_background();
        }
    }
}

/// Linux counts niceness by thread, and 0 means the calling one. Refusal is of no consequence.
fn be_nice(nice: i32) {
    if nice > 0 {
        let _ = rustix::process::setpriority_process(None, nice);
    }
}
