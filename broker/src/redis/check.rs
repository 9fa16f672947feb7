//! Whether the server is set up so that nothing gets lost.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::redis::cmd;

use super::{LAYOUT_VERSION, RedisBroker, value};
use crate::{BrokerError, Check, Verdict};

/// The oldest Redis that has everything the scripts use. Valkey, which began at 7.2, reports it too.
const OLDEST: (u32, u32) = (7, 0);

/// Clocks further apart than this are not both set by NTP.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// Everything that is checked.
pub(super) async fn check(broker: &RedisBroker) -> Result<Vec<Check>, BrokerError> {
    let info = info(broker).await?;
    Ok(vec![
        version(&info),
        policy(broker, &info).await,
        persistence(&info),
        clock(&info),
        Check {
            name: "layout".to_owned(),
            // Another layout is refused at connect.
            verdict: Verdict::Good,
            found: format!(
                "layout {LAYOUT_VERSION}, {} partition",
                broker.namespace.partitions
            ),
            remedy: String::new(),
        },
    ])
}

/// `INFO` as it is understood by managed servers too, which often refuse `CONFIG`.
async fn info(broker: &RedisBroker) -> Result<HashMap<String, String>, BrokerError> {
    let text = value::text(broker.link.run(&cmd("INFO")).await?).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

fn field<'a>(info: &'a HashMap<String, String>, name: &str) -> &'a str {
    info.get(name).map_or("", String::as_str)
}

fn version(info: &HashMap<String, String>) -> Check {
    let version = field(info, "redis_version");
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let product = match field(info, "valkey_version") {
        "" => format!("Redis {version}"),
        valkey => format!("Valkey {valkey}"),
    };
    let is_new = number >= OLDEST;
    Check {
        name: "version".to_owned(),
        verdict: if is_new { Verdict::Good } else { Verdict::Bad },
        found: product,
        remedy: match is_new {
            true => String::new(),
            false => format!(
                "upgrade the server to Redis {}.{} or later, or to Valkey",
                OLDEST.0, OLDEST.1
            ),
        },
    }
}

async fn policy(broker: &RedisBroker, info: &HashMap<String, String>) -> Check {
    let mut policy = field(info, "maxmemory_policy").to_owned();
    if policy.is_empty() {
        // Some servers leave it out of INFO and others refuse CONFIG: no answer is a warning.
        let answer = broker
            .link
            .run(cmd("CONFIG").arg("GET").arg("maxmemory-policy"))
            .await;
        let values = answer.and_then(value::list).unwrap_or_default();
        policy = values
            .into_iter()
            .nth(1)
            .and_then(value::text)
            .unwrap_or_default();
    }
    let (verdict, found) = match policy.as_str() {
        "noeviction" => (Verdict::Good, "noeviction".to_owned()),
        "" => (
            Verdict::Warning,
            "the server does not tell its maxmemory-policy".to_owned(),
        ),
        other => (
            Verdict::Bad,
            format!(
                "maxmemory-policy is {other}: under memory pressure the server would delete invocations"
            ),
        ),
    };
    Check {
        name: "eviction".to_owned(),
        verdict,
        found,
        remedy: match verdict {
            Verdict::Good => String::new(),
            _ => "set `maxmemory-policy noeviction` in redis.conf, or `redis-cli CONFIG SET maxmemory-policy noeviction`".to_owned(),
        },
    }
}

/// Leases and times go by the server's clock alone; a difference only misleads people and dates ids wrongly.
fn clock(info: &HashMap<String, String>) -> Check {
    let here = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let there = field(info, "server_time_usec")
        .parse()
        .map(Duration::from_micros);
    let (verdict, found) = match there {
        Ok(there) if there.abs_diff(here) <= CLOCK_TOLERANCE => (
            Verdict::Good,
            format!("{} ms apart", there.abs_diff(here).as_millis()),
        ),
        Ok(there) => {
            let apart = there.abs_diff(here).as_secs();
            (
                Verdict::Warning,
                format!("the server's clock and this machine's are {apart} s apart"),
            )
        }
        Err(_) => (
            Verdict::Warning,
            "the server does not tell its time".to_owned(),
        ),
    };
    Check {
        name: "broker clock".to_owned(),
        verdict,
        found,
        remedy: match verdict {
            Verdict::Good => String::new(),
            _ => "let NTP set both clocks: ids and the ages that are shown go by them".to_owned(),
        },
    }
}

fn persistence(info: &HashMap<String, String>) -> Check {
    let has_aof = field(info, "aof_enabled") == "1";
    let replicas = field(info, "connected_slaves").parse::<u32>().unwrap_or(0);
    let is_safe = has_aof || replicas > 0;
    let found = match (has_aof, replicas) {
        (true, 0) => "append-only file".to_owned(),
        (true, n) => format!("append-only file and {n} replicas"),
        (false, 0) => "neither append-only file nor replicas".to_owned(),
        (false, n) => format!("{n} replicas"),
    };
    Check {
        name: "persistence".to_owned(),
        verdict: if is_safe { Verdict::Good } else { Verdict::Warning },
        found,
        remedy: match is_safe {
            true => String::new(),
            false => "a restart of the server loses what is queued: set `appendonly yes`, or add a replica".to_owned(),
        },
    }
}
