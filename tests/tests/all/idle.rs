//! Nothing polls: an idle host is nearly silent, and ten thousand awaits share one connection.

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use celeriac_broker::testing::AofMode;
use celeriac_client::gather;
use celeriac_tests::{Stage, until};
use serde_json::json;

/// Commands that reach the server within `span`; those that scripts run inside it do not count.
async fn commands(stage: &Stage, span: Duration) -> Result<Vec<String>> {
    let mut monitor = stage.redis.as_ref().context("no server")?.monitor()?;
    monitor
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(100)))?;
    tokio::task::spawn_blocking(move || {
        let (until, mut seen) = (Instant::now() + span, Vec::new());
        while Instant::now() < until {
            let mut line = String::new();
            // A read that times out is a moment in which nothing came.
            if monitor.read_line(&mut line).is_ok() && !line.contains("lua]") {
                seen.push(line);
            }
        }
        Ok(seen)
    })
    .await?
}

async fn number(
    connection: &mut redis::aio::MultiplexedConnection,
    section: &str,
    name: &str,
) -> Result<u64> {
    let info: String = redis::cmd("INFO")
        .arg(section)
        .query_async(connection)
        .await?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}:")[..]))
        .context("not in INFO")?;
    Ok(line.trim().parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_host_sends_fewer_than_twenty_commands_a_minute() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let _host = stage.host(&[]).await?;
    let connection = redis::Client::open(stage.url.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    until(Duration::from_secs(20), "the host waits", || async {
        let mut connection = connection.clone();
        let clients: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query_async(&mut connection)
            .await?;
        Ok(clients.contains("cmd=bzpopmin"))
    })
    .await?;
    drop(connection);
    // The default lease of ten seconds sets the rhythm: three beats of it, doubled, make the minute.
    let sent = commands(&stage, Duration::from_secs(30)).await?;
    assert!(
        sent.len() * 2 < 20,
        "{} commands in half a minute: {sent:#?}",
        sent.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_awaits_use_one_connection_and_do_not_poll() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
    }
    let mut connection = redis::Client::open(stage.url.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    let connected = number(&mut connection, "clients", "connected_clients").await?;
    let handles = stage
        .client
        .task("basics/add")?
        .submit_all((0..10_000).map(|n| json!({"a": n, "b": 0})))
        .await?;
    let awaiting = tokio::spawn(async move { gather::<f64>(&handles).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = commands(&stage, Duration::from_secs(3)).await?;
    assert!(
        sent.is_empty(),
        "sent while ten thousand results were awaited: {sent:#?}"
    );
    let now = number(&mut connection, "clients", "connected_clients").await?;
    assert!(
        now <= connected,
        "{now} connections, {connected} before anything was awaited"
    );
    let _host = stage.host(&[]).await?;
    for (n, result) in awaiting.await?.into_iter().enumerate() {
        assert_eq!(result?, n as f64);
    }
    Ok(())
}
