//! Everything that listens shares one pub/sub connection, opened at the first use.
//!
//! After a loss it reconnects, subscribes to everything again, and tells every listener, because
//! what was published in between is gone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::redis::{
    Msg,
    aio::{PubSubSink, PubSubStream},
};
use futures_util::StreamExt as _;
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::connection::Link;
use crate::BrokerError;

/// The pause before a reconnect, doubled each time up to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What a listener hears.
#[derive(Debug)]
pub(super) enum Notice {
    /// Something was published.
    Message(Vec<u8>),
    /// The connection was lost and is back.
    Reconnected,
}

/// Opens subscriptions.
#[derive(Debug)]
pub(super) struct Subscriptions {
    link: Arc<Link>,
    /// To the task that owns the connection; it ends when all senders are gone.
    switchboard: OnceCell<mpsc::UnboundedSender<Request>>,
}

/// One channel as one listener hears it; closed when dropped.
pub(super) struct Subscription {
    notices: mpsc::Receiver<Notice>,
    channel: String,
    number: u64,
    requests: mpsc::UnboundedSender<Request>,
}

#[derive(Debug)]
enum Request {
    Open {
        channel: String,
        notices: mpsc::Sender<Notice>,
        opened: oneshot::Sender<u64>,
    },
    Close {
        channel: String,
        number: u64,
    },
}

impl Subscriptions {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            switchboard: OnceCell::new(),
        }
    }

    /// Listens to `channel`; when this returns, nothing published from now on is missed. At most
    /// `capacity` notices wait for the listener, further ones are dropped.
    pub(super) async fn subscribe(
        &self,
        channel: String,
        capacity: usize,
    ) -> Result<Subscription, BrokerError> {
        let requests = self.switchboard.get_or_try_init(|| self.open()).await?;
        let (sender, notices) = mpsc::channel(capacity);
        let (opened, number) = oneshot::channel();
        let request = Request::Open {
            channel: channel.clone(),
            notices: sender,
            opened,
        };
        let gone = || self.link.unavailable("its subscriptions have ended");
        requests.send(request).map_err(|_| gone())?;
        Ok(Subscription {
            notices,
            channel,
            number: number.await.map_err(|_| gone())?,
            requests: requests.clone(),
        })
    }

    async fn open(&self) -> Result<mpsc::UnboundedSender<Request>, BrokerError> {
        let (sink, stream) = self.link.subscriber().await?.split();
        let (sender, requests) = mpsc::unbounded_channel();
        let switchboard = Switchboard {
            link: Arc::clone(&self.link),
            requests,
            channels: HashMap::new(),
            last_number: 0,
        };
        tokio::spawn(switchboard.run(sink, stream));
        Ok(sender)
    }
}

impl Subscription {
    /// The next notice.
    pub(super) async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// How many notices wait.
    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    /// Drops what waits; whether there was anything.
    pub(super) fn drain(&mut self) {
        while self.notices.try_recv().is_ok() {}
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.requests.send(Request::Close {
            channel: std::mem::take(&mut self.channel),
            number: self.number,
        });
    }
}

/// Owns the pub/sub connection.
struct Switchboard {
    link: Arc<Link>,
    /// Closed when the broker and all subscriptions are gone: then the task ends.
    requests: mpsc::UnboundedReceiver<Request>,
    channels: HashMap<String, Vec<(u64, mpsc::Sender<Notice>)>>,
    last_number: u64,
}

impl Switchboard {
    async fn run(mut self, mut sink: PubSubSink, mut stream: PubSubStream) {
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    if self.serve(request, &mut sink).await {
                        continue;
                    }
                }
                message = stream.next() => if let Some(message) = message {
                    self.deliver(&message);
                    continue;
                },
            }
            match self.reconnect().await {
                Some((new_sink, new_stream)) => (sink, stream) = (new_sink, new_stream),
                None => return,
            }
        }
    }

    /// Whether the connection still works.
    async fn serve(&mut self, request: Request, sink: &mut PubSubSink) -> bool {
        match request {
            Request::Open {
                channel,
                notices,
                opened,
            } => {
                self.last_number += 1;
                let number = self.last_number;
                self.channels
                    .entry(channel.clone())
                    .or_default()
                    .push((number, notices));
                let is_subscribed = sink.subscribe(&channel).await.is_ok();
                let _ = opened.send(number);
                is_subscribed
            }
            Request::Close { channel, number } => {
                let Some(listeners) = self.channels.get_mut(&channel) else {
                    return true;
                };
                listeners.retain(|(other, _)| *other != number);
                if !listeners.is_empty() {
                    return true;
                }
                self.channels.remove(&channel);
                sink.unsubscribe(&channel).await.is_ok()
            }
        }
    }

    fn deliver(&self, message: &Msg) {
        let listeners = self.channels.get(message.get_channel_name());
        for (_, listener) in listeners.into_iter().flatten() {
            let _ = listener.try_send(Notice::Message(message.get_payload_bytes().to_vec()));
        }
    }

    /// A new connection with every subscription; none when nobody needs it any more.
    async fn reconnect(&mut self) -> Option<(PubSubSink, PubSubStream)> {
        let mut pause = BACK_OFF.0;
        loop {
            if self.requests.is_closed() && self.channels.is_empty() {
                return None;
            }
            if let Ok(connection) = self.link.subscriber().await {
                let (mut sink, stream) = connection.split();
                if self.subscribe_all(&mut sink).await {
                    return Some((sink, stream));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    async fn subscribe_all(&mut self, sink: &mut PubSubSink) -> bool {
        for (channel, listeners) in &mut self.channels {
            listeners.retain(|(_, listener)| !listener.is_closed());
            if sink.subscribe(channel).await.is_err() {
                return false;
            }
        }
        for (_, listener) in self.channels.values().flatten() {
            let _ = listener.try_send(Notice::Reconnected);
        }
        true
    }
}
