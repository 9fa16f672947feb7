//! Sends what attempts report to the broker, in order and in batches.

use std::{collections::HashMap, sync::Arc};

use celeriac_broker::{Broker, BrokerError, EventKind, Lease};
use tokio::sync::{mpsc, oneshot};

use super::{backlog::Place, held::Held};

/// What a recorder is sent.
#[derive(Debug)]
pub(crate) enum Report {
    /// An attempt reported something. The room that it takes is given back once the broker has it.
    Event(Lease, EventKind, Option<Place>),
    /// Answer when everything before this has been recorded.
    Flush(oneshot::Sender<()>),
}

/// Reports taken at once: while one request is under way, the next fills.
const MAX_BATCH: usize = 512;

/// Sends what attempts report to the broker until every sender is gone.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) held: Arc<Held>,
}

impl Recorder {
    pub(crate) async fn run(self, mut reports: mpsc::UnboundedReceiver<Report>) {
        let mut batch = Vec::new();
        while reports.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let Sorted {
                events,
                places,
                flushes,
            } = Sorted::sort(batch.drain(..));
            for (lease, events) in events {
                self.record(&lease, events).await;
            }
            drop(places);
            for flushed in flushes {
                // An attempt that no longer waits needs no answer.
                let _ = flushed.send(());
            }
        }
    }

    /// Reports are worth less than outcomes: while the broker does not answer they are dropped, and said to be.
    async fn record(&self, lease: &Lease, events: Vec<EventKind>) {
        let count = events.len();
        match self.broker.record(lease, events).await {
            Ok(()) => {}
            Err(BrokerError::StaleLease(id)) => self.held.lose(id),
            Err(error) => {
                tracing::warn!(invocation = %lease.id, %error, count, "reports of a task were dropped")
            }
        }
    }
}

/// What was taken at once.
#[derive(Default)]
struct Sorted {
    /// Reports by attempt, in their order.
    events: HashMap<Lease, Vec<EventKind>>,
    places: Vec<Place>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Sorted {
    /// Groups reports by attempt. Of progress that would be sent in one request, only the latest counts.
    fn sort(batch: impl Iterator<Item = Report>) -> Self {
        let mut sorted = Self::default();
        for report in batch {
            match report {
                Report::Event(lease, event, place) => {
                    sorted.places.extend(place);
                    let events = sorted.events.entry(lease).or_default();
                    match (events.last_mut(), event) {
                        (Some(last @ EventKind::Progress(_)), event @ EventKind::Progress(_)) => {
                            *last = event
                        }
                        (_, event) => events.push(event),
                    }
                }
                Report::Flush(flushed) => sorted.flushes.push(flushed),
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use celeriac_broker::{Namespace, Payload, Progress};

    use super::*;

    #[test]
    fn keeps_the_latest_progress_and_the_order_of_the_rest() {
        let lease = Lease {
            id: Namespace::generate().issue(0),
            token: "h.1".to_owned().into(),
        };
        let progress = |done| {
            EventKind::Progress(Progress {
                done,
                ..Progress::default()
            })
        };
        let chunk = EventKind::Chunk(Payload::json_text("1"));
        let reports = [progress(1.0), progress(2.0), chunk.clone(), progress(3.0)];
        let reports = reports.map(|event| Report::Event(lease.clone(), event, None));
        let sorted = Sorted::sort(reports.into_iter());
        assert_eq!(sorted.events[&lease], [progress(2.0), chunk, progress(3.0)]);
        assert!(sorted.flushes.is_empty());
    }
}
