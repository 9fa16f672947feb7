//! Invocations that wait for others.

use std::time::Duration;

use celeriac_broker::{
    After, BrokerError, CancelResult, ClientId, Code, InvocationId, MAX_DEPENDENTS, MAX_PARENTS,
    On, OnUnmet, Options, Outcome, Reserve, State, Submission, When,
};

use super::kit::{Kit, LONG, SHORT_LEASE, eventually, next_reply, request, within};

/// Each of these waits for a script or a transaction that does a bounded part, again and again.
const PATIENCE: Duration = Duration::from_secs(60);

fn waiting(kit: &Kit, after: Vec<After>) -> Submission {
    let mut submission = kit.submission("text/run");
    submission.options.after = after;
    submission
}

async fn submit_after(kit: &Kit, after: Vec<After>) -> InvocationId {
    kit.accept(waiting(kit, after)).await
}

async fn state(kit: &Kit, id: InvocationId) -> State {
    kit.client.status(id).await.unwrap().state
}

async fn refused(kit: &Kit, after: Vec<After>) -> BrokerError {
    let answer = kit.client.submit(vec![waiting(kit, after)]).await;
    answer.unwrap().pop().unwrap().unwrap_err()
}

async fn fail(kit: &Kit, lease: &celeriac_broker::Lease) {
    kit.settle(lease, Outcome::failed(Code::TaskError, "no"))
        .await;
}

pub(crate) async fn starts_when_the_last_parent_has_succeeded(kit: Kit) {
    let parents = kit.submit_many(3).await;
    let after = parents.iter().map(|id| After::success(*id)).collect();
    let child = submit_after(&kit, after).await;
    assert_eq!(state(&kit, child).await, State::Blocked);
    for parent in parents {
        assert_eq!(state(&kit, child).await, State::Blocked);
        let taken = kit.take().await;
        assert_eq!(taken.lease.id, parent);
        kit.succeed(&taken.lease).await;
    }
    assert_eq!(state(&kit, child).await, State::Queued);
    let taken = kit.take().await;
    assert_eq!((taken.lease.id, taken.attempt), (child, 1));
    assert!(taken.queued_for < Duration::from_secs(5), "{taken:?}");
    assert_eq!(taken.header.options.after.len(), 3);
    kit.succeed(&taken.lease).await;
    assert_eq!(kit.code(child).await, Some(Code::Ok));
}

pub(crate) async fn a_parent_that_has_ended_counts_at_once(kit: Kit) {
    let parent = kit.submit().await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    let child = submit_after(&kit, vec![After::success(parent)]).await;
    assert_eq!(state(&kit, child).await, State::Queued);
    assert_eq!(kit.take_all().await, [child]);
}

pub(crate) async fn parents_and_children_come_in_one_batch(kit: Kit) {
    let parent = kit.submission("text/run");
    let child = waiting(&kit, vec![After::success(parent.id)]);
    let grandchild = waiting(&kit, vec![After::success(child.id), After::done(parent.id)]);
    let ids = [parent.id, child.id, grandchild.id];
    let answers = kit.client.submit(vec![parent, child, grandchild]).await;
    assert!(answers.unwrap().iter().all(Result::is_ok));
    for id in ids {
        let taken = kit.take().await;
        assert_eq!(taken.lease.id, id);
        kit.succeed(&taken.lease).await;
    }
    assert!(kit.take_all().await.is_empty());
}

pub(crate) async fn refuses_what_cannot_be_waited_for(kit: Kit) {
    let parent = kit.submit().await;
    let unknown = kit.client.namespace().issue(0);
    let error = refused(&kit, vec![After::success(parent), After::done(unknown)]).await;
    assert!(
        matches!(error, BrokerError::NoParent(id) if id == unknown),
        "{error}"
    );
    let twice = vec![After::success(parent), After::done(parent)];
    let error = refused(&kit, twice).await;
    assert!(matches!(error, BrokerError::Invalid { .. }), "{error}");
    let many = (0..=MAX_PARENTS).map(|_| After::success(kit.client.namespace().issue(0)));
    let error = refused(&kit, many.collect()).await;
    assert!(error.to_string().contains("at most"), "{error}");
    // Nothing of it is left behind: the parent ends as if nobody had asked.
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert!(kit.take_all().await.is_empty());
}

pub(crate) async fn waits_for_the_end_that_it_wants(kit: Kit) {
    for (succeeds, met) in [(true, [true, false, true]), (false, [false, true, true])] {
        let parent = kit.submit().await;
        let mut children = Vec::new();
        for on in [On::Success, On::Failure, On::Done] {
            children.push(submit_after(&kit, vec![After { id: parent, on }]).await);
        }
        let lease = kit.take().await.lease;
        match succeeds {
            true => drop(kit.succeed(&lease).await),
            false => fail(&kit, &lease).await,
        }
        let started = kit.take_all().await;
        for (child, met) in children.into_iter().zip(met) {
            assert_eq!(started.contains(&child), met, "{succeeds}");
            let ended = if met {
                None
            } else {
                Some(Code::DependencyFailed)
            };
            assert_eq!(kit.code(child).await, ended);
        }
    }
}

pub(crate) async fn fails_or_is_skipped_when_it_does_not_come(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let parents = kit.submit_many(2).await;
    let after: Vec<_> = parents.iter().map(|id| After::success(*id)).collect();
    let mut failing = waiting(&kit, after.clone());
    failing.reply_to = Some(client);
    let failing = kit.accept(failing).await;
    let mut skipping = waiting(&kit, after);
    skipping.options.on_unmet = OnUnmet::Skip;
    let skipping = kit.accept(skipping).await;
    let lease = kit.take().await.lease;
    fail(&kit, &lease).await;
    // The other parent still waits: nothing that it can come to helps.
    assert_eq!(within(next_reply(&mut replies)).await.0, failing);
    let outcome = kit.client.outcome(failing, None).await.unwrap().unwrap();
    let failure = outcome.failure.unwrap();
    assert_eq!(
        (outcome.code, failure.kind.as_str(), failure.retryable),
        (Code::DependencyFailed, "dependency_failed", false)
    );
    let message = format!("invocation {}, which it waited for, has failed", parents[0]);
    assert_eq!(failure.message, message);
    assert_eq!(kit.code(skipping).await, Some(Code::Skipped));
    assert_eq!(state(&kit, failing).await, State::Failed);
    assert_eq!(state(&kit, skipping).await, State::Cancelled);
    assert_eq!(kit.take_all().await, [parents[1]]);
}

pub(crate) async fn what_cannot_come_any_more_ends_at_once(kit: Kit) {
    let parents = kit.submit_many(2).await;
    let lease = kit.take().await.lease;
    fail(&kit, &lease).await;
    let after = vec![After::success(parents[1]), After::success(parents[0])];
    let child = submit_after(&kit, after).await;
    assert_eq!(kit.code(child).await, Some(Code::DependencyFailed));
    let grandchild = submit_after(&kit, vec![After::failure(child)]).await;
    assert_eq!(state(&kit, grandchild).await, State::Queued);
}

pub(crate) async fn a_failure_goes_down_the_chain(kit: Kit) {
    let head = kit.submit().await;
    let second = submit_after(&kit, vec![After::success(head)]).await;
    let mut third = waiting(&kit, vec![After::success(second)]);
    third.options.on_unmet = OnUnmet::Skip;
    let third = kit.accept(third).await;
    let fourth = submit_after(&kit, vec![After::success(third)]).await;
    let clean_up = submit_after(&kit, vec![After::done(fourth)]).await;
    let lease = kit.take().await.lease;
    fail(&kit, &lease).await;
    assert_eq!(kit.code(second).await, Some(Code::DependencyFailed));
    assert_eq!(kit.code(third).await, Some(Code::Skipped));
    assert_eq!(kit.code(fourth).await, Some(Code::DependencyFailed));
    assert_eq!(kit.take_all().await, [clean_up]);
}

/// Waits, while a host is there, until this has ended with that.
async fn ends_with(kit: &Kit, id: InvocationId, code: Code) {
    let idle = Reserve {
        wait: Duration::ZERO,
        queues: vec!["celeriac".to_owned()],
        ..request()
    };
    // The ticker comes with the first reserve.
    kit.host.reserve(&idle).await.unwrap();
    let begun = std::time::Instant::now();
    while kit.code(id).await != Some(code) {
        assert!(begun.elapsed() < PATIENCE, "{id} does not end with {code}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn a_chain_of_thousands_ends_when_its_head_fails(kit: Kit) {
    let head = kit.submission("text/run");
    let mut chain = vec![head];
    for _ in 1..3000 {
        let last = chain.last().unwrap().id;
        chain.push(waiting(&kit, vec![After::success(last)]));
    }
    let ids: Vec<_> = chain.iter().map(|link| link.id).collect();
    let answers = kit.client.submit(chain).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    let lease = kit.take().await.lease;
    assert_eq!(lease.id, ids[0]);
    fail(&kit, &lease).await;
    ends_with(&kit, ids[2999], Code::DependencyFailed).await;
    assert_eq!(kit.code(ids[1500]).await, Some(Code::DependencyFailed));
    assert_eq!(blocked(&kit).await, 0);
}

/// A parent that so many wait for.
async fn crowd(kit: &Kit, count: usize) -> (InvocationId, Vec<InvocationId>) {
    let parent = kit.submit().await;
    let crowd: Vec<_> = (0..count)
        .map(|_| waiting(kit, vec![After::success(parent)]))
        .collect();
    let ids = crowd.iter().map(|child| child.id).collect();
    let answers = kit.client.submit(crowd).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    (parent, ids)
}

pub(crate) async fn thousands_of_dependents_are_let_go(kit: Kit) {
    let (_, children) = crowd(&kit, 3000).await;
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    let mut started = Vec::new();
    let begun = std::time::Instant::now();
    while started.len() < children.len() {
        let some = Reserve {
            max: 500,
            ..request()
        };
        let taken = kit.host.reserve(&some).await.unwrap();
        started.extend(taken.into_iter().map(|taken| taken.lease.id));
        assert!(begun.elapsed() < PATIENCE, "{} started", started.len());
    }
    started.sort_unstable();
    let mut children = children;
    children.sort_unstable();
    assert_eq!(started, children);
    assert_eq!(blocked(&kit).await, 0);
}

pub(crate) async fn thousands_of_dependents_fail(kit: Kit) {
    let (parent, children) = crowd(&kit, 3000).await;
    assert_eq!(
        kit.client.cancel(parent).await.unwrap(),
        CancelResult::Cancelled
    );
    ends_with(&kit, *children.last().unwrap(), Code::DependencyFailed).await;
    eventually(async || blocked(&kit).await == 0).await;
    assert!(kit.take_all().await.is_empty());
}

pub(crate) async fn is_cancelled_at_once_while_it_waits(kit: Kit) {
    let parent = kit.submit().await;
    let child = submit_after(&kit, vec![After::success(parent)]).await;
    let grandchild = submit_after(&kit, vec![After::done(child)]).await;
    assert_eq!(
        kit.client.cancel(child).await.unwrap(),
        CancelResult::Cancelled
    );
    assert_eq!(kit.code(child).await, Some(Code::Cancelled));
    assert_eq!(state(&kit, grandchild).await, State::Queued);
    let lease = kit.take().await.lease;
    assert_eq!(lease.id, parent);
    kit.succeed(&lease).await;
    assert_eq!(kit.take_all().await, [grandchild]);
}

pub(crate) async fn expires_while_it_waits(kit: Kit) {
    let parent = kit.submit().await;
    let mut child = waiting(&kit, vec![After::success(parent)]);
    child.options.expires = Some(When::InMs(30));
    let child = kit.accept(child).await;
    let mut other = waiting(&kit, vec![After::success(parent)]);
    other.options.deadline = Some(When::InMs(30));
    let other = kit.accept(other).await;
    ends_with(&kit, child, Code::Expired).await;
    ends_with(&kit, other, Code::Deadline).await;
    assert_eq!(kit.take_all().await, [parent]);
    assert_eq!(blocked(&kit).await, 0);
    assert_eq!(kit.store.timed().await, 0);
}

pub(crate) async fn waits_for_its_time_too(kit: Kit) {
    let parent = kit.submit().await;
    let mut child = waiting(&kit, vec![After::success(parent)]);
    child.options.start = Some(When::InMs(600));
    let child = kit.accept(child).await;
    assert_eq!(state(&kit, child).await, State::Blocked);
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert_eq!(state(&kit, child).await, State::Scheduled);
    assert_eq!(kit.take().await.lease.id, child);
}

pub(crate) async fn keeps_what_its_parents_came_to_until_it_has_ended(kit: Kit) {
    let mut short = kit.submission("text/run");
    short.options.result_ttl_ms = Some(50);
    let first = kit.accept(short.clone()).await;
    short.id = kit.client.namespace().issue(0);
    let second = kit.accept(short).await;
    let lease = kit.take().await.lease;
    // One has ended when it is waited for, the other ends then.
    let early = submit_after(&kit, vec![After::success(first)]).await;
    kit.succeed(&lease).await;
    let child = submit_after(&kit, vec![After::success(first), After::success(second)]).await;
    let lease = kit.reserve_until_some(request()).await;
    for taken in lease {
        if taken.lease.id != early {
            kit.succeed(&taken.lease).await;
        } else {
            fail(&kit, &taken.lease).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for parent in [first, second] {
        assert_eq!(kit.code(parent).await, Some(Code::Ok));
    }
    let taken = kit.take().await;
    assert_eq!(taken.lease.id, child);
    kit.succeed(&taken.lease).await;
    for parent in [first, second] {
        eventually(async || {
            let gone = kit.client.outcome(parent, None).await;
            matches!(gone, Err(BrokerError::Expired(_)))
        })
        .await;
    }
}

pub(crate) async fn every_end_of_a_parent_counts(kit: Kit) {
    // Its host dies three times: the broker ends it, in a reserve.
    let parent = kit.submit().await;
    let child = submit_after(&kit, vec![After::failure(parent)]).await;
    for _ in 0..3 {
        assert_eq!(kit.take_for(SHORT_LEASE).await.lease.id, parent);
    }
    assert_eq!(kit.take().await.lease.id, child);
    assert_eq!(kit.code(parent).await, Some(Code::Quarantined));
    // It is to stop when it is given back.
    let parent = kit.submit().await;
    let child = submit_after(&kit, vec![After::done(parent)]).await;
    let lease = kit.take().await.lease;
    kit.client.cancel(parent).await.unwrap();
    kit.host.release(&[lease]).await.unwrap();
    assert_eq!(kit.take().await.lease.id, child);
    // It expires, in a tick.
    let mut expiring = kit.submission("text/run");
    expiring.options = Options {
        start: None,
        expires: Some(When::InMs(20)),
        queue: Some("elsewhere".to_owned()),
        ..Options::default()
    };
    let parent = kit.accept(expiring).await;
    let child = submit_after(&kit, vec![After::failure(parent)]).await;
    assert_eq!(kit.take().await.lease.id, child);
}

pub(crate) async fn too_many_for_one_are_refused(kit: Kit) {
    let most = usize::try_from(MAX_DEPENDENTS).unwrap();
    let (parent, _) = crowd(&kit, most).await;
    let error = refused(&kit, vec![After::success(parent)]).await;
    let text = error.to_string();
    assert!(matches!(error, BrokerError::Invalid { .. }), "{text}");
    assert!(text.contains("fewer than 10000"), "{text}");
}

async fn blocked(kit: &Kit) -> u64 {
    let queues = kit.client.queues().await.unwrap();
    queues.iter().map(|queue| queue.blocked).sum()
}

pub(crate) async fn is_counted_and_shown(kit: Kit) {
    let parent = kit.submit().await;
    let child = submit_after(&kit, vec![After::done(parent)]).await;
    submit_after(&kit, vec![After::done(child)]).await;
    assert_eq!(blocked(&kit).await, 2);
    let status = kit.client.status(child).await.unwrap();
    assert_eq!(status.after, [After::done(parent)]);
    let taken = kit.take_for(LONG).await;
    kit.succeed(&taken.lease).await;
    assert_eq!(blocked(&kit).await, 1);
}

pub(crate) async fn submitting_twice_waits_once(kit: Kit) {
    let parents = kit.submit_many(2).await;
    let after = parents.iter().map(|id| After::success(*id)).collect();
    let child = waiting(&kit, after);
    for _ in 0..3 {
        kit.accept(child.clone()).await;
    }
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    assert_eq!(state(&kit, child.id).await, State::Blocked);
    let lease = kit.take().await.lease;
    kit.succeed(&lease).await;
    // Once it has been let go it is left as it is.
    kit.accept(child.clone()).await;
    assert_eq!(kit.take_all().await, [child.id]);
    assert_eq!(blocked(&kit).await, 0);
}
