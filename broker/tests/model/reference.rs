//! The reference model: what the design says of states, in as few words as can be. It knows no storage, no order and no
//! concurrency. Times are minutes from the start of the sequence.

/// Hosts that an invocation may kill.
const MAX_CRASHES: u32 = 3;

/// Where an invocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    Scheduled { at: u32 },
    Queued,
    Running { lease: usize, until: u32 },
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

/// One invocation.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) stand: Stand,
    pub(crate) attempts: u32,
    pub(crate) crashes: u32,
    pub(crate) is_unwanted: bool,
    expires: Option<u32>,
    deadline: Option<u32>,
}

/// A lease as it was given, held or lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) invocation: usize,
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
    pub(crate) invocations: Vec<Invocation>,
    pub(crate) leases: Vec<Given>,
}

impl Invocation {
    fn new(now: u32, wish: &crate::step::Wish) -> Self {
        let at = |minutes: Option<u8>| minutes.map(|minutes| now + u32::from(minutes));
        Self {
            stand: at(wish.delay).map_or(Stand::Queued, |at| Stand::Scheduled { at }),
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
        matches!(self.stand, Stand::Scheduled { .. } | Stand::Queued)
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
            self.stand = Stand::Failed;
        } else if matches!(self.stand, Stand::Scheduled { at } if at <= now) {
            self.stand = Stand::Queued;
        }
    }

    /// Its host is dead.
    fn crash(&mut self, now: u32) {
        self.crashes += 1;
        self.stand = match self.is_unwanted {
            true => Stand::Cancelled,
            false if self.crashes >= MAX_CRASHES => Stand::Failed,
            false => Stand::Queued,
        };
        self.fall_due(now);
    }
}

impl Model {
    pub(crate) fn submit(&mut self, wish: &crate::step::Wish) {
        self.invocations.push(Invocation::new(self.now, wish));
    }

    /// Time passes.
    pub(crate) fn jump(&mut self, minutes: u8) {
        self.now += u32::from(minutes);
        self.settle_down();
    }

    /// Everything that is due is done.
    pub(crate) fn settle_down(&mut self) {
        for invocation in &mut self.invocations {
            invocation.fall_due(self.now);
        }
    }

    /// Leases that have run out are found by whoever reserves.
    pub(crate) fn reap(&mut self) {
        for invocation in &mut self.invocations {
            if matches!(invocation.stand, Stand::Running { until, .. } if until <= self.now) {
                invocation.crash(self.now);
            }
        }
    }

    /// How many can be taken.
    pub(crate) fn available(&self) -> usize {
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
        self.leases.push(Given { invocation });
        Ok((taken.attempts, taken.crashes))
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
            Stand::Failed
        };
        true
    }

    /// Whether it was held.
    pub(crate) fn retry(&mut self, lease: usize, pause: u8) -> bool {
        let (now, at) = (self.now, self.now + u32::from(pause));
        let Some(held) = self.held(lease) else {
            return false;
        };
        held.stand = match held.is_unwanted {
            true => Stand::Failed,
            false => Stand::Scheduled { at },
        };
        held.fall_due(now);
        true
    }

    pub(crate) fn release(&mut self, lease: usize) {
        let now = self.now;
        let Some(held) = self.held(lease) else { return };
        held.attempts -= 1;
        held.stand = match held.is_unwanted {
            true => Stand::Cancelled,
            false => Stand::Queued,
        };
        held.fall_due(now);
    }

    pub(crate) fn cancel(&mut self, invocation: usize) -> Cancelled {
        let invocation = &mut self.invocations[invocation];
        match invocation.stand {
            Stand::Running { .. } => {
                invocation.is_unwanted = true;
                Cancelled::Requested
            }
            _ if invocation.waits() => {
                invocation.stand = Stand::Cancelled;
                Cancelled::Now
            }
            _ => Cancelled::Ended,
        }
    }
}
