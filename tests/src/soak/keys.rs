//! The keys that are left in Redis when everything has ended and expired.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::time::{Instant, sleep};

/// In front of every key.
const PREFIX: &str = "cel:{0}:";

/// What a store holds that is used and has nothing to do, by the beginning of the key, and why.
const AT_REST: &[(&str, &str)] = &[
    ("layout", "the store's own"),
    ("queues", "every queue that was ever used"),
    ("taken", "a count for each queue"),
    ("hosts", "the hosts"),
    ("hostinfo", "the hosts"),
    ("ticker", "the ticker that leads"),
    ("names", "the modules"),
    ("modules", "the modules"),
    ("m:", "the modules"),
    ("w:", "the modules"),
    ("wake:", "a marker for each queue and host"),
    ("dead", "dead letters that have expired go with the next"),
];

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Streams of replies to processes that were killed stay ten minutes.
const REPLIES_MS: i64 = 600_000;

/// Waits until only what is at rest is left; what else there is when patience is over, a line each.
pub(crate) async fn left_over(url: &str, patience: Duration) -> Result<Vec<String>> {
    let mut redis = connect(url).await?;
    let deadline = Instant::now() + patience;
    loop {
        let left = look(&mut redis).await?;
        if left.is_empty() || Instant::now() >= deadline {
            return describe(&mut redis, left).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// How many keys there are.
pub(crate) async fn count(url: &str) -> Result<u64> {
    let mut redis = connect(url).await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut redis).await?)
}

async fn connect(url: &str) -> Result<MultiplexedConnection> {
    // The library's own half a second is little on a machine where much else runs.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER))
        .set_response_timeout(Some(ANSWER));
    let client = redis::Client::open(url)?;
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    Ok(connection.await?)
}

/// The keys that are not at rest.
async fn look(redis: &mut MultiplexedConnection) -> Result<Vec<String>> {
    let (mut cursor, mut left) = (0_u64, Vec::new());
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("COUNT").arg(1000);
        let (next, keys): (u64, Vec<String>) = scan.query_async(redis).await?;
        for key in keys {
            if !is_at_rest(redis, &key).await? {
                left.push(key);
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(left);
        }
    }
}

async fn is_at_rest(redis: &mut MultiplexedConnection, key: &str) -> Result<bool> {
    let name = key.strip_prefix(PREFIX).unwrap_or(key);
    let is_listed = AT_REST.iter().any(|(kind, _)| match kind.ends_with(':') {
        true => name.starts_with(kind),
        false => name == *kind,
    });
    if is_listed || !name.starts_with("reply:") {
        return Ok(is_listed);
    }
    let ttl: i64 = redis::cmd("PTTL").arg(key).query_async(redis).await?;
    // -2: it has gone meanwhile.
    Ok(ttl == -2 || (0..=REPLIES_MS).contains(&ttl))
}

/// A line for each kind of key, with one of them as an example.
async fn describe(redis: &mut MultiplexedConnection, left: Vec<String>) -> Result<Vec<String>> {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in left {
        let name = key.strip_prefix(PREFIX).unwrap_or(&key);
        let kind = name.split(':').next().unwrap_or(name).to_owned();
        kinds.entry(kind).or_default().push(key);
    }
    let mut lines = Vec::new();
    for (kind, keys) in kinds {
        let Some(key) = keys.first() else { continue };
        let r#type: String = redis::cmd("TYPE").arg(key).query_async(redis).await?;
        let ttl: i64 = redis::cmd("PTTL").arg(key).query_async(redis).await?;
        lines.push(format!(
            "{} keys `{kind}` are left, such as {key} ({type}, PTTL {ttl})",
            keys.len()
        ));
    }
    Ok(lines)
}
