//! Requests that are sent again because their answer was lost: whoever names the new invocation finds it again.

use celeriac_broker::{BrokerError, InvocationId, Status};

use super::{api::Api, problem::Problem};

/// Refuses an id that was not made for this store.
pub(super) fn check_id(api: &Api, id: InvocationId) -> Result<(), Problem> {
    match api.broker.namespace().issued(id) {
        true => Ok(()),
        false => {
            let message =
                format!("the id {id} was not made for this store: `GET /v1/store` says how");
            Err(Problem::new("not_found", message))
        }
    }
}

/// The invocation that a caller has named, when it is there: then the request was made before.
pub(super) async fn made_before(api: &Api, id: InvocationId) -> Result<Option<Status>, Problem> {
    check_id(api, id)?;
    match api.broker.status(id).await {
        Ok(status) => Ok(Some(status)),
        Err(BrokerError::NotFound(_) | BrokerError::Expired(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
