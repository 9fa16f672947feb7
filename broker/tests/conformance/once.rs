//! Once: idempotency keys and unique keys, which nothing leaks and nobody gets around.

use std::time::Duration;

use celeriac_broker::{
    After, BrokerError, Code, InvocationId, On, OnConflict, Options, Payload, Scope, State,
    Submission, Unique, When,
};

use super::kit::{Kit, SHORT_LEASE, eventually, failure, request};

fn unique(key: &str, scope: Scope, on_conflict: OnConflict) -> Options {
    Options {
        unique: Some(Unique {
            key: key.to_owned(),
            scope,
            on_conflict,
        }),
        ..Options::default()
    }
}

fn idempotent(kit: &Kit, key: &str, input: &'static str) -> Submission {
    let mut submission = kit.submission("text/run");
    submission.input = Payload::json_text(input);
    submission.options.idempotency_key = Some(key.to_owned());
    submission
}

async fn submit(kit: &Kit, submission: Submission) -> Result<InvocationId, BrokerError> {
    let answers = kit.client.submit(vec![submission]).await;
    answers.unwrap().pop().unwrap()
}

async fn submit_with(kit: &Kit, options: &Options) -> Result<InvocationId, BrokerError> {
    let mut submission = kit.submission("text/run");
    submission.options = options.clone();
    submit(kit, submission).await
}

/// The invocation that holds the key, as a refusal names it.
fn holder(answer: Result<InvocationId, BrokerError>) -> InvocationId {
    match answer {
        Err(BrokerError::NotUnique { existing, .. }) => existing,
        other => panic!("not refused: {other:?}"),
    }
}

async fn state(kit: &Kit, id: InvocationId) -> State {
    kit.client.status(id).await.unwrap().state
}

pub(crate) async fn the_same_key_and_input_is_the_same_invocation(kit: Kit) {
    let first = submit(&kit, idempotent(&kit, "order-17", "[1]"))
        .await
        .unwrap();
    let again = submit(&kit, idempotent(&kit, "order-17", "[1]"))
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(kit.take_all().await, [first]);
    // While it runs, and when it has ended.
    let again = submit(&kit, idempotent(&kit, "order-17", "[1]"))
        .await
        .unwrap();
    assert_eq!(first, again);
    let other = submit(&kit, idempotent(&kit, "order-18", "[1]"))
        .await
        .unwrap();
    let taken = kit.take().await;
    assert_eq!(taken.lease.id, other);
    kit.succeed(&taken.lease).await;
    let again = submit(&kit, idempotent(&kit, "order-18", "[1]"))
        .await
        .unwrap();
    assert_eq!((again, state(&kit, again).await), (other, State::Succeeded));
    assert_eq!(kit.take_all().await, []);
}

pub(crate) async fn the_same_key_and_another_input_is_refused(kit: Kit) {
    let first = submit(&kit, idempotent(&kit, "order-17", "[1]"))
        .await
        .unwrap();
    let other = idempotent(&kit, "order-17", "[2]");
    let id = other.id;
    match submit(&kit, other).await {
        Err(BrokerError::IdempotencyConflict { key, existing }) => {
            assert_eq!((key.as_str(), existing), ("order-17", first));
        }
        other => panic!("{other:?}"),
    }
    // Nothing of it is there.
    let gone = kit.client.status(id).await;
    assert!(matches!(gone, Err(BrokerError::Expired(_))), "{gone:?}");
    assert_eq!(kit.take_all().await, [first]);
}

pub(crate) async fn an_idempotency_key_is_free_when_the_result_has_expired(kit: Kit) {
    let mut short = idempotent(&kit, "order-17", "[1]");
    short.options.result_ttl_ms = Some(100);
    let first = submit(&kit, short).await.unwrap();
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    eventually(async || kit.client.status(first).await.is_err()).await;
    let next = submit(&kit, idempotent(&kit, "order-17", "[2]"))
        .await
        .unwrap();
    assert_ne!(next, first);
    assert_eq!(kit.take_all().await, [next]);
}

pub(crate) async fn an_idempotency_key_is_held_as_long_as_the_dead_letter(kit: Kit) {
    let mut short = idempotent(&kit, "order-17", "[1]");
    short.options.result_ttl_ms = Some(1);
    let first = submit(&kit, short).await.unwrap();
    let taken = kit.take().await;
    kit.settle(&taken.lease, failure(&taken)).await;
    // As short as that one, and no dead letter.
    let mut other = kit.submission("text/run");
    other.options.result_ttl_ms = Some(1);
    let other = kit.accept(other).await;
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    eventually(async || kit.client.status(other).await.is_err()).await;
    let again = submit(&kit, idempotent(&kit, "order-17", "[1]")).await;
    assert_eq!(again.unwrap(), first);
    // Without the letter, both are gone.
    kit.client.drop_dead_letters(&[first]).await.unwrap();
    eventually(async || kit.client.status(first).await.is_err()).await;
    let next = submit(&kit, idempotent(&kit, "order-17", "[1]")).await;
    assert_ne!(next.unwrap(), first);
    assert_eq!(kit.take_all().await.len(), 1);
}

pub(crate) async fn an_idempotency_key_is_held_as_long_as_others_read_the_result(kit: Kit) {
    let mut short = idempotent(&kit, "order-17", "[1]");
    short.options.result_ttl_ms = Some(1);
    let first = submit(&kit, short).await.unwrap();
    let mut child = kit.submission("text/run");
    child.options.after = vec![After {
        id: first,
        on: On::Success,
    }];
    let child = kit.accept(child).await;
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    let taken = kit.take().await;
    assert_eq!(taken.lease.id, child);
    let mut other = kit.submission("text/run");
    other.options.result_ttl_ms = Some(1);
    let other = kit.accept(other).await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    eventually(async || kit.client.status(other).await.is_err()).await;
    let again = submit(&kit, idempotent(&kit, "order-17", "[1]")).await;
    assert_eq!(again.unwrap(), first);
    kit.succeed(&taken.lease).await;
    eventually(async || kit.client.status(first).await.is_err()).await;
    let next = submit(&kit, idempotent(&kit, "order-17", "[1]")).await;
    assert_ne!(next.unwrap(), first);
}

pub(crate) async fn one_batch_knows_its_own_keys(kit: Kit) {
    let batch: Vec<_> = ["[1]", "[1]", "[2]"]
        .map(|input| idempotent(&kit, "order-17", input))
        .into();
    let first = batch[0].id;
    let answers = kit.client.submit(batch).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap(), &first);
    assert_eq!(answers[1].as_ref().unwrap(), &first);
    assert!(answers[2].is_err());
    assert_eq!(kit.take_all().await, [first]);
    // The same submit again, since its answer was lost, is the same.
    let again = idempotent(&kit, "order-18", "[1]");
    for _ in 0..2 {
        assert_eq!(submit(&kit, again.clone()).await.unwrap(), again.id);
    }
}

pub(crate) async fn a_unique_key_is_held_until_the_end(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::Reject);
    let first = submit_with(&kit, &options).await.unwrap();
    assert_eq!(holder(submit_with(&kit, &options).await), first);
    let taken = kit.take().await;
    assert_eq!(holder(submit_with(&kit, &options).await), first);
    // A retry, a crash and a host that gives it back are no end.
    kit.retry(&taken, Duration::ZERO).await;
    assert_eq!(holder(submit_with(&kit, &options).await), first);
    let crashed = kit.take_for(SHORT_LEASE).await;
    let taken = kit.take().await;
    assert_eq!((crashed.lease.id, taken.lease.id), (first, first));
    assert_eq!(holder(submit_with(&kit, &options).await), first);
    kit.host.release(&[taken.lease]).await.unwrap();
    assert_eq!(holder(submit_with(&kit, &options).await), first);
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    let second = submit_with(&kit, &options).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(kit.take_all().await, [second]);
}

pub(crate) async fn every_end_frees_the_key(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::Reject);
    // Cancelled while it waits.
    let id = submit_with(&kit, &options).await.unwrap();
    kit.client.cancel(id).await.unwrap();
    // Cancelled while it runs, and given back.
    let id = submit_with(&kit, &options).await.unwrap();
    let lease = kit.take().await.lease;
    kit.client.cancel(id).await.unwrap();
    kit.host.release(&[lease]).await.unwrap();
    // Expired.
    let expiring = Options {
        expires: Some(When::InMs(50)),
        ..options.clone()
    };
    let id = submit_with(&kit, &expiring).await.unwrap();
    let nothing = celeriac_broker::Reserve {
        queues: vec!["elsewhere".to_owned()],
        wait: Duration::ZERO,
        ..request()
    };
    eventually(async || {
        kit.host.reserve(&nothing).await.unwrap();
        state(&kit, id).await == State::Expired
    })
    .await;
    // Quarantined.
    let id = submit_with(&kit, &options).await.unwrap();
    for _ in 0..3 {
        assert_eq!(kit.take_for(SHORT_LEASE).await.lease.id, id);
    }
    eventually(async || {
        kit.host.reserve(&nothing).await.unwrap();
        kit.code(id).await == Some(Code::Quarantined)
    })
    .await;
    // Failed.
    submit_with(&kit, &options).await.unwrap();
    let taken = kit.take().await;
    kit.settle(&taken.lease, super::kit::failure(&taken)).await;
    submit_with(&kit, &options).await.unwrap();
    assert_eq!(kit.store.keys_held().await, 1);
}

pub(crate) async fn a_key_may_be_held_only_while_it_waits(kit: Kit) {
    let options = unique("report", Scope::Queued, OnConflict::Reject);
    let first = submit_with(&kit, &options).await.unwrap();
    assert_eq!(holder(submit_with(&kit, &options).await), first);
    let taken = kit.take().await;
    let second = submit_with(&kit, &options).await.unwrap();
    assert_eq!(holder(submit_with(&kit, &options).await), second);
    // The end of the first frees nothing of the second.
    kit.succeed(&taken.lease).await;
    assert_eq!(holder(submit_with(&kit, &options).await), second);
}

pub(crate) async fn a_key_may_be_held_for_a_window(kit: Kit) {
    let options = unique("report", Scope::WindowMs(400), OnConflict::Reject);
    let begun = std::time::Instant::now();
    let first = submit_with(&kit, &options).await.unwrap();
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    if begun.elapsed() < Duration::from_millis(300) {
        assert_eq!(holder(submit_with(&kit, &options).await), first);
    }
    eventually(async || submit_with(&kit, &options).await.is_ok()).await;
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

pub(crate) async fn the_caller_may_get_the_one_that_is_there(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::ReturnExisting);
    let first = submit_with(&kit, &options).await.unwrap();
    assert_eq!(submit_with(&kit, &options).await.unwrap(), first);
    assert_eq!(kit.take_all().await, [first]);
    assert_eq!(submit_with(&kit, &options).await.unwrap(), first);
}

pub(crate) async fn what_waits_is_replaced_and_what_runs_is_not(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::Replace);
    let first = submit_with(&kit, &options).await.unwrap();
    let delayed = Options {
        start: Some(When::InMs(3_600_000)),
        ..options.clone()
    };
    let second = submit_with(&kit, &delayed).await.unwrap();
    assert_eq!(state(&kit, first).await, State::Cancelled);
    let third = submit_with(&kit, &options).await.unwrap();
    assert_eq!(state(&kit, second).await, State::Cancelled);
    assert_eq!(kit.take_all().await, [third]);
    assert_eq!(holder(submit_with(&kit, &options).await), third);
    let queues = kit.client.queues().await.unwrap();
    let left = queues
        .iter()
        .find(|stats| stats.queue == "default")
        .unwrap();
    assert_eq!((left.queued, left.scheduled, left.running), (0, 0, 1));
}

pub(crate) async fn what_is_refused_leaves_no_key_behind(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::Replace);
    let first = submit_with(&kit, &options).await.unwrap();
    // There is no such task: what would be replaced stays.
    let mut missing = kit.submission("text/nothing");
    missing.options = options.clone();
    missing.options.idempotency_key = Some("order-17".to_owned());
    assert!(submit(&kit, missing).await.is_err());
    assert_eq!(state(&kit, first).await, State::Queued);
    // The unique key is held: the idempotency key is not taken.
    let mut held = idempotent(&kit, "order-17", "[1]");
    held.options.unique = unique("report", Scope::Done, OnConflict::Reject).unique;
    assert_eq!(holder(submit(&kit, held).await), first);
    assert_eq!(kit.store.keys_held().await, 1);
    submit(&kit, idempotent(&kit, "order-17", "[2]"))
        .await
        .unwrap();
}

pub(crate) async fn many_at_once_are_one(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::ReturnExisting);
    let mut submits = Vec::new();
    for at in 0..32 {
        let broker = [&kit.client, &kit.host][at % 2].clone();
        let mut submission = kit.submission("text/run");
        submission.options = options.clone();
        submits.push(tokio::spawn(async move {
            broker
                .submit(vec![submission])
                .await
                .unwrap()
                .pop()
                .unwrap()
                .unwrap()
        }));
    }
    let mut ids = std::collections::HashSet::new();
    for submit in submits {
        ids.insert(submit.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(kit.take_all().await.len(), 1);
}

/// The recipe of docs/once.md: of many in a row the last is run, when it has been quiet for a while.
pub(crate) async fn debounces(kit: Kit) {
    let quiet = Options {
        start: Some(When::InMs(300)),
        ..unique("index", Scope::Queued, OnConflict::Replace)
    };
    let mut last = None;
    for _ in 0..5 {
        last = Some(submit_with(&kit, &quiet).await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let taken = kit.take().await;
    assert_eq!(Some(taken.lease.id), last);
    assert_eq!(kit.take_all().await, []);
}

/// The recipe of docs/once.md: the first is run, and those that come soon after it are that one.
pub(crate) async fn throttles(kit: Kit) {
    let often = unique(
        "refresh",
        Scope::WindowMs(2_000),
        OnConflict::ReturnExisting,
    );
    let first = submit_with(&kit, &often).await.unwrap();
    for _ in 0..5 {
        assert_eq!(submit_with(&kit, &often).await.unwrap(), first);
    }
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    eventually(async || submit_with(&kit, &often).await.unwrap() != first).await;
}

pub(crate) async fn refuses_keys_that_are_none(kit: Kit) {
    for key in [String::new(), "a\nb".to_owned(), "k".repeat(257)] {
        let options = unique(&key, Scope::Done, OnConflict::Reject);
        let answer = submit_with(&kit, &options).await;
        assert!(
            matches!(answer, Err(BrokerError::Invalid { .. })),
            "{answer:?}"
        );
        let mut submission = kit.submission("text/run");
        submission.options.idempotency_key = Some(key);
        let answer = submit(&kit, submission).await;
        assert!(
            matches!(answer, Err(BrokerError::Invalid { .. })),
            "{answer:?}"
        );
    }
    let options = unique("k", Scope::WindowMs(0), OnConflict::Reject);
    assert!(submit_with(&kit, &options).await.is_err());
}

pub(crate) async fn what_replaces_its_own_parent_does_not_wait_for_ever(kit: Kit) {
    let options = unique("report", Scope::Done, OnConflict::Replace);
    let first = submit_with(&kit, &options).await.unwrap();
    let mut follower = options;
    follower.after = vec![celeriac_broker::After::success(first)];
    let second = submit_with(&kit, &follower).await.unwrap();
    assert_eq!(state(&kit, first).await, State::Cancelled);
    eventually(async || kit.code(second).await == Some(Code::DependencyFailed)).await;
}
