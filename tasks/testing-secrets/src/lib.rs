//! For the host's own tests: tasks that try to let a secret out, and that use the key-value store as asked.

use std::io::Write as _;

use celeriac_guest::{AccessError, Bytes, Context, Failure, info, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How to let a secret out.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Leak {
    /// The secret's name.
    secret: String,
    /// The way out.
    channel: String,
}

/// Lets a secret out through one of all channels.
#[task(needs(secret = "any"))]
#[expect(clippy::panic, reason = "panicking is one of the ways out")]
pub fn leak(ctx: &Context, leak: Leak) -> Result<Value, Failure> {
    let secret = ctx.secret(&leak.secret)?;
    match leak.channel.as_str() {
        "result" => return Ok(json!({ "it": format!("<{secret}>"), secret.clone(): [secret] })),
        "log" => info!(value = secret, "it is {secret}"),
        "stdout" => println!("it is {secret}"),
        "stderr" => eprintln!("it is {secret}"),
        "split" => {
            let (front, back) = secret.split_at(secret.len() / 2);
            let mut stdout = std::io::stdout();
            stdout.write_all(format!("it is {front}").as_bytes())?;
            stdout.flush()?;
            stdout.write_all(format!("{back}, all of it\n").as_bytes())?;
        }
        "long-line" => {
            for length in 8_180..8_195 {
                println!("{}{secret}{}", ".".repeat(length), ".".repeat(100));
            }
        }
        "unfinished" => {
            print!("it is {secret}");
            std::io::stdout().flush()?;
        }
        "progress" => ctx.progress_note(1, 2, &format!("at {secret}")),
        "progress-cut" => ctx.progress_note(1, 2, &format!("{}{secret}", ".".repeat(250))),
        "emit" => ctx.emit(json!({ "chunk": secret }))?,
        "emit-bytes" => ctx.emit(Bytes::new("text/plain", secret))?,
        "failure" => {
            let failure = Failure::new(secret.clone(), format!("it is {secret}"));
            let trace = Some(format!("at {secret}").into());
            let failure = failure.details(json!({ "deep": [{ "in": secret }] }));
            return Err(Failure { trace, ..failure });
        }
        "panic" => panic!("it is {secret}"),
        "panic-cut" => panic!("{}{secret}", ".".repeat((4 << 10) - 60)),
        "trap" => {
            eprintln!("first line\nit is {secret}");
            eprint!("and again {secret}");
            std::process::abort();
        }
        "denied" => {
            let refused = ctx.secret(&format!("give me {secret}"));
            return Err(refused
                .map(drop)
                .err()
                .map_or_else(|| Failure::permanent("given"), Into::into));
        }
        other => return Err(Failure::new("unknown-channel", other)),
    }
    Ok(Value::Null)
}

/// Returns a secret as raw bytes, between others.
#[task(name = "leak-bytes", needs(secret = "any"))]
pub fn leak_bytes(ctx: &Context, name: String) -> Result<Bytes, Failure> {
    let secret = ctx.secret(&name)?;
    let data = [b"\xff\x00", secret.as_bytes(), b"\xfe"].concat();
    Ok(Bytes::new("application/octet-stream", data))
}

/// Asks for secrets by all of these names, and says what came of each.
#[task(needs(secret = "any"))]
pub fn probe(ctx: &Context, names: Vec<String>) -> Vec<String> {
    let tried = names.iter().map(|name| match ctx.secret(name) {
        Ok(secret) => format!("got {} bytes", secret.len()),
        Err(AccessError::Denied(text)) => format!("denied: {text}"),
        Err(other) => format!("{other:?}"),
    });
    tried.collect()
}

/// Everything in the environment.
#[task(needs(config = "any"))]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars().collect()
}

/// One call of the key-value store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "call", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Call {
    /// Reads a key.
    Get { key: String },
    /// Sets a key to so many bytes.
    Set { key: String, bytes: usize },
    /// Adds to a key.
    Add { key: String, by: i64 },
    /// Sets a key that is not there.
    Claim { key: String, value: String },
    /// Removes a key.
    Delete { key: String },
    /// Lists keys.
    List { prefix: String },
}

/// What came of a call.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What it returned.
    Ok(Value),
    /// It was not granted.
    Denied(String),
    /// A limit.
    Limit(String),
    /// It made no sense.
    Invalid(String),
    /// Not now.
    Unavailable(String),
}

/// Calls the key-value store, and says what came of each call: an error does not end it.
#[task(needs(kv = "any"))]
pub fn store(ctx: &Context, calls: Vec<Call>) -> Vec<Answer> {
    calls.into_iter().map(|call| answer(ctx, call)).collect()
}

fn answer(ctx: &Context, call: Call) -> Answer {
    let store = ctx.store();
    let answer = match call {
        Call::Get { key } => store
            .get_bytes(&key)
            .map(|value| json!(value.map(|v| v.len()))),
        Call::Set { key, bytes } => store
            .set_bytes(&key, &vec![b'1'; bytes], None)
            .map(|()| json!(null)),
        Call::Add { key, by } => store.increment(&key, by).map(|sum| json!(sum)),
        Call::Claim { key, value } => store
            .compare_and_set(&key, None, Some(value.as_str()))
            .map(|done| json!(done)),
        Call::Delete { key } => store.delete(&key).map(|done| json!(done)),
        Call::List { prefix } => store
            .keys(&prefix)
            .collect::<Result<Vec<_>, _>>()
            .map(|keys| json!(keys)),
    };
    match answer {
        Ok(value) => Answer::Ok(value),
        Err(AccessError::Denied(text)) => Answer::Denied(text),
        Err(AccessError::Limit(text)) => Answer::Limit(text),
        Err(AccessError::Invalid(text)) => Answer::Invalid(text),
        Err(other) => Answer::Unavailable(other.to_string()),
    }
}
