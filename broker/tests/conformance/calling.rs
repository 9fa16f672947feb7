//! Invocations that tasks have called, and cancels that go on to them.

use std::time::Duration;

use celeriac_broker::{
    BrokerError, CancelResult, Code, Control, InvocationId, Parent, Reserve, Submission,
};

use super::kit::{Kit, eventually, request, within};

fn called(kit: &Kit, by: InvocationId) -> Submission {
    let mut submission = kit.submission("text/run");
    submission.options.parent = Some(Parent { id: by, depth: 1 });
    submission
}

pub(crate) async fn what_is_called_is_recorded_with_its_caller(kit: Kit) {
    let parent = kit.submit().await;
    // One that waits calls nothing.
    let early = kit.client.submit(vec![called(&kit, parent)]).await;
    let error = early.unwrap().pop().unwrap().unwrap_err();
    assert!(matches!(error, BrokerError::Invalid { .. }), "{error}");
    let lease = kit.take().await.lease;
    let child = kit.accept(called(&kit, parent)).await;
    let status = kit.client.status(child).await.unwrap();
    assert_eq!(
        status.parent,
        Some(Parent {
            id: parent,
            depth: 1
        })
    );
    assert_eq!(kit.take().await.lease.id, child);
    kit.succeed(&lease).await;
    let late = kit.client.submit(vec![called(&kit, parent)]).await;
    assert!(late.unwrap()[0].is_err());
}

pub(crate) async fn a_cancel_alone_leaves_what_was_called(kit: Kit) {
    let parent = kit.submit().await;
    kit.take().await;
    let child = kit.accept(called(&kit, parent)).await;
    assert_eq!(
        kit.client.cancel(parent).await.unwrap(),
        CancelResult::Requested
    );
    assert_eq!(kit.take_all().await, [child]);
    // It may still clean up.
    kit.accept(called(&kit, parent)).await;
}

pub(crate) async fn a_cancel_with_children_stops_all_below(kit: Kit) {
    let asked = request();
    let mut controls = kit.host.controls(&asked.host).await.unwrap();
    let one = Reserve { max: 1, ..asked };
    let parent = kit.submit().await;
    kit.host.reserve(&one).await.unwrap();
    let running = kit.accept(called(&kit, parent)).await;
    kit.host.reserve(&one).await.unwrap();
    let queued = kit.accept(called(&kit, running)).await;
    let done = kit.accept(called(&kit, parent)).await;
    let another = kit.submit().await;
    let answer = kit.client.cancel_with_children(parent).await;
    assert_eq!(answer.unwrap(), CancelResult::Requested);
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(within(controls.recv()).await);
    }
    assert!(told.contains(&Some(Control::Cancel(parent))), "{told:?}");
    assert!(told.contains(&Some(Control::Cancel(running))), "{told:?}");
    for id in [queued, done] {
        assert_eq!(kit.code(id).await, Some(Code::Cancelled));
    }
    // Nothing new comes from any of them.
    for parent in [parent, running] {
        let late = kit.client.submit(vec![called(&kit, parent)]).await;
        assert!(late.unwrap()[0].is_err());
    }
    assert_eq!(kit.take_all().await, [another]);
}

pub(crate) async fn a_cancel_goes_on_through_thousands(kit: Kit) {
    let parent = kit.submit().await;
    kit.take().await;
    let batch: Vec<_> = (0..3000).map(|_| called(&kit, parent)).collect();
    let ids: Vec<_> = batch.iter().map(|child| child.id).collect();
    let answers = kit.client.submit(batch).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    kit.client.cancel_with_children(parent).await.unwrap();
    let idle = Reserve {
        wait: Duration::ZERO,
        queues: vec!["celeriac".to_owned()],
        ..request()
    };
    // The ticker comes with the first reserve.
    kit.host.reserve(&idle).await.unwrap();
    eventually(async || {
        let outcomes = kit.client.outcomes(&ids, None).await.unwrap();
        let is_cancelled = |outcome: Option<celeriac_broker::Outcome>| {
            outcome.is_some_and(|outcome| outcome.code == Code::Cancelled)
        };
        outcomes
            .into_iter()
            .all(|outcome| is_cancelled(outcome.unwrap()))
    })
    .await;
    assert!(kit.take_all().await.is_empty());
}
