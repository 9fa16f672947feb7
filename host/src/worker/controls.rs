//! Listens to what the broker tells this host: cancels, what operators want, and that a connection is back.

use std::sync::Arc;

use celeriac_broker::Control;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::held::Held;

/// Passes the broker's words on until the stream ends.
#[derive(Debug)]
pub(crate) struct Controls {
    pub(crate) held: Arc<Held>,
    /// Rings the renewer, which learns what was missed while the connection was gone.
    pub(crate) renew_now: Arc<Notify>,
    /// Raised when an operator wants the host to drain.
    pub(crate) drain: CancellationToken,
    /// How many invocations an operator wants it to run at once.
    pub(crate) concurrency: watch::Sender<u32>,
}

impl Controls {
    pub(crate) async fn run(self, mut controls: mpsc::Receiver<Control>) {
        while let Some(control) = controls.recv().await {
            match control {
                Control::Cancel(id) => self.held.cancel(id),
                Control::Drain => self.drain.cancel(),
                Control::Concurrency(count) => {
                    self.concurrency.send_replace(count);
                }
                Control::Reconnected => self.renew_now.notify_one(),
            }
        }
    }
}
