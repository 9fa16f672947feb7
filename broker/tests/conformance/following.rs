//! Callbacks: what follows the end of an invocation.

use celeriac_broker::{
    BrokerError, Callback, Code, InvocationId, On, Outcome, Reserve, SYSTEM_QUEUE, State,
    Submission,
};

use super::kit::{Kit, publish, request};

fn followed(kit: &Kit, callbacks: &[(On, &str)]) -> Submission {
    let mut submission = kit.submission("text/run");
    let callbacks = callbacks.iter().map(|(on, to)| Callback {
        on: *on,
        to: to.parse().unwrap(),
    });
    submission.options.callbacks = callbacks.collect();
    submission
}

async fn end(kit: &Kit, succeeds: bool) -> InvocationId {
    let lease = kit.take().await.lease;
    match succeeds {
        true => kit.succeed(&lease).await,
        false => {
            kit.settle(&lease, Outcome::failed(Code::TaskError, "no"))
                .await
        }
    };
    lease.id
}

pub(crate) async fn a_task_follows_the_end_that_it_is_about(kit: Kit) {
    publish(&kit.client, "mail", b"another module").await;
    let all = [
        (On::Success, "text/run"),
        (On::Failure, "mail/run"),
        (On::Done, "mail/run"),
    ];
    for (succeeds, expected) in [
        (true, vec!["text/run", "mail/run"]),
        (false, vec!["mail/run", "mail/run"]),
    ] {
        let id = kit.accept(followed(&kit, &all)).await;
        assert_eq!(end(&kit, succeeds).await, id);
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let taken = kit.take().await;
            assert_eq!(taken.input.data, "{\"$outcome\":0}");
            assert_eq!(taken.header.options.after[0].id, id);
            tasks.push(taken.header.task.to_string());
            kit.succeed(&taken.lease).await;
        }
        tasks.sort();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(tasks, expected);
        assert!(kit.take_all().await.is_empty());
    }
}

pub(crate) async fn a_url_is_told_by_the_host_itself(kit: Kit) {
    let submission = followed(&kit, &[(On::Done, "https://example.com/hook")]);
    let id = kit.accept(submission.clone()).await;
    // Submitting twice is submitting once, callbacks included.
    kit.accept(submission).await;
    end(&kit, true).await;
    kit.accept(followed(&kit, &[])).await;
    let system = Reserve {
        queues: vec![SYSTEM_QUEUE.to_owned()],
        ..request()
    };
    let taken = kit.reserve_until_some(system).await;
    assert_eq!(taken.len(), 1);
    let taken = &taken[0];
    assert_eq!(taken.header.task.to_string(), "celeriac/webhook");
    assert_eq!(taken.digest, None);
    let input: serde_json::Value = taken.input.parse().unwrap();
    assert_eq!(input["url"], "https://example.com/hook");
    assert!(taken.header.options.retries.unwrap() > 5);
    kit.succeed(&taken.lease).await;
    let status = kit.client.status(taken.lease.id).await.unwrap();
    assert_eq!(status.state, State::Succeeded);
    assert_eq!(status.after[0].id, id);
}

pub(crate) async fn one_that_cannot_be_run_refuses_its_invocation_alone(kit: Kit) {
    let batch = vec![
        followed(&kit, &[]),
        followed(&kit, &[(On::Done, "nobody/run")]),
        followed(&kit, &[(On::Done, "celeriac/admit")]),
        followed(&kit, &[(On::Done, "text/run")]),
        followed(&kit, &[(On::Done, "text/run"); 17]),
    ];
    let ids: Vec<_> = batch.iter().map(|submission| submission.id).collect();
    let answers = kit.client.submit(batch).await.unwrap();
    assert!(answers[0].is_ok() && answers[3].is_ok());
    assert!(matches!(answers[1], Err(BrokerError::NoModule(_))));
    assert!(matches!(answers[2], Err(BrokerError::Invalid { .. })));
    assert!(matches!(answers[4], Err(BrokerError::Invalid { .. })));
    assert_eq!(kit.take_all().await, [ids[0], ids[3]]);
}
