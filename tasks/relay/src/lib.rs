//! Tasks that have other tasks do the work.

use std::time::Duration;

use celeriac_guest::{CallError, Context, Failure, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Numbers to be added up.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Sum {
    numbers: Vec<f64>,
}

/// Adds numbers up, two at a time, by calling `basics/add`, and waits for each.
#[task(needs(tasks = "basics/add"))]
pub fn sum(ctx: &Context, input: Sum) -> Result<f64, Failure> {
    let mut total = 0.0;
    for (done, number) in input.numbers.iter().enumerate() {
        ctx.progress(done, input.numbers.len());
        total = ctx.call("basics/add", json!({ "a": total, "b": number }))?;
    }
    Ok(total)
}

/// How far down to go.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Down {
    levels: u32,
}

/// Calls itself so many times over, each waiting for the next; returns how deep it went.
#[task(needs(tasks = "relay/down"))]
pub fn down(ctx: &Context, input: Down) -> Result<u32, Failure> {
    let Some(levels) = input.levels.checked_sub(1) else {
        return Ok(0);
    };
    let below: u32 = ctx.call("relay/down", json!({ "levels": levels }))?;
    Ok(below + 1)
}

/// What to hand in.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Scatter {
    /// The task.
    task: String,
    /// One invocation for each.
    inputs: Vec<Value>,
    /// Seconds before they start.
    #[serde(default)]
    delay: f64,
}

/// Hands in an invocation for each input, waits for none, and returns their ids.
#[task(needs(tasks = "basics/*"))]
pub fn scatter(ctx: &Context, input: Scatter) -> Result<Vec<String>, Failure> {
    let delay = Duration::try_from_secs_f64(input.delay)?;
    let call = ctx.task_named(&input.task).delay(delay);
    let ids = input.inputs.into_iter().map(|input| call.submit(input));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// What became of a call.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// `ok`, `refused`, or the code.
    came_to: String,
    /// The output, or what was wrong.
    what: Value,
}

/// What to call.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Attempt {
    task: String,
    input: Value,
}

/// Calls a task and reports what became of it, whatever that is.
#[task(needs(tasks = "*"))]
pub fn attempt(ctx: &Context, input: Attempt) -> Report {
    let (came_to, what) = match ctx.call::<Value>(&input.task, input.input) {
        Ok(output) => ("ok".to_owned(), output),
        Err(CallError::Failed(failed)) => (failed.code, failed.message.into()),
        Err(error) => ("refused".to_owned(), error.to_string().into()),
    };
    Report { came_to, what }
}

#[cfg(test)]
mod tests {
    use celeriac_guest::{Payload, testing::FakeContext};

    use super::*;

    fn adding() -> FakeContext {
        FakeContext::new().with_tasks(|task, input| {
            assert_eq!(task, "basics/add");
            let pair: Value = input.read()?;
            let sum = pair["a"].as_f64().unwrap_or(0.0) + pair["b"].as_f64().unwrap_or(0.0);
            Ok(Payload::Json(sum.to_string()))
        })
    }

    #[test]
    fn sums_by_calling() {
        let numbers = vec![1.0, 2.5, 3.0];
        assert_eq!(sum(&adding(), Sum { numbers }).unwrap(), 6.5);
    }

    #[test]
    fn says_what_it_was_refused() {
        let numbers = vec![1.0];
        let refused = sum(&FakeContext::new(), Sum { numbers }).unwrap_err();
        assert_eq!(refused.kind, "access-denied");
    }

    #[test]
    fn reports_a_failure_with_its_code() {
        let ctx = FakeContext::new().with_tasks(|_, _| Err(Failure::new("nope", "not today")));
        let input = Attempt {
            task: "basics/noop".to_owned(),
            input: Value::Null,
        };
        let report = attempt(&ctx, input);
        assert_eq!(report.came_to, "task_error");
        assert_eq!(report.what, "not today");
    }
}
