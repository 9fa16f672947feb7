//! Awaiting outcomes: pushed once to everybody who waits.

use std::{collections::HashSet, time::Duration};

use celeriac_broker::{
    BrokerError, ClientId, InvocationId, Namespace, Payload, Reply, Reserve, Settlement,
};
use tokio::sync::mpsc;

use super::kit::{Kit, eventually, next_reply, request, success, within};

pub(crate) async fn tells_unknown_from_expired(kit: Kit) {
    let made_up = std::iter::repeat_with(|| Namespace::generate().issue(0))
        .find(|id| !kit.client.namespace().issued(*id))
        .unwrap();
    let gone = kit.client.namespace().issue(0);
    assert!(
        matches!(kit.client.status(made_up).await, Err(BrokerError::NotFound(id)) if id == made_up)
    );
    assert!(matches!(kit.client.status(gone).await, Err(BrokerError::Expired(id)) if id == gone));
    assert!(matches!(
        kit.client.outcome(made_up, None).await,
        Err(BrokerError::NotFound(_))
    ));
    assert!(matches!(
        kit.client.outcome(gone, Some(&ClientId::random())).await,
        Err(BrokerError::Expired(_))
    ));
    assert!(matches!(
        kit.client.events(made_up, 1).await,
        Err(BrokerError::NotFound(_))
    ));
    assert!(matches!(
        kit.client.watch(gone, None).await,
        Err(BrokerError::Expired(_))
    ));
    assert!(matches!(
        kit.client.cancel(made_up).await,
        Err(BrokerError::NotFound(_))
    ));
}

async fn told_no_more(replies: &mut mpsc::Receiver<Reply>) {
    let more = tokio::time::timeout(Duration::from_millis(50), replies.recv()).await;
    assert!(more.is_err(), "told twice: {more:?}");
}

pub(crate) async fn tells_every_waiter_once(kit: Kit) {
    let third = kit.store.open().await;
    let names = [ClientId::random(), ClientId::random(), ClientId::random()];
    let mut first = kit.client.replies(&names[0]).await.unwrap();
    let mut same_process_as_host = kit.host.replies(&names[1]).await.unwrap();
    let mut late = third.replies(&names[2]).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(names[0].clone());
    let id = kit.accept(submission).await;
    assert_eq!(kit.host.outcome(id, Some(&names[1])).await.unwrap(), None);
    let lease = kit.take().await.lease;
    for _ in 0..2 {
        assert_eq!(third.outcome(id, Some(&names[2])).await.unwrap(), None);
    }
    kit.succeed(&lease).await;
    for replies in [&mut first, &mut same_process_as_host, &mut late] {
        let (told, outcome) = next_reply(replies).await;
        assert_eq!(told, id);
        assert_eq!(outcome, Some(Box::new(success("done"))));
    }
    for replies in [&mut first, &mut same_process_as_host, &mut late] {
        told_no_more(replies).await;
    }
}

pub(crate) async fn tells_a_thousand_in_another_process(kit: Kit) {
    let name = ClientId::random();
    let mut replies = kit.client.replies(&name).await.unwrap();
    let batch = (0..1000).map(|_| {
        let mut submission = kit.submission("text/run");
        submission.reply_to = Some(name.clone());
        submission
    });
    let batch: Vec<_> = batch.collect();
    let mut open: HashSet<InvocationId> = batch.iter().map(|submission| submission.id).collect();
    kit.client.submit(batch).await.unwrap();
    let host = kit.host.clone();
    let work = tokio::spawn(async move {
        let mut left = 1000;
        while left > 0 {
            let taken = host
                .reserve(&Reserve {
                    max: 37,
                    ..request()
                })
                .await
                .unwrap();
            left -= taken.len();
            let batch = taken
                .into_iter()
                .map(|taken| Settlement::end(taken.lease, success("x")));
            host.settle(batch.collect()).await.unwrap();
        }
    });
    while !open.is_empty() {
        let (id, _) = next_reply(&mut replies).await;
        assert!(open.remove(&id), "told twice of {id}");
    }
    work.await.unwrap();
    told_no_more(&mut replies).await;
}

pub(crate) async fn an_outcome_that_is_there_is_returned_at_once(kit: Kit) {
    let name = ClientId::random();
    let mut replies = kit.client.replies(&name).await.unwrap();
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert_eq!(
        kit.client.outcome(id, Some(&name)).await.unwrap(),
        Some(success("done"))
    );
    told_no_more(&mut replies).await;
}

pub(crate) async fn reads_many_outcomes_in_order(kit: Kit) {
    let mut ids = kit.submit_many(600).await;
    let taken = kit
        .host
        .reserve(&Reserve {
            max: 600,
            ..request()
        })
        .await
        .unwrap();
    let batch = taken
        .into_iter()
        .step_by(2)
        .map(|taken| Settlement::end(taken.lease, success("x")));
    kit.host.settle(batch.collect()).await.unwrap();
    ids.insert(300, kit.client.namespace().issue(0));
    let name = ClientId::random();
    let outcomes = kit.client.outcomes(&ids, Some(&name)).await.unwrap();
    assert_eq!(outcomes.len(), 601);
    assert!(matches!(outcomes[300], Err(BrokerError::Expired(_))));
    for (at, outcome) in outcomes
        .into_iter()
        .enumerate()
        .filter(|(at, _)| *at != 300)
    {
        let place = if at > 300 { at - 1 } else { at };
        assert_eq!(outcome.unwrap().is_some(), place % 2 == 0, "{at}");
    }
}

pub(crate) async fn a_large_outcome_is_announced_and_read(kit: Kit) {
    let name = ClientId::random();
    let mut replies = kit.client.replies(&name).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(name);
    let id = kit.accept(submission).await;
    let lease = kit.take().await.lease;
    let mut outcome = success("");
    outcome.output = Some(Payload::bytes("a/b", vec![9; 1 << 20]));
    kit.settle(&lease, outcome.clone()).await;
    let (told, pushed) = next_reply(&mut replies).await;
    assert_eq!(told, id);
    assert!(pushed.is_none_or(|pushed| *pushed == outcome));
    assert!(within(kit.client.outcome(id, None)).await.unwrap() == Some(outcome));
}

pub(crate) async fn a_client_that_has_gone_leaves_nothing_behind(kit: Kit) {
    let name = ClientId::random();
    let mut replies = kit.client.replies(&name).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut submission = kit.submission("text/run");
        submission.reply_to = Some(name.clone());
        ids.push(kit.accept(submission).await);
    }
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    next_reply(&mut replies).await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    drop(replies);
    eventually(async || kit.store.kept_for(&name).await == 0).await;
    // What it waited for ends all the same.
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert!(kit.code(ids[2]).await.is_some());
}
