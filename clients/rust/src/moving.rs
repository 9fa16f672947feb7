//! Moving invocations from one queue to another, and giving a queue another name.

use std::time::Duration;

use celeriac_broker::{
    BrokerError, Filter, InvocationId, LimitScope, MAX_MOVED, Pausable, State, TaskFilter,
};
use futures_util::TryStreamExt as _;
use serde::Serialize;

use crate::{Client, Error};

/// Rounds after which a rename leaves what is still handed in to the old name where it is.
const ROUNDS: usize = 10;

/// What is moved, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// The queue that it waits in.
    pub from: String,
    /// The queue that it is moved to.
    pub to: String,
    /// Only those of this task.
    pub task: Option<TaskFilter>,
    /// Only those with this concurrency key or this fairness key.
    pub key: Option<String>,
    /// Only those accepted at least this long ago.
    pub older_than: Option<Duration>,
}

/// What moving many has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BulkMove {
    /// Those that were asked for.
    pub matched: u64,
    /// Those that were moved; the others started or ended before they were reached.
    pub moved: u64,
}

/// What giving a queue another name has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Invocations that were moved, those that run included.
    pub moved: u64,
    /// Schedules that name the new queue now.
    pub schedules: Vec<String>,
    /// Settings of the queue that went along: `limit`, `pause`, `result_ttl`.
    pub settings: Vec<&'static str>,
    /// Settings of the queue that were dropped, as the new queue has others of its own.
    pub dropped: Vec<&'static str>,
    /// Whether nothing is left of the old name; else somebody has handed in to it meanwhile.
    pub is_gone: bool,
}

impl Move {
    /// All that waits in one queue, to another.
    pub fn all(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            ..Self::default()
        }
    }

    fn is_all(&self) -> bool {
        self.task.is_none() && self.key.is_none() && self.older_than.is_none()
    }

    fn filter(&self) -> Filter {
        let mut filter = Filter::default().queue(&self.from).states([
            State::Blocked,
            State::Scheduled,
            State::Queued,
        ]);
        filter.task.clone_from(&self.task);
        filter.key.clone_from(&self.key);
        match self.older_than {
            Some(age) => filter.older_than(age),
            None => filter,
        }
    }
}

impl Client {
    /// Moves what waits in a queue (for a host, for its time, for others) to another, where it comes behind what is there; with
    /// `is_dry`, only counts it. All of it is moved in the order in which it would have been taken; what a filter asks
    /// for, in the order in which it was submitted. What runs stays, and so do its retries. `progress` hears of each
    /// step; after an error, or the end of this process, what was moved is there and the rest is where it was.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn move_queue(
        &self,
        wanted: &Move,
        is_dry: bool,
        mut progress: impl FnMut(&BulkMove),
    ) -> Result<BulkMove, Error> {
        let mut done = BulkMove::default();
        let queues = (wanted.from.as_str(), wanted.to.as_str());
        if is_dry {
            // The same names are refused.
            self.move_ids(queues, &[], false).await?;
            let mut found = std::pin::pin!(self.listing(wanted.filter()));
            while found.try_next().await?.is_some() {
                done.matched += 1;
                progress(&done);
            }
            return Ok(done);
        }
        if !wanted.is_all() {
            self.move_found(queues, wanted.filter(), &mut done, &mut progress)
                .await?;
            return Ok(done);
        }
        self.move_queued(queues, &mut done, &mut progress).await?;
        for state in [State::Scheduled, State::Blocked] {
            let filter = Filter::default().queue(queues.0).states([state]);
            self.move_found(queues, filter, &mut done, &mut progress)
                .await?;
        }
        // Some may have come due, or have been let go, meanwhile.
        self.move_queued(queues, &mut done, &mut progress).await?;
        Ok(done)
    }

    /// Gives a queue another name: everything in it is moved, what comes back of that which runs goes to the new one,
    /// and its limit, its pause, its result TTL and the schedules that name it go along; where the new queue has such a
    /// setting, that stays. An old name that somebody hands in to is a queue again: callers and tasks that name it have to
    /// be told. What was cut short is finished by the same call again.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn rename_queue(
        &self,
        old: &str,
        new: &str,
        mut progress: impl FnMut(&BulkMove),
    ) -> Result<Renamed, Error> {
        let (queues, mut done) = ((old, new), BulkMove::default());
        self.move_ids(queues, &[], false).await?;
        // First, so that what is paused or bounded under the old name is never open under the new one.
        let (settings, dropped) = self.copy_settings(queues).await?;
        let mut renamed = Renamed {
            settings,
            dropped,
            schedules: self.repoint_schedules(queues).await?,
            ..Renamed::default()
        };
        for _ in 0..ROUNDS {
            let before = done.moved;
            let everything = Move::all(old, new);
            let round = self
                .move_queue(&everything, false, |step| progress(&done.and(step)))
                .await?;
            done = done.and(&round);
            let running = Filter::default().queue(old).states([State::Running]);
            let ids = self.found(running).await?;
            done.matched += ids.len() as u64;
            for chunk in ids.chunks(MAX_MOVED) {
                done.moved += self.move_ids(queues, chunk, true).await?;
                progress(&done);
            }
            if done.moved == before {
                self.drop_settings(old).await?;
                renamed.is_gone = self.shared.broker.forget_queue(old).await?;
                break;
            }
        }
        renamed.moved = done.moved;
        Ok(renamed)
    }

    async fn move_queued(
        &self,
        (from, to): (&str, &str),
        done: &mut BulkMove,
        progress: &mut impl FnMut(&BulkMove),
    ) -> Result<(), Error> {
        let mut cursor = None;
        loop {
            let broker = &self.shared.broker;
            let step = broker.move_queued(from, to, cursor.as_deref()).await?;
            done.matched += step.moved;
            done.moved += step.moved;
            progress(done);
            cursor = step.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn move_found(
        &self,
        queues: (&str, &str),
        filter: Filter,
        done: &mut BulkMove,
        progress: &mut impl FnMut(&BulkMove),
    ) -> Result<(), Error> {
        let ids = self.found(filter).await?;
        done.matched += ids.len() as u64;
        for chunk in ids.chunks(MAX_MOVED) {
            done.moved += self.move_ids(queues, chunk, false).await?;
            progress(done);
        }
        Ok(())
    }

    /// Those that a filter asks for, in the order in which they were submitted.
    async fn found(&self, filter: Filter) -> Result<Vec<InvocationId>, Error> {
        let found = self.listing(filter).map_ok(|status| status.id);
        let mut ids: Vec<_> = found.try_collect().await?;
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn move_ids(
        &self,
        (from, to): (&str, &str),
        ids: &[InvocationId],
        with_running: bool,
    ) -> Result<u64, Error> {
        let broker = &self.shared.broker;
        Ok(broker.move_these(from, to, ids, with_running).await?)
    }

    /// Gives the new queue what the old one has and it has not; and what the old one has otherwise than it.
    async fn copy_settings(
        &self,
        (old, new): (&str, &str),
    ) -> Result<(Vec<&'static str>, Vec<&'static str>), BrokerError> {
        let broker = &self.shared.broker;
        let (mut copied, mut dropped) = (Vec::new(), Vec::new());
        let limits = broker.limits().await?;
        let limit_of = |queue: &str| {
            let scope = LimitScope::Queue(queue.to_owned());
            limits.iter().find(|limited| limited.scope == scope)
        };
        match (limit_of(old), limit_of(new)) {
            (Some(limited), None) => {
                let scope = LimitScope::Queue(new.to_owned());
                broker.set_limit(&scope, Some(&limited.limit)).await?;
                copied.push("limit");
            }
            (Some(own), Some(other)) if own.limit != other.limit => dropped.push("limit"),
            _ => {}
        }
        let paused = broker.paused().await?;
        let was_paused = |pause: &celeriac_broker::Paused| pause.what == pausable(old);
        if paused.iter().any(was_paused) && broker.pause(&pausable(new)).await? {
            copied.push("pause");
        }
        let queues = broker.queues().await?;
        let ttl_of = |name: &str| {
            let queue = queues.iter().find(|queue| queue.queue == name);
            queue.and_then(|queue| queue.result_ttl_ms)
        };
        match (ttl_of(old), ttl_of(new)) {
            (Some(ttl), None) => {
                let ttl = Some(Duration::from_millis(ttl));
                broker.set_result_ttl(new, ttl).await?;
                copied.push("result_ttl");
            }
            (Some(own), Some(other)) if own != other => dropped.push("result_ttl"),
            _ => {}
        }
        Ok((copied, dropped))
    }

    async fn drop_settings(&self, old: &str) -> Result<(), BrokerError> {
        let broker = &self.shared.broker;
        let scope = LimitScope::Queue(old.to_owned());
        broker.set_limit(&scope, None).await?;
        broker.set_result_ttl(old, None).await?;
        broker.resume(&pausable(old)).await.map(drop)
    }

    /// Has the schedules that name the old queue name the new one.
    async fn repoint_schedules(
        &self,
        (old, new): (&str, &str),
    ) -> Result<Vec<String>, BrokerError> {
        let (broker, mut names) = (&self.shared.broker, Vec::new());
        for record in broker.schedules().await? {
            let mut schedule = record.schedule;
            if schedule.options.queue.as_deref() == Some(old) {
                schedule.options.queue = Some(new.to_owned());
                broker.put_schedule(&schedule).await?;
                names.push(schedule.name);
            }
        }
        Ok(names)
    }
}

impl BulkMove {
    fn and(&self, more: &Self) -> Self {
        Self {
            matched: self.matched + more.matched,
            moved: self.moved + more.moved,
        }
    }
}

fn pausable(queue: &str) -> Pausable {
    Pausable::Queue(queue.to_owned())
}
