//! Invocations that wait for others get what those came to, whatever dies meanwhile.

use std::time::Duration;

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, Handle, InvocationId, Outcome, Payload, State, flow};
use celeriac_tests::{Stage, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

async fn both() -> Result<[Stage; 2]> {
    Ok([Stage::embedded().await?, Stage::redis(AofMode::Off).await?])
}

async fn end(handle: &Handle) -> Result<std::sync::Arc<Outcome>> {
    Ok(tokio::time::timeout(PATIENCE, handle.outcome()).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_chords_and_graphs_hand_on_what_they_came_to() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let client = &stage.client;
        let (echo, add) = (client.task("basics/echo")?, client.task("basics/add")?);
        let mut graph = client.flow();
        let members = graph.map(&add, (0..20).map(|n| json!({ "a": n, "b": 1 })))?;
        graph.chord(&members, &echo)?;
        let last = graph.chain(&json!([1, 2]), &[echo.clone(), echo.clone(), echo.clone()])?;
        let both = add.clone().after(members[3]).after(members[4]);
        graph.add(
            &both,
            &json!({ "a": flow::output_of(0), "b": flow::output_of(1) }),
        )?;
        let ends = graph.submit().await?;
        let mut outputs: Vec<Value> = Vec::new();
        for handle in &ends {
            let outcome = end(handle).await?;
            assert_eq!(outcome.code, Code::Ok, "{outcome:?}");
            outputs.push(handle.result().await?);
        }
        let sums: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(outputs, [json!(sums), json!([1, 2]), json!(9.0)]);
        assert_eq!(last, Some(ends[1].id()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_hands_on_its_own_steps_whatever_a_call_waits_for_besides() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let client = &stage.client;
        let echo = client.task("basics/echo")?;
        let gate = echo.submit(&json!("gate")).await?;
        let gated = echo.clone().after(gate.id());
        let mut graph = client.flow();
        graph.chain(&json!("in"), &[echo.clone(), gated.clone()])?;
        let members = graph.map(&echo, [json!(1), json!(2)])?;
        graph.chord(&members, &gated)?;
        graph.chord(&[], &gated)?;
        graph.chord(&[], &echo)?;
        let nobody = graph.map(&echo, Vec::<Value>::new())?;
        assert!(nobody.is_empty());
        let mut outputs: Vec<Value> = Vec::new();
        for handle in graph.submit().await? {
            assert_eq!(end(&handle).await?.code, Code::Ok);
            outputs.push(handle.result().await?);
        }
        assert_eq!(outputs, [json!("in"), json!([1, 2]), json!([]), json!([])]);
        assert!(client.flow().submit().await?.is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_handed_on_as_they_are_and_failures_with_their_code() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let client = &stage.client;
        let (echo, bytes) = (
            client.task("basics/echo")?,
            client.task("basics/echo-bytes")?,
        );
        let mut graph = client.flow();
        let image = Payload::bytes("image/png", vec![0, 1, 254, 255]);
        let first = graph.add_payload(&bytes, image.clone());
        graph.then(first, &bytes)?;
        let fails = graph.add(
            &client.task("basics/fail")?,
            &json!({ "message": "no luck" }),
        )?;
        let why = echo.clone().after_any_end(fails).after_any_end(first);
        graph.add(
            &why,
            &json!([{ "$outcome": 0 }, { "$output": 0 }, { "$output": 1 }]),
        )?;
        graph.add(&echo.clone().after(fails), &json!(1))?;
        let ends = graph.submit().await?;
        assert_eq!(end(&ends[0]).await?.output, Some(image));
        let why: Value = ends[1].result().await?;
        assert_eq!(why[0]["code"], "task_error");
        assert_eq!(why[0]["failure"]["message"], "no luck");
        assert_eq!(why[1], Value::Null);
        assert_eq!(
            why[2],
            json!({ "content_type": "image/png", "base64": "AAH+/w==" })
        );
        assert_eq!(end(&ends[2]).await?.code, Code::DependencyFailed);
        let beyond = echo.after(first);
        let handle = beyond.submit(&json!({ "$output": 1 })).await?;
        assert_eq!(end(&handle).await?.code, Code::TaskError);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_ends_although_its_hosts_are_killed() -> Result<()> {
    for stage in both().await? {
        let mut host = stage.host(&["--lease", "1s"]).await?;
        stage.push(&["basics"]).await?;
        let client = &stage.client;
        let sleep = client.task("basics/sleep")?;
        let echo = client.task("basics/echo")?;
        let mut graph = client.flow();
        let mut bodies: Vec<InvocationId> = Vec::new();
        for _ in 0..10 {
            let members = graph.map(
                &sleep,
                (0..10).map(|n| json!({ "seconds": 0.02 * f64::from(n) })),
            )?;
            bodies.push(graph.chord(&members, &echo)?);
        }
        graph.chord(&bodies, &echo)?;
        let ends = graph.submit().await?;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            host.kill();
            host = stage.host(&["--lease", "1s"]).await?;
        }
        let all: Vec<Vec<Value>> = {
            end(&ends[0]).await?;
            ends[0].result().await?
        };
        assert!(all.len() == 10 && all.iter().all(|chord| chord.len() == 10));
        until(PATIENCE, "nothing is blocked", || async {
            let queues = client.broker().queues().await?;
            Ok(queues.iter().all(|queue| queue.blocked == 0))
        })
        .await?;
        assert_eq!(ends[0].status().await?.state, State::Succeeded);
    }
    Ok(())
}
