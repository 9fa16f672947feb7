//! Doing what falls due, exactly then: a task of each process that reserves.
//!
//! What is scheduled stands in the store; a ticker keeps in memory only when the first of it is due, as
//! the server said it, in milliseconds from then. It hears of anything that is due earlier. One
//! ticker leads, as long as it comes within its term; the others come when its term is over. So the
//! server is not asked by every host each time, and a leader that dies delays by a term at most.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{
    REPLY_CAP, RedisBroker,
    connection::Link,
    firing::{self, Scene},
    key, reply_ttl_ms,
    script::TICK,
    subscriptions::{Notice, Subscription, Subscriptions},
    value,
};
use crate::{BrokerError, Namespace};

/// How long a leader need not show itself: what its death may delay an invocation by.
const TERM: Duration = Duration::from_secs(1);

/// Invocations in one call: about two milliseconds of the server's time.
const BATCH: u64 = 250;

/// Looks that are not called for: they cover a word that went missing, which takes a fault of the server.
const PATROL: Duration = Duration::from_secs(60);

/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Words that may wait to be heard. Were there more, some are lost, and a look takes their place.
const WORDS: usize = 64;

/// The task; ends when dropped.
#[derive(Debug)]
pub(super) struct Ticker(AbortHandle);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ticker {
    pub(super) fn start(broker: &RedisBroker) -> Self {
        Self(tokio::spawn(Watch::new(broker).run()).abort_handle())
    }
}

/// Does all that is due, once.
#[cfg(feature = "testing")]
pub(super) async fn tick(broker: &RedisBroker) -> Result<(), BrokerError> {
    let watch = Watch::new(broker);
    while watch
        .look()
        .await?
        .due
        .is_some_and(|due| due <= Instant::now())
    {}
    Ok(())
}

struct Watch {
    link: Arc<Link>,
    subscriptions: Arc<Subscriptions>,
    heads: super::Heads,
    namespace: Namespace,
    retention: String,
    name: String,
}

/// What a look found.
struct Found {
    /// When the next invocation is due.
    due: Option<Instant>,
    /// Before this another ticker does it.
    turn: Instant,
}

impl Found {
    fn next_look(&self, looked_at: Instant) -> Instant {
        let patrol = looked_at + PATROL;
        self.due
            .map_or(patrol, |due| due.max(self.turn).min(patrol))
    }
}

impl Watch {
    fn new(broker: &RedisBroker) -> Self {
        Self {
            link: Arc::clone(&broker.link),
            subscriptions: Arc::clone(&broker.subscriptions),
            heads: broker.heads.clone(),
            namespace: broker.namespace.clone(),
            retention: broker.retention(),
            name: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    async fn run(self) {
        loop {
            // Heard before it is looked: nothing falls between.
            let words = self.subscriptions.subscribe(key("due", ""), WORDS).await;
            match words {
                Ok(words) => self.follow(words).await,
                Err(error) => tracing::debug!(%error, "nothing is heard of what falls due"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&self, mut words: Subscription) {
        loop {
            let looked_at = Instant::now();
            let mut found = match self.look().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "what has fallen due is done shortly");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            loop {
                let word = tokio::select! {
                    () = sleep_until(found.next_look(looked_at)) => break,
                    word = words.next() => word,
                };
                match word {
                    Some(Notice::Message(_)) if words.len() + 1 >= WORDS => {
                        words.drain();
                        break;
                    }
                    Some(Notice::Message(ms)) => found.hear(&ms),
                    Some(Notice::Reconnected) => break,
                    None => return,
                }
            }
        }
    }

    /// Does what has fallen due, at most a batch of it.
    async fn look(&self) -> Result<Found, BrokerError> {
        let mut call = TICK.call(8, 1024);
        call.arg(&self.heads.expired)
            .arg(&self.retention)
            .arg(reply_ttl_ms())
            .arg(REPLY_CAP)
            .arg(&self.heads.past_deadline)
            .arg(&self.name)
            .arg(u64::try_from(TERM.as_millis()).unwrap_or(1000))
            .arg(BATCH);
        let mut answer = value::list(self.link.call(&call).await?)?.into_iter();
        let due = answer.next().and_then(|ms| value::number(&ms));
        let turn = answer.next().map_or(0, |ms| value::count(&ms));
        let schedules = value::list(answer.next().unwrap_or(::redis::Value::Nil))?;
        if !schedules.is_empty() {
            let names: Vec<_> = schedules.into_iter().filter_map(value::text).collect();
            let scene = Scene {
                link: &self.link,
                namespace: &self.namespace,
                retention: &self.retention,
            };
            firing::fire_due(scene, &names).await?;
        }
        let now = Instant::now();
        Ok(Found {
            due: due
                .and_then(|ms| u64::try_from(ms).ok())
                .map(|ms| now + Duration::from_millis(ms)),
            turn: now + Duration::from_millis(turn),
        })
    }
}

impl Found {
    /// Something is due in so many milliseconds.
    fn hear(&mut self, ms: &[u8]) {
        let ms = std::str::from_utf8(ms).ok().and_then(|ms| ms.parse().ok());
        let due = Instant::now() + Duration::from_millis(ms.unwrap_or(0));
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }
}
