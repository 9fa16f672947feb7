//! The leases that this host holds, and how their attempts are told to stop.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use celeriac_broker::{InvocationId, Lease};
use tokio_util::sync::CancellationToken;

/// How one attempt is told to stop, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// Raised in either case.
    pub(crate) token: CancellationToken,
    is_lost: Arc<AtomicBool>,
}

impl Stop {
    /// Whether the lease is gone: nothing that the attempt came to may be written.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.token.cancel();
    }
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    stop: Stop,
    /// Whether the attempt has ended and only its outcome is still to be written.
    has_ended: bool,
}

/// The leases that this host holds: from the reservation until the outcome is written or given up.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: Mutex<HashMap<InvocationId, Entry>>,
    /// Cancels that overtook the reservation they are meant for, oldest first.
    early: Mutex<VecDeque<InvocationId>>,
}

/// Cancels remembered before their reservation arrives. The two are milliseconds apart, and what is
/// forgotten here comes with the next renewal.
const EARLY: usize = 1024;

impl Held {
    pub(crate) fn add(&self, lease: &Lease) -> Stop {
        let stop = Stop::default();
        let entry = Entry {
            lease: lease.clone(),
            stop: stop.clone(),
            has_ended: false,
        };
        if let Some(former) = self.lock().insert(lease.id, entry) {
            // This host lost the invocation and got it again: the former attempt must not go on.
            former.stop.lose();
        }
        if self.early().iter().any(|early| *early == lease.id) {
            stop.token.cancel();
        }
        stop
    }

    /// Forgets a lease, unless the invocation has been reserved anew since.
    pub(crate) fn remove(&self, lease: &Lease) {
        let mut entries = self.lock();
        if entries
            .get(&lease.id)
            .is_some_and(|entry| entry.lease == *lease)
        {
            entries.remove(&lease.id);
        }
    }

    /// Stops an attempt because somebody cancelled it.
    pub(crate) fn cancel(&self, id: InvocationId) {
        // Noted first: a reservation that is added in between then finds it.
        let mut early = self.early();
        early.push_back(id);
        if early.len() > EARLY {
            early.pop_front();
        }
        drop(early);
        if let Some(entry) = self.lock().get(&id) {
            entry.stop.token.cancel();
        }
    }

    /// Stops an attempt because its lease is gone.
    pub(crate) fn lose(&self, id: InvocationId) {
        if let Some(entry) = self.lock().remove(&id) {
            entry.stop.lose();
        }
    }

    /// Stops an attempt that a renewal found without its lease, and says whether there was one to stop. One that
    /// has ended is none: its outcome may have been written while the renewal was on its way, and if not, the
    /// broker refuses it.
    pub(crate) fn lose_running(&self, lease: &Lease) -> bool {
        let mut entries = self.lock();
        let runs = |entry: &Entry| entry.lease == *lease && !entry.has_ended;
        if !entries.get(&lease.id).is_some_and(runs) {
            return false;
        }
        if let Some(entry) = entries.remove(&lease.id) {
            entry.stop.lose();
        }
        true
    }

    /// Notes that an attempt has ended: its lease is kept until the outcome is written.
    pub(crate) fn end(&self, lease: &Lease) {
        if let Some(entry) = self.lock().get_mut(&lease.id) {
            entry.has_ended |= entry.lease == *lease;
        }
    }

    /// Takes the lease of every attempt that has not ended, stopping it, to give them back.
    pub(crate) fn take_unfinished(&self) -> Vec<Lease> {
        let unfinished = self
            .lock()
            .extract_if(|_, entry| !entry.has_ended)
            .collect::<Vec<_>>();
        let stopped = unfinished.into_iter().map(|(_, entry)| {
            entry.stop.lose();
            entry.lease
        });
        stopped.collect()
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lock()
            .values()
            .map(|entry| entry.lease.clone())
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn early(&self) -> MutexGuard<'_, VecDeque<InvocationId>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InvocationId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use celeriac_broker::Namespace;

    use super::*;

    fn lease(id: InvocationId, token: &str) -> Lease {
        Lease {
            id,
            token: token.to_owned().into(),
        }
    }

    #[test]
    fn a_lease_that_is_held_again_stops_the_former_attempt_and_outlives_its_end() {
        let held = Held::default();
        let id = Namespace::generate().issue(0);
        let (first, second) = (lease(id, "h.1"), lease(id, "h.2"));
        let stop = held.add(&first);
        let again = held.add(&second);
        assert!(stop.is_lost() && stop.token.is_cancelled());
        held.remove(&first);
        assert_eq!(held.leases(), [second]);
        held.cancel(id);
        assert!(again.token.is_cancelled() && !again.is_lost());
        held.lose(id);
        assert!(again.is_lost() && held.len() == 0);
    }

    #[test]
    fn a_renewal_that_crosses_an_outcome_or_a_new_lease_stops_nothing() {
        let held = Held::default();
        let id = Namespace::generate().issue(0);
        let (first, second) = (lease(id, "h.1"), lease(id, "h.2"));
        let stop = held.add(&second);
        assert!(!held.lose_running(&first) && !stop.is_lost());
        held.end(&second);
        assert!(!held.lose_running(&second) && !stop.is_lost());
        assert_eq!(held.leases(), [second], "kept until the outcome is written");
        let running = lease(Namespace::generate().issue(0), "h.3");
        let stop = held.add(&running);
        assert!(held.lose_running(&running) && stop.is_lost());
    }

    #[test]
    fn a_cancel_that_overtakes_the_reservation_is_not_lost() {
        let held = Held::default();
        let id = Namespace::generate().issue(0);
        held.cancel(id);
        assert!(held.add(&lease(id, "h.1")).token.is_cancelled());
        let other = held.add(&lease(Namespace::generate().issue(0), "h.1"));
        assert!(!other.token.is_cancelled());
    }
}
