//! The limits that operators set.

use ::redis::cmd;

use super::{RedisBroker, key, script::LIMIT, value};
use crate::{BrokerError, Limit, LimitScope, Limited};

/// Sets a limit, or removes it.
pub(super) async fn set(
    broker: &RedisBroker,
    scope: &LimitScope,
    limit: Option<&Limit>,
) -> Result<(), BrokerError> {
    let LimitScope::Queue(queue) = scope;
    let json = limit.map_or(Ok(String::new()), |limit| limit.to_json())?;
    let most = limit.and_then(|limit| limit.max_queue);
    let mut call = LIMIT.call(4, 256);
    call.arg(scope.to_string())
        .arg(json)
        .arg(queue)
        .arg(most.map_or(String::new(), |most| most.to_string()));
    broker.link.call(&call).await?;
    Ok(())
}

/// All of them, by scope.
pub(super) async fn list(broker: &RedisBroker) -> Result<Vec<Limited>, BrokerError> {
    let stored = broker
        .link
        .run(cmd("HGETALL").arg(key("limits", "")))
        .await?;
    let mut limits = Vec::new();
    for [scope, json] in value::records::<2>(value::list(stored)?) {
        limits.push(Limited {
            scope: value::text(scope).unwrap_or_default().parse()?,
            limit: Limit::read(&value::bytes(json).unwrap_or_default())?,
        });
    }
    limits.sort_by(|a, b| a.scope.cmp(&b.scope));
    Ok(limits)
}
