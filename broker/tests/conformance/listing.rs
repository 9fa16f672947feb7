//! Listing invocations.

use std::{collections::BTreeSet, time::Duration};

use celeriac_broker::{
    BrokerError, Code, Filter, InvocationId, List, Listing, Outcome, State, When,
};

use super::kit::{Kit, eventually};

/// Every page of `limit`; none is longer.
async fn pages(kit: &Kit, filter: &Filter, limit: usize) -> Vec<Listing> {
    let mut list = List {
        filter: filter.clone(),
        cursor: None,
        limit,
    };
    let mut pages = Vec::new();
    loop {
        let page = kit.client.list(&list).await.unwrap();
        assert!(
            page.invocations.len() <= limit,
            "{}",
            page.invocations.len()
        );
        list.cursor = page.cursor.clone();
        pages.push(page);
        if list.cursor.is_none() {
            return pages;
        }
    }
}

/// Everything that is asked for, each once: nothing changes meanwhile.
async fn listed(kit: &Kit, filter: &Filter) -> BTreeSet<InvocationId> {
    let pages = pages(kit, filter, 100).await;
    let ids: Vec<_> = pages
        .iter()
        .flat_map(|page| page.invocations.iter().map(|status| status.id))
        .collect();
    let distinct: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "one came twice");
    distinct
}

fn set<const N: usize>(ids: [InvocationId; N]) -> BTreeSet<InvocationId> {
    ids.into()
}

pub(crate) async fn lists_by_state(kit: Kit) {
    let mut later = kit.submission("text/run");
    later.options.start = Some(When::InMs(3_600_000));
    let scheduled = kit.accept(later).await;
    let (succeeded, failed, running) = (kit.submit().await, kit.submit().await, kit.submit().await);
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    let lease = kit.take().await.lease;
    kit.settle(&lease, Outcome::failed(Code::Trap, "no")).await;
    assert_eq!(kit.take().await.lease.id, running);
    let (queued, cancelled) = (kit.submit().await, kit.submit().await);
    kit.client.cancel(cancelled).await.unwrap();
    let expected = [
        (State::Scheduled, scheduled),
        (State::Queued, queued),
        (State::Running, running),
        (State::Succeeded, succeeded),
        (State::Failed, failed),
        (State::Cancelled, cancelled),
    ];
    for (state, id) in expected {
        let filter = Filter::default().states([state]);
        let found = listed(&kit, &filter).await;
        assert!(found.contains(&id), "{state}");
        // The admission of the kit's module has succeeded too.
        assert_eq!(
            found.len(),
            1 + usize::from(state == State::Succeeded),
            "{state}"
        );
    }
    let ended = Filter::default().states([State::Failed, State::Cancelled, State::Expired]);
    assert_eq!(listed(&kit, &ended).await, set([failed, cancelled]));
    let page = pages(&kit, &ended, 100).await.remove(0);
    for status in page.invocations {
        assert_eq!(status, kit.client.status(status.id).await.unwrap());
    }
}

pub(crate) async fn lists_by_queue_and_task(kit: Kit) {
    let (here, there) = (kit.submit().await, kit.submit_to("other").await);
    let slow = kit.accept(kit.submission("text/slow")).await;
    let by_queue = |queue| Filter::default().queue(queue);
    assert_eq!(listed(&kit, &by_queue("default")).await, set([here]));
    assert_eq!(listed(&kit, &by_queue("other")).await, set([there]));
    assert_eq!(listed(&kit, &by_queue("nothing")).await, set([]));
    let by_task = |task: &str| Filter::default().task(task.parse().unwrap());
    assert_eq!(listed(&kit, &by_task("text/slow")).await, set([slow]));
    assert_eq!(
        listed(&kit, &by_task("text")).await,
        set([here, there, slow])
    );
    let both = by_task("text/run").queue("other");
    assert_eq!(listed(&kit, &both).await, set([there]));
    let list = List {
        filter: by_queue("No Queue"),
        ..List::default()
    };
    let refused = kit.client.list(&list).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

pub(crate) async fn lists_by_key(kit: Kit) {
    let of = async |fair: Option<&str>, shared: Option<&str>, start: Option<When>| {
        let mut submission = kit.submission("text/run");
        submission.options.fairness_key = fair.map(str::to_owned);
        submission.options.concurrency_key = shared.map(str::to_owned);
        submission.options.start = start;
        kit.accept(submission).await
    };
    let later = Some(When::InMs(3_600_000));
    let fair = of(Some("tenant-17"), None, None).await;
    let shared = of(Some("tenant-1"), Some("tenant-17"), later).await;
    let both = of(Some("tenant-17"), Some("tenant-17"), None).await;
    let other = of(None, Some("tenant-1"), later).await;
    of(None, None, None).await;
    let by = |key: &str| Filter::default().key(key);
    assert_eq!(
        listed(&kit, &by("tenant-17")).await,
        set([fair, shared, both])
    );
    assert_eq!(listed(&kit, &by("tenant-1")).await, set([shared, other]));
    let waiting = by("tenant-17").states([State::Scheduled]);
    assert_eq!(listed(&kit, &waiting).await, set([shared]));
    assert_eq!(listed(&kit, &by("tenant")).await, set([]));
    // A damaged key would never be found: it is refused.
    let list = List {
        filter: by("no key"),
        cursor: None,
        limit: 1,
    };
    let refused = kit.client.list(&list).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

pub(crate) async fn lists_by_age_and_moment(kit: Kit) {
    let old = kit.submit().await;
    let accepted = kit.client.status(old).await.unwrap().submitted_at_ms;
    eventually(async || {
        let probe = kit.submit_to("clock").await;
        kit.client.status(probe).await.unwrap().submitted_at_ms > accepted + 40
    })
    .await;
    let young = kit.submit().await;
    let born = kit.client.status(young).await.unwrap().submitted_at_ms;
    let here = || Filter::default().queue("default");
    let until = Filter {
        until_ms: Some(born),
        ..here()
    };
    assert_eq!(listed(&kit, &until).await, set([old]));
    let since = Filter {
        since_ms: Some(born),
        ..here()
    };
    assert_eq!(listed(&kit, &since).await, set([young]));
    let hour = Duration::from_secs(3600);
    assert_eq!(listed(&kit, &here().older_than(hour)).await, set([]));
    assert_eq!(
        listed(&kit, &here().newer_than(hour)).await,
        set([old, young])
    );
    assert_eq!(
        listed(&kit, &here().older_than(Duration::ZERO)).await,
        set([old, young])
    );
}

pub(crate) async fn pages_give_everything_that_stays(kit: Kit) {
    let stays: BTreeSet<_> = kit.submit_many(1_700).await.into_iter().collect();
    let filter = Filter::default().states([State::Queued]).queue("default");
    for limit in [60, 500] {
        let mut list = List {
            filter: filter.clone(),
            cursor: None,
            limit,
        };
        let mut found = BTreeSet::new();
        let mut pages = 0;
        loop {
            let page = kit.client.list(&list).await.unwrap();
            assert!(page.invocations.len() <= limit);
            found.extend(page.invocations.iter().map(|status| status.id));
            pages += 1;
            // The store grows, so that its tables are laid out anew between pages.
            if pages < 4 {
                kit.submit_many(300).await;
            }
            list.cursor = page.cursor;
            if list.cursor.is_none() {
                break;
            }
        }
        assert!(
            found.is_superset(&stays),
            "{limit}: {} of 1700",
            found.intersection(&stays).count()
        );
    }
}

pub(crate) async fn refuses_a_cursor_that_is_none(kit: Kit) {
    let list = List {
        cursor: Some("nonsense".to_owned()),
        ..List::default()
    };
    let refused = kit.client.list(&list).await.unwrap_err();
    assert!(refused.to_string().contains("the page before"), "{refused}");
}
