//! The load: plays of many kinds, picked by their weights, so many invocations a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use celeriac_client::{Client, Code, Error, Handle};
use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    account::{Account, Promise},
    plays::Play,
    site::PATIENCE,
};

/// From one look at how much is to be submitted to the next.
const TICK: Duration = Duration::from_millis(50);

/// Plays under way at once: while Redis is away, no more are begun.
const AT_ONCE: usize = 2000;

/// What plays need.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) account: Arc<Account>,
}

/// Submits until `end`, then waits until every play is over.
pub(crate) async fn run(stage: &Stage, rate: f64, seed: u64, end: Instant) -> Result<()> {
    let (mut rng, mut plays, mut owed) = (Rng::with_seed(seed), JoinSet::new(), 0.0);
    let mut last = Instant::now();
    while Instant::now() < end {
        sleep(TICK).await;
        // What could not be submitted is not made up for: the rate is the most.
        owed = (owed + last.elapsed().as_secs_f64() * rate).min(rate);
        last = Instant::now();
        while let Some(done) = plays.try_join_next() {
            done??;
        }
        while owed > 0.0 && plays.len() < AT_ONCE {
            let play = Play::pick(&mut rng);
            owed -= play.cost();
            let (stage, rng) = (stage.clone(), rng.fork());
            plays.spawn(async move { play.perform(&stage, rng).await });
        }
    }
    while let Some(done) = plays.join_next().await {
        done??;
    }
    Ok(())
}

impl Stage {
    /// Enters what became of a submit that began at `since`; the handle when it was accepted.
    pub(crate) fn enter(
        &self,
        submitted: Result<Handle, Error>,
        promise: Promise,
        since: Instant,
    ) -> Option<Handle> {
        match submitted {
            Ok(handle) => {
                self.account.accept(handle.id(), promise, since);
                Some(handle)
            }
            Err(error) => {
                self.refused(promise.kind, &error);
                None
            }
        }
    }

    /// Enters why something was not accepted.
    pub(crate) fn refused(&self, kind: &str, error: &Error) {
        use celeriac_broker::BrokerError as Why;
        let Error::Broker(why) = error else {
            return self
                .account
                .problem(format!("{kind} was not submitted: {error}"));
        };
        match why {
            Why::Overloaded { .. } => self.account.refused("overloaded"),
            Why::NotUnique { .. } => self.account.refused("not unique"),
            Why::IdempotencyConflict { .. } => self.account.refused("idempotency conflict"),
            why if why.is_transient() => self.account.unanswered(),
            why => self.account.problem(format!("{kind} was refused: {why}")),
        }
    }

    /// Awaits an outcome that is pushed, and enters it to be held against the stored one.
    pub(crate) async fn await_push(&self, handle: &Handle) {
        match timeout(PATIENCE * 4, handle.outcome()).await {
            Ok(Ok(outcome)) => self.account.pushed(handle.id(), outcome),
            Ok(Err(error)) => {
                let id = handle.id();
                self.account.problem(format!("awaiting {id}: {error}"));
            }
            Err(_) => {
                let id = handle.id();
                self.account
                    .problem(format!("{id} was awaited for {:?}", PATIENCE * 4));
            }
        }
    }

    /// Asks again while the broker does not answer; none when it says no, or does not for long.
    pub(crate) async fn insist<T, F>(&self, what: &str, ask: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask().await {
                Ok(answer) => return Some(answer),
                Err(Error::Broker(error)) if error.is_transient() && Instant::now() < deadline => {
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    self.account.problem(format!("{what}: {error}"));
                    return None;
                }
            }
        }
    }
}

/// Reads what the store says, again and again, until all that was accepted has ended and `is_over` says so; then for at most
/// `patience`.
pub(crate) async fn audit(
    client: &Client,
    account: &Account,
    is_over: &(dyn Fn() -> bool + Sync),
    patience: Duration,
) -> Result<()> {
    let mut over_since: Option<Instant> = None;
    loop {
        sleep(Duration::from_millis(250)).await;
        for batch in account.unread(over_since.is_some()).chunks(500) {
            let asked = Instant::now();
            // While Redis is away nothing is learnt.
            let Ok(answers) = client.broker().outcomes(batch, None).await else {
                break;
            };
            for (id, answer) in batch.iter().zip(answers) {
                account.read(*id, answer, asked);
            }
        }
        if over_since.is_none() && is_over() {
            over_since = Some(Instant::now());
        }
        let Some(since) = over_since else { continue };
        if account.left() == 0 {
            return Ok(());
        }
        let (open, oldest) = account.open();
        ensure!(
            since.elapsed() < patience,
            "{open} invocations have not ended {patience:?} after the load, the oldest of them {oldest:?}"
        );
    }
}

/// The codes of what succeeds.
pub(crate) const OK: &[Code] = &[Code::Ok];
