//! Upload once, call, await; on the embedded store and on Redis, from this process and from others.

use std::time::Duration;

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::{
    Client, Code, ConnectOptions, Error, Payload, State, broker::BrokerError, gather,
};
use celeriac_tests::{Stage, until};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

async fn stages() -> Result<[Stage; 2]> {
    Ok([Stage::embedded().await?, Stage::redis(AofMode::Off).await?])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_results_come_back_to_their_callers() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let inputs = (0..1_000).map(|n| json!({"a": n, "b": 1}));
        let handles = stage.client.task("basics/add")?.submit_all(inputs).await?;
        for (n, sum) in gather::<f64>(&handles).await.into_iter().enumerate() {
            assert_eq!(sum?, n as f64 + 1.0);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_process_can_read_a_result_by_its_id() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let handle = stage
            .client
            .task("basics/echo")?
            .detached()
            .submit(&json!([0, "", null]))
            .await?;
        let other = Client::connect(&stage.url).await?;
        let result: Value = other
            .handle(handle.id())
            .result_within(Duration::from_secs(10))
            .await?;
        assert_eq!(result, json!([0, "", null]));
        let status = other.handle(handle.id()).status().await?;
        assert_eq!(
            (status.state, status.attempts, status.crashes),
            (State::Succeeded, 1, 0)
        );
        let usage = status
            .outcome
            .map(|outcome| outcome.usage)
            .unwrap_or_default();
        assert!(
            usage.fuel > 0
                && usage.peak_memory_bytes > 0
                && usage.run_ms > 0.0
                && usage.queue_ms >= 0.0
        );
        assert!(usage.module.is_some() && usage.attempt == 1 && !usage.host.is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_is_told_from_one_whose_result_has_expired() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let short = stage
            .client
            .task("basics/noop")?
            .result_ttl(Duration::from_millis(50));
        let handle = short.submit(&Value::Null).await?;
        handle.outcome().await?;
        let id = handle.id();
        until(Duration::from_secs(10), "the result expires", || async {
            Ok(matches!(
                stage.client.handle(id).status().await,
                Err(Error::Broker(BrokerError::Expired(_)))
            ))
        })
        .await?;
        let foreign = celeriac_client::broker::Namespace::generate().issue(0);
        let unknown = stage.client.handle(foreign).outcome().await;
        assert!(
            matches!(unknown, Err(Error::Broker(BrokerError::NotFound(_)))),
            "{unknown:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_arrive_typed_with_message_and_trace() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let fail = stage
            .client
            .call::<Value>(
                "basics/fail",
                &json!({"message": "no cheese", "retryable": false}),
            )
            .await;
        let Err(Error::Failed(failed)) = fail else {
            panic!("{fail:?}")
        };
        assert_eq!(
            (failed.code, failed.failure.message.as_str()),
            (Code::TaskError, "no cheese")
        );
        let panic = stage
            .client
            .call::<Value>("basics/panic", &json!({"message": "mouse"}))
            .await;
        let Err(Error::Failed(failed)) = panic else {
            panic!("{panic:?}")
        };
        assert_eq!(failed.code, Code::Panicked);
        assert!(
            failed.failure.message.contains("mouse"),
            "{}",
            failed.failure.message
        );
        let trace = failed.failure.trace.clone().unwrap_or_default();
        assert!(
            trace.contains("basics::"),
            "the trace names the guest's functions: {trace}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_and_partial_results_are_pushed_in_order() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let handle = stage
            .client
            .submit("basics/sleep", &json!({"seconds": 0.2, "steps": 4}))
            .await?;
        let progress: Vec<_> = handle.progress().try_collect().await?;
        let done: Vec<f64> = progress.iter().map(|progress| progress.done).collect();
        assert!(done.len() >= 2 && done.is_sorted(), "{done:?}");
        let handle = stage
            .client
            .submit("basics/emit", &json!({"count": 5}))
            .await?;
        let (mut events, mut chunks) = (handle.events().await?, Vec::new());
        while let Some(event) = events.next().await? {
            if let celeriac_client::broker::EventKind::Chunk(chunk) = event.kind {
                chunks.push(chunk.parse::<Value>()?);
            }
        }
        assert_eq!(
            chunks,
            (0..5)
                .map(|index| json!({"index": index}))
                .collect::<Vec<_>>()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_unchanged_and_too_many_are_refused_before_they_are_stored() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let echo = stage.client.task("basics/echo-bytes")?;
        let data: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let handle = echo
            .submit_payload(Payload::bytes("image/x-test", data.clone()))
            .await?;
        let outcome = handle.outcome().await?;
        let output = outcome
            .output
            .as_ref()
            .map(|output| (output.content_type.as_str(), &output.data[..]));
        assert_eq!(output, Some(("image/x-test", &data[..])));
        let refused = echo
            .submit_payload(Payload::bytes("image/x-test", vec![0; 9 << 20]))
            .await;
        assert!(
            matches!(refused, Err(Error::Broker(BrokerError::TooLarge { .. }))),
            "{refused:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_does_not_take_what_is_on_its_way_for_lost() -> Result<()> {
    for stage in stages().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        // A sweep for every millisecond in which thousands of submits wait for their turn.
        let options = ConnectOptions {
            sweep: Duration::from_millis(1),
            ..ConnectOptions::default()
        };
        let client = Client::new(stage.client.broker().clone(), options);
        let inputs = (0..5_000).map(|n| json!({"a": n, "b": 0}));
        let handles = client.task("basics/add")?.submit_all(inputs).await?;
        for (n, sum) in gather::<f64>(&handles).await.into_iter().enumerate() {
            assert_eq!(sum?, n as f64);
        }
    }
    Ok(())
}
