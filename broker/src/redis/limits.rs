//! The limits that operators set.

use ::redis::{Value, cmd};

use super::{
    RedisBroker, key,
    script::{GO_ON, LIMIT},
    value,
};
use crate::{BrokerError, Limit, LimitScope, Limited};

/// Scopes in one call.
const PAGE: usize = 100;

/// Sets a limit, or removes it.
pub(super) async fn set(
    broker: &RedisBroker,
    scope: &LimitScope,
    limit: Option<&Limit>,
) -> Result<(), BrokerError> {
    let limit = limit.map(|limit| limit.checked(scope)).transpose()?;
    let json = limit.map_or(Ok(String::new()), Limit::to_json)?;
    let most = limit.and_then(|limit| limit.max_queue);
    let mut call = LIMIT.call(5, 256);
    call.arg(scope.to_string())
        .arg(json)
        .arg(scope.queue().unwrap_or_default())
        .arg(most.map_or(String::new(), |most| most.to_string()))
        .arg(u8::from(limit.is_some_and(|limit| limit.holds_back())));
    broker.link.call(&call).await?;
    match scope {
        LimitScope::EachKey => all_go_on(broker).await,
        _ => Ok(()),
    }
}

/// Has everything go on that waits for any limit: those that have no room hold it back again.
async fn all_go_on(broker: &RedisBroker) -> Result<(), BrokerError> {
    let mut cursor = "0".to_owned();
    loop {
        let mut scan = cmd("SSCAN");
        scan.arg(key("waiting", ""))
            .arg(&cursor)
            .arg("COUNT")
            .arg(PAGE);
        let mut answer = value::list(broker.link.run(&scan).await?)?.into_iter();
        cursor = value::text(answer.next().unwrap_or_default()).unwrap_or_default();
        let scopes = value::list(answer.next().unwrap_or_default())?;
        for page in scopes.chunks(PAGE) {
            let mut call = GO_ON.call(page.len(), 32 * page.len());
            for scope in page {
                call.arg(value::text(scope.clone()).unwrap_or_default());
            }
            broker.link.call(&call).await?;
        }
        if cursor == "0" || cursor.is_empty() {
            return Ok(());
        }
    }
}

/// All of them, by scope.
pub(super) async fn list(broker: &RedisBroker) -> Result<Vec<Limited>, BrokerError> {
    let stored = broker
        .link
        .run(cmd("HGETALL").arg(key("limits", "")))
        .await?;
    let mut limits = Vec::new();
    for [scope, json] in value::records::<2>(value::list(stored)?) {
        let scope: LimitScope = value::text(scope).unwrap_or_default().parse()?;
        let held: Value = broker
            .link
            .run(cmd("SCARD").arg(key("held:", &scope)))
            .await?;
        limits.push(Limited {
            limit: Limit::read(&value::bytes(json).unwrap_or_default())?,
            running: value::count(&held),
            scope,
        });
    }
    limits.sort_by(|a, b| a.scope.cmp(&b.scope));
    Ok(limits)
}
