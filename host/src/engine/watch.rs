//! Watches a running guest: for its deadline, for cancellation, and for panics of the host's own code.
//!
//! A guest gives way at every tick of the epoch, so that each of these is seen within a tick of its turn.
//! Ending a guest is dropping its future; nobody touches its store's instance afterwards.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How a guest's call ended.
pub(crate) enum Ended<T> {
    /// By itself.
    Returned(T),
    /// Its time was up.
    Deadline,
    /// It was cancelled; whether it then returned within the grace or was stopped makes no difference.
    Cancelled,
    /// Host code under it panicked, saying this.
    HostPanicked(String),
}

/// When to end a guest that does not end by itself.
pub(crate) struct Watch<'a> {
    pub(crate) deadline: Instant,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) grace: Duration,
}

impl Watch<'_> {
    /// Runs `call` to its end, or to the end of its time.
    ///
    /// The timer and the cancellation are registered only once the call has to wait: a short invocation pays
    /// for neither. The clock is read at each tick besides, as a runtime full of spinning guests fires
    /// its timers late.
    pub(crate) async fn run<T>(self, call: impl Future<Output = T>) -> Ended<T> {
        let mut call = pin!(call);
        let mut cancelled = pin!(self.cancel.cancelled());
        let mut timer = pin!(tokio::time::sleep_until(self.deadline.into()));
        let mut stop_at = self.deadline;
        let mut is_cancelled = false;
        poll_fn(|cx| {
            match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
                Err(panic) => return Poll::Ready(Ended::HostPanicked(panic_text(&*panic))),
                // Also when it was raised during this very turn: the guest may have seen it and given up.
                Ok(Poll::Ready(_)) if self.cancel.is_cancelled() => {
                    return Poll::Ready(Ended::Cancelled);
                }
                Ok(Poll::Ready(answer)) => return Poll::Ready(Ended::Returned(answer)),
                Ok(Poll::Pending) => {}
            }
            if !is_cancelled && cancelled.as_mut().poll(cx).is_ready() {
                is_cancelled = true;
                stop_at = stop_at.min(Instant::now() + self.grace);
                timer.as_mut().reset(stop_at.into());
            }
            if timer.as_mut().poll(cx).is_ready() || Instant::now() >= stop_at {
                return Poll::Ready(if is_cancelled {
                    Ended::Cancelled
                } else {
                    Ended::Deadline
                });
            }
            Poll::Pending
        })
        .await
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
