//! What is done under the load: each play submits an invocation or some, and says what they may come to.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use celeriac_broker::{OnConflict, Pausable, Scope};
use celeriac_client::{Backoff, Call, Code, Error, InvocationId, Priority, Unique};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    account::Promise,
    load::{OK, Stage},
    play_flows as flows,
};

/// A kind of play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    Plain,
    Sleep,
    Flaky,
    WornOut,
    Fails,
    Panics,
    OutOfFuel,
    TimesOut,
    Delayed,
    Expiring,
    Deadline,
    Shared,
    Narrow,
    Keyed,
    Metered,
    Bounded,
    Idempotent,
    Unique,
    Chain,
    Chord,
    BrokenChord,
    AfterFailure,
    Callbacks,
    CancelWaiting,
    CancelRunning,
    CancelFamily,
    Calls,
    Scatter,
    Reports,
    Bytes,
    Batch,
    DeadLetter,
    Pause,
}

/// Each play, how often it is picked among all, and about how many invocations it submits.
const MIX: &[(Play, u32, f64)] = &[
    (Play::Plain, 200, 1.0),
    (Play::Sleep, 80, 1.0),
    (Play::Flaky, 60, 1.0),
    (Play::WornOut, 20, 1.0),
    (Play::Fails, 20, 1.0),
    (Play::Panics, 10, 2.0),
    (Play::OutOfFuel, 5, 1.0),
    (Play::TimesOut, 5, 1.0),
    (Play::Delayed, 60, 1.0),
    (Play::Expiring, 40, 1.0),
    (Play::Deadline, 30, 1.0),
    (Play::Shared, 100, 1.0),
    (Play::Narrow, 40, 1.0),
    (Play::Keyed, 40, 1.0),
    (Play::Metered, 30, 1.0),
    (Play::Bounded, 2, 30.0),
    (Play::Idempotent, 20, 1.0),
    (Play::Unique, 40, 1.0),
    (Play::Chain, 10, 4.0),
    (Play::Chord, 5, 12.0),
    (Play::BrokenChord, 5, 6.0),
    (Play::AfterFailure, 10, 3.0),
    (Play::Callbacks, 10, 3.0),
    (Play::CancelWaiting, 20, 1.0),
    (Play::CancelRunning, 20, 1.0),
    (Play::CancelFamily, 5, 2.0),
    (Play::Calls, 10, 4.0),
    (Play::Scatter, 5, 4.0),
    (Play::Reports, 15, 1.0),
    (Play::Bytes, 3, 1.0),
    (Play::Batch, 2, 100.0),
    (Play::DeadLetter, 3, 1.0),
    (Play::Pause, 1, 0.0),
];

const OK_OR_EXPIRED: &[Code] = &[Code::Ok, Code::Expired];
const OK_OR_LATE: &[Code] = &[Code::Ok, Code::Deadline];
const OK_OR_CANCELLED: &[Code] = &[Code::Ok, Code::Cancelled];

impl Play {
    /// One of the mix.
    pub(crate) fn pick(rng: &mut Rng) -> Self {
        let all: u32 = MIX.iter().map(|(_, weight, _)| *weight).sum();
        let mut at = rng.u32(..all);
        for (play, weight, _) in MIX {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *play,
            }
        }
        Self::Plain
    }

    /// About how many invocations it submits.
    pub(crate) fn cost(self) -> f64 {
        let row = MIX.iter().find(|(play, ..)| *play == self);
        row.map_or(1.0, |(_, _, cost)| *cost)
    }

    /// Performs it, and enters what was accepted.
    pub(crate) async fn perform(self, stage: &Stage, mut rng: Rng) -> Result<()> {
        match self {
            Self::Plain => plain(stage, &mut rng).await,
            Self::Bounded => bounded(stage).await,
            Self::Idempotent => idempotent(stage, &mut rng).await,
            Self::Unique => unique(stage, &mut rng).await,
            Self::Chain => flows::chain(stage, &mut rng).await,
            Self::Chord => flows::chord(stage, &mut rng).await,
            Self::BrokenChord => flows::broken_chord(stage, &mut rng).await,
            Self::AfterFailure => flows::after_failure(stage).await,
            Self::Panics => flows::panics(stage).await,
            Self::CancelWaiting => {
                let call = stage.client.task("basics/noop")?;
                let call = call.delay(Duration::from_secs(120));
                let codes = &[Code::Cancelled];
                cancelled(
                    stage,
                    &mut rng,
                    call,
                    Value::Null,
                    codes,
                    "cancelled while it waits",
                )
                .await
            }
            Self::CancelRunning => {
                let call = stage.client.task("basics/sleep")?;
                let input = json!({ "seconds": 20.0 });
                cancelled(
                    stage,
                    &mut rng,
                    call,
                    input,
                    OK_OR_CANCELLED,
                    "cancelled while it runs",
                )
                .await
            }
            Self::CancelFamily => cancel_family(stage, &mut rng).await,
            Self::Batch => batch(stage, &mut rng).await,
            Self::DeadLetter => dead_letter(stage, &mut rng).await,
            Self::Pause => pause(stage, &mut rng).await,
            single => single_call(stage, single, &mut rng).await,
        }
    }
}

/// A call that is somebody's now and then.
async fn plain(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let input = json!({ "n": rng.u32(..) });
    let promise = Promise::output("plain", input.clone());
    let call = stage.client.task("basics/echo")?;
    if rng.u32(..4) > 0 {
        return single(stage, call.detached(), &input, promise).await;
    }
    let since = Instant::now();
    let submitted = call.submit(&input).await;
    if let Some(handle) = stage.enter(submitted, promise, since) {
        stage.await_push(&handle).await;
    }
    Ok(())
}

async fn single(stage: &Stage, call: Call, input: &Value, promise: Promise) -> Result<()> {
    let since = Instant::now();
    let submitted = call.submit(input).await;
    stage.enter(submitted, promise, since);
    Ok(())
}

/// Everything that is one call with some options.
async fn single_call(stage: &Stage, play: Play, rng: &mut Rng) -> Result<()> {
    let task = |name: &str| stage.client.task(name).map(Call::detached);
    let ms = |ms| Duration::from_millis(ms);
    let nap = json!({ "seconds": rng.f64() * 0.06 });
    let number = json!(rng.u32(..));
    let message = json!({ "message": "as asked" });
    let (call, input, promise) = match play {
        Play::Sleep => {
            let input = json!({ "seconds": rng.f64() * 0.3, "steps": 3 });
            (task("basics/sleep")?, input, Promise::codes("sleep", OK))
        }
        Play::Flaky => {
            let input = json!({ "failures": rng.u32(1..4) });
            (task("basics/flaky")?, input, Promise::codes("flaky", OK))
        }
        Play::WornOut => {
            let call = task("basics/flaky")?
                .retries(2)
                .backoff(Backoff::Fixed(ms(50)));
            let promise = Promise::codes("worn out", &[Code::TaskError]);
            (call, json!({ "failures": 50 }), promise)
        }
        Play::Fails => {
            // It is a dead letter, and may be retried while it holds its keys.
            let key = format!("{:x}", rng.u128(..));
            let unique = Unique {
                key: key.clone(),
                scope: Scope::WindowMs(10_000),
                on_conflict: OnConflict::Reject,
            };
            let call = task("basics/fail")?.idempotency_key(key).unique(unique);
            (call, message, Promise::codes("fails", &[Code::TaskError]))
        }
        Play::OutOfFuel => {
            let call = task("basics/spin")?.fuel(1_000_000).retries(0);
            (
                call,
                Value::Null,
                Promise::codes("out of fuel", &[Code::OutOfFuel]),
            )
        }
        Play::TimesOut => {
            let call = task("basics/spin")?.timeout(ms(100)).retries(0);
            let codes = &[Code::Deadline, Code::OutOfFuel];
            (call, Value::Null, Promise::codes("times out", codes))
        }
        Play::Delayed => {
            let call = task("basics/echo")?.delay(ms(rng.u64(100..8000)));
            (call, number.clone(), Promise::output("delayed", number))
        }
        Play::Expiring => {
            let call = task("basics/sleep")?
                .queue("narrow")
                .expires(ms(rng.u64(5..2000)));
            (call, nap, Promise::codes("expiring", OK_OR_EXPIRED))
        }
        Play::Deadline => {
            let call = task("basics/sleep")?
                .deadline(ms(rng.u64(300..3000)))
                .retries(0);
            let input = json!({ "seconds": 1.0, "steps": 10 });
            (call, input, Promise::codes("deadline", OK_OR_LATE))
        }
        Play::Shared => {
            let bands = [Priority::High, Priority::Normal, Priority::Low];
            let band = rng.choice(bands).unwrap_or_default();
            let tenant = format!("tenant-{}", rng.u32(..10));
            let call = task("basics/echo")?.queue("tenants").priority(band);
            let promise = Promise::output("priority and fairness", number.clone());
            (call.fairness_key(tenant), number, promise)
        }
        Play::Narrow => (
            task("basics/sleep")?.queue("narrow"),
            nap,
            Promise::codes("narrow", OK),
        ),
        Play::Keyed => {
            let key = format!("account-{}", rng.u32(..5));
            let call = task("basics/sleep")?.concurrency_key(key);
            (call, nap, Promise::codes("concurrency key", OK))
        }
        Play::Metered => {
            let call = task("basics/echo")?.queue("metered");
            (call, number.clone(), Promise::output("metered", number))
        }
        Play::Callbacks => {
            let to = || "basics/echo".parse();
            let call = task("basics/echo")?.on_success(to()?).on_done(to()?);
            (
                call,
                number.clone(),
                Promise::output("with callbacks", number),
            )
        }
        Play::Calls => {
            let promise = Promise::output("calls", json!(6.0));
            (task("relay/sum")?, json!({ "numbers": [1, 2, 3] }), promise)
        }
        Play::Scatter => {
            let inputs: Vec<_> = (0..3).map(|n| json!({ "a": n, "b": 1 })).collect();
            let input = json!({ "task": "basics/add", "inputs": inputs, "delay": rng.f64() });
            (task("relay/scatter")?, input, Promise::codes("scatter", OK))
        }
        Play::Reports => {
            let (name, input) = match rng.u32(..3) {
                0 => ("basics/report", json!({ "count": 20, "note": "on it" })),
                1 => ("basics/emit", json!({ "count": 20 })),
                _ => ("basics/print", json!({ "lines": 20 })),
            };
            (task(name)?, input, Promise::codes("reports", OK))
        }
        _ => {
            let text = "x".repeat(rng.usize(10_000..300_000));
            (
                task("basics/echo")?,
                json!(text),
                Promise::output("long", json!(text)),
            )
        }
    };
    single(stage, call, &input, promise).await
}

/// More than fit into a queue at once.
async fn bounded(stage: &Stage) -> Result<()> {
    let call = stage
        .client
        .task("basics/sleep")?
        .queue("bounded")
        .detached();
    let input = json!({ "seconds": 0.02 });
    let promise = Promise::codes("bounded", OK);
    let calls = (0..30).map(|_| single(stage, call.clone(), &input, promise.clone()));
    join_all(calls).await.into_iter().collect()
}

/// The same three times over, of which one has another input.
async fn idempotent(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let (key, number) = (format!("{:x}", rng.u128(..)), rng.u32(1..));
    let call = stage
        .client
        .task("basics/echo")?
        .idempotency_key(key)
        .detached();
    let promise = Promise::output("idempotent", json!(number));
    let since = Instant::now();
    let first = stage.enter(call.submit(&json!(number)).await, promise.clone(), since);
    let second = stage.enter(call.submit(&json!(number)).await, promise, since);
    if let (Some(first), Some(second)) = (&first, &second)
        && first.id() != second.id()
    {
        let text = format!(
            "one idempotency key, and both {} and {}",
            first.id(),
            second.id()
        );
        stage.account.problem(text);
    }
    match call.submit(&json!(0)).await {
        Ok(third) => {
            let text = format!("{} has a key and an input of its own", third.id());
            stage.account.problem(text);
        }
        Err(error) => stage.refused("idempotent", &error),
    }
    Ok(())
}

/// One of few keys, with any scope and policy.
async fn unique(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let scopes = [Scope::Queued, Scope::Done, Scope::WindowMs(500)];
    let policies = [
        OnConflict::Reject,
        OnConflict::ReturnExisting,
        OnConflict::Replace,
    ];
    let unique = Unique {
        key: format!("unique-{}", rng.u32(..5)),
        scope: rng.choice(scopes).unwrap_or_default(),
        on_conflict: rng.choice(policies).unwrap_or_default(),
    };
    let call = stage.client.task("basics/sleep")?.unique(unique).detached();
    let call = call.delay(Duration::from_millis(rng.u64(0..300)));
    let promise = Promise::codes("unique", OK_OR_CANCELLED);
    single(stage, call, &json!({ "seconds": 0.1 }), promise).await
}

/// Submits, and cancels it a little later.
async fn cancelled(
    stage: &Stage,
    rng: &mut Rng,
    call: Call,
    input: Value,
    codes: &'static [Code],
    kind: &'static str,
) -> Result<()> {
    let since = Instant::now();
    let submitted = call.detached().submit(&input).await;
    let Some(handle) = stage.enter(submitted, Promise::codes(kind, codes), since) else {
        return Ok(());
    };
    sleep(Duration::from_millis(rng.u64(0..2000))).await;
    stage.insist("cancel", || handle.cancel()).await;
    Ok(())
}

/// A task that waits for one that it has called, both to be stopped.
async fn cancel_family(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let call = stage.client.task("relay/attempt")?.detached();
    let input = json!({ "task": "basics/sleep", "input": { "seconds": 20.0 } });
    let since = Instant::now();
    let promise = Promise::codes("cancelled with its calls", OK_OR_CANCELLED);
    let submitted = call.submit(&input).await;
    if let Some(handle) = stage.enter(submitted, promise, since) {
        sleep(Duration::from_millis(rng.u64(0..2000))).await;
        let cancel = || handle.cancel_with_children();
        stage.insist("cancel with children", cancel).await;
    }
    Ok(())
}

/// A hundred in one request, all or nothing.
async fn batch(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let number = json!(rng.u32(..));
    let call = stage.client.task("basics/echo")?.detached();
    let since = Instant::now();
    let batch = call.submit_batch((0..100).map(|_| number.clone())).await;
    let accepted = batch.unwrap_or_else(|refused| {
        stage.refused("batch", &refused.error);
        refused.accepted
    });
    for handle in accepted {
        let promise = Promise::output("batch", number.clone());
        stage.account.accept(handle.id(), promise, since);
    }
    Ok(())
}

/// Looks at the dead letters, retries one and drops another. What panics got its message from a parent, and does so again:
/// on anything else it would end with an error of its input.
async fn dead_letter(stage: &Stage, rng: &mut Rng) -> Result<()> {
    use celeriac_broker::BrokerError;
    use celeriac_client::{DeadFilter, DeadList, Retry};
    let codes: &[Code] = match rng.bool() {
        true => &[Code::TaskError],
        false => &[Code::Panicked],
    };
    let list = DeadList {
        filter: DeadFilter {
            codes: codes.to_vec(),
            ..DeadFilter::default()
        },
        cursor: None,
        limit: 2,
    };
    let read = || stage.client.dead_letters(&list);
    let Some(page) = stage.insist("dead letters", read).await else {
        return Ok(());
    };
    let mut ids = page.letters.iter().map(|letter| letter.status.id);
    let since = Instant::now();
    if let Some(id) = ids.next() {
        let is_latest = rng.bool();
        let retry = || async {
            let input = None;
            match stage
                .client
                .retry_dead_letter(id, Retry { input, is_latest })
                .await
            {
                // The letter is about to go, and its parent went before it.
                Err(Error::Broker(BrokerError::UnfitParent { .. })) => {
                    stage.account.refused("parent gone");
                    Ok(None)
                }
                answer => answer,
            }
        };
        if let Some(Some(successor)) = stage.insist("retry of a dead letter", retry).await {
            let promise = Promise::codes("retried dead letter", codes);
            stage.account.accept(successor, promise, since);
        }
    }
    if let Some(id) = ids.next() {
        let ids = [id];
        let drop = || stage.client.drop_dead_letters(&ids);
        stage.insist("drop of a dead letter", drop).await;
    }
    Ok(())
}

/// Nothing of a queue is taken for a moment.
async fn pause(stage: &Stage, rng: &mut Rng) -> Result<()> {
    let queue = Pausable::Queue("tenants".to_owned());
    let broker = stage.client.broker();
    let pause = async || broker.pause(&queue).await.map_err(Error::from);
    stage.insist("pause", pause).await;
    sleep(Duration::from_millis(rng.u64(100..1500))).await;
    let resume = async || broker.resume(&queue).await.map_err(Error::from);
    stage.insist("resume", resume).await;
    Ok(())
}

/// Enters the steps of a flow that was accepted, each with what it may come to.
pub(crate) async fn submit_flow(
    stage: &Stage,
    flow: celeriac_client::Flow,
    steps: Vec<(InvocationId, Promise)>,
) -> Result<()> {
    let since = Instant::now();
    match flow.submit().await {
        Ok(_) => {
            for (id, promise) in steps {
                stage.account.accept(id, promise, since);
            }
        }
        Err(error) => {
            let (_, promise) = steps.first().context("a flow has steps")?;
            stage.refused(promise.kind, &error);
        }
    }
    Ok(())
}
