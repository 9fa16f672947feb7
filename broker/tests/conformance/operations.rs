//! What operators see.

use celeriac_broker::{HostInfo, QueueStats, Reserve, State, Verdict};

use super::kit::{Kit, request};

fn find(queues: &[QueueStats], queue: &str) -> QueueStats {
    queues
        .iter()
        .find(|stats| stats.queue == queue)
        .cloned()
        .unwrap_or_default()
}

pub(crate) async fn counts_queues(kit: Kit) {
    kit.submit_many(3).await;
    kit.submit_to("other").await;
    let lease = kit.take().await.lease;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let queues = kit.host.queues().await.unwrap();
    let stats = find(&queues, "default");
    assert_eq!((stats.queued, stats.running), (2, 1));
    assert!(stats.oldest_ms >= 1, "{stats:?}");
    assert_eq!(find(&queues, "other").queued, 1);
    kit.succeed(&lease).await;
    let rest = kit.take_all().await;
    assert_eq!(rest.len(), 2);
    let stats = find(&kit.host.queues().await.unwrap(), "default");
    assert_eq!((stats.queued, stats.running, stats.oldest_ms), (0, 2, 0));
    assert_eq!(stats.taken, 3);
}

fn info(request: &Reserve) -> HostInfo {
    HostInfo {
        host: request.host.clone(),
        machine: "here".to_owned(),
        pid: 7,
        queues: request.queues.clone(),
        concurrency: 4,
        ceiling: 4,
        is_draining: false,
        version: "1".to_owned(),
        started_at_ms: 5,
        running: 0,
        seen_ms_ago: 0,
    }
}

pub(crate) async fn lists_hosts_that_live(kit: Kit) {
    let asked = Reserve {
        max: 1,
        ..request()
    };
    assert!(kit.client.hosts().await.unwrap().is_empty());
    kit.host.announce(&info(&asked), false).await.unwrap();
    kit.submit().await;
    let lease = kit.host.reserve(&asked).await.unwrap().pop().unwrap().lease;
    let hosts = kit.client.hosts().await.unwrap();
    assert_eq!(hosts.len(), 1);
    assert_eq!((&hosts[0].host, hosts[0].running), (&asked.host, 1));
    assert!(hosts[0].seen_ms_ago < 10_000);
    kit.host
        .renew(&asked.host, &[lease], asked.lease)
        .await
        .unwrap();
    kit.host.announce(&info(&asked), true).await.unwrap();
    assert!(kit.client.hosts().await.unwrap().is_empty());
}

pub(crate) async fn finds_a_fresh_store_sound(kit: Kit) {
    let checks = kit.client.check().await.unwrap();
    assert!(!checks.is_empty());
    for check in checks {
        assert_ne!(check.verdict, Verdict::Bad, "{check:?}");
        assert_eq!(
            check.verdict == Verdict::Good,
            check.remedy.is_empty(),
            "{check:?}"
        );
    }
}

pub(crate) async fn the_status_follows_an_invocation(kit: Kit) {
    let id = kit.submit().await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.state, status.attempts, status.host, status.outcome),
        (State::Queued, 0, None, None)
    );
    assert_eq!(status.task.to_string(), "text/run");
    assert!(status.submitted_at_ms > 0);
    let asked = request();
    let lease = kit.host.reserve(&asked).await.unwrap().pop().unwrap().lease;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.state, status.attempts, status.host),
        (State::Running, 1, Some(asked.host))
    );
    kit.succeed(&lease).await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.state, status.attempts, status.host),
        (State::Succeeded, 1, None)
    );
    let head = status.outcome.unwrap();
    assert_eq!(
        (head.usage.fuel, head.content_type.as_deref()),
        (17, Some("application/json"))
    );
}
