//! Listens to what the broker tells this host: cancels, and that a connection is back.

use std::sync::Arc;

use celeriac_broker::Control;
use tokio::sync::{Notify, mpsc};

use super::held::Held;

/// Passes the broker's words on until the stream ends.
#[derive(Debug)]
pub(crate) struct Controls {
    pub(crate) held: Arc<Held>,
    /// Rings the renewer, which learns what was missed while the connection was gone.
    pub(crate) renew_now: Arc<Notify>,
}

impl Controls {
    pub(crate) async fn run(self, mut controls: mpsc::Receiver<Control>) {
        while let Some(control) = controls.recv().await {
            match control {
                Control::Cancel(id) => self.held.cancel(id),
                Control::Reconnected => self.renew_now.notify_one(),
            }
        }
    }
}
