//! What operators see: queues and hosts.

use std::{collections::HashMap, time::Duration};

use ::redis::cmd;

use super::{
    RedisBroker, key,
    script::{ANNOUNCE, QUEUE, RUNNING},
    ttl_ms,
    value::{self, damaged},
};
use crate::{BrokerError, HostInfo, QueueStats, broker::check_result_ttl};

/// A host that is silent for longer does not live: it reserves or renews every ten seconds.
const ALIVE: Duration = Duration::from_secs(30);

/// A host that is silent for longer is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Leases counted in one call.
const PAGE: u64 = 1000;

/// What runs, by queue and by host.
type Running = (HashMap<String, u64>, HashMap<String, u64>);

/// Makes a host known, or known no more.
pub(super) async fn announce(
    broker: &RedisBroker,
    host: &HostInfo,
    is_leaving: bool,
) -> Result<(), BrokerError> {
    let info = match is_leaving {
        true => String::new(),
        false => {
            serde_json::to_string(host).map_err(|error| damaged("a host", error.to_string()))?
        }
    };
    let mut call = ANNOUNCE.call(3, 512);
    call.arg(host.host.as_str())
        .arg(info)
        .arg(FORGOTTEN.as_millis() as u64);
    broker.link.call(&call).await?;
    Ok(())
}

/// Each queue that was ever used.
pub(super) async fn queues(broker: &RedisBroker) -> Result<Vec<QueueStats>, BrokerError> {
    let names = value::list(
        broker
            .link
            .run(cmd("SMEMBERS").arg(key("queues", "")))
            .await?,
    )?;
    let mut names: Vec<String> = names.into_iter().filter_map(value::text).collect();
    names.sort();
    let (running, _) = running(broker).await?;
    let ttls = result_ttls(broker).await?;
    let mut stats = Vec::with_capacity(names.len());
    for queue in names {
        let mut call = QUEUE.call(1, 64);
        call.arg(&queue);
        let mut counts = value::list(broker.link.call(&call).await?)?.into_iter();
        stats.push(QueueStats {
            queued: counts.next().map_or(0, |queued| value::count(&queued)),
            running: running.get(&queue).copied().unwrap_or(0),
            oldest_ms: counts.next().map_or(0, |oldest| value::count(&oldest)),
            scheduled: counts
                .next()
                .map_or(0, |scheduled| value::count(&scheduled)),
            blocked: counts.next().map_or(0, |blocked| value::count(&blocked)),
            taken: counts.next().map_or(0, |taken| value::count(&taken)),
            result_ttl_ms: ttls.get(&queue).copied(),
            queue,
        });
    }
    Ok(stats)
}

/// The queues that keep results for a time of their own.
async fn result_ttls(broker: &RedisBroker) -> Result<HashMap<String, u64>, BrokerError> {
    let all = broker
        .link
        .run(cmd("HGETALL").arg(key("retention", "")))
        .await?;
    let all = value::records::<2>(value::list(all)?);
    Ok(all
        .filter_map(|[queue, ttl]| Some((value::text(queue)?, value::count(&ttl))))
        .collect())
}

/// Sets how long a queue keeps results, and makes the queue known.
pub(super) async fn set_result_ttl(
    broker: &RedisBroker,
    queue: &str,
    ttl: Option<Duration>,
) -> Result<(), BrokerError> {
    let write = match check_result_ttl(queue, ttl)? {
        None => {
            let mut remove = cmd("HDEL");
            remove.arg(key("retention", "")).arg(queue);
            remove
        }
        Some(ms) => {
            let known = key("queues", "");
            broker.link.run(cmd("SADD").arg(known).arg(queue)).await?;
            let mut set = cmd("HSET");
            set.arg(key("retention", "")).arg(queue).arg(ttl_ms(ms));
            set
        }
    };
    broker.link.run(&write).await.map(drop)
}

/// Counted from the leases, page by page: there is no second index that could disagree.
async fn running(broker: &RedisBroker) -> Result<Running, BrokerError> {
    let (mut queues, mut hosts) = Running::default();
    let mut first = 0;
    loop {
        let mut call = RUNNING.call(2, 32);
        call.arg(first).arg(PAGE);
        let mut page = value::list(broker.link.call(&call).await?)?.into_iter();
        let seen = page.next().map_or(0, |seen| value::count(&seen));
        for counts in [&mut queues, &mut hosts] {
            for [name, count] in value::records::<2>(value::list(page.next().unwrap_or_default())?)
            {
                *counts
                    .entry(value::text(name).unwrap_or_default())
                    .or_default() += value::count(&count);
            }
        }
        first += PAGE;
        if seen < PAGE {
            return Ok((queues, hosts));
        }
    }
}

/// Each host that lives.
pub(super) async fn hosts(broker: &RedisBroker) -> Result<Vec<HostInfo>, BrokerError> {
    let now = now_ms(broker).await?;
    let alive = now.saturating_sub(ALIVE.as_millis() as u64);
    let mut seen = cmd("ZRANGE");
    seen.arg(key("hosts", ""))
        .arg(alive)
        .arg("+inf")
        .arg("BYSCORE")
        .arg("WITHSCORES");
    let seen = value::list(broker.link.run(&seen).await?)?;
    let (_, running) = running(broker).await?;
    let mut hosts = Vec::new();
    for [host, at] in value::records::<2>(seen) {
        let name = value::text(host).unwrap_or_default();
        let info = broker
            .link
            .run(cmd("HGET").arg(key("hostinfo", "")).arg(&name))
            .await?;
        let Some(info) = value::bytes(info) else {
            continue;
        };
        let info: HostInfo = serde_json::from_slice(&info)
            .map_err(|error| damaged(format!("host {name}"), error.to_string()))?;
        hosts.push(HostInfo {
            running: running.get(&name).copied().unwrap_or(0),
            seen_ms_ago: now.saturating_sub(value::count(&at)),
            ..info
        });
    }
    Ok(hosts)
}

pub(super) async fn now_ms(broker: &RedisBroker) -> Result<u64, BrokerError> {
    let time = value::list(broker.link.run(&cmd("TIME")).await?)?;
    match time.as_slice() {
        [seconds, micros] => Ok(value::count(seconds) * 1000 + value::count(micros) / 1000),
        _ => Err(damaged("an answer of Redis", "TIME is not two numbers")),
    }
}
