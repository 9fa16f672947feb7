//! Dead letters: what has failed for good, to be looked at, retried or dropped.

use celeriac_broker::{
    DeadFilter, DeadLetter, DeadList, DeadPage, InvocationId, MAX_LISTED, Request, Retry,
};

use crate::{Client, Error};

/// What retrying many dead letters has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BulkDead {
    /// Those that the filter asked for.
    pub matched: u64,
    /// Those that were retried or dropped.
    pub done: u64,
    /// Those that could not be retried, such as for want of their module: they stay.
    pub refused: u64,
}

impl Client {
    /// One page of dead letters, newest first.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn dead_letters(&self, list: &DeadList) -> Result<DeadPage, Error> {
        Ok(self.shared.broker.dead_letters(list).await?)
    }

    /// One dead letter; none when the invocation is none, or no longer.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn dead_letter(&self, id: InvocationId) -> Result<Option<DeadLetter>, Error> {
        Ok(self.shared.broker.dead_letter(id).await?)
    }

    /// What was handed in with an invocation that has not succeeded.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn request(&self, id: InvocationId) -> Result<Request, Error> {
        Ok(self.shared.broker.request(id).await?)
    }

    /// Hands in a dead letter once more, as a new invocation that refers to it and takes its place; the id of that. None when there
    /// is no such dead letter, or no longer. A retry that is repeated because its answer was lost is the same retry.
    ///
    /// # Errors
    /// `Error::Broker`: what cannot be submitted stays a dead letter, be it that its input refers to the output of an
    /// invocation that is gone, or that another holds its unique key.
    pub async fn retry_dead_letter(
        &self,
        id: InvocationId,
        retry: Retry,
    ) -> Result<Option<InvocationId>, Error> {
        let fresh = self.shared.broker.namespace().issue(0);
        self.retry_dead_letter_as(id, fresh, retry).await
    }

    /// The same, as the invocation `fresh`: an id made for this store that no invocation has. An earlier retry that was not
    /// brought to its end is ended instead, and the answer is its id.
    ///
    /// # Errors
    /// `Error::Broker`: what cannot be submitted stays a dead letter.
    pub async fn retry_dead_letter_as(
        &self,
        id: InvocationId,
        fresh: InvocationId,
        retry: Retry,
    ) -> Result<Option<InvocationId>, Error> {
        let broker = &self.shared.broker;
        let Some(submission) = retry.claim(broker.as_ref(), id, fresh).await? else {
            return Ok(None);
        };
        let answer = match self.shared.submitter.submit(submission.clone()).await {
            Ok(id) => Ok(id),
            Err(Error::Broker(error)) => Err(error),
            Err(other) => return Err(other),
        };
        let successor = Retry::accepted(&submission, answer)?;
        broker.drop_dead_letters(&[id]).await?;
        Ok(Some(successor))
    }

    /// Drops dead letters; how many of these there were.
    ///
    /// # Errors
    /// `Error::Broker`.
    pub async fn drop_dead_letters(&self, ids: &[InvocationId]) -> Result<u64, Error> {
        Ok(self.shared.broker.drop_dead_letters(ids).await?)
    }

    /// Retries every dead letter that a filter asks for; `progress` hears of each page.
    ///
    /// # Errors
    /// `Error::Broker` when the broker does not answer; what was retried before stays so.
    pub async fn retry_dead_letters(
        &self,
        filter: DeadFilter,
        is_latest: bool,
        mut progress: impl FnMut(&BulkDead),
    ) -> Result<BulkDead, Error> {
        let mut all = BulkDead::default();
        let mut list = first(filter);
        loop {
            list.cursor = self.retry_page(&list, is_latest, &mut all).await?;
            progress(&all);
            if list.cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Retries the dead letters of one page; what it came to, and where the next page begins.
    ///
    /// # Errors
    /// `Error::Broker` when the broker does not answer; what was retried before stays so.
    pub async fn retry_dead_page(
        &self,
        list: &DeadList,
        is_latest: bool,
    ) -> Result<(BulkDead, Option<String>), Error> {
        let mut all = BulkDead::default();
        let cursor = self.retry_page(list, is_latest, &mut all).await?;
        Ok((all, cursor))
    }

    async fn retry_page(
        &self,
        list: &DeadList,
        is_latest: bool,
        all: &mut BulkDead,
    ) -> Result<Option<String>, Error> {
        let page = self.dead_letters(list).await?;
        for letter in &page.letters {
            let retry = Retry {
                input: None,
                is_latest,
            };
            all.matched += 1;
            match self.retry_dead_letter(letter.status.id, retry).await {
                Ok(successor) => all.done += u64::from(successor.is_some()),
                Err(Error::Broker(error)) if !error.is_transient() => all.refused += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(page.cursor)
    }

    /// Drops every dead letter that a filter asks for; `progress` hears of each page.
    ///
    /// # Errors
    /// `Error::Broker`; what was dropped before is gone.
    pub async fn drop_all_dead_letters(
        &self,
        filter: DeadFilter,
        mut progress: impl FnMut(&BulkDead),
    ) -> Result<BulkDead, Error> {
        let mut all = BulkDead::default();
        let mut list = first(filter);
        loop {
            let page = self.dead_letters(&list).await?;
            let ids: Vec<_> = page.letters.iter().map(|letter| letter.status.id).collect();
            all.matched += ids.len() as u64;
            all.done += self.drop_dead_letters(&ids).await?;
            progress(&all);
            list.cursor = page.cursor;
            if list.cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

fn first(filter: DeadFilter) -> DeadList {
    DeadList {
        filter,
        cursor: None,
        limit: MAX_LISTED,
    }
}
