//! Many invocations at once: listing them, and stopping all that a filter asks for.

use celeriac_broker::{BrokerError, CancelResult, Filter, List, Listing, SYSTEM_QUEUE, Status};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::{Client, Error};

/// Cancels under way at once: enough to hide the round trips, too few to hold others up.
const AT_ONCE: usize = 32;

/// What cancelling many has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BulkCancel {
    /// Those that the filter asked for.
    pub matched: u64,
    /// Those that had not started: they are cancelled now.
    pub cancelled: u64,
    /// Those that run: their hosts have been told.
    pub requested: u64,
    /// Those that had ended before they were reached.
    pub already_ended: u64,
}

impl BulkCancel {
    fn count(&mut self, result: Option<CancelResult>) {
        match result {
            Some(CancelResult::Cancelled) => self.cancelled += 1,
            Some(CancelResult::Requested) => self.requested += 1,
            Some(CancelResult::AlreadyEnded) | None => self.already_ended += 1,
        }
    }
}

impl Client {
    /// One page of the invocations that a filter asks for.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn list(&self, list: &List) -> Result<Listing, Error> {
        Ok(self.shared.broker.list(list).await?)
    }

    /// Every invocation that a filter asks for, page by page as they are taken from the stream.
    pub fn listing(&self, filter: Filter) -> impl Stream<Item = Result<Status, Error>> + '_ {
        let first = List {
            filter,
            cursor: None,
            limit: celeriac_broker::MAX_LISTED,
        };
        stream::try_unfold(Some(first), move |list| async move {
            let Some(mut list) = list else {
                return Ok(None);
            };
            let page = self.list(&list).await?;
            list.cursor = page.cursor;
            let next = list.cursor.is_some().then_some(list);
            Ok::<_, Error>(Some((page.invocations, next)))
        })
        .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
        .try_flatten()
    }

    /// Stops every invocation that a filter asks for and that has not ended; with `is_dry`, only counts them.
    /// `progress` hears of each page. Uploads, which wait in a queue of their own, are left alone unless the filter
    /// names that queue. What is submitted meanwhile may be met or not.
    ///
    /// # Errors
    /// `Error::Broker`; what was stopped before it stays stopped.
    pub async fn cancel_matching(
        &self,
        filter: Filter,
        is_dry: bool,
        mut progress: impl FnMut(&BulkCancel),
    ) -> Result<BulkCancel, Error> {
        let mut list = List {
            filter,
            cursor: None,
            limit: celeriac_broker::MAX_LISTED,
        };
        let mut done = BulkCancel::default();
        loop {
            list.cursor = self.cancel_some(&list, is_dry, &mut done).await?;
            progress(&done);
            if list.cursor.is_none() {
                return Ok(done);
            }
        }
    }

    /// The same of one page; what it came to, and where the next page begins.
    ///
    /// # Errors
    /// `Error::Broker`; what was stopped before it stays stopped.
    pub async fn cancel_page(
        &self,
        list: &List,
        is_dry: bool,
    ) -> Result<(BulkCancel, Option<String>), Error> {
        let mut done = BulkCancel::default();
        let cursor = self.cancel_some(list, is_dry, &mut done).await?;
        Ok((done, cursor))
    }

    async fn cancel_some(
        &self,
        list: &List,
        is_dry: bool,
        done: &mut BulkCancel,
    ) -> Result<Option<String>, Error> {
        let mut list = list.clone();
        if list.filter.states.is_empty() {
            list.filter.states = Filter::UNFINISHED.to_vec();
        }
        let spares_system = list.filter.queue.is_none();
        let mut page = self.list(&list).await?;
        page.invocations
            .retain(|status| !(spares_system && status.queue == SYSTEM_QUEUE));
        done.matched += page.invocations.len() as u64;
        if !is_dry {
            self.cancel_all(&page.invocations, done).await?;
        }
        Ok(page.cursor)
    }

    async fn cancel_all(&self, page: &[Status], done: &mut BulkCancel) -> Result<(), Error> {
        let broker = &self.shared.broker;
        let ids: Vec<_> = page.iter().map(|status| status.id).collect();
        let cancels = ids.into_iter().map(|id| async move {
            match broker.cancel(id).await {
                Ok(result) => Ok(Some(result)),
                // Its record has gone since: it had ended.
                Err(BrokerError::Expired(_) | BrokerError::NotFound(_)) => Ok(None),
                Err(error) => Err(Error::from(error)),
            }
        });
        let mut results = stream::iter(cancels).buffer_unordered(AT_ONCE);
        while let Some(result) = results.try_next().await? {
            done.count(result);
        }
        Ok(())
    }
}
