//! Cancelling, in each state.

use celeriac_broker::{
    BrokerError, CancelResult, ClientId, Code, Control, Reserve, Settled, State,
};

use super::kit::{Kit, LONG, SHORT_LEASE, next_reply, request, within};

pub(crate) async fn what_waits_is_cancelled_at_once(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(client);
    let id = kit.accept(submission).await;
    let other = kit.submit().await;
    assert_eq!(kit.host.cancel(id).await.unwrap(), CancelResult::Cancelled);
    assert_eq!(next_reply(&mut replies).await.0, id);
    let outcome = kit.client.outcome(id, None).await.unwrap().unwrap();
    assert_eq!(
        (outcome.code, outcome.usage.attempt, outcome.usage.module),
        (Code::Cancelled, 0, None)
    );
    assert_eq!(kit.client.status(id).await.unwrap().state, State::Cancelled);
    assert_eq!(
        kit.client.cancel(id).await.unwrap(),
        CancelResult::AlreadyEnded
    );
    assert_eq!(kit.take_all().await, [other]);
}

pub(crate) async fn the_host_of_what_runs_is_told(kit: Kit) {
    let asked = request();
    let mut controls = kit.host.controls(&asked.host).await.unwrap();
    let mut others = kit.host.controls(&request().host).await.unwrap();
    for canceller in [&kit.client, &kit.host] {
        let id = kit.submit().await;
        let lease = kit.host.reserve(&asked).await.unwrap().pop().unwrap().lease;
        assert_eq!(canceller.cancel(id).await.unwrap(), CancelResult::Requested);
        assert_eq!(within(controls.recv()).await, Some(Control::Cancel(id)));
        let status = kit.client.status(id).await.unwrap();
        assert_eq!(
            (status.state, status.is_cancel_requested),
            (State::Running, true)
        );
        let cancelled = celeriac_broker::Outcome::failed(Code::Cancelled, "stopped");
        assert_eq!(kit.settle(&lease, cancelled).await, Settled::Written);
        assert_eq!(kit.client.status(id).await.unwrap().state, State::Cancelled);
    }
    assert!(others.try_recv().is_err(), "another host was told");
}

pub(crate) async fn renewing_names_what_shall_stop(kit: Kit) {
    let asked = Reserve {
        max: 2,
        ..request()
    };
    let ids = kit.submit_many(2).await;
    let taken = kit.host.reserve(&asked).await.unwrap();
    let leases: Vec<_> = taken.into_iter().map(|taken| taken.lease).collect();
    kit.client.cancel(ids[1]).await.unwrap();
    for _ in 0..2 {
        let renewed = kit.host.renew(&asked.host, &leases, LONG).await.unwrap();
        assert_eq!((renewed.lost, renewed.cancelled), (vec![], vec![ids[1]]));
    }
}

pub(crate) async fn what_has_ended_stays_as_it_is(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    // Cancelled too late for its host to hear of it.
    assert_eq!(
        kit.client.cancel(id).await.unwrap(),
        CancelResult::Requested
    );
    assert_eq!(kit.succeed(&lease).await, Settled::Written);
    assert_eq!(
        kit.client.cancel(id).await.unwrap(),
        CancelResult::AlreadyEnded
    );
    assert_eq!(kit.code(id).await, Some(Code::Ok));
    let unknown = kit
        .client
        .cancel(celeriac_broker::Namespace::generate().issue(0))
        .await;
    assert!(matches!(
        unknown,
        Err(BrokerError::NotFound(_) | BrokerError::Expired(_))
    ));
}

pub(crate) async fn what_was_to_stop_does_not_run_again_after_a_crash(kit: Kit) {
    let id = kit.submit().await;
    kit.take_for(SHORT_LEASE).await;
    kit.client.cancel(id).await.unwrap();
    let waiting = tokio::spawn({
        let host = kit.host.clone();
        async move { host.reserve(&request()).await.unwrap() }
    });
    super::kit::eventually(async || kit.code(id).await == Some(Code::Cancelled)).await;
    assert_eq!(kit.client.status(id).await.unwrap().crashes, 1);
    let next = kit.submit().await;
    assert_eq!(waiting.await.unwrap()[0].lease.id, next);
}

pub(crate) async fn what_was_to_stop_does_not_run_again_when_given_back(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    kit.client.cancel(id).await.unwrap();
    kit.host.release(&[lease]).await.unwrap();
    assert_eq!(kit.code(id).await, Some(Code::Cancelled));
    assert_eq!(kit.client.status(id).await.unwrap().attempts, 0);
    assert!(kit.take_all().await.is_empty());
}
