//! Schedules: tasks that the broker submits again and again.

use std::collections::HashSet;

use celeriac_broker::{InvocationId, Put, Schedule, ScheduleRecord};
use serde::Serialize;

use crate::{Client, Error, Handle};

/// The schedules of a broker, from [`Client::schedules`].
#[derive(Clone, Copy, Debug)]
pub struct Schedules<'a> {
    client: &'a Client,
}

/// How to bring a broker's schedules in line with a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apply {
    /// Only tell what would be done.
    pub is_dry_run: bool,
    /// Remove what is not in the list.
    pub is_pruning: bool,
}

/// What became of one schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: Change,
}

/// What became of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// There was none of this name.
    Added,
    /// It was another.
    Changed,
    /// It was there already.
    Unchanged,
    /// It was not in the list.
    Removed,
}

impl From<Put> for Change {
    fn from(put: Put) -> Self {
        match put {
            Put::Added => Self::Added,
            Put::Changed => Self::Changed,
            Put::Unchanged => Self::Unchanged,
        }
    }
}

impl Client {
    /// The schedules of the broker.
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules { client: self }
    }
}

impl Schedules<'_> {
    /// Adds a schedule, or puts it in the place of the one of its name.
    ///
    /// # Errors
    /// `Error::Broker` when it is not valid.
    pub async fn put(&self, schedule: &Schedule) -> Result<Put, Error> {
        Ok(self.client.broker().put_schedule(schedule).await?)
    }

    /// Every schedule, by name.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn list(&self) -> Result<Vec<ScheduleRecord>, Error> {
        Ok(self.client.broker().schedules().await?)
    }

    /// One schedule, with its next time and its last runs.
    ///
    /// # Errors
    /// `Error::Broker` with `NoSchedule`.
    pub async fn get(&self, name: &str) -> Result<ScheduleRecord, Error> {
        Ok(self.client.broker().schedule(name).await?)
    }

    /// Removes a schedule. What it has submitted goes on.
    ///
    /// # Errors
    /// `Error::Broker` with `NoSchedule`.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        Ok(self.client.broker().remove_schedule(name).await?)
    }

    /// Has a schedule fire no more until it is resumed.
    ///
    /// # Errors
    /// `Error::Broker` with `NoSchedule`.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        Ok(self.client.broker().set_schedule_paused(name, true).await?)
    }

    /// Has it fire again, from the next time after now.
    ///
    /// # Errors
    /// `Error::Broker` with `NoSchedule`.
    pub async fn resume(&self, name: &str) -> Result<(), Error> {
        let broker = self.client.broker();
        Ok(broker.set_schedule_paused(name, false).await?)
    }

    /// Submits now what it would submit.
    ///
    /// # Errors
    /// `Error::Broker` with `NoSchedule`, `NoModule`, `NoTask` or `Overloaded`.
    pub async fn run(&self, name: &str) -> Result<Handle, Error> {
        let id = self.client.broker().namespace().issue(0);
        self.run_as(name, id).await
    }

    /// The same, as the invocation `id`, which must be made for this store. The same id again is the same run, so that a
    /// caller who got no answer may ask again.
    ///
    /// # Errors
    /// `Error::Broker` with `NoSchedule`, `NoModule`, `NoTask` or `Overloaded`.
    pub async fn run_as(&self, name: &str, id: InvocationId) -> Result<Handle, Error> {
        self.client.broker().run_schedule(name, id).await?;
        Ok(self.client.handle(id))
    }

    /// Brings the broker's schedules in line with `wanted`; what was done to each, in the order of `wanted`,
    /// then what was removed. Everything is checked before anything is changed.
    ///
    /// # Errors
    /// `Error::Broker` when one is not valid or stands there twice.
    pub async fn apply(&self, wanted: &[Schedule], how: Apply) -> Result<Vec<Applied>, Error> {
        let mut names = HashSet::new();
        for schedule in wanted {
            schedule.check()?;
            if !names.insert(schedule.name.as_str()) {
                let expected = "a name that stands there once";
                let twice = celeriac_broker::BrokerError::invalid(
                    "schedule name",
                    &schedule.name,
                    expected,
                );
                return Err(twice.into());
            }
        }
        let there = self.list().await?;
        let mut applied = Vec::with_capacity(wanted.len());
        for schedule in wanted {
            let change = match how.is_dry_run {
                true => compare(schedule, &there),
                false => self.put(schedule).await?.into(),
            };
            let name = schedule.name.clone();
            applied.push(Applied { name, change });
        }
        let surplus = there.into_iter().map(|record| record.schedule.name);
        for name in surplus.filter(|name| how.is_pruning && !names.contains(name.as_str())) {
            if !how.is_dry_run {
                self.remove(&name).await?;
            }
            let change = Change::Removed;
            applied.push(Applied { name, change });
        }
        Ok(applied)
    }
}

fn compare(wanted: &Schedule, there: &[ScheduleRecord]) -> Change {
    match there
        .iter()
        .find(|record| record.schedule.name == wanted.name)
    {
        None => Change::Added,
        Some(record) if record.schedule == *wanted => Change::Unchanged,
        Some(_) => Change::Changed,
    }
}
