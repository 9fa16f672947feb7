//! The key-value stores of modules: a hash of values, a sorted set of keys for their order, and one of expiries.

use std::time::Duration;

use ::redis::Value;
use bytes::Bytes;

use super::{
    RedisBroker,
    script::{
        Call, KV_CLEAR, KV_COMPARE, KV_DELETE, KV_GET, KV_INCREMENT, KV_LIST, KV_SET, KV_STATS,
        Script,
    },
    value::{self, damaged},
};
pub(super) use crate::kv::Change;
use crate::{
    BrokerError, KeyValueStats,
    kv::{self, Refusal},
};

/// Keys that one call of the script looks at, at least: many that have expired cost few round trips.
const LOOK: usize = 100;

/// A call on a module's store, with what `kv_head.lua` needs.
fn call(broker: &RedisBroker, script: &'static Script, module: &str, bytes: usize) -> Call {
    let caps = broker.options.caps;
    let mut call = script.call(9, bytes + 96);
    call.arg(module).arg(caps.kv_keys).arg(caps.kv_bytes);
    call
}

/// A time to live as the scripts take it.
fn ttl_text(ttl: Option<Duration>) -> String {
    ttl.map_or_else(String::new, |ttl| kv::ttl_ms(ttl).to_string())
}

/// What a script's word means; none for one that asks to be called again.
fn refusal(word: &str) -> Result<Option<Refusal>, BrokerError> {
    Ok(Some(match word {
        "again" => return Ok(None),
        "keys" => Refusal::Keys,
        "bytes" => Refusal::Bytes,
        "number" => Refusal::NotANumber,
        "overflow" => Refusal::Overflow,
        other => {
            return Err(damaged(
                "an answer of Redis",
                format!("unknown word `{other}`"),
            ));
        }
    }))
}

/// The value of a key.
pub(super) async fn get(
    broker: &RedisBroker,
    module: &str,
    key: &str,
) -> Result<Option<Bytes>, BrokerError> {
    kv::check_write(module, key, None)?;
    let mut call = KV_GET.call(2, key.len() + module.len());
    call.arg(module).arg(key);
    let found = value::bytes(broker.link.call(&call).await?);
    Ok(found.map(Bytes::from))
}

/// Sets a key.
pub(super) async fn set(
    broker: &RedisBroker,
    module: &str,
    key: &str,
    value: Bytes,
    ttl: Option<Duration>,
) -> Result<(), BrokerError> {
    kv::check_write(module, key, Some(&value))?;
    let mut call = call(broker, &KV_SET, module, key.len() + value.len());
    call.arg(key).arg(value.as_ref()).arg(ttl_text(ttl));
    loop {
        let word = value::text(broker.link.call(&call).await?).unwrap_or_default();
        match word.as_str() {
            "ok" => return Ok(()),
            other => refuse(broker, module, key, other)?,
        }
    }
}

/// Fails with what a script's word means; returns when it has to be called again.
fn refuse(broker: &RedisBroker, module: &str, key: &str, word: &str) -> Result<(), BrokerError> {
    refusal(word)?.map_or(Ok(()), |refusal| {
        Err(refusal.into_error(module, key, broker.options.caps))
    })
}

/// Removes a key.
pub(super) async fn delete(
    broker: &RedisBroker,
    module: &str,
    key: &str,
) -> Result<bool, BrokerError> {
    kv::check_write(module, key, None)?;
    let mut call = call(broker, &KV_DELETE, module, key.len());
    call.arg(key);
    Ok(value::number(&broker.link.call(&call).await?) == Some(1))
}

/// Adds to a whole number.
pub(super) async fn increment(
    broker: &RedisBroker,
    module: &str,
    key: &str,
    by: i64,
    ttl: Option<Duration>,
) -> Result<i64, BrokerError> {
    kv::check_write(module, key, None)?;
    let mut call = call(broker, &KV_INCREMENT, module, key.len());
    call.arg(key).arg(by).arg(ttl_text(ttl));
    loop {
        let mut answer = value::list(broker.link.call_once(&call).await?)?.into_iter();
        let word = value::text(answer.next().unwrap_or_default()).unwrap_or_default();
        if word == "ok" {
            let sum = answer.next().as_ref().and_then(value::number);
            return sum.ok_or_else(|| damaged("an answer of Redis", "a sum that is no number"));
        }
        refuse(broker, module, key, &word)?;
    }
}

/// Sets or removes a key that has the value expected.
pub(super) async fn compare_and_set(
    broker: &RedisBroker,
    module: &str,
    key: &str,
    change: Change,
) -> Result<bool, BrokerError> {
    kv::check_write(module, key, change.value.as_deref())?;
    let bytes = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
    let bytes = bytes(&change.expected) + bytes(&change.value) + key.len();
    let mut call = call(broker, &KV_COMPARE, module, bytes);
    call.arg(key);
    for value in [&change.expected, &change.value] {
        call.arg(value.as_deref().unwrap_or_default());
        call.arg(if value.is_some() { "1" } else { "" });
    }
    call.arg(ttl_text(change.ttl));
    loop {
        let word = value::text(broker.link.call_once(&call).await?).unwrap_or_default();
        match word.as_str() {
            "ok" => return Ok(true),
            "other" => return Ok(false),
            other => refuse(broker, module, key, other)?,
        }
    }
}

/// One page of keys, in the order of their bytes.
pub(super) async fn list(
    broker: &RedisBroker,
    module: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, BrokerError> {
    let limit = kv::check_list(module, prefix, after, limit)?;
    let mut from = match after {
        Some(after) if after >= prefix => lex(b'(', after.as_bytes()),
        _ if prefix.is_empty() => b"-".to_vec(),
        _ => lex(b'[', prefix.as_bytes()),
    };
    let to = kv::after_prefix(prefix).map_or_else(|| b"+".to_vec(), |end| lex(b'(', &end));
    let mut keys = Vec::new();
    // Each round looks at no more than a page, and what it finds expired is gone for good.
    while keys.len() < limit {
        let look = (limit - keys.len()).max(LOOK);
        let mut call = call(broker, &KV_LIST, module, from.len() + to.len());
        call.arg(&from).arg(&to).arg(look);
        let mut answer = value::list(broker.link.call(&call).await?)?.into_iter();
        let seen = answer.next().map_or(0, |seen| value::count(&seen));
        from = lex(
            b'(',
            &value::bytes(answer.next().unwrap_or_default()).unwrap_or_default(),
        );
        keys.extend(answer.filter_map(value::text));
        if seen < look as u64 {
            break;
        }
    }
    keys.truncate(limit);
    Ok(keys)
}

/// A bound of ZRANGE BYLEX: `[` includes it, `(` does not.
fn lex(kind: u8, text: &[u8]) -> Vec<u8> {
    [&[kind], text].concat()
}

/// What a module's store holds.
pub(super) async fn stats(
    broker: &RedisBroker,
    module: &str,
) -> Result<KeyValueStats, BrokerError> {
    kv::check_store(module)?;
    let call = call(broker, &KV_STATS, module, 0);
    loop {
        let answer: Vec<Value> = value::list(broker.link.call(&call).await?)?;
        if let [keys, bytes] = answer.as_slice() {
            return Ok(KeyValueStats {
                keys: value::count(keys),
                bytes: value::count(bytes),
            });
        }
    }
}

/// Removes all keys of a module.
pub(super) async fn clear(broker: &RedisBroker, module: &str) -> Result<u64, BrokerError> {
    kv::check_store(module)?;
    let mut call = KV_CLEAR.call(1, module.len());
    call.arg(module);
    Ok(value::count(&broker.link.call(&call).await?))
}
