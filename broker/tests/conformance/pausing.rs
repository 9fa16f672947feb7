//! Pausing queues, tasks and hosts, and telling hosts what to do.

use std::time::Duration;

use celeriac_broker::{
    BrokerError, Control, HostId, HostInfo, InvocationId, Limit, Pausable, Priority, Reserve,
    State, When,
};

use super::kit::{Kit, eventually, request, within};

fn queue(name: &str) -> Pausable {
    Pausable::Queue(name.to_owned())
}

fn now(host: &HostId) -> Reserve {
    Reserve {
        host: host.clone(),
        wait: Duration::ZERO,
        ..request()
    }
}

/// Makes a host known, as one that runs is.
async fn announce(kit: &Kit, asked: &Reserve) {
    let info = HostInfo {
        host: asked.host.clone(),
        machine: "here".to_owned(),
        pid: 7,
        queues: asked.queues.clone(),
        concurrency: 4,
        ceiling: 4,
        is_draining: false,
        version: "1".to_owned(),
        started_at_ms: 5,
        running: 0,
        seen_ms_ago: 0,
    };
    kit.host.announce(&info, false).await.unwrap();
}

pub(crate) async fn nothing_is_taken_from_a_paused_queue(kit: Kit) {
    let running = kit.submit().await;
    let lease = kit.take().await.lease;
    assert!(kit.client.pause(&queue("default")).await.unwrap());
    assert!(!kit.client.pause(&queue("default")).await.unwrap());
    let waits = kit.submit().await;
    assert!(kit.take_all().await.is_empty());
    // What runs goes on to its end, and what waits can be cancelled.
    kit.succeed(&lease).await;
    assert_eq!(
        kit.client.status(running).await.unwrap().state,
        State::Succeeded
    );
    let doomed = kit.submit().await;
    kit.client.cancel(doomed).await.unwrap();
    assert!(kit.client.resume(&queue("default")).await.unwrap());
    assert!(!kit.client.resume(&queue("default")).await.unwrap());
    assert_eq!(kit.take_all().await, [waits]);
    let refused = kit.client.pause(&queue("No Queue")).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

pub(crate) async fn a_paused_queue_wakes_nobody_and_a_resume_wakes_at_once(kit: Kit) {
    let asked = Reserve {
        queues: vec!["default".to_owned(), "other".to_owned()],
        ..request()
    };
    announce(&kit, &asked).await;
    kit.client.pause(&queue("default")).await.unwrap();
    // The host learns of the pause with a look of its own.
    assert!(
        kit.host
            .reserve(&now(&asked.host))
            .await
            .unwrap()
            .is_empty()
    );
    let waiting = tokio::spawn({
        let (host, asked) = (kit.host.clone(), asked.clone());
        async move {
            loop {
                let reserved = host.reserve(&asked).await.unwrap();
                if !reserved.is_empty() {
                    return reserved;
                }
            }
        }
    });
    let paused = kit.submit().await;
    // What is submitted to the other queue is taken while this one waits.
    let other = kit.submit_to("other").await;
    let taken = within(waiting).await.unwrap();
    assert_eq!(
        taken.iter().map(|taken| taken.lease.id).collect::<Vec<_>>(),
        [other]
    );
    assert_eq!(
        kit.client.status(paused).await.unwrap().state,
        State::Queued
    );
    let waiting = tokio::spawn({
        let (host, asked) = (kit.host.clone(), asked.clone());
        async move {
            loop {
                let reserved = host.reserve(&asked).await.unwrap();
                if !reserved.is_empty() {
                    return reserved;
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let begun = std::time::Instant::now();
    kit.client.resume(&queue("default")).await.unwrap();
    assert_eq!(within(waiting).await.unwrap()[0].lease.id, paused);
    // No wait of ten seconds had to run out for it.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

pub(crate) async fn a_paused_host_takes_nothing_and_others_go_on(kit: Kit) {
    let (idle, busy) = (request().host, request().host);
    let what = Pausable::Host(idle.clone());
    kit.client.pause(&what).await.unwrap();
    let first = kit.submit().await;
    assert!(kit.host.reserve(&now(&idle)).await.unwrap().is_empty());
    assert_eq!(
        kit.host.reserve(&now(&busy)).await.unwrap()[0].lease.id,
        first
    );
    let second = kit.submit().await;
    assert!(kit.host.reserve(&now(&idle)).await.unwrap().is_empty());
    kit.client.resume(&what).await.unwrap();
    let asked = Reserve {
        host: idle,
        ..request()
    };
    assert_eq!(kit.reserve_until_some(asked).await[0].lease.id, second);
}

pub(crate) async fn pauses_are_listed_and_outlive_processes(kit: Kit) {
    assert!(kit.client.paused().await.unwrap().is_empty());
    let all = [
        queue("b"),
        queue("a"),
        Pausable::Host(request().host),
        task(),
    ];
    for what in &all {
        kit.client.pause(what).await.unwrap();
    }
    let again = kit.store.open().await;
    let listed = again.paused().await.unwrap();
    let names: Vec<_> = listed.iter().map(|pause| pause.what.clone()).collect();
    assert_eq!(names, [queue("a"), queue("b"), all[2].clone(), task()]);
    assert!(
        listed
            .iter()
            .all(|pause| pause.since_ms > 1_600_000_000_000)
    );
    again.resume(&queue("a")).await.unwrap();
    assert_eq!(kit.client.paused().await.unwrap().len(), 3);
}

pub(crate) async fn a_host_hears_what_it_is_told(kit: Kit) {
    let host = request().host;
    assert!(!kit.client.tell(&host, Control::Drain).await.unwrap());
    let mut controls = kit.host.controls(&host).await.unwrap();
    for teller in [&kit.client, &kit.host] {
        for word in [Control::Concurrency(3), Control::Drain] {
            assert!(teller.tell(&host, word.clone()).await.unwrap());
            // A word may be heard twice.
            loop {
                let heard = within(controls.recv()).await.unwrap();
                if heard == word {
                    break;
                }
            }
        }
    }
}

fn task() -> Pausable {
    Pausable::Task("text".to_owned(), "run".to_owned())
}

/// Submits `text/slow` to `default`.
async fn submit_other(kit: &Kit) -> InvocationId {
    let mut other = kit.submission("text/slow");
    other.options.queue = Some("default".to_owned());
    kit.accept(other).await
}

async fn queued(kit: &Kit, name: &str) -> u64 {
    let queues = kit.client.queues().await.unwrap();
    queues
        .iter()
        .find(|queue| queue.queue == name)
        .map_or(0, |queue| queue.queued)
}

pub(crate) async fn a_paused_task_stands_aside_until_it_is_resumed(kit: Kit) {
    let running = kit.submit().await;
    let lease = kit.take().await.lease;
    assert!(kit.client.pause(&task()).await.unwrap());
    assert!(!kit.client.pause(&task()).await.unwrap());
    let mut waiting = kit.submit_many(4).await;
    let mut fair = kit.submission("text/run");
    fair.options.fairness_key = Some("tenant".to_owned());
    waiting.push(kit.accept(fair).await);
    let mut high = kit.submission("text/run");
    high.options.priority = Some(Priority::High);
    let high = kit.accept(high).await;
    let mut short = kit.submission("text/run");
    short.options.expires = Some(When::InMs(200));
    let short = kit.accept(short).await;
    let elsewhere = kit.submit_to("other").await;
    let other = submit_other(&kit).await;
    assert_eq!(kit.take_all().await, [other], "it is in nobody's way");
    // What runs goes on; what waits is counted, cancelled, and expires.
    kit.succeed(&lease).await;
    assert_eq!(
        kit.client.status(running).await.unwrap().state,
        State::Succeeded
    );
    let gone = waiting.remove(1);
    kit.client.cancel(gone).await.unwrap();
    let asked = Reserve {
        wait: Duration::ZERO,
        ..request()
    };
    eventually(async || {
        kit.host.reserve(&asked).await.unwrap();
        kit.client.status(short).await.unwrap().state == State::Expired
    })
    .await;
    assert_eq!(
        (queued(&kit, "default").await, kit.take_all().await),
        (5, vec![])
    );
    assert!(kit.client.resume(&task()).await.unwrap());
    assert!(!kit.client.resume(&task()).await.unwrap());
    let both = Reserve {
        queues: vec!["default".to_owned(), "other".to_owned()],
        ..asked
    };
    let taken = kit.host.reserve(&both).await.unwrap();
    let taken: Vec<_> = taken.iter().map(|taken| taken.lease.id).collect();
    waiting.insert(0, high);
    waiting.push(elsewhere);
    assert_eq!(taken, waiting, "in the order in which they came");
    assert_eq!(kit.store.ordered().await, 0);
    for wrong in ["No", "a@1"] {
        let refused = kit
            .client
            .pause(&Pausable::Task(wrong.to_owned(), "run".to_owned()))
            .await;
        assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
    }
}

pub(crate) async fn a_pause_of_a_task_leaves_its_limit_alone(kit: Kit) {
    let scope = "task:text/run".parse().unwrap();
    let limit = |concurrency| Limit {
        concurrency: Some(concurrency),
        ..Limit::default()
    };
    kit.client.set_limit(&scope, Some(&limit(1))).await.unwrap();
    let ids = kit.submit_many(4).await;
    let lease = kit.take().await.lease;
    kit.client.pause(&task()).await.unwrap();
    // There would be room for one, then for two, then for all.
    kit.succeed(&lease).await;
    assert!(kit.take_all().await.is_empty());
    kit.client.set_limit(&scope, Some(&limit(2))).await.unwrap();
    assert!(kit.take_all().await.is_empty());
    kit.client.resume(&task()).await.unwrap();
    assert_eq!(kit.take_all().await, ids[1..3]);
    kit.client.pause(&task()).await.unwrap();
    kit.client.set_limit(&scope, None).await.unwrap();
    let other = submit_other(&kit).await;
    assert_eq!(kit.take_all().await, [other]);
    kit.client.resume(&task()).await.unwrap();
    assert_eq!(kit.take_all().await, ids[3..]);
}

pub(crate) async fn a_retry_of_a_paused_task_waits_and_a_resume_wakes_at_once(kit: Kit) {
    let id = kit.submit().await;
    let taken = kit.take().await;
    kit.client.pause(&task()).await.unwrap();
    kit.retry(&taken, Duration::ZERO).await;
    // The ticker queues it again; a look at the queue has it stand aside.
    eventually(async || kit.client.status(id).await.unwrap().state == State::Queued).await;
    let other = submit_other(&kit).await;
    assert_eq!(kit.take_all().await, [other]);
    let host = kit.host.clone();
    let waiting = tokio::spawn(async move {
        loop {
            let reserved = host.reserve(&request()).await.unwrap();
            if !reserved.is_empty() {
                return reserved;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let begun = std::time::Instant::now();
    // Another process resumes, and the pause was not this one's either.
    kit.store.open().await.resume(&task()).await.unwrap();
    let taken = within(waiting).await.unwrap();
    assert_eq!((taken[0].lease.id, taken[0].attempt), (id, 2));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
