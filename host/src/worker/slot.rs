//! The slot of the pool that an attempt runs in, and how it makes room for those that it waits for.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of one attempt. All of them go when it has ended.
#[derive(Debug)]
pub(crate) struct Slot {
    permits: Mutex<Permits>,
    /// For those that wait for others.
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
struct Permits {
    /// One of the host's concurrency; given back when the attempt first waits.
    running: Option<OwnedSemaphorePermit>,
    /// Taken instead, and kept to the end: its instance stays in the pool.
    aside: Option<OwnedSemaphorePermit>,
}

impl Slot {
    pub(crate) fn new(running: OwnedSemaphorePermit, waiting: Arc<Semaphore>) -> Arc<Self> {
        let permits = Permits {
            running: Some(running),
            aside: None,
        };
        Arc::new(Self {
            permits: Mutex::new(permits),
            waiting,
        })
    }

    /// Makes room for those that this attempt waits for. False when as many wait already as may: then it must not wait,
    /// as nobody might be left to run what is waited for.
    pub(crate) fn step_aside(&self) -> bool {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        if permits.aside.is_none() {
            let Ok(aside) = self.waiting.clone().try_acquire_owned() else {
                return false;
            };
            permits.aside = Some(aside);
            permits.running = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_waits_makes_room_once_and_gives_all_back_in_the_end() {
        let (slots, waiting) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(1)));
        let take = || slots.clone().try_acquire_owned().unwrap();
        let (first, second) = (
            Slot::new(take(), waiting.clone()),
            Slot::new(take(), waiting.clone()),
        );
        assert!(first.step_aside() && first.step_aside());
        assert_eq!(
            (slots.available_permits(), waiting.available_permits()),
            (1, 0)
        );
        assert!(!second.step_aside());
        assert_eq!(slots.available_permits(), 1);
        drop(first);
        assert!(second.step_aside());
        assert_eq!(slots.available_permits(), 2);
        drop(second);
        assert_eq!(
            (slots.available_permits(), waiting.available_permits()),
            (2, 1)
        );
    }
}
