//! The reference model: what the design says of states, in as few words as can be. It knows no storage, no order and no
//! concurrency. Times are minutes from the start of the sequence.

use std::collections::HashMap;

use celeriac_broker::{Code, On, OnConflict, Scope};

use crate::step::Wish;

/// Hosts that an invocation may kill.
const MAX_CRASHES: u32 = 3;

/// Where an invocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    Blocked,
    Scheduled {
        at: u32,
    },
    Queued,
    Running {
        lease: usize,
        until: u32,
    },
    Succeeded,
    Failed(Code),
    /// By somebody; or skipped, or replaced.
    Cancelled(Code),
    Expired,
}

impl Stand {
    /// What it has ended with.
    pub(crate) fn code(self) -> Option<Code> {
        match self {
            Self::Succeeded => Some(Code::Ok),
            Self::Failed(code) | Self::Cancelled(code) => Some(code),
            Self::Expired => Some(Code::Expired),
            _ => None,
        }
    }
}

/// One invocation.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) stand: Stand,
    /// The number of its queue.
    pub(crate) queue: usize,
    pub(crate) attempts: u32,
    pub(crate) crashes: u32,
    pub(crate) is_unwanted: bool,
    starts: Option<u32>,
    expires: Option<u32>,
    deadline: Option<u32>,
    /// What it waits for.
    parents: Vec<(usize, On)>,
    is_skipped: bool,
    /// Its unique key, where that is free as soon as a host has taken it.
    key_while_queued: Option<u8>,
}

/// A lease as it was given, held or lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) invocation: usize,
}

/// What a submit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    New,
    /// The caller gets this one.
    Existing(usize),
    /// The idempotency key is this one's, with another input.
    OtherInput(usize),
    /// The unique key is held by this one.
    NotUnique(usize),
}

/// What a cancel comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    Now,
    Requested,
    Ended,
}

/// All that there is.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u32,
    /// Whether the task is paused: nothing of it is handed out.
    pub(crate) is_paused: bool,
    pub(crate) invocations: Vec<Invocation>,
    pub(crate) leases: Vec<Given>,
    /// Who has an idempotency key, and with which input.
    idem: HashMap<u8, (usize, u8)>,
    /// Who holds a unique key.
    unique: HashMap<u8, usize>,
}

impl Invocation {
    fn new(now: u32, wish: &Wish, parents: Vec<(usize, On)>) -> Self {
        let at = |minutes: Option<u8>| minutes.map(|minutes| now + u32::from(minutes));
        Self {
            stand: Stand::Blocked,
            queue: 0,
            starts: at(wish.delay),
            parents,
            is_skipped: wish.is_skipped,
            key_while_queued: match wish.unique {
                Some((key, Scope::Queued, _)) => Some(key),
                _ => None,
            },
            attempts: 0,
            crashes: 0,
            is_unwanted: false,
            expires: at(wish.expires),
            deadline: at(wish.deadline),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        !self.waits() && !matches!(self.stand, Stand::Running { .. })
    }

    fn waits(&self) -> bool {
        matches!(
            self.stand,
            Stand::Blocked | Stand::Scheduled { .. } | Stand::Queued
        )
    }

    /// What has fallen due while it waits.
    fn fall_due(&mut self, now: u32) {
        let is_over = |at: Option<u32>| at.is_some_and(|at| at <= now);
        if !self.waits() {
            return;
        }
        if self.attempts == 0 && is_over(self.expires) {
            self.stand = Stand::Expired;
        } else if is_over(self.deadline) {
            self.stand = Stand::Failed(Code::Deadline);
        } else if matches!(self.stand, Stand::Scheduled { at } if at <= now) {
            self.stand = Stand::Queued;
        }
    }

    /// Its host is dead.
    fn crash(&mut self, now: u32) {
        self.crashes += 1;
        self.stand = match self.is_unwanted {
            true => Stand::Cancelled(Code::Cancelled),
            false if self.crashes >= MAX_CRASHES => Stand::Failed(Code::Quarantined),
            false => Stand::Queued,
        };
        self.fall_due(now);
    }
}

impl Model {
    pub(crate) fn submit(&mut self, wish: &Wish, parents: Vec<(usize, On)>) -> Submitted {
        let number = self.invocations.len();
        if let Some((key, input)) = wish.idem
            && let Some((other, its_input)) = self.idem.get(&key)
        {
            return match input == *its_input {
                true => Submitted::Existing(*other),
                false => Submitted::OtherInput(*other),
            };
        }
        if let Some((key, _, on_conflict)) = wish.unique
            && let Some(other) = self.unique.get(&key).copied()
        {
            match on_conflict {
                OnConflict::ReturnExisting => return Submitted::Existing(other),
                OnConflict::Replace if self.invocations[other].waits() => {
                    self.invocations[other].stand = Stand::Cancelled(Code::Cancelled);
                }
                _ => return Submitted::NotUnique(other),
            }
        }
        if let Some((key, input)) = wish.idem {
            self.idem.insert(key, (number, input));
        }
        if let Some((key, ..)) = wish.unique {
            self.unique.insert(key, number);
        }
        self.invocations
            .push(Invocation::new(self.now, wish, parents));
        self.settle_down();
        Submitted::New
    }

    /// Time passes.
    pub(crate) fn jump(&mut self, minutes: u8) {
        self.now += u32::from(minutes);
        self.settle_down();
    }

    /// Everything that is due is done.
    pub(crate) fn settle_down(&mut self) {
        // Parents stand before those that wait for them.
        for number in 0..self.invocations.len() {
            self.invocations[number].fall_due(self.now);
            if self.invocations[number].stand == Stand::Blocked {
                self.unblock(number);
                self.invocations[number].fall_due(self.now);
            }
        }
        let invocations = &self.invocations;
        self.unique
            .retain(|_, holder| !invocations[*holder].has_ended());
    }

    /// Looks whether one that waits for others still has to.
    fn unblock(&mut self, number: usize) {
        let waiting = &self.invocations[number];
        let parents = waiting
            .parents
            .iter()
            .map(|(parent, on)| (self.invocations[*parent].stand, *on));
        let ended = |stand: &Stand| {
            !matches!(
                stand,
                Stand::Blocked | Stand::Scheduled { .. } | Stand::Queued | Stand::Running { .. }
            )
        };
        let is_met = |(stand, on): (Stand, On)| match on {
            On::Success => stand == Stand::Succeeded,
            On::Failure => matches!(stand, Stand::Failed(_) | Stand::Expired),
            On::Done => true,
        };
        let is_hopeless = parents
            .clone()
            .any(|parent| ended(&parent.0) && !is_met(parent));
        let is_pending = parents.clone().any(|(stand, _)| !ended(&stand));
        let stand = match (is_hopeless, is_pending) {
            (true, _) if waiting.is_skipped => Stand::Cancelled(Code::Skipped),
            (true, _) => Stand::Failed(Code::DependencyFailed),
            (false, true) => Stand::Blocked,
            (false, false) => waiting
                .starts
                .map_or(Stand::Queued, |at| Stand::Scheduled { at }),
        };
        self.invocations[number].stand = stand;
    }

    /// Leases that have run out are found by whoever reserves; how many can surely be taken then. What waited for one
    /// that is over may come too late for that.
    pub(crate) fn reap(&mut self) -> usize {
        for invocation in &mut self.invocations {
            if matches!(invocation.stand, Stand::Running { until, .. } if until <= self.now) {
                invocation.crash(self.now);
            }
        }
        let surely = self.available();
        self.settle_down();
        surely
    }

    /// How many can be taken.
    pub(crate) fn available(&self) -> usize {
        if self.is_paused {
            return 0;
        }
        let queued = |invocation: &&Invocation| invocation.stand == Stand::Queued;
        self.invocations.iter().filter(queued).count()
    }

    /// A host takes one; which attempt that is, and after how many crashes.
    pub(crate) fn take(&mut self, invocation: usize, minutes: u8) -> Result<(u32, u32), String> {
        let (until, lease) = (self.now + u32::from(minutes), self.leases.len());
        let taken = &mut self.invocations[invocation];
        if taken.stand != Stand::Queued {
            return Err(format!("{invocation} was handed out and is {taken:?}"));
        }
        taken.stand = Stand::Running { lease, until };
        taken.attempts += 1;
        let (answer, key) = ((taken.attempts, taken.crashes), taken.key_while_queued);
        self.leases.push(Given { invocation });
        if let Some(key) = key {
            // It may be another's by now.
            self.unique
                .retain(|held, holder| *held != key || *holder != invocation);
        }
        Ok(answer)
    }

    /// The invocation, while the lease is held.
    fn held(&mut self, lease: usize) -> Option<&mut Invocation> {
        let invocation = &mut self.invocations[self.leases[lease].invocation];
        let is_held =
            matches!(invocation.stand, Stand::Running { lease: held, .. } if held == lease);
        is_held.then_some(invocation)
    }

    /// Whether it was held.
    pub(crate) fn renew(&mut self, lease: usize, minutes: u8) -> bool {
        let until = self.now + u32::from(minutes);
        let Some(held) = self.held(lease) else {
            return false;
        };
        held.stand = Stand::Running { lease, until };
        true
    }

    /// Whether it was held.
    pub(crate) fn settle(&mut self, lease: usize, is_success: bool) -> bool {
        let Some(held) = self.held(lease) else {
            return false;
        };
        held.stand = if is_success {
            Stand::Succeeded
        } else {
            Stand::Failed(Code::TaskError)
        };
        self.settle_down();
        true
    }

    /// Whether it was held.
    pub(crate) fn retry(&mut self, lease: usize, pause: u8) -> bool {
        let (now, at) = (self.now, self.now + u32::from(pause));
        let Some(held) = self.held(lease) else {
            return false;
        };
        held.stand = match held.is_unwanted {
            true => Stand::Failed(Code::TaskError),
            false => Stand::Scheduled { at },
        };
        held.fall_due(now);
        self.settle_down();
        true
    }

    pub(crate) fn release(&mut self, lease: usize) {
        let now = self.now;
        let Some(held) = self.held(lease) else { return };
        held.attempts -= 1;
        held.stand = match held.is_unwanted {
            true => Stand::Cancelled(Code::Cancelled),
            false => Stand::Queued,
        };
        held.fall_due(now);
        self.settle_down();
    }

    pub(crate) fn cancel(&mut self, invocation: usize) -> Cancelled {
        let invocation = &mut self.invocations[invocation];
        let answer = match invocation.stand {
            Stand::Running { .. } => {
                invocation.is_unwanted = true;
                Cancelled::Requested
            }
            _ if invocation.waits() => {
                invocation.stand = Stand::Cancelled(Code::Cancelled);
                Cancelled::Now
            }
            _ => Cancelled::Ended,
        };
        self.settle_down();
        answer
    }

    /// Whether it was in the one queue and is in the other now.
    pub(crate) fn move_one(
        &mut self,
        invocation: usize,
        (from, to): (usize, usize),
        with_running: bool,
    ) -> bool {
        let invocation = &mut self.invocations[invocation];
        let runs = matches!(invocation.stand, Stand::Running { .. });
        let is_moved = invocation.queue == from && (invocation.waits() || (with_running && runs));
        if is_moved {
            invocation.queue = to;
        }
        is_moved
    }

    /// How many that wait for a host were in the one queue and are in the other now.
    pub(crate) fn move_queued(&mut self, (from, to): (usize, usize)) -> u64 {
        let is_there = |invocation: &&mut Invocation| {
            invocation.queue == from && invocation.stand == Stand::Queued
        };
        let found = self.invocations.iter_mut().filter(is_there);
        found.map(|invocation| invocation.queue = to).count() as u64
    }
}
