//! For the host's own tests: a task that fails after it has asked its host for all kinds of things, and says in its failure
//! what it was told.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use celeriac_guest::http::Request;
use celeriac_guest::{Context, Failure, info, task};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// What to do before it fails, in this order.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Plan {
    steps: Vec<String>,
}

/// Whether it is still as it was: a test writes `state: mended` here, in the built module, which then succeeds.
static STATE: &[u8] = b"state: broken";

/// Does what it is told, and fails with what came of it.
#[task(needs(
    http = "127.0.0.1",
    http = "localhost",
    kv = "steps",
    secret = "word",
    scratch = "files",
    tcp = "localhost:9",
    tasks = "basics/*"
))]
pub fn fail(ctx: &Context, plan: Plan) -> Result<u32, Failure> {
    let mut told = BTreeMap::new();
    let started = Instant::now();
    for (number, step) in plan.steps.iter().enumerate() {
        let (step, rest) = step.split_once(' ').unwrap_or((step, ""));
        let answer = match step {
            "random" => RandomState::new().build_hasher().finish().to_string(),
            "clock" => format!("{:?}", SystemTime::now().duration_since(UNIX_EPOCH)),
            "elapsed" => format!("{:?}", started.elapsed()),
            "cancelled" => ctx.is_cancelled().to_string(),
            "call" => {
                let (task, input) = rest.split_once(' ').unwrap_or((rest, "null"));
                let input: Value = serde_json::from_str(input)?;
                format!("{:?}", ctx.call::<Value>(task, input))
            }
            "submit" => format!("{:?}", ctx.submit(rest, Value::Null)),
            "deadline" => format!("{:?}", ctx.deadline()),
            "sleep" => {
                std::thread::sleep(Duration::from_millis(rest.parse()?));
                "slept".to_owned()
            }
            "count" => format!("{:?}", ctx.store().increment(rest, 1)),
            "get" => format!("{:?}", ctx.store().get_bytes(rest)),
            "set" => format!("{:?}", ctx.store().set(rest, &told)),
            "keys" => format!(
                "{:?}",
                ctx.store().keys(rest).collect::<Result<Vec<_>, _>>()
            ),
            "http" => match Request::new("POST", rest).body(told_text(&told)).send() {
                Ok(answer) => format!("{} {}", answer.status, work(&answer.body)),
                Err(error) => format!("{}: {error}", error.kind()),
            },
            "secret" => match ctx.secret(rest) {
                Ok(secret) => {
                    info!("the secret is {secret}");
                    let url = format!("http://localhost:1/{secret}");
                    let refused = Request::new("GET", url).send().err();
                    format!("{} bytes, {}", secret.len(), refused.is_some())
                }
                Err(error) => error.to_string(),
            },
            "file" => format!("{:?}", std::fs::write("/tmp/x", rest)),
            "tcp" => format!("{:?}", std::net::TcpStream::connect(rest).err()),
            "spin" => work(&vec![7; rest.parse()?]),
            "panic" => return panics(),
            other => other.to_owned(),
        };
        info!("{number}: {step}");
        told.insert(number, answer);
    }
    if black_box(STATE) == b"state: mended" {
        return Ok(u32::try_from(told.len())?);
    }
    Err(Failure::permanent(told_text(&told)).details(serde_json::json!(told)))
}

#[expect(clippy::panic, reason = "that is what it is for")]
fn panics() -> Result<u32, Failure> {
    panic!("as it was told")
}

fn told_text(told: &BTreeMap<usize, String>) -> String {
    told.values().cloned().collect::<Vec<_>>().join("\n")
}

/// Something that burns fuel with each byte, and not the same for each.
fn work(bytes: &[u8]) -> String {
    let mut sum = 0_u64;
    for byte in bytes {
        for _ in 0..byte % 16 {
            sum = sum.rotate_left(5) ^ u64::from(*byte);
        }
    }
    format!("{} bytes, {sum:x}", bytes.len())
}
