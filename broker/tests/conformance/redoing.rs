//! Retries of dead letters that are more than a task and an input: with parents, with keys, with a caller.

use celeriac_broker::{
    After, BrokerError, Callback, Code, InvocationId, On, OnConflict, Outcome, Parent, Payload,
    Reserve, Retry, SYSTEM_QUEUE, Scope, State, Submission, Unique,
};

use super::kit::{Kit, eventually, request};

const ALL: &str = "{\"$outputs\":true}";

/// The three ways to retry a letter: as it was, as its task is now, and with edited input.
fn ways() -> [Retry; 3] {
    let latest = Retry {
        is_latest: true,
        ..Retry::default()
    };
    [Retry::default(), latest, edited("7")]
}

fn edited(input: &'static str) -> Retry {
    Retry {
        input: Some(Payload::json_text(input)),
        is_latest: false,
    }
}

/// Retries a letter as clients do; its successor.
async fn retry(kit: &Kit, id: InvocationId, retry: Retry) -> Result<InvocationId, BrokerError> {
    let fresh = kit.client.namespace().issue(0);
    let claimed = retry.claim(kit.client.as_ref(), id, fresh).await?;
    let submission = claimed.expect("it is no dead letter");
    let answers = kit.client.submit(vec![submission.clone()]).await;
    let answer = answers.unwrap().pop().unwrap();
    let successor = Retry::accepted(&submission, answer)?;
    assert_eq!(kit.client.drop_dead_letters(&[id]).await.unwrap(), 1);
    assert_eq!(
        kit.client.status(successor).await.unwrap().retry_of,
        Some(id)
    );
    Ok(successor)
}

/// What is refused leaves the letter where it is, and runs nothing.
async fn refused(kit: &Kit, id: InvocationId, how: Retry) -> BrokerError {
    let error = retry(kit, id, how).await.unwrap_err();
    assert!(kit.client.dead_letter(id).await.unwrap().is_some());
    assert_eq!(kit.take_all().await, []);
    error
}

/// The parent that a refusal names.
async fn unfit(kit: &Kit, id: InvocationId, how: Retry) -> InvocationId {
    match refused(kit, id, how).await {
        BrokerError::UnfitParent { letter, parent, .. } if letter == id => parent,
        other => panic!("{other:?}"),
    }
}

/// Has what is taken next fail.
async fn fail(kit: &Kit, id: InvocationId) {
    let lease = kit.take().await.lease;
    assert_eq!(lease.id, id);
    kit.settle(&lease, Outcome::failed(Code::TaskError, "no"))
        .await;
}

async fn succeed(kit: &Kit, id: InvocationId) {
    let lease = kit.take().await.lease;
    assert_eq!(lease.id, id);
    kit.succeed(&lease).await;
}

/// One whose result is kept for so long.
async fn kept_for(kit: &Kit, ttl_ms: u64) -> InvocationId {
    let mut submission = kit.submission("text/run");
    submission.options.result_ttl_ms = Some(ttl_ms);
    kit.accept(submission).await
}

/// Two that have succeeded, whose results are kept for so long, and what gets the outputs of both and has failed.
async fn failed_chord(kit: &Kit, ttl_ms: u64) -> ([InvocationId; 2], InvocationId) {
    let parents = [kept_for(kit, ttl_ms).await, kept_for(kit, ttl_ms).await];
    let mut body = kit.submission("text/run");
    body.options.after = parents.iter().map(|id| After::success(*id)).collect();
    body.input = Payload::json_text(ALL);
    let body = kit.accept(body).await;
    for parent in parents {
        succeed(kit, parent).await;
    }
    fail(kit, body).await;
    (parents, body)
}

pub(crate) async fn a_retry_reads_what_its_parents_came_to(kit: Kit) {
    let parents = kit.submit_many(2).await;
    for parent in &parents {
        succeed(&kit, *parent).await;
    }
    let done: Vec<_> = parents.iter().map(|id| After::done(*id)).collect();
    for (how, input, after) in [
        (Retry::default(), ALL, done.clone()),
        (edited("{\"$output\":1}"), "{\"$output\":1}", done),
        (edited("7"), "7", Vec::new()),
    ] {
        let mut body = kit.submission("text/run");
        body.options.after = parents.iter().map(|id| After::success(*id)).collect();
        body.input = Payload::json_text(ALL);
        let body = kit.accept(body).await;
        fail(&kit, body).await;
        let successor = retry(&kit, body, how).await.unwrap();
        let taken = kit.take().await;
        assert_eq!(taken.lease.id, successor);
        assert_eq!(taken.input, Payload::json_text(input));
        assert_eq!(taken.header.options.after, after);
        let read = kit.host.outcomes(&parents, None).await.unwrap();
        for outcome in read {
            let output = outcome.unwrap().unwrap().output.unwrap();
            assert_eq!(output, Payload::json("done").unwrap());
        }
        kit.succeed(&taken.lease).await;
    }
}

pub(crate) async fn parents_are_kept_until_the_retry_has_ended(kit: Kit) {
    let ttl_ms = 1_000;
    let (parents, body) = failed_chord(&kit, ttl_ms).await;
    // When the result of this one is gone, so would theirs be.
    let later = kept_for(&kit, ttl_ms).await;
    succeed(&kit, later).await;
    let successor = retry(&kit, body, Retry::default()).await.unwrap();
    eventually(async || kit.client.status(later).await.is_err()).await;
    let read = kit.host.outcomes(&parents, None).await.unwrap();
    assert!(read.iter().all(|outcome| matches!(outcome, Ok(Some(_)))));
    succeed(&kit, successor).await;
    eventually(async || kit.client.status(parents[0]).await.is_err()).await;
}

pub(crate) async fn a_webhook_is_retried_with_its_outcome(kit: Kit) {
    let mut submission = kit.submission("text/run");
    submission.options.callbacks = vec![Callback {
        on: On::Success,
        to: "https://example.com/hook".parse().unwrap(),
    }];
    let id = kit.accept(submission).await;
    succeed(&kit, id).await;
    let next = async || {
        let system = Reserve {
            queues: vec![SYSTEM_QUEUE.to_owned()],
            max: 1,
            ..request()
        };
        kit.reserve_until_some(system).await.pop().unwrap()
    };
    let first = next().await;
    kit.settle(&first.lease, Outcome::failed(Code::TaskError, "503"))
        .await;
    let successor = retry(&kit, first.lease.id, Retry::default()).await.unwrap();
    let second = next().await;
    assert_eq!(second.lease.id, successor);
    assert_eq!(second.header.task, first.header.task);
    assert_eq!(second.input, first.input);
    assert_eq!(second.header.options.after, [After::done(id)]);
    assert_eq!(kit.code(id).await, Some(Code::Ok));
    kit.succeed(&second.lease).await;
}

pub(crate) async fn a_retry_whose_parents_are_gone_is_refused(kit: Kit) {
    let (parents, body) = failed_chord(&kit, 100).await;
    for parent in &parents {
        eventually(async || kit.client.status(*parent).await.is_err()).await;
    }
    assert_eq!(unfit(&kit, body, Retry::default()).await, parents[0]);
    assert_eq!(unfit(&kit, body, edited(ALL)).await, parents[0]);
    let successor = retry(&kit, body, edited("[7]")).await.unwrap();
    let taken = kit.take().await;
    assert_eq!(taken.lease.id, successor);
    assert_eq!(taken.input, Payload::json_text("[7]"));
}

pub(crate) async fn what_failed_for_a_parent_is_retried_on_what_somebody_says(kit: Kit) {
    let failed = kit.submit().await;
    let after = |input: &'static str| {
        let mut submission = kit.submission("text/run");
        submission.options.after = vec![After::success(failed)];
        submission.input = Payload::json_text(input);
        submission
    };
    let (refers, plain) = (kit.accept(after(ALL)).await, kit.accept(after("1")).await);
    fail(&kit, failed).await;
    for id in [refers, plain] {
        eventually(async || kit.code(id).await == Some(Code::DependencyFailed)).await;
    }
    // It never runs on the nulls of what failed, unless somebody has it do so.
    assert_eq!(unfit(&kit, refers, Retry::default()).await, failed);
    for (id, how) in [(refers, edited(ALL)), (plain, Retry::default())] {
        let successor = retry(&kit, id, how).await.unwrap();
        succeed(&kit, successor).await;
    }
}

pub(crate) async fn an_idempotency_key_stays_with_the_letter(kit: Kit) {
    for (number, how) in ways().into_iter().enumerate() {
        let once = || {
            let mut submission = kit.submission("text/run");
            submission.options.idempotency_key = Some(format!("order-{number}"));
            submission
        };
        let id = kit.accept(once()).await;
        fail(&kit, id).await;
        let successor = retry(&kit, id, how).await.unwrap();
        assert_ne!(successor, id);
        succeed(&kit, successor).await;
        // As before, the key is that of the invocation that was handed in with it.
        let again = kit
            .client
            .submit(vec![once()])
            .await
            .unwrap()
            .pop()
            .unwrap();
        assert_eq!(again.unwrap(), id);
    }
}

fn unique(kit: &Kit, key: &str, scope: Scope, on_conflict: OnConflict) -> Submission {
    let mut submission = kit.submission("text/run");
    submission.options.unique = Some(Unique {
        key: key.to_owned(),
        scope,
        on_conflict,
    });
    submission
}

const POLICIES: [OnConflict; 3] = [
    OnConflict::Reject,
    OnConflict::ReturnExisting,
    OnConflict::Replace,
];

/// The invocation that keeps another from having the key.
async fn holder(kit: &Kit, key: &str) -> InvocationId {
    let other = unique(kit, key, Scope::Done, OnConflict::Reject);
    match kit.client.submit(vec![other]).await.unwrap().pop().unwrap() {
        Err(BrokerError::NotUnique { existing, .. }) => existing,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_retry_takes_over_the_unique_key_of_its_letter(kit: Kit) {
    for scope in [Scope::Queued, Scope::Done, Scope::WindowMs(3_600_000)] {
        for on_conflict in POLICIES {
            for (number, how) in ways().into_iter().enumerate() {
                let key = format!("{scope}/{on_conflict}/{number}");
                let id = kit.accept(unique(&kit, &key, scope, on_conflict)).await;
                fail(&kit, id).await;
                let successor = retry(&kit, id, how).await.unwrap();
                assert_eq!(holder(&kit, &key).await, successor);
                assert_eq!(kit.code(id).await, Some(Code::TaskError));
                succeed(&kit, successor).await;
            }
        }
    }
}

pub(crate) async fn a_retry_leaves_its_key_to_who_holds_it_now(kit: Kit) {
    for on_conflict in POLICIES {
        for scope in [Scope::Done, Scope::WindowMs(3_600_000)] {
            for how in ways() {
                let key = format!("{on_conflict}/{scope}/{how:?}");
                let first = kit
                    .accept(unique(&kit, &key, Scope::Done, on_conflict))
                    .await;
                fail(&kit, first).await;
                let second = kit.accept(unique(&kit, &key, scope, on_conflict)).await;
                let taken = kit.take().await;
                match refused(&kit, first, how.clone()).await {
                    BrokerError::NotUnique { existing, .. } => assert_eq!(existing, second),
                    other => panic!("{other:?}"),
                }
                kit.succeed(&taken.lease).await;
                assert_eq!(kit.code(second).await, Some(Code::Ok));
                if scope == Scope::Done {
                    // The key is free again.
                    let successor = retry(&kit, first, how).await.unwrap();
                    succeed(&kit, successor).await;
                }
            }
        }
    }
}

pub(crate) async fn a_retry_replaces_what_waits_with_its_key(kit: Kit) {
    let key = || unique(&kit, "rebuild", Scope::Done, OnConflict::Replace);
    let first = kit.accept(key()).await;
    fail(&kit, first).await;
    let second = kit.accept(key()).await;
    let successor = retry(&kit, first, Retry::default()).await.unwrap();
    assert_eq!(kit.code(second).await, Some(Code::Cancelled));
    assert_eq!(holder(&kit, "rebuild").await, successor);
    succeed(&kit, successor).await;
}

pub(crate) async fn what_a_task_has_called_is_retried_by_itself(kit: Kit) {
    let caller = kit.submit().await;
    let running = kit.take().await.lease;
    assert_eq!(running.id, caller);
    let mut called = kit.submission("text/run");
    called.options.parent = Some(Parent {
        id: caller,
        depth: 1,
    });
    let called = kit.accept(called).await;
    fail(&kit, called).await;
    kit.succeed(&running).await;
    // Its caller has had its answer and is gone.
    let successor = retry(&kit, called, Retry::default()).await.unwrap();
    let status = kit.client.status(successor).await.unwrap();
    assert_eq!((status.parent, status.state), (None, State::Queued));
    succeed(&kit, successor).await;
}
