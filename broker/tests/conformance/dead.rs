//! Dead letters.

use std::time::Duration;

use bytes::Bytes;
use celeriac_broker::{
    BrokerError, Code, DeadFilter, DeadLetter, DeadList, InvocationId, Namespace, Outcome, Payload,
    Retry, Settled, Settlement,
};

use super::kit::{Kit, SHORT_LEASE, eventually, failure, log, request, retry};

/// Every letter that is asked for, page by page.
async fn letters(kit: &Kit, filter: &DeadFilter, limit: usize) -> Vec<DeadLetter> {
    let mut list = DeadList {
        filter: filter.clone(),
        cursor: None,
        limit,
    };
    let mut found = Vec::new();
    loop {
        let page = kit.client.dead_letters(&list).await.unwrap();
        assert!(page.letters.len() <= limit);
        found.extend(page.letters);
        list.cursor = page.cursor;
        if list.cursor.is_none() {
            return found;
        }
    }
}

async fn ids(kit: &Kit, filter: &DeadFilter) -> Vec<InvocationId> {
    let letters = letters(kit, filter, 100).await;
    letters.iter().map(|letter| letter.status.id).collect()
}

/// Submits `task` and has it fail with `code`.
async fn fail(kit: &Kit, task: &str, code: Code) -> InvocationId {
    let mut submission = kit.submission(task);
    submission.options.queue = Some("default".to_owned());
    let id = kit.accept(submission).await;
    let lease = kit.take().await.lease;
    assert_eq!(lease.id, id);
    kit.settle(&lease, Outcome::failed(code, "no")).await;
    id
}

pub(crate) async fn failures_are_kept_and_found(kit: Kit) {
    let trapped = fail(&kit, "text/run", Code::Trap).await;
    let slow = fail(&kit, "text/slow", Code::OutOfFuel).await;
    // What has succeeded or was cancelled is no dead letter; a quarantined one is.
    let cancelled = kit.submit().await;
    kit.client.cancel(cancelled).await.unwrap();
    kit.submit().await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    let killer = kit.submit().await;
    for _ in 0..3 {
        let asked = celeriac_broker::Reserve {
            lease: SHORT_LEASE,
            ..request()
        };
        assert_eq!(kit.reserve_until_some(asked).await[0].lease.id, killer);
    }
    eventually(async || {
        kit.host
            .reserve(&celeriac_broker::Reserve {
                wait: Duration::ZERO,
                ..request()
            })
            .await
            .unwrap();
        kit.code(killer).await == Some(Code::Quarantined)
    })
    .await;
    let any = DeadFilter::default();
    assert_eq!(ids(&kit, &any).await, [killer, slow, trapped]);
    let by_task = DeadFilter {
        task: Some("text/slow".parse().unwrap()),
        ..any.clone()
    };
    assert_eq!(ids(&kit, &by_task).await, [slow]);
    let by_code = DeadFilter {
        codes: vec![Code::Trap, Code::Quarantined],
        ..any.clone()
    };
    assert_eq!(ids(&kit, &by_code).await, [killer, trapped]);
    let all = letters(&kit, &any, 100).await;
    let by_time = DeadFilter {
        since_ms: Some(all[0].died_at_ms),
        ..any.clone()
    };
    assert!(!ids(&kit, &by_time).await.contains(&trapped));
    let before = DeadFilter {
        until_ms: Some(all[0].died_at_ms),
        ..any
    };
    assert_eq!(ids(&kit, &before).await.last(), Some(&trapped));
    assert_eq!(all[2].status, kit.client.status(trapped).await.unwrap());
    let one = kit.client.dead_letter(trapped).await.unwrap();
    assert_eq!(one.as_ref(), Some(&all[2]));
    for none in [cancelled, lease.id, Namespace::generate().issue(0)] {
        assert_eq!(kit.client.dead_letter(none).await.unwrap(), None);
    }
}

pub(crate) async fn pages_go_from_the_newest_to_the_oldest(kit: Kit) {
    let mut dead = Vec::new();
    for _ in 0..7 {
        dead.push(fail(&kit, "text/run", Code::Trap).await);
    }
    let all = ids(&kit, &DeadFilter::default()).await;
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(sorted, dead);
    let paged = letters(&kit, &DeadFilter::default(), 2).await;
    assert!(paged.is_sorted_by(|a, b| a.died_at_ms >= b.died_at_ms));
    assert_eq!(
        paged
            .iter()
            .map(|letter| letter.status.id)
            .collect::<Vec<_>>(),
        all
    );
    // A page's last letter is dropped while somebody pages: the rest comes all the same.
    let mut list = DeadList {
        limit: 3,
        ..DeadList::default()
    };
    let page = kit.client.dead_letters(&list).await.unwrap();
    kit.client.drop_dead_letters(&all[..3]).await.unwrap();
    (list.cursor, list.limit) = (page.cursor, 100);
    let rest = kit.client.dead_letters(&list).await.unwrap();
    assert_eq!(
        rest.letters
            .iter()
            .map(|letter| letter.status.id)
            .collect::<Vec<_>>(),
        all[3..]
    );
    list.cursor = Some("nonsense".to_owned());
    let refused = kit.client.dead_letters(&list).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

pub(crate) async fn the_oldest_go_when_there_are_too_many(kit: Kit) {
    let mut dead = Vec::new();
    // The kit's stores keep twenty.
    for _ in 0..25 {
        dead.push(fail(&kit, "text/run", Code::Trap).await);
    }
    let mut kept = ids(&kit, &DeadFilter::default()).await;
    kept.sort();
    assert_eq!(kept.len(), 20);
    assert!(!kept.contains(&dead[0]));
    // Its result is kept as long as any.
    assert_eq!(kit.code(dead[0]).await, Some(Code::Trap));
}

pub(crate) async fn a_letter_outlives_its_result_until_it_is_dropped(kit: Kit) {
    let mut submission = kit.submission("text/run");
    submission.options.result_ttl_ms = Some(1);
    let id = kit.accept(submission).await;
    let lease = kit.take().await.lease;
    kit.host.record(&lease, vec![log("why")]).await.unwrap();
    kit.settle(&lease, Outcome::failed(Code::Trap, "no")).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(ids(&kit, &DeadFilter::default()).await, [id]);
    assert_eq!(kit.client.events(id, 10).await.unwrap().len(), 1);
    assert_eq!(kit.client.drop_dead_letters(&[id, id]).await.unwrap(), 1);
    assert_eq!(kit.client.drop_dead_letters(&[id]).await.unwrap(), 0);
    assert!(ids(&kit, &DeadFilter::default()).await.is_empty());
    eventually(async || matches!(kit.client.status(id).await, Err(BrokerError::Expired(_)))).await;
}

pub(crate) async fn a_retry_takes_the_letters_place_once(kit: Kit) {
    let mut submission = kit.submission("text/run");
    submission.options.retries = Some(1);
    let id = kit.accept(submission).await;
    let taken = kit.take().await;
    kit.retry(&taken, Duration::ZERO).await;
    let taken = kit.take().await;
    kit.settle(&taken.lease, failure(&taken)).await;
    // Twice, as by somebody whose first answer was lost.
    let namespace = kit.client.namespace();
    let (first, second) = (namespace.issue(0), namespace.issue(0));
    let client = &kit.client;
    assert_eq!(
        client.claim_dead_letter(id, first).await.unwrap(),
        Some(first)
    );
    assert_eq!(
        client.claim_dead_letter(id, second).await.unwrap(),
        Some(first)
    );
    let status = client.status(id).await.unwrap();
    let request = client.request(id).await.unwrap();
    let retry = Retry {
        input: Some(Payload::json_text("2")),
        ..Retry::default()
    };
    let again = retry.submission(first, &status, request);
    kit.accept(again).await;
    client.drop_dead_letters(&[id]).await.unwrap();
    assert_eq!(client.dead_letter(id).await.unwrap(), None);
    assert_eq!(client.claim_dead_letter(id, second).await.unwrap(), None);
    let taken = kit.take().await;
    assert_eq!(
        (taken.lease.id, taken.attempt, taken.digest),
        (first, 1, Some(kit.digest))
    );
    assert_eq!(taken.input, Payload::json_text("2"));
    assert_eq!(taken.header.options.retries, Some(1));
    assert_eq!(client.status(first).await.unwrap().retry_of, Some(id));
    let unknown = Namespace::generate().issue(0);
    assert_eq!(
        client.claim_dead_letter(unknown, second).await.unwrap(),
        None
    );
}

pub(crate) async fn what_was_handed_in_can_be_read(kit: Kit) {
    for bytes in [10, 3000] {
        let mut submission = kit.submission("text/run");
        submission.input = Payload::bytes("a/b", vec![7; bytes]);
        submission.options.fuel = Some(5);
        kit.accept(submission.clone()).await;
        let lease = kit.take().await.lease;
        for _ in 0..2 {
            let request = kit.client.request(submission.id).await.unwrap();
            assert_eq!(
                (request.task, request.input, request.options),
                (
                    submission.task.clone(),
                    submission.input.clone(),
                    submission.options.clone()
                )
            );
            kit.settle(&lease, Outcome::failed(Code::Trap, "no")).await;
        }
    }
    let done = kit.submit().await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert!(matches!(
        kit.client.request(done).await,
        Err(BrokerError::Expired(_))
    ));
}

pub(crate) async fn a_failure_keeps_its_recording(kit: Kit) {
    let recording = Bytes::from(vec![0xab; 100_000]);
    let settle = async |outcome: Outcome, is_retry: bool| {
        let id = kit.submit().await;
        let taken = kit.take().await;
        let settlement = match is_retry {
            true => retry(&taken, Duration::from_secs(60)),
            false => Settlement::end(taken.lease.clone(), outcome),
        };
        let settlement = Settlement {
            recording: Some(recording.clone()),
            ..settlement
        };
        let settled = kit.host.settle(vec![settlement]).await.unwrap();
        assert_eq!(settled, [Settled::Written]);
        id
    };
    let failed = settle(Outcome::failed(Code::Trap, "no"), false).await;
    assert_eq!(
        kit.client.recording(failed).await.unwrap().as_ref(),
        Some(&recording)
    );
    // It is not in the way of what else is read.
    assert_eq!(kit.code(failed).await, Some(Code::Trap));
    assert!(kit.client.request(failed).await.is_ok());
    // What is tried again, or was cancelled, is not run again: nothing is kept.
    let retried = settle(Outcome::failed(Code::Trap, "not now"), true).await;
    assert_eq!(kit.client.recording(retried).await.unwrap(), None);
    let cancelled = settle(Outcome::failed(Code::Cancelled, "no"), false).await;
    assert_eq!(kit.client.recording(cancelled).await.unwrap(), None);
    let plain = fail(&kit, "text/run", Code::Trap).await;
    assert_eq!(kit.client.recording(plain).await.unwrap(), None);
    let unknown = Namespace::generate().issue(0);
    assert!(matches!(
        kit.client.recording(unknown).await,
        Err(BrokerError::NotFound(_))
    ));
}
