//! Who in this process waits for what, and how news reaches them: straight, or by the bells of
//! other processes.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};

use super::bell::{Bell, Rung, TALK, Tower, WORK};
use crate::{ClientId, Control, HostId, InvocationId, Outcome, Reply};

/// What has to be said once a transaction is on disk.
#[derive(Debug)]
pub(super) enum News {
    /// There is work in this queue.
    Work(String),
    /// Something is due before everything that the tickers know of.
    Due,
    /// A host's reserve shall return.
    Interrupt(HostId),
    /// An invocation that a client of this process waits for has ended; with its outcome when that is small.
    Ended(ClientId, InvocationId, Option<Box<Outcome>>),
    /// An invocation that runs on a host of this process shall stop.
    Cancel(HostId, InvocationId),
    /// An invocation has reported something.
    Event(InvocationId),
    /// Somebody in another process has something to read.
    Talk(String),
}

/// A host of this process that reserves.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// What it serves.
    queues: Mutex<Vec<String>>,
    /// Rung when there may be work; keeps one ring for a reserve that is about to wait.
    pub(super) bell: Notify,
    is_interrupted: AtomicBool,
}

impl Seat {
    /// Whether it was interrupted since this was asked last.
    pub(super) fn take_interrupt(&self) -> bool {
        self.is_interrupted.swap(false, Ordering::AcqRel)
    }

    fn serves(&self, queue: &str) -> bool {
        lock(&self.queues).iter().any(|served| served == queue)
    }
}

/// One end of a stream to a client or a host of this process.
#[derive(Clone, Debug)]
struct Line<T> {
    sender: mpsc::Sender<T>,
    /// Set while the stream was full and the word about it is not yet in it.
    has_gap: Arc<AtomicBool>,
    runtime: Handle,
    /// What is said after a gap.
    after_gap: fn() -> T,
}

impl<T: Clone + Send + 'static> Line<T> {
    fn say(&self, word: T) {
        if self.has_gap.load(Ordering::Acquire)
            || self.sender.try_send(word).is_ok()
            || self.sender.is_closed()
        {
            return;
        }
        self.has_gap.store(true, Ordering::Release);
        let line = self.clone();
        self.runtime.spawn(async move {
            if let Ok(permit) = line.sender.reserve().await {
                // From here on nothing is left out; what was is covered by the word that follows.
                line.has_gap.store(false, Ordering::Release);
                permit.send((line.after_gap)());
            }
        });
    }
}

/// A client, and the last note of another process that was handed on to it.
type ClientLine = (Line<Reply>, i64);

/// A host, and what it has been told to stop.
type HostLine = (Line<Control>, HashSet<InvocationId>);

/// Everything in this process that waits.
#[derive(Debug)]
pub(super) struct Switchboard {
    tower: Tower,
    /// This process's part of its bells' names.
    own: String,
    seats: Mutex<HashMap<HostId, Arc<Seat>>>,
    clients: Mutex<HashMap<ClientId, ClientLine>>,
    hosts: Mutex<HashMap<HostId, HostLine>>,
    watchers: Mutex<HashMap<InvocationId, Vec<Arc<Notify>>>>,
    /// Rung when something is due earlier; keeps one ring for a ticker that is about to wait.
    pub(super) ticker: Notify,
    work_bell: OnceLock<Bell>,
    talk_bell: OnceLock<Bell>,
    /// Bells that turned out to be dead; what is stored about them goes with the next transaction.
    dead: Mutex<Vec<String>>,
}

/// Locks are held for a look only, and nothing in there can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switchboard {
    pub(super) fn new(tower: Tower) -> Self {
        Self {
            tower,
            own: uuid::Uuid::new_v4().simple().to_string(),
            seats: Mutex::default(),
            clients: Mutex::default(),
            hosts: Mutex::default(),
            watchers: Mutex::default(),
            ticker: Notify::new(),
            work_bell: OnceLock::new(),
            talk_bell: OnceLock::new(),
            dead: Mutex::default(),
        }
    }

    /// The name of the bell that other processes ring when there is something to read here.
    pub(super) fn talk_bell(&self) -> String {
        format!("{TALK}{}", self.own)
    }

    /// Hangs the bell for everything but work, once.
    pub(super) fn hang_talk_bell(&self, on_ring: impl FnMut() + Send + 'static) -> io::Result<()> {
        hang(&self.tower, &self.talk_bell, &self.talk_bell(), on_ring)
    }

    /// Hangs the bell for work, once.
    pub(super) fn hang_work_bell(self: &Arc<Self>) -> io::Result<()> {
        if self.work_bell.get().is_some() {
            return Ok(());
        }
        // Weak, because the bell hangs in what it would keep alive.
        let board = Arc::downgrade(self);
        hang(
            &self.tower,
            &self.work_bell,
            &self.work_bell_name(),
            move || {
                if let Some(board) = board.upgrade() {
                    board.ticker.notify_one();
                    lock(&board.seats)
                        .values()
                        .for_each(|seat| seat.bell.notify_one());
                }
            },
        )
    }

    fn work_bell_name(&self) -> String {
        format!("{WORK}{}", self.own)
    }

    /// The seat of a host that reserves here.
    pub(super) fn seat(&self, host: &HostId, queues: &[String]) -> Arc<Seat> {
        let mut seats = lock(&self.seats);
        let seat = Arc::clone(seats.entry(host.clone()).or_default());
        let mut served = lock(&seat.queues);
        if served.as_slice() != queues {
            *served = queues.to_vec();
        }
        drop(served);
        seat
    }

    /// Makes a reserve of `host` return, if it reserves in this process.
    pub(super) fn interrupt(&self, host: &HostId) -> bool {
        let seats = lock(&self.seats);
        let Some(seat) = seats.get(host) else {
            return false;
        };
        seat.is_interrupted.store(true, Ordering::Release);
        seat.bell.notify_one();
        true
    }

    /// A host that has left waits no more.
    pub(super) fn forget_seat(&self, host: &HostId) {
        lock(&self.seats).remove(host);
    }

    // ---- listeners ----------------------------------------------------------------------------

    /// Says `Reply`s for `client` into `sender` from now on.
    pub(super) fn add_client(&self, client: ClientId, sender: mpsc::Sender<Reply>) {
        let line = line(sender, || Reply::Reconnected);
        lock(&self.clients).insert(client, (line, 0));
    }

    /// False when `client` listens again already, through another stream.
    pub(super) fn remove_client(&self, client: &ClientId, sender: &mpsc::Sender<Reply>) -> bool {
        let mut clients = lock(&self.clients);
        let is_this = clients
            .get(client)
            .is_some_and(|(line, _)| line.sender.same_channel(sender));
        is_this && clients.remove(client).is_some()
    }

    pub(super) fn has_client(&self, client: &ClientId) -> bool {
        lock(&self.clients).contains_key(client)
    }

    /// Each client, with the last reply that it has.
    pub(super) fn clients(&self) -> Vec<(ClientId, i64)> {
        let clients = lock(&self.clients);
        clients
            .iter()
            .map(|(client, (_, seen))| (client.clone(), *seen))
            .collect()
    }

    /// Hands on what another process has left for `client`, once.
    pub(super) fn hand_on(
        &self,
        client: &ClientId,
        seq: i64,
        id: InvocationId,
        outcome: Option<Box<Outcome>>,
    ) {
        if let Some((line, seen)) = lock(&self.clients).get_mut(client)
            && *seen < seq
        {
            *seen = seq;
            line.say(Reply::Ended(id, outcome));
        }
    }

    /// Says `Control`s for `host` into `sender` from now on.
    pub(super) fn add_host(&self, host: HostId, sender: mpsc::Sender<Control>) {
        let line = line(sender, || Control::Reconnected);
        lock(&self.hosts).insert(host, (line, HashSet::new()));
    }

    /// False when `host` listens again already, through another stream.
    pub(super) fn remove_host(&self, host: &HostId, sender: &mpsc::Sender<Control>) -> bool {
        let mut hosts = lock(&self.hosts);
        let is_this = hosts
            .get(host)
            .is_some_and(|(line, _)| line.sender.same_channel(sender));
        is_this && hosts.remove(host).is_some()
    }

    pub(super) fn has_host(&self, host: &HostId) -> bool {
        lock(&self.hosts).contains_key(host)
    }

    pub(super) fn hosts(&self) -> Vec<HostId> {
        lock(&self.hosts).keys().cloned().collect()
    }

    /// Tells a host everything that it shall stop and has not been told of.
    pub(super) fn cancel_all(&self, host: &HostId, wanted: HashSet<InvocationId>) {
        if let Some((line, told)) = lock(&self.hosts).get_mut(host) {
            for id in wanted.difference(told) {
                line.say(Control::Cancel(*id));
            }
            *told = wanted;
        }
    }

    /// Tells a host of this process something.
    pub(super) fn tell(&self, host: &HostId, word: Control) {
        if let Some((line, _)) = lock(&self.hosts).get(host) {
            line.say(word);
        }
    }

    pub(super) fn add_watcher(&self, id: InvocationId) -> Arc<Notify> {
        let bell = Arc::new(Notify::new());
        lock(&self.watchers)
            .entry(id)
            .or_default()
            .push(Arc::clone(&bell));
        bell
    }

    /// True when nobody here watches the invocation any more.
    pub(super) fn remove_watcher(&self, id: InvocationId, bell: &Arc<Notify>) -> bool {
        let mut watchers = lock(&self.watchers);
        let Some(bells) = watchers.get_mut(&id) else {
            return true;
        };
        bells.retain(|other| !Arc::ptr_eq(other, bell));
        let is_last = bells.is_empty();
        if is_last {
            watchers.remove(&id);
        }
        is_last
    }

    /// Makes every watcher look.
    pub(super) fn notify_watchers(&self) {
        lock(&self.watchers)
            .values()
            .flatten()
            .for_each(|bell| bell.notify_one());
    }

    // ---- news ---------------------------------------------------------------------------------

    /// Says what there is to say. Never blocks.
    pub(super) fn deliver(&self, news: Vec<News>) {
        let (mut talk, mut is_work) = (Vec::new(), false);
        for item in news {
            match item {
                News::Work(queue) => {
                    is_work = true;
                    let seats = lock(&self.seats);
                    seats
                        .values()
                        .filter(|seat| seat.serves(&queue))
                        .for_each(|seat| seat.bell.notify_one());
                }
                News::Due => {
                    is_work = true;
                    self.ticker.notify_one();
                }
                News::Interrupt(host) => is_work |= !self.interrupt(&host),
                News::Ended(client, id, outcome) => {
                    if let Some((line, _)) = lock(&self.clients).get(&client) {
                        line.say(Reply::Ended(id, outcome));
                    }
                }
                News::Cancel(host, id) => self.cancel(&host, id),
                News::Event(id) => {
                    let watchers = lock(&self.watchers);
                    watchers
                        .get(&id)
                        .into_iter()
                        .flatten()
                        .for_each(|bell| bell.notify_one());
                }
                News::Talk(bell) if !talk.contains(&bell) => talk.push(bell),
                News::Talk(_) => {}
            }
        }
        if is_work {
            self.tower.ring_for_work(
                self.work_bell
                    .get()
                    .is_some()
                    .then(|| self.work_bell_name())
                    .as_deref(),
            );
        }
        for bell in talk {
            if self.tower.ring(&bell) == Rung::Gone {
                lock(&self.dead).push(bell);
            }
        }
    }

    fn cancel(&self, host: &HostId, id: InvocationId) {
        if let Some((line, told)) = lock(&self.hosts).get_mut(host)
            && told.insert(id)
        {
            line.say(Control::Cancel(id));
        }
    }

    /// Bells that turned out to be dead since this was asked last.
    pub(super) fn take_dead_bells(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.dead))
    }
}

fn line<T>(sender: mpsc::Sender<T>, after_gap: fn() -> T) -> Line<T> {
    Line {
        sender,
        has_gap: Arc::default(),
        runtime: Handle::current(),
        after_gap,
    }
}

fn hang(
    tower: &Tower,
    bell: &OnceLock<Bell>,
    name: &str,
    on_ring: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    if bell.get().is_some() {
        return Ok(());
    }
    match tower.hang(name, on_ring) {
        Ok(hung) => {
            let _ = bell.set(hung);
            Ok(())
        }
        // Another thread was faster.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        Err(error) => Err(error),
    }
}
