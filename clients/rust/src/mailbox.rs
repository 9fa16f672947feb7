//! The one stream of replies of this process, spread over everyone who awaits.
//!
//! The stored outcome is the truth and the stream is the push: an await registers, reads the store
//! where needed, then waits. After a reconnect, and on a slow sweep, what is still awaited is read again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use celeriac_broker::{Broker, BrokerError, ClientId, InvocationId, Outcome, Reply};
use tokio::{
    sync::{Notify, OnceCell, mpsc},
    time::{MissedTickBehavior, interval, sleep},
};

/// Ids read again in one request.
const RECHECK_BATCH: usize = 500;

/// Where the answer to one awaited invocation is put.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    answer: Mutex<Option<Result<Arc<Outcome>, BrokerError>>>,
    filled: Notify,
    /// Whether the broker has the invocation: before that its absence from the store says nothing.
    is_accepted: AtomicBool,
}

impl Slot {
    /// Notes that the broker has the invocation.
    pub(crate) fn accept(&self) {
        self.is_accepted.store(true, Ordering::Release);
    }

    pub(crate) fn peek(&self) -> Option<Result<Arc<Outcome>, BrokerError>> {
        lock(&self.answer).clone()
    }

    pub(crate) fn fill(&self, answer: Result<Outcome, BrokerError>) {
        let mut place = lock(&self.answer);
        if place.is_none() {
            *place = Some(answer.map(Arc::new));
        }
        drop(place);
        self.filled.notify_waiters();
    }

    pub(crate) async fn wait(&self) -> Result<Arc<Outcome>, BrokerError> {
        loop {
            let filled = self.filled.notified();
            tokio::pin!(filled);
            // Listening starts before the look, so that an answer in between is not missed.
            filled.as_mut().enable();
            if let Some(answer) = self.peek() {
                return answer;
            }
            filled.await;
        }
    }
}

/// The awaits of one client. The tasks behind it end when it is dropped.
#[derive(Debug)]
pub(crate) struct Mailbox {
    broker: Arc<dyn Broker>,
    client: ClientId,
    sweep: Duration,
    /// Invocations that a live handle may await. A handle takes its entry away when it is dropped.
    slots: Mutex<HashMap<InvocationId, Weak<Slot>>>,
    /// Whether the reply stream has been opened: the first await does.
    opened: OnceCell<()>,
}

impl Mailbox {
    pub(crate) fn new(broker: Arc<dyn Broker>, sweep: Duration) -> Arc<Self> {
        Arc::new(Self {
            broker,
            client: ClientId::random(),
            sweep,
            slots: Mutex::default(),
            opened: OnceCell::new(),
        })
    }

    /// Opens the reply stream unless it is open, and names it.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<ClientId, BrokerError> {
        self.opened
            .get_or_try_init(|| async {
                let replies = self.broker.replies(&self.client).await?;
                tokio::spawn(run(Arc::downgrade(self), self.sweep, replies));
                Ok::<_, BrokerError>(())
            })
            .await?;
        Ok(self.client.clone())
    }

    pub(crate) fn register(&self, id: InvocationId) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(&id).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot::default());
        slots.insert(id, Arc::downgrade(&slot));
        slot
    }

    /// Forgets an invocation that no handle awaits any more.
    pub(crate) fn forget(&self, id: InvocationId, slot: &Arc<Slot>) {
        // The handle that calls this holds one; more means that another handle still awaits.
        if Arc::strong_count(slot) <= 1 {
            lock(&self.slots).remove(&id);
        }
    }

    fn deliver(&self, id: InvocationId, answer: Result<Outcome, BrokerError>) {
        let slot = lock(&self.slots)
            .remove(&id)
            .and_then(|slot| slot.upgrade());
        if let Some(slot) = slot {
            slot.fill(answer);
        }
    }

    /// What is awaited and stored. An invocation that is still on its way to the broker is neither found
    /// there nor lost.
    fn awaited(&self) -> Vec<InvocationId> {
        let slots = lock(&self.slots);
        let accepted = slots.iter().filter(|(_, slot)| {
            slot.upgrade()
                .is_some_and(|slot| slot.is_accepted.load(Ordering::Acquire))
        });
        accepted.map(|(id, _)| *id).collect()
    }

    /// Reads `ids` again and delivers those that have ended.
    async fn recheck(&self, ids: &[InvocationId]) -> Result<(), BrokerError> {
        for batch in ids.chunks(RECHECK_BATCH) {
            let answers = self.broker.outcomes(batch, Some(&self.client)).await?;
            for (id, answer) in batch.iter().zip(answers) {
                if let Some(answer) = answer.transpose() {
                    self.deliver(*id, answer);
                }
            }
        }
        Ok(())
    }
}

/// Delivers replies until the client is gone.
async fn run(mailbox: Weak<Mailbox>, sweep: Duration, mut replies: mpsc::Receiver<Reply>) {
    let mut sweep = interval(sweep);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.tick().await;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            count = replies.recv_many(&mut batch, 256) => if count == 0 { return },
            _ = sweep.tick() => batch.push(Reply::Reconnected),
        }
        let Some(mailbox) = mailbox.upgrade() else {
            return;
        };
        let stale = take_in(&mailbox, batch.drain(..));
        recheck_until_answered(&mailbox, stale).await;
    }
}

/// Delivers what came with the replies, and returns what must be read from the store.
fn take_in(mailbox: &Mailbox, replies: impl Iterator<Item = Reply>) -> Vec<InvocationId> {
    let mut stale = Vec::new();
    for reply in replies {
        match reply {
            Reply::Ended(id, Some(outcome)) => mailbox.deliver(id, Ok(*outcome)),
            Reply::Ended(id, None) if lock(&mailbox.slots).contains_key(&id) => stale.push(id),
            Reply::Ended(..) => {}
            Reply::Reconnected => stale = mailbox.awaited(),
        }
    }
    stale
}

async fn recheck_until_answered(mailbox: &Mailbox, ids: Vec<InvocationId>) {
    let mut pause = Duration::from_millis(50);
    while let Err(error) = mailbox.recheck(&ids).await {
        tracing::debug!(%error, awaited = ids.len(), "awaited invocations are read again later");
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// A lock whose holder panicked still guards whole data here: every critical section is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
