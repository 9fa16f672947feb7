//! Holding leases: renewing them, giving them back, and hearing what must stop.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    CHUNK, REPLY_CAP, RedisBroker, key, reply_ttl_ms,
    script::{RELEASE, RENEW},
    subscriptions::Notice,
    value,
};
use crate::{BrokerError, Control, HostId, Lease, Renewed};

/// Controls that may wait for the host to read them. A cancel that is lost is found by the next renewal.
const CONTROLS: usize = 1024;

/// Prolongs leases.
pub(super) async fn renew(
    broker: &RedisBroker,
    host: &HostId,
    leases: &[Lease],
    lease: Duration,
) -> Result<Renewed, BrokerError> {
    let mut renewed = Renewed::default();
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX >> 16);
    // Time for two more tries before the leases run out.
    let limit = (lease / 4).max(Duration::from_millis(100));
    // Without leases too: the host lives.
    let none: &[Lease] = &[];
    let chunks = leases
        .chunks(CHUNK)
        .chain(leases.is_empty().then_some(none));
    for chunk in chunks {
        let mut call = RENEW.call(2 + 2 * chunk.len(), 128 * chunk.len());
        call.arg(host.as_str()).arg(lease_ms);
        for lease in chunk {
            call.arg(lease.id.to_string()).arg(lease.token.as_str());
        }
        let mut lists = value::list(broker.link.call_within(limit, &call).await?)?.into_iter();
        for id in value::list(lists.next().unwrap_or_default())? {
            renewed.lost.push(value::id(id)?);
        }
        for id in value::list(lists.next().unwrap_or_default())? {
            renewed.cancelled.push(value::id(id)?);
        }
    }
    Ok(renewed)
}

/// Gives invocations back, so that the first of `leases` is the next to be taken.
pub(super) async fn release(broker: &RedisBroker, leases: &[Lease]) -> Result<(), BrokerError> {
    // Backwards, because each chunk goes before what is there.
    for chunk in leases.rchunks(CHUNK) {
        let mut call = RELEASE.call(4 + 2 * chunk.len(), 128 * chunk.len());
        call.arg(&broker.heads.cancelled)
            .arg(broker.retention())
            .arg(reply_ttl_ms())
            .arg(REPLY_CAP);
        for lease in chunk {
            call.arg(lease.id.to_string()).arg(lease.token.as_str());
        }
        broker.link.call(&call).await?;
    }
    Ok(())
}

/// What is published for one host.
pub(super) async fn controls(
    broker: &RedisBroker,
    host: &HostId,
) -> Result<mpsc::Receiver<Control>, BrokerError> {
    let mut notices = broker
        .subscriptions
        .subscribe(key("host:", host), CONTROLS)
        .await?;
    let (sender, receiver) = mpsc::channel(CONTROLS);
    tokio::spawn(async move {
        loop {
            let notice = tokio::select! {
                notice = notices.next() => notice,
                () = sender.closed() => None,
            };
            let control = match notice {
                Some(Notice::Reconnected) => Some(Control::Reconnected),
                Some(Notice::Message(word)) => String::from_utf8(word)
                    .ok()
                    .and_then(|word| word.parse().ok()),
                None => return,
            };
            if let Some(control) = control
                && sender.send(control).await.is_err()
            {
                return;
            }
        }
    });
    Ok(receiver)
}
