//! Accepting invocations.

use std::time::Duration;

use celeriac_broker::{BrokerError, InvocationId, Namespace, Options, Payload, Priority, Reserve};

use super::kit::{Kit, eventually, request};

pub(crate) async fn survives_the_end_of_every_process(mut kit: Kit) {
    let ids = kit.submit_many(100).await;
    // Both handles are the last ones of their "processes".
    kit.client = kit.store.open().await;
    kit.host = kit.store.open().await;
    assert_eq!(kit.take_all().await, ids);
}

pub(crate) async fn submitting_twice_is_submitting_once(kit: Kit) {
    let submission = kit.submission("text/run");
    let id = kit.accept(submission.clone()).await;
    kit.accept(submission.clone()).await;
    let both = kit
        .client
        .submit(vec![submission.clone(), submission.clone()])
        .await
        .unwrap();
    assert!(both.iter().all(Result::is_ok));
    let taken = kit.take().await;
    assert_eq!(taken.lease.id, id);
    kit.accept(submission.clone()).await;
    kit.succeed(&taken.lease).await;
    kit.accept(submission).await;
    assert_eq!(kit.take_all().await, Vec::<InvocationId>::new());
}

pub(crate) async fn refuses_an_input_over_the_cap_before_anything_is_stored(kit: Kit) {
    let limit = kit.client.caps().input_bytes;
    let mut large = kit.submission("text/run");
    large.input = Payload::bytes("a/b", vec![0; usize::try_from(limit).unwrap() + 1]);
    let id = large.id;
    let answers = kit
        .client
        .submit(vec![large, kit.submission("text/run")])
        .await
        .unwrap();
    let [
        Err(BrokerError::TooLarge {
            bytes,
            limit: told,
            setting,
            ..
        }),
        Ok(_),
    ] = answers.as_slice()
    else {
        panic!("{answers:?}");
    };
    assert_eq!((*bytes, *told, *setting), (limit + 1, limit, "caps.input"));
    assert!(kit.client.status(id).await.is_err());
    assert_eq!(kit.take_all().await.len(), 1);
}

pub(crate) async fn answers_each_item_by_itself(kit: Kit) {
    let tasks = [
        "text/run",
        "nothing/run",
        "text/nothing",
        "text@1.0.0/run",
        "celeriac/admit",
        "text/run",
    ];
    let mut batch: Vec<_> = tasks.iter().map(|task| kit.submission(task)).collect();
    batch[5].options.queue = Some("No Queue".to_owned());
    let answers = kit.client.submit(batch).await.unwrap();
    assert!(answers[0].is_ok(), "{answers:?}");
    assert!(
        matches!(answers[1], Err(BrokerError::NoModule(_))),
        "{answers:?}"
    );
    assert!(
        matches!(answers[2], Err(BrokerError::NoTask(_))),
        "{answers:?}"
    );
    assert!(
        matches!(answers[3], Err(BrokerError::NoModule(_))),
        "{answers:?}"
    );
    assert!(answers[4].is_ok(), "{answers:?}");
    assert!(
        matches!(answers[5], Err(BrokerError::Invalid { .. })),
        "{answers:?}"
    );
    assert_eq!(kit.take_all().await.len(), 2);
}

pub(crate) async fn refuses_ids_of_another_store(kit: Kit) {
    let mut foreign = kit.submission("text/run");
    foreign.id = std::iter::repeat_with(|| Namespace::generate().issue(0))
        .find(|id| !kit.client.namespace().issued(*id))
        .unwrap();
    let answers = kit.client.submit(vec![foreign]).await.unwrap();
    assert!(
        matches!(answers[0], Err(BrokerError::Invalid { .. })),
        "{answers:?}"
    );
}

pub(crate) async fn chooses_the_queue(kit: Kit) {
    let plain = kit.accept(kit.submission("text/run")).await;
    let own = kit.accept(kit.submission("text/slow")).await;
    let mut asked = kit.submission("text/slow");
    asked.options.queue = Some("asked".to_owned());
    let asked = kit.accept(asked).await;
    let built_in = kit.accept(kit.submission("celeriac/admit")).await;
    for (id, queue) in [
        (plain, "default"),
        (own, "slow"),
        (asked, "asked"),
        (built_in, "celeriac"),
    ] {
        assert_eq!(kit.client.status(id).await.unwrap().queue, queue);
        let queues = vec![queue.to_owned()];
        let taken = kit
            .host
            .reserve(&Reserve {
                queues,
                ..request()
            })
            .await
            .unwrap();
        assert_eq!(
            taken.iter().map(|taken| taken.lease.id).collect::<Vec<_>>(),
            [id]
        );
    }
}

pub(crate) async fn a_task_has_defaults_and_its_callers_go_over_them(kit: Kit) {
    let meek = |options: Options| {
        let mut submission = kit.submission("text/meek");
        submission.options = options;
        submission
    };
    let plain = kit.accept(meek(Options::default())).await;
    let shared = Options {
        fairness_key: Some("a".to_owned()),
        ..Options::default()
    };
    let shared = kit.accept(meek(shared)).await;
    let normal = kit.submit().await;
    let urgent = Options {
        priority: Some(Priority::Normal),
        expires: Some(Duration::from_secs(3600).into()),
        deadline: Some(Duration::from_secs(7200).into()),
        result_ttl_ms: Some(3_600_000),
        ..Options::default()
    };
    let urgent = kit.accept(meek(urgent)).await;
    let later = Options {
        start: Some(Duration::from_secs(600).into()),
        ..Options::default()
    };
    let later = kit.accept(meek(later)).await;
    for (id, expires, deadline) in [
        (plain, 60, 120),
        (shared, 60, 120),
        (urgent, 3600, 7200),
        (later, 660, 720),
    ] {
        let status = kit.client.status(id).await.unwrap();
        let behind = |ms: Option<u64>| ms.map(|ms| (ms - status.submitted_at_ms) / 1000);
        let times = (behind(status.expires_at_ms), behind(status.deadline_at_ms));
        assert_eq!(times, (Some(expires), Some(deadline)), "{id}");
    }
    let status = kit.client.status(normal).await.unwrap();
    assert_eq!((status.expires_at_ms, status.deadline_at_ms), (None, None));

    let mut order = Vec::new();
    for _ in 0..4 {
        let taken = kit.take().await;
        order.push(taken.lease.id);
        kit.succeed(&taken.lease).await;
    }
    assert_eq!(order, [normal, urgent, plain, shared]);
    eventually(async || matches!(kit.client.status(plain).await, Err(BrokerError::Expired(_))))
        .await;
    assert!(kit.client.status(urgent).await.is_ok());
}
