//! How many bytes of partial results may wait for the broker, over all attempts of a host.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for. Also what the smallest partial result counts as: it has a lease and a place in a list.
const UNIT_BYTES: u64 = 1 << 10;

/// The room that partial results have until the broker has taken them. Without it each attempt could fill as much of the
/// host's memory as all its partial results together may have, as fast as it computes.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    room: Arc<Semaphore>,
    units: u32,
}

/// Room that is taken until this is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

impl Backlog {
    pub(crate) fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        Self {
            room: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    /// Waits for room, first come first served. What is larger than all the room waits until nothing else is there.
    pub(crate) async fn place(&self, bytes: u64) -> Option<Place> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room);
        room.acquire_many_owned(units.min(self.units)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_waits_for_it() {
        let backlog = Backlog::new(10 << 10);
        let first = backlog.place(8 << 10).await;
        let mut second = pin!(backlog.place(2 << 10));
        let is_waiting =
            poll_fn(|cx| Poll::Ready(Future::poll(second.as_mut(), cx).is_pending())).await;
        assert!(is_waiting, "9 + 3 units are more than 10");
        drop(first);
        assert!(second.await.is_some());
        assert!(
            backlog.place(1 << 30).await.is_some(),
            "as much as there is"
        );
    }
}
