//! What becomes of a panic in our own code.
//!
//! In the work for one invocation it fails that invocation: [`caught`]. In a duty that all of them rest on (the
//! settler, the renewer) there is no going on: a host that lives but writes no outcome holds its leases for ever.
//! So the [`Alarm`] is raised, and the process ends with an error; its leases run out, and the work runs elsewhere.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

/// Runs a future; the error is what a panic in it said.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            // The future is not polled again, only dropped.
            Err(panic) => Poll::Ready(Err(text(&*panic))),
        },
    )
    .await
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
        .to_owned()
}

/// Tells that a duty ended in a panic. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Alarm(Arc<watch::Sender<Option<&'static str>>>);

impl Default for Alarm {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Alarm {
    /// The duty `name`, watched.
    pub(crate) async fn watch(self, name: &'static str, duty: impl Future<Output = ()>) {
        if let Err(panic) = caught(duty).await {
            tracing::error!(
                duty = name,
                panic,
                "a duty of this host panicked: it cannot go on"
            );
            self.0.send_replace(Some(name));
        }
    }

    /// Waits for the alarm, for ever if need be; answers with the duty's name.
    pub(crate) fn raised(&self) -> impl Future<Output = &'static str> + use<> {
        let (mut raised, sender) = (self.0.subscribe(), self.0.clone());
        async move {
            // Held, so that the channel does not close while somebody waits.
            let _sender = sender;
            loop {
                if let Some(name) = *raised.borrow_and_update() {
                    return name;
                }
                if raised.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("of {}", "the settler");
        };
        let ended: Result<(), String> = caught(late).await;
        assert_eq!(ended, Err("of the settler".to_owned()));
    }

    #[tokio::test]
    async fn the_alarm_is_raised_by_a_panic_and_by_nothing_else() {
        let alarm = Alarm::default();
        let raised = alarm.raised();
        alarm.clone().watch("recorder", async {}).await;
        alarm.clone().watch("settler", async { panic!("oh") }).await;
        assert_eq!(raised.await, "settler");
        assert_eq!(
            alarm.raised().await,
            "settler",
            "who asks late hears it too"
        );
    }
}
