//! Tasks that do nothing but compute. Their kernels are plain functions in [`kernels`], so that a
//! benchmark can run the very same code natively.

pub mod kernels;

use celeriac_guest::{Bytes, Context, Failure, FromPayload, Payload, info, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where to stop.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Limit {
    /// The largest number to look at. The sieve takes half a byte of memory for each.
    #[schemars(range(max = 1_000_000_000))]
    up_to: u32,
}

/// The sieve would take more memory than most grants beyond this.
const MAX_UP_TO: u32 = 1_000_000_000;

/// What the sieve found.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Primes {
    /// How many primes there are.
    pub count: u32,
    /// The largest of them.
    pub largest: Option<u32>,
}

/// Counts the primes up to a number with the sieve of Eratosthenes.
#[task(timeout = "2m", memory = "1GiB")]
pub fn primes(input: Limit) -> Result<Primes, Failure> {
    if input.up_to > MAX_UP_TO {
        let message = format!("`up_to` is {}, and may be at most {MAX_UP_TO}", input.up_to);
        return Err(Failure::new("invalid-input", message));
    }
    let (count, largest) = kernels::primes(input.up_to);
    info!(count = count, "sieved up to {}", input.up_to);
    Ok(Primes { count, largest })
}

/// Text to hash.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Message {
    /// Hashed as UTF-8.
    input: String,
}

/// A SHA-256 digest.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Digest {
    /// 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// How many bytes were hashed.
    pub bytes: usize,
}

/// Hashes raw bytes as they are, or the text in `{"input": "…"}`, with SHA-256.
#[task(timeout = "1m")]
pub fn sha256(input: Payload) -> Result<Digest, Failure> {
    let data = match input {
        Payload::Bytes(bytes) => bytes.data,
        json => Message::from_payload(json)?.input.into_bytes(),
    };
    Ok(Digest {
        sha256: kernels::sha256(&data),
        bytes: data.len(),
    })
}

/// How to throw.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Throws {
    /// How many points to throw.
    samples: u32,
    /// The same seed gives the same answer.
    #[serde(default = "default_seed")]
    seed: u32,
}

fn default_seed() -> u32 {
    1
}

/// An estimate of π.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// The estimate.
    pub pi: f64,
    /// Points inside the quarter circle.
    pub inside: u32,
    /// Points thrown.
    pub samples: u32,
}

/// Points thrown between two progress reports: some milliseconds of work.
const BATCH: u32 = 1 << 20;

/// Estimates π by throwing points at a square and counting those within the circle. Reports
/// progress, and stops early when asked to.
#[task(name = "monte-carlo", timeout = "2m", fuel = "1000G")]
pub fn monte_carlo(ctx: &Context, input: Throws) -> Result<Estimate, Failure> {
    if input.samples == 0 {
        return Err(Failure::new(
            "invalid-input",
            "`samples` is 0: throw at least one point",
        ));
    }
    let mut random = kernels::Random::new(input.seed.into());
    let (mut thrown, mut inside) = (0, 0);
    while thrown < input.samples && !ctx.is_cancelled() {
        ctx.progress(thrown, input.samples);
        let batch = BATCH.min(input.samples - thrown);
        inside += kernels::points_inside(&mut random, batch);
        thrown += batch;
    }
    if thrown == 0 {
        return Err(Failure::new(
            "cancelled",
            "asked to stop before the first point",
        ));
    }
    ctx.progress(thrown, input.samples);
    Ok(Estimate {
        pi: 4.0 * f64::from(inside) / f64::from(thrown),
        inside,
        samples: thrown,
    })
}

/// Parses JSON bytes and writes them again, without white space.
#[task(timeout = "1m", memory = "256MiB")]
pub fn json(input: Bytes) -> Result<Bytes, Failure> {
    let data = kernels::reencode_json(&input.data)?;
    Ok(Bytes::new("application/json", data))
}

#[cfg(test)]
mod tests {
    use celeriac_guest::testing::{self, FakeContext};
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_primes() {
        let primes: serde_json::Value = testing::run("primes", json!({ "up_to": 1_000_000 }))
            .unwrap()
            .read()
            .unwrap();
        assert_eq!(primes, json!({ "count": 78_498, "largest": 999_983 }));
    }

    #[test]
    fn refuses_a_sieve_beyond_memory() {
        let failure = primes(Limit { up_to: u32::MAX }).unwrap_err();
        assert_eq!(failure.kind, "invalid-input");
    }

    #[test]
    fn hashes_text_and_bytes_alike() {
        let text = testing::run("sha256", json!({ "input": "abc" })).unwrap();
        let bytes = testing::run("sha256", Bytes::new("text/plain", "abc")).unwrap();
        assert_eq!(text, bytes);
        let Payload::Json(digest) = text else {
            panic!("a digest is JSON")
        };
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(digest.contains(expected), "{digest}");
    }

    #[test]
    fn comes_close_to_pi_and_reports_progress() {
        let ctx = FakeContext::new();
        let estimate = monte_carlo(
            &ctx,
            Throws {
                samples: 3 * BATCH,
                seed: 7,
            },
        )
        .unwrap();
        assert!(
            (estimate.pi - std::f64::consts::PI).abs() < 0.01,
            "{estimate:?}"
        );
        assert_eq!(ctx.recorded_progress().len(), 4);
    }

    #[test]
    fn stops_throwing_when_cancelled() {
        let ctx = FakeContext::new().cancelled_after(1);
        let estimate = monte_carlo(
            &ctx,
            Throws {
                samples: 3 * BATCH,
                seed: 7,
            },
        )
        .unwrap();
        assert_eq!(estimate.samples, BATCH);
    }

    #[test]
    fn writes_json_again_without_white_space() {
        let output = json(Bytes::new("application/json", "{ \"b\": [1, 2.5] }")).unwrap();
        assert_eq!(output.data, b"{\"b\":[1,2.5]}");
        assert_eq!(
            json(Bytes::new("application/json", "{")).unwrap_err().kind,
            "serde-json"
        );
    }
}
