//! What is paused, and what operators tell hosts.

use std::collections::BTreeMap;

use ::redis::cmd;

use super::{
    RedisBroker, key,
    script::{PAUSE, RESUME},
    value,
};
use crate::{BrokerError, Control, HostId, Pausable, Paused};

/// Pauses; whether it was not paused already.
pub(super) async fn pause(broker: &RedisBroker, what: &Pausable) -> Result<bool, BrokerError> {
    what.check()?;
    let mut call = PAUSE.call(1, 64);
    call.arg(what.to_string());
    Ok(value::count(&broker.link.call(&call).await?) > 0)
}

/// Ends a pause; whether it was paused.
pub(super) async fn resume(broker: &RedisBroker, what: &Pausable) -> Result<bool, BrokerError> {
    let mut call = RESUME.call(1, 64);
    call.arg(what.to_string());
    Ok(value::count(&broker.link.call(&call).await?) > 0)
}

/// Everything that is paused, in order.
pub(super) async fn paused(broker: &RedisBroker) -> Result<Vec<Paused>, BrokerError> {
    let all = broker
        .link
        .run(cmd("HGETALL").arg(key("paused", "")))
        .await?;
    let all = match all {
        ::redis::Value::Map(pairs) => pairs,
        list => value::records::<2>(value::list(list)?)
            .map(|[name, since]| (name, since))
            .collect(),
    };
    let mut paused = BTreeMap::new();
    for (name, since) in all {
        let what: Pausable = value::text(name).unwrap_or_default().parse()?;
        paused.insert(what, value::count(&since));
    }
    let paused = paused.into_iter();
    Ok(paused
        .map(|(what, since_ms)| Paused { what, since_ms })
        .collect())
}

/// Tells a host something; whether it hears.
pub(super) async fn tell(
    broker: &RedisBroker,
    host: &HostId,
    word: Control,
) -> Result<bool, BrokerError> {
    let mut publish = cmd("PUBLISH");
    publish.arg(key("host:", host)).arg(word.to_string());
    Ok(value::count(&broker.link.run(&publish).await?) > 0)
}
