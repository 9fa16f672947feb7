//! The tasks of this module. Each function with `#[task]` is one.

use celeriac_guest::{Context, Failure, info, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
pub struct Greet {
    /// Whom to greet.
    name: String,
}

/// Greets somebody.
#[task]
pub fn greet(input: Greet) -> String {
    format!("Hello, {}!", input.name)
}

#[derive(Deserialize, JsonSchema)]
pub struct Numbers {
    numbers: Vec<f64>,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    count: usize,
    mean: f64,
    max: f64,
}

/// Sums up a list of numbers, and reports its progress.
#[task(retries = 2, timeout = "30s", memory = "64MiB")]
pub fn summarize(ctx: &Context, input: Numbers) -> Result<Summary, Failure> {
    let count = input.numbers.len();
    if count == 0 {
        return Err(Failure::new("no-numbers", "there is nothing to sum up"));
    }
    let (mut sum, mut max) = (0.0, f64::NEG_INFINITY);
    for (done, number) in input.numbers.iter().enumerate() {
        ctx.progress(done, count);
        sum += number;
        max = number.max(max);
    }
    let mean = sum / count as f64;
    info!(count = count, mean = mean, "summed up {count} numbers");
    Ok(Summary { count, mean, max })
}

// Tasks are plain functions: `cargo test` runs them natively, with a fake context.
#[cfg(test)]
mod tests {
    use celeriac_guest::testing::FakeContext;

    use super::*;

    #[test]
    fn sums_up_and_reports_progress() {
        let ctx = FakeContext::new();
        let summary = summarize(
            &ctx,
            Numbers {
                numbers: vec![1.0, 2.0, 6.0],
            },
        )
        .unwrap();
        assert_eq!(
            summary,
            Summary {
                count: 3,
                mean: 3.0,
                max: 6.0
            }
        );
        assert_eq!(ctx.recorded_progress().len(), 3);
    }

    #[test]
    fn refuses_an_empty_list() {
        let failure = summarize(&FakeContext::new(), Numbers { numbers: vec![] }).unwrap_err();
        assert_eq!(failure.kind, "no-numbers");
    }
}
