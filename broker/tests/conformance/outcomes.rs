//! Outcomes: written once, kept for a while.

use std::time::Duration;

use bytes::Bytes;
use celeriac_broker::{
    BrokerError, CancelResult, Code, Failure, Outcome, Payload, Settled, Settlement, State, Usage,
};

use super::kit::{Kit, LONG, SHORT_LEASE, eventually, request, success};

pub(crate) async fn refuses_a_late_settle_and_keeps_the_newer_outcome(kit: Kit) {
    let id = kit.submit().await;
    let late = kit.take_for(SHORT_LEASE).await.lease;
    let held = kit.take().await.lease;
    assert_eq!(kit.settle(&held, success("newer")).await, Settled::Written);
    assert_eq!(kit.settle(&late, success("late")).await, Settled::Stale);
    assert_eq!(
        kit.client.outcome(id, None).await.unwrap(),
        Some(success("newer"))
    );
}

pub(crate) async fn a_late_settle_does_not_end_the_attempt_that_runs(kit: Kit) {
    let id = kit.submit().await;
    let late = kit.take_for(SHORT_LEASE).await.lease;
    let held = kit.take().await.lease;
    assert_eq!(kit.settle(&late, success("late")).await, Settled::Stale);
    assert_eq!(kit.client.outcome(id, None).await.unwrap(), None);
    assert_eq!(kit.settle(&held, success("newer")).await, Settled::Written);
    assert_eq!(
        kit.client.outcome(id, None).await.unwrap(),
        Some(success("newer"))
    );
}

pub(crate) async fn settling_again_after_a_lost_answer_is_written(kit: Kit) {
    let client = celeriac_broker::ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(client);
    let id = kit.accept(submission).await;
    let lease = kit.take().await.lease;
    assert_eq!(kit.settle(&lease, success("first")).await, Settled::Written);
    assert_eq!(
        kit.settle(&lease, success("second")).await,
        Settled::Written
    );
    let twice = Settlement::end(lease, success("third"));
    let settled = kit.host.settle(vec![twice.clone(), twice]).await.unwrap();
    assert_eq!(settled, [Settled::Written, Settled::Written]);
    assert_eq!(
        kit.client.outcome(id, None).await.unwrap(),
        Some(success("first"))
    );
    super::kit::next_reply(&mut replies).await;
    let more = tokio::time::timeout(Duration::from_millis(50), replies.recv()).await;
    assert!(more.is_err(), "told twice: {more:?}");
}

pub(crate) async fn an_outcome_never_changes(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert_eq!(
        kit.client.cancel(id).await.unwrap(),
        CancelResult::AlreadyEnded
    );
    kit.host
        .release(std::slice::from_ref(&lease))
        .await
        .unwrap();
    assert!(
        kit.host
            .record(&lease, vec![super::kit::log("after the end")])
            .await
            .is_err()
    );
    assert!(kit.take_all().await.is_empty());
    assert_eq!(
        kit.client.outcome(id, None).await.unwrap(),
        Some(success("done"))
    );
    assert_eq!(kit.client.status(id).await.unwrap().state, State::Succeeded);
}

pub(crate) async fn results_expire(kit: Kit) {
    let mut submission = kit.submission("text/run");
    submission.options.result_ttl_ms = Some(100);
    let id = kit.accept(submission).await;
    let kept = kit.submit().await;
    for _ in 0..2 {
        let lease = kit.take().await.lease;
        kit.host
            .record(&lease, vec![super::kit::log("x")])
            .await
            .unwrap();
        kit.succeed(&lease).await;
    }
    assert!(
        kit.client
            .outcome(id, None)
            .await
            .is_ok_and(|outcome| outcome.is_some())
    );
    eventually(async || {
        matches!(
            kit.client.outcome(id, None).await,
            Err(BrokerError::Expired(_))
        )
    })
    .await;
    assert!(matches!(
        kit.client.status(id).await,
        Err(BrokerError::Expired(_))
    ));
    assert!(matches!(
        kit.client.events(id, 10).await,
        Err(BrokerError::Expired(_))
    ));
    assert!(matches!(
        kit.client.watch(id, None).await,
        Err(BrokerError::Expired(_))
    ));
    assert!(matches!(
        kit.client.cancel(id).await,
        Err(BrokerError::Expired(_))
    ));
    assert_eq!(kit.code(kept).await, Some(Code::Ok));
}

pub(crate) async fn an_output_over_the_cap_becomes_a_failure(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    let limit = kit.host.caps().output_bytes;
    let mut outcome = success("");
    outcome.output = Some(Payload::bytes(
        "a/b",
        vec![0; usize::try_from(limit).unwrap() + 1],
    ));
    assert_eq!(kit.settle(&lease, outcome.clone()).await, Settled::Written);
    let stored = kit.client.outcome(id, None).await.unwrap().unwrap();
    assert_eq!(
        (stored.code, stored.output, stored.usage),
        (Code::OutputTooLarge, None, outcome.usage)
    );
    let hit = stored.failure.unwrap().limit.unwrap();
    assert_eq!((hit.allowed, hit.seen), (limit, limit + 1));
}

pub(crate) async fn large_and_empty_outputs_come_back_whole(kit: Kit) {
    let limit = usize::try_from(kit.host.caps().output_bytes).unwrap();
    for size in [0, 1, 1023, 1024, 1025, 5000, limit] {
        let id = kit.submit().await;
        let lease = kit.take().await.lease;
        let mut outcome = success("");
        let data = (0..=255u8).cycle().take(size).collect::<Vec<_>>();
        outcome.output = Some(Payload::bytes("image/png", Bytes::from(data)));
        kit.settle(&lease, outcome.clone()).await;
        let stored = kit.client.outcome(id, None).await.unwrap().unwrap();
        assert!(
            stored == outcome,
            "an output of {size} bytes came back changed"
        );
    }
}

pub(crate) async fn a_failure_comes_back_whole(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    let outcome = Outcome {
        code: Code::TaskError,
        output: None,
        failure: Some(Failure {
            kind: "no_such_page".to_owned(),
            message: "page 7 “ü”\nis missing".to_owned(),
            retryable: true,
            retry_after_seconds: Some(1.5),
            details: Some(serde_json::json!({ "page": 7 })),
            trace: Some("at a\nat b".to_owned()),
            limit: None,
        }),
        usage: Usage {
            module: Some(kit.digest),
            run_ms: 0.25,
            ..Usage::default()
        },
    };
    kit.settle(&lease, outcome.clone()).await;
    assert_eq!(
        kit.client.outcome(id, None).await.unwrap(),
        Some(outcome.clone())
    );
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(status.state, State::Failed);
    assert_eq!(status.outcome.unwrap().failure, outcome.failure);
}

pub(crate) async fn answers_a_batch_in_order(kit: Kit) {
    kit.submit_many(10).await;
    let lost = kit.take_for(SHORT_LEASE).await.lease;
    let mut leases = Vec::new();
    while leases.len() < 10 {
        let taken = kit.reserve_until_some(request()).await;
        leases.extend(taken.into_iter().map(|taken| taken.lease));
    }
    leases.insert(4, lost);
    let batch = leases
        .into_iter()
        .map(|lease| Settlement::end(lease, success("x")));
    let settled = tokio::time::timeout(LONG, kit.host.settle(batch.collect()))
        .await
        .unwrap()
        .unwrap();
    let expected: Vec<_> = (0..11)
        .map(|at| {
            if at == 4 {
                Settled::Stale
            } else {
                Settled::Written
            }
        })
        .collect();
    assert_eq!(settled, expected);
}
