//! The thread that reads for this process's callers, each request on one snapshot.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{fault::Fault, store::Store};
use crate::BrokerError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the reader. The thread ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    jobs: mpsc::Sender<Job>,
    store: Arc<Store>,
}

impl Reader {
    /// Starts the thread.
    pub(super) fn start(store: Arc<Store>) -> Result<Self, BrokerError> {
        let db = store.open_reader()?;
        let (jobs, requests) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("celeriac-reader".to_owned());
        thread
            .spawn(move || requests.iter().for_each(|job| job(&db)))
            .map_err(|error| store.unavailable(error.to_string()))?;
        Ok(Self { jobs, store })
    }

    /// Runs `work` on one snapshot.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, BrokerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            if !answer.is_closed() {
                let _ = answer.send(on_snapshot(db, work));
            }
        });
        let stopped = || self.store.unavailable("its reader has stopped");
        self.jobs.send(job).map_err(|_| stopped())?;
        let result = answered.await.map_err(|_| stopped())?;
        result.map_err(|fault| fault.into_broker_error(&self.store.address))
    }
}

/// Runs `work` so that all its statements see the same state.
pub(super) fn on_snapshot<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    // Dropped, it is rolled back, which for a reader is as good as a commit.
    let snapshot = db.unchecked_transaction()?;
    work(&snapshot)
}
