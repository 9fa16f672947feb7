//! Accepting invocations.

use celeriac_broker::{BrokerError, InvocationId, Namespace, Payload, Reserve};

use super::kit::{Kit, request};

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
