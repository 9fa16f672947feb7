//! What running invocations report.

use celeriac_broker::{BrokerError, Event, EventKind, Payload, Progress};
use tokio::sync::mpsc;

use super::kit::{Kit, log, within};

fn message(event: &Event) -> &str {
    match &event.kind {
        EventKind::Log(record) => &record.message,
        other => panic!("not a log record: {other:?}"),
    }
}

async fn messages<const N: usize>(events: &mut mpsc::Receiver<Event>) -> [String; N] {
    let mut messages = Vec::new();
    while messages.len() < N {
        let event = within(events.recv()).await.expect("the stream goes on");
        messages.push(message(&event).to_owned());
    }
    messages.try_into().unwrap()
}

pub(crate) async fn gives_history_then_what_comes(kit: Kit) {
    let id = kit.submit().await;
    let mut early = kit.host.watch(id, None).await.unwrap();
    let lease = kit.take().await.lease;
    kit.host
        .record(&lease, vec![log("a"), log("b")])
        .await
        .unwrap();
    let mut late = kit.host.watch(id, None).await.unwrap();
    assert_eq!(messages(&mut late).await, ["a", "b"]);
    for next in ["c", "d"] {
        kit.host.record(&lease, vec![log(next)]).await.unwrap();
        assert_eq!(messages(&mut late).await, [next]);
    }
    assert_eq!(messages(&mut early).await, ["a", "b", "c", "d"]);
    let newest = kit.client.events(id, 3).await.unwrap();
    assert_eq!(
        newest.iter().map(message).collect::<Vec<_>>(),
        ["b", "c", "d"]
    );
    assert!(
        newest
            .iter()
            .all(|event| event.attempt == 1 && event.at_ms > 0)
    );
}

pub(crate) async fn resumes_after_a_cursor(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    let many: Vec<_> = (0..250).map(|number| log(number.to_string())).collect();
    kit.host.record(&lease, many).await.unwrap();
    let all = kit.client.events(id, 1000).await.unwrap();
    assert_eq!(all.len(), 250);
    let mut rest = kit.client.watch(id, Some(&all[99].cursor)).await.unwrap();
    for number in 100..250 {
        assert_eq!(messages(&mut rest).await, [number.to_string()]);
    }
    kit.host.record(&lease, vec![log("next")]).await.unwrap();
    assert_eq!(messages(&mut rest).await, ["next"]);
    let refused = kit.client.watch(id, Some("no cursor")).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

pub(crate) async fn carries_all_three_kinds(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    let kinds = vec![
        EventKind::Progress(Progress {
            done: 0.5,
            total: 3.0,
            note: "half".to_owned(),
        }),
        log("text “ü”"),
        EventKind::Chunk(Payload::bytes("image/png", (0..=255).collect::<Vec<u8>>())),
        EventKind::Chunk(Payload::json_text("{}")),
    ];
    kit.host.record(&lease, kinds.clone()).await.unwrap();
    let events = kit.client.events(id, 10).await.unwrap();
    assert_eq!(
        events
            .into_iter()
            .map(|event| event.kind)
            .collect::<Vec<_>>(),
        kinds
    );
}

pub(crate) async fn is_heard_in_another_process(kit: Kit) {
    let id = kit.submit().await;
    let other = kit.submit().await;
    let mut events = kit.client.watch(id, None).await.unwrap();
    let mut others = kit.client.watch(other, None).await.unwrap();
    let lease = kit.take().await.lease;
    for next in ["a", "b", "c"] {
        kit.host.record(&lease, vec![log(next)]).await.unwrap();
        assert_eq!(messages(&mut events).await, [next]);
    }
    assert!(others.try_recv().is_err(), "it hears of another invocation");
}

pub(crate) async fn the_last_progress_is_in_the_status(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    assert_eq!(kit.client.status(id).await.unwrap().progress, None);
    let progress = |done| {
        EventKind::Progress(Progress {
            done,
            total: 9.0,
            note: String::new(),
        })
    };
    kit.host
        .record(&lease, vec![progress(1.0), progress(2.0), log("x")])
        .await
        .unwrap();
    kit.host.record(&lease, vec![log("y")]).await.unwrap();
    assert_eq!(
        kit.client.status(id).await.unwrap().progress.unwrap().done,
        2.0
    );
    kit.succeed(&lease).await;
    assert_eq!(
        kit.client.status(id).await.unwrap().progress.unwrap().done,
        2.0
    );
}

pub(crate) async fn keeps_a_thousand_events_or_little_more(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit.take().await.lease;
    for page in 0..25 {
        let events = (0..100).map(|number| log((page * 100 + number).to_string()));
        kit.host.record(&lease, events.collect()).await.unwrap();
    }
    let events = kit.client.events(id, 10_000).await.unwrap();
    assert!((1000..=1200).contains(&events.len()), "{}", events.len());
    assert_eq!(message(&events[events.len() - 1]), "2499");
    let mut watched = kit.client.watch(id, None).await.unwrap();
    assert_eq!(messages(&mut watched).await, [message(&events[0])]);
}
