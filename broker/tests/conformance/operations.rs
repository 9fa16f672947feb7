//! What operators see.

use std::time::Duration;

use celeriac_broker::{BrokerError, HostInfo, QueueStats, Reserve, State, Verdict, When};

use super::kit::{Kit, eventually, request};

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
    tokio::time::sleep(Duration::from_millis(5)).await;
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

pub(crate) async fn a_queue_keeps_its_results_for_a_time_of_its_own(kit: Kit) {
    let moment = Duration::from_millis(50);
    kit.client
        .set_result_ttl("short", Some(moment))
        .await
        .unwrap();
    let queues = kit.client.queues().await.unwrap();
    assert_eq!(find(&queues, "short").result_ttl_ms, Some(50));
    let plain = kit.submit().await;
    let short = kit.submit_to("short").await;
    let mut submission = kit.submission("text/run");
    submission.options.queue = Some("short".to_owned());
    submission.options.result_ttl_ms = Some(3_600_000);
    let own = kit.accept(submission).await;
    let mut submission = kit.submission("text/run");
    submission.options.queue = Some("short".to_owned());
    submission.options.start = Some(When::InMs(1));
    let later = kit.accept(submission).await;
    // It is fixed when an invocation is accepted.
    kit.client.set_result_ttl("short", None).await.unwrap();
    assert_eq!(
        find(&kit.client.queues().await.unwrap(), "short").result_ttl_ms,
        None
    );
    let usual = kit.submit_to("short").await;
    let asked = Reserve {
        queues: vec!["default".to_owned(), "short".to_owned()],
        ..request()
    };
    let mut left = 5;
    while left > 0 {
        for taken in kit.reserve_until_some(asked.clone()).await {
            kit.succeed(&taken.lease).await;
            left -= 1;
        }
    }
    for gone in [short, later] {
        eventually(async || {
            let status = kit.client.status(gone).await;
            matches!(status, Err(BrokerError::Expired(_)))
        })
        .await;
    }
    for kept in [plain, own, usual] {
        assert_eq!(
            kit.client.status(kept).await.unwrap().state,
            State::Succeeded
        );
    }
    for (queue, ttl) in [("No Queue", moment), ("short", Duration::ZERO)] {
        let refused = kit.client.set_result_ttl(queue, Some(ttl)).await;
        assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
    }
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
