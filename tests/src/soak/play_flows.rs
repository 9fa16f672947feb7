//! Plays of invocations that wait for others.

use anyhow::Result;
use celeriac_client::Code;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    account::Promise,
    load::{OK, Stage},
    plays::submit_flow,
};

/// Each returns what it got from the one before.
pub(crate) async fn chain(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let echo = stage.client.task("basics/echo")?;
    let (mut flow, input) = (stage.client.flow(), json!({ "n": rng.u32(..) }));
    let mut id = flow.add(&echo, &input)?;
    let mut steps = vec![(id, Promise::output("chain", input.clone()))];
    for _ in 0..3 {
        id = flow.then(id, &echo)?;
        steps.push((id, Promise::output("chain", input.clone())));
    }
    submit_flow(stage, flow, steps).await
}

/// Members at once, of which some fail at first, and one that gets the outputs of all.
pub(crate) async fn chord(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let (echo, flaky) = (
        stage.client.task("basics/echo")?,
        stage.client.task("basics/flaky")?,
    );
    let mut flow = stage.client.flow();
    let outputs: Vec<Value> = (0..rng.u32(5..20)).map(Value::from).collect();
    let members = flow.map(&echo, &outputs)?;
    let mut steps: Vec<_> = members
        .iter()
        .copied()
        .zip(outputs.iter().cloned())
        .collect();
    let body = flow.chord(&members, &echo)?;
    steps.push((body, Value::Array(outputs)));
    let promise = |(id, output)| (id, Promise::output("chord", output));
    let mut steps: Vec<_> = steps.into_iter().map(promise).collect();
    let member = flow.add(&flaky, &json!({ "failures": 1 }))?;
    let last = flow.chord(&[body, member], &echo)?;
    steps.push((member, Promise::codes("chord", OK)));
    steps.push((last, Promise::codes("chord", OK)));
    submit_flow(stage, flow, steps).await
}

/// One member fails: the body fails or is skipped, and so does what waits for it.
pub(crate) async fn broken_chord(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let (echo, fail) = (
        stage.client.task("basics/echo")?,
        stage.client.task("basics/fail")?,
    );
    let mut flow = stage.client.flow();
    let mut members = flow.map(&echo, 0..3)?;
    let promise = |id| (id, Promise::codes("member", OK));
    let mut steps: Vec<_> = members.iter().copied().map(promise).collect();
    let failing = flow.add(&fail, &json!({ "message": "as asked" }))?;
    steps.push((
        failing,
        Promise::codes("failing member", &[Code::TaskError]),
    ));
    members.push(failing);
    let (body, promise) = match rng.bool() {
        true => (
            echo.clone().skip_if_unmet(),
            Promise::codes("skipped body", &[Code::Skipped]),
        ),
        false => (
            echo.clone(),
            Promise::codes("failed body", &[Code::DependencyFailed]),
        ),
    };
    let id = flow.chord(&members, &body)?;
    steps.push((id, promise.clone()));
    let id = flow.then(id, &body)?;
    steps.push((id, promise));
    submit_flow(stage, flow, steps).await
}

/// One runs because another has failed, one whatever that came to, and one is not wanted then.
pub(crate) async fn after_failure(stage: &Stage) -> Result<()> {
    let (noop, fail) = (
        stage.client.task("basics/noop")?,
        stage.client.task("basics/fail")?,
    );
    let mut flow = stage.client.flow();
    let failing = flow.add(&fail, &json!({ "message": "as asked" }))?;
    let mut steps = vec![(
        failing,
        Promise::codes("fails for others", &[Code::TaskError]),
    )];
    for (call, codes) in [
        (noop.clone().after_failure(failing), OK),
        (noop.clone().after_any_end(failing), OK),
        (noop.after(failing), [Code::DependencyFailed].as_slice()),
    ] {
        let id = flow.add(&call, &Value::Null)?;
        steps.push((id, Promise::codes("after a failure", codes)));
    }
    submit_flow(stage, flow, steps).await
}

/// One panics with the message that another has returned.
pub(crate) async fn panics(stage: &Stage) -> Result<()> {
    let (echo, panic) = (
        stage.client.task("basics/echo")?,
        stage.client.task("basics/panic")?,
    );
    let mut flow = stage.client.flow();
    let parent = flow.add(&echo, &json!("as asked"))?;
    let child = panic.after(parent);
    let child = flow.add(&child, &json!({ "message": { "$output": 0 } }))?;
    let steps = vec![
        (
            parent,
            Promise::output("gives a message", json!("as asked")),
        ),
        (child, Promise::codes("panics", &[Code::Panicked])),
    ];
    submit_flow(stage, flow, steps).await
}
