//! The one thread that writes: it takes every request that waits, runs all of them in one
//! transaction, commits once, says the news, and answers.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Params, Row};
use tokio::sync::oneshot;

use super::{
    clock::Clock,
    fault::Fault,
    follow::{self, Note, Notes},
    pause,
    store::Store,
    switchboard::{News, Switchboard},
    upkeep,
};
use crate::{BrokerError, DeadLetters};

/// Requests in one transaction: who came first does not wait for a whole crowd.
const BATCH: usize = 128;

/// Time after which a transaction takes no further request.
const BATCH_TIME: Duration = Duration::from_millis(5);

/// How long a request waits for its turn and its commit. Only a writer that another process has
/// stopped in the middle of a transaction takes this long.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The stored clock is this much behind at most.
const CLOCK_STEP_MS: u64 = 100;

/// The write-ahead log is written back when it is larger. That costs two syncs, so it is done for
/// thousands of transactions at once, between two of them, after they were answered.
const LOG_BYTES: u64 = 16 << 20;

/// Answers one request, after the commit.
type Answer = Box<dyn FnOnce(Result<(), &BrokerError>) + Send>;

/// One request. With an error it only answers.
type Job = Box<dyn FnOnce(Result<&mut Tx<'_>, &BrokerError>) -> Option<Answer> + Send>;

/// The way to the writer. The thread ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Inbox>);

#[derive(Debug)]
struct Inbox {
    jobs: mpsc::Sender<Job>,
    store: Arc<Store>,
}

/// The way to the writer for somebody who must not keep it alive.
#[derive(Clone, Debug)]
pub(super) struct WeakWriter(Weak<Inbox>);

impl WeakWriter {
    pub(super) fn upgrade(&self) -> Option<Writer> {
        self.0.upgrade().map(Writer)
    }
}

impl Writer {
    pub(super) fn downgrade(&self) -> WeakWriter {
        WeakWriter(Arc::downgrade(&self.0))
    }

    /// Starts the thread.
    pub(super) fn start(
        store: Arc<Store>,
        db: Connection,
        lock: File,
        clock: Arc<Clock>,
        switchboard: Arc<Switchboard>,
        dead_letters: DeadLetters,
    ) -> Result<Self, BrokerError> {
        let (jobs, requests) = mpsc::channel();
        let desk = Desk {
            db,
            lock,
            clock,
            switchboard,
            store: Arc::clone(&store),
            dead_letters,
            kept_up_at: None,
        };
        let thread = thread::Builder::new().name("celeriac-writer".to_owned());
        thread
            .spawn(move || desk.run(&requests))
            .map_err(|error| store.unavailable(error.to_string()))?;
        Ok(Self(Arc::new(Inbox { jobs, store })))
    }

    /// Runs `work` in a transaction, all of it or nothing, and answers when it is on disk.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, BrokerError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let address = self.0.store.address.clone();
        let job: Job = Box::new(move |tx| {
            if answer.is_closed() {
                return None;
            }
            match tx {
                Err(error) => {
                    let _ = answer.send(Err(error.clone()));
                    None
                }
                Ok(tx) => {
                    let result = tx
                        .attempt(work)
                        .map_err(|fault| fault.into_broker_error(&address));
                    Some(Box::new(move |committed: Result<(), &BrokerError>| {
                        let _ = answer.send(committed.map_err(BrokerError::clone).and(result));
                    }))
                }
            }
        });
        let stopped = || self.0.store.unavailable("its writer has stopped");
        self.0.jobs.send(job).map_err(|_| stopped())?;
        match tokio::time::timeout(ANSWER_TIME, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(self.0.store.unavailable(format!(
                "another process has kept it locked for {ANSWER_TIME:?}"
            ))),
        }
    }

    /// Runs `work` some time; nobody waits for it.
    pub(super) fn post<F>(&self, work: F)
    where
        F: FnOnce(&mut Tx<'_>) -> Result<(), Fault> + Send + 'static,
    {
        let job: Job = Box::new(move |tx| {
            if let Ok(tx) = tx
                && let Err(error) = tx.attempt(work)
            {
                tracing::warn!(?error, "the embedded store could not be tidied");
            }
            None
        });
        // Without a writer there is nothing to tidy.
        let _ = self.0.jobs.send(job);
    }
}

/// What the thread works with.
struct Desk {
    db: Connection,
    lock: File,
    clock: Arc<Clock>,
    switchboard: Arc<Switchboard>,
    store: Arc<Store>,
    dead_letters: DeadLetters,
    /// When what has expired was last removed.
    kept_up_at: Option<Instant>,
}

impl Desk {
    fn run(mut self, requests: &mpsc::Receiver<Job>) {
        while let Ok(first) = requests.recv() {
            let mut answers = Vec::new();
            let result = self.transact(first, requests, &mut answers);
            let done = result.map(|news| self.switchboard.deliver(news));
            for answer in answers {
                answer(done.as_ref().map(|&()| ()));
            }
            if self.store.log_bytes() > LOG_BYTES {
                self.write_back();
            }
        }
        self.say_goodbye();
    }

    fn transact(
        &mut self,
        first: Job,
        requests: &mpsc::Receiver<Job>,
        answers: &mut Vec<Answer>,
    ) -> Result<Vec<News>, BrokerError> {
        let begun = self
            .lock
            .lock()
            .map_err(|error| self.store.unavailable(error.to_string()));
        let begun = begun.and_then(|()| self.wrap(execute(&self.db, "BEGIN IMMEDIATE", ())));
        let result = match begun {
            Ok(_) => self.fill(first, requests, answers),
            Err(error) => {
                first(Err(&error));
                Err(error)
            }
        };
        if !self.db.is_autocommit() {
            let _ = execute(&self.db, "ROLLBACK", ());
        }
        let _ = self.lock.unlock();
        result
    }

    fn fill(
        &mut self,
        first: Job,
        requests: &mpsc::Receiver<Job>,
        answers: &mut Vec<Answer>,
    ) -> Result<Vec<News>, BrokerError> {
        let changes = self.db.total_changes();
        let stored = self.wrap(query(&self.db, "SELECT ms FROM clock", (), |row| {
            row.get(0)
        }))?;
        let stored = stored.unwrap_or(0);
        let mut tx = Tx {
            db: &self.db,
            now: self.clock.after(stored),
            news: Vec::new(),
            notes: Notes::new(),
            switchboard: &self.switchboard,
            dead_letters: self.dead_letters,
        };
        let (begun, mut next) = (Instant::now(), Some(first));
        while let Some(job) = next {
            answers.extend(job(Ok(&mut tx)));
            if tx.db.is_autocommit() {
                return Err(self
                    .store
                    .unavailable("a write failed and was rolled back: is the disk full?"));
            }
            let has_room = answers.len() < BATCH && begun.elapsed() < BATCH_TIME;
            next = has_room.then(|| requests.try_recv().ok()).flatten();
        }
        upkeep::run(&mut tx, &mut self.kept_up_at);
        if tx.now >= stored + CLOCK_STEP_MS && tx.db.total_changes() > changes {
            self.wrap(execute(tx.db, "UPDATE clock SET ms = ?1", [tx.now]))?;
        }
        self.wrap(pause::hush(tx.db, &mut tx.news))?;
        self.wrap(execute(tx.db, "COMMIT", ()))?;
        Ok(tx.news)
    }

    fn wrap<T>(&self, result: Result<T, Fault>) -> Result<T, BrokerError> {
        result.map_err(|fault| fault.into_broker_error(&self.store.address))
    }

    fn write_back(&self) {
        // Truncates, so that its size says how much there is; waits for no reader.
        let _ = self.db.busy_timeout(Duration::ZERO);
        let _ = query(&self.db, "PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        let _ = self.db.busy_timeout(super::store::BUSY_TIMEOUT);
    }

    /// Takes back what other processes would ring for.
    fn say_goodbye(&self) {
        if self.lock.lock().is_ok() {
            let _ = upkeep::forget_bell(&self.db, &self.switchboard.talk_bell());
            let _ = self.lock.unlock();
        }
    }
}

/// A transaction that requests run in.
pub(super) struct Tx<'a> {
    pub(super) db: &'a Connection,
    /// When it began, by the store's clock.
    pub(super) now: u64,
    pub(super) switchboard: &'a Arc<Switchboard>,
    pub(super) dead_letters: DeadLetters,
    news: Vec<News>,
    /// What follows from the ends in this request: done before it is over.
    notes: Notes,
}

impl Tx<'_> {
    /// Runs `work`; when it fails, nothing of it stays.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.execute("SAVEPOINT request", ())?;
        let said = self.news.len();
        let result = work(self).and_then(|done| {
            follow::work_off(self)?;
            Ok(done)
        });
        if result.is_err() && !self.db.is_autocommit() {
            self.notes.clear();
            self.news.truncate(said);
            self.execute("ROLLBACK TO request", ())?;
        }
        if !self.db.is_autocommit() {
            self.execute("RELEASE request", ())?;
        }
        result
    }

    /// Runs a tidying step that must not spoil the transaction.
    pub(super) fn attempt_quietly(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Fault>) {
        if let Err(error) = self.attempt(work) {
            tracing::warn!(?error, "the embedded store could not be tidied");
        }
    }

    /// Says something once the transaction is on disk.
    pub(super) fn say(&mut self, news: News) {
        self.news.push(news);
    }

    /// Notes what follows from an end.
    pub(super) fn note(&mut self, note: Note) {
        self.notes.push_back(note);
    }

    /// The first of what was noted.
    pub(super) fn next_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Runs a statement; how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, Fault> {
        execute(self.db, sql, params)
    }

    /// The first row, where there is one.
    pub(super) fn query<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        query(self.db, sql, params, read)
    }
}

/// Runs a statement; how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize, Fault> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// The first row, where there is one.
pub(super) fn query<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    Ok(rows.next()?.map(read).transpose()?)
}

/// Every row that can be read, at most `limit`.
pub(super) fn query_all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Fault> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Digests with how many invocations more (or fewer) need them: written once for a whole request.
#[derive(Debug, Default)]
pub(super) struct Uses(HashMap<Vec<u8>, i64>);

impl Uses {
    pub(super) fn add(&mut self, digest: Option<&[u8]>, more: i64) {
        let Some(digest) = digest else { return };
        match self.0.get_mut(digest) {
            Some(uses) => *uses += more,
            None => {
                self.0.insert(digest.to_owned(), more);
            }
        }
    }

    pub(super) fn write(self, tx: &Tx<'_>) -> Result<(), Fault> {
        for (digest, more) in self.0 {
            tx.execute(
                "UPDATE modules SET uses = max(0, uses + ?2) WHERE digest = ?1",
                (digest, more),
            )?;
        }
        Ok(())
    }
}
