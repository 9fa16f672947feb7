//! The `celeriac:task/key-value` imports: the store of the guest's module.
//!
//! Each call is checked here, before anything is copied or sent: the key, the size of a value, how many calls
//! there were. What goes wrong is a typed error, never a trap: a guest can do something about it.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, WasmList, WasmStr};

use super::bindings::GuestAccessError;
use super::context::{charge, enter};
use super::state::State;
use super::{AccessError, Denied, KeyValues, LimitHit, Limits};

/// The longest key and prefix, in bytes.
pub(crate) const KEY_BYTES: usize = 512;

/// The most keys that one call lists.
const PAGE: u32 = 1_000;

/// Whole numbers beyond it have no exact double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The longest time to live: ten years.
const TTL_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

type Store<'a> = StoreContextMut<'a, State>;
type Answer<T> = Result<T, GuestAccessError>;
type Values = Arc<dyn KeyValues>;

/// What one execution has used of its store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyValueUse {
    pub(crate) calls: u64,
}

/// What one execution may use of its store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyValueLimits {
    calls: u64,
    value_bytes: u64,
}

impl KeyValueLimits {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: limits.kv_calls,
            value_bytes: limits.kv_value_bytes,
        }
    }

    fn check_value(self, bytes: usize) -> Answer<()> {
        over("kv_value_bytes", self.value_bytes, bytes as u64)
    }
}

/// Links the whole interface.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("celeriac:task/key-value@1.0.0")?;
    reads(&mut interface)?;
    writes(&mut interface)?;
    swaps(&mut interface)
}

fn reads(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap_async("get", |mut store: Store<'_>, (key,): (WasmStr,)| {
        Box::new(async move {
            let asked = match begin(&mut store, &key)? {
                Ok(asked) => asked,
                Err(refused) => return Ok((Err(refused),)),
            };
            let limits = store.data().key_value_limits;
            let answer = match asked.values.get(&asked.key).await {
                Ok(Some(value)) => limits.check_value(value.len()).map(|()| Some(value)),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            };
            let bytes = answer
                .as_ref()
                .map_or(0, |value| value.as_ref().map_or(0, Vec::len));
            charge(&mut store, bytes)?;
            Ok((answer,))
        })
    })?;
    interface.func_wrap_async(
        "list-keys",
        |mut store: Store<'_>, (prefix, after, limit): (WasmStr, Option<WasmStr>, u32)| {
            Box::new(async move {
                let answer = list(&mut store, &prefix, after.as_ref(), limit).await?;
                let bytes = answer
                    .as_ref()
                    .map_or(0, |keys| keys.iter().map(String::len).sum());
                charge(&mut store, bytes)?;
                Ok((answer,))
            })
        },
    )
}

fn writes(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap_async(
        "set",
        |mut store: Store<'_>, (key, value, ttl): (WasmStr, WasmList<u8>, Option<f64>)| {
            Box::new(async move {
                let asked = match begin(&mut store, &key)? {
                    Ok(asked) => asked,
                    Err(refused) => return Ok((Err(refused),)),
                };
                let (value, ttl) = match (take(&mut store, &value)?, ttl_ms(ttl)) {
                    (Ok(value), Ok(ttl)) => (value, ttl),
                    (Err(refused), _) | (_, Err(refused)) => return Ok((Err(refused),)),
                };
                let done = asked.values.set(&asked.key, &value, ttl).await;
                Ok((done.map_err(GuestAccessError::from),))
            })
        },
    )?;
    interface.func_wrap_async("delete", |mut store: Store<'_>, (key,): (WasmStr,)| {
        Box::new(async move {
            let asked = match begin(&mut store, &key)? {
                Ok(asked) => asked,
                Err(refused) => return Ok((Err(refused),)),
            };
            let was_there = asked.values.delete(&asked.key).await;
            Ok((was_there.map_err(GuestAccessError::from),))
        })
    })
}

fn swaps(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap_async(
        "increment",
        |mut store: Store<'_>, (key, by, ttl): (WasmStr, f64, Option<f64>)| {
            Box::new(async move {
                let asked = match begin(&mut store, &key)? {
                    Ok(asked) => asked,
                    Err(refused) => return Ok((Err(refused),)),
                };
                let (by, ttl) = match (whole(by), ttl_ms(ttl)) {
                    (Ok(by), Ok(ttl)) => (by, ttl),
                    (Err(refused), _) | (_, Err(refused)) => return Ok((Err(refused),)),
                };
                let sum = asked.values.increment(&asked.key, by, ttl).await;
                Ok((sum.map_err(GuestAccessError::from).and_then(exact),))
            })
        },
    )?;
    type Swap = (
        WasmStr,
        Option<WasmList<u8>>,
        Option<WasmList<u8>>,
        Option<f64>,
    );
    interface.func_wrap_async(
        "compare-and-set",
        |mut store: Store<'_>, (key, expected, value, ttl): Swap| {
            Box::new(async move {
                let asked = match begin(&mut store, &key)? {
                    Ok(asked) => asked,
                    Err(refused) => return Ok((Err(refused),)),
                };
                let mut taken = [None, None];
                for (place, given) in taken.iter_mut().zip([expected, value]) {
                    if let Some(given) = given {
                        match take(&mut store, &given)? {
                            Ok(value) => *place = Some(value),
                            Err(refused) => return Ok((Err(refused),)),
                        }
                    }
                }
                let ttl = match ttl_ms(ttl) {
                    Ok(ttl) => ttl,
                    Err(refused) => return Ok((Err(refused),)),
                };
                let [expected, value] = &taken;
                let swapped = asked.values.compare_and_set(
                    &asked.key,
                    expected.as_deref(),
                    value.as_deref(),
                    ttl,
                );
                let swapped = swapped.await;
                Ok((swapped.map_err(GuestAccessError::from),))
            })
        },
    )
}

/// A call that may be made.
struct Asked {
    values: Values,
    key: String,
}

/// Counts the call and pays for its key. The outer error ends the guest, the inner is its answer.
fn begin(store: &mut Store<'_>, key: &WasmStr) -> wasmtime::Result<Answer<Asked>> {
    let values = match admit(store)? {
        Ok(values) => values,
        Err(refused) => return Ok(Err(refused)),
    };
    let text = key.to_str(&*store)?;
    if let Err(refused) = check_key(&text) {
        return Ok(Err(refused));
    }
    let key = text.into_owned();
    charge(store, key.len())?;
    Ok(Ok(Asked { values, key }))
}

/// Whether the guest may make one more call, on what.
fn admit(store: &mut Store<'_>) -> wasmtime::Result<Answer<Values>> {
    enter(store)?;
    let state = store.data_mut();
    let Some(values) = state.rights.key_values.clone() else {
        let denied = Denied {
            kind: "kv",
            what: "the key-value store of this module".to_owned(),
            why: None,
        };
        return Ok(Err(GuestAccessError::Denied(state.rights.deny(&denied))));
    };
    let (used, allowed) = (state.key_value_use.calls, state.key_value_limits.calls);
    if let Err(refused) = over("kv_calls", allowed, used + 1) {
        return Ok(Err(refused));
    }
    state.key_value_use.calls += 1;
    Ok(Ok(values))
}

/// A value out of the guest's memory. One that is too large is never copied.
fn take(store: &mut Store<'_>, value: &WasmList<u8>) -> wasmtime::Result<Answer<Vec<u8>>> {
    if let Err(refused) = store.data().key_value_limits.check_value(value.len()) {
        return Ok(Err(refused));
    }
    charge(store, value.len())?;
    Ok(Ok(value.as_le_slice(&*store).to_vec()))
}

async fn list(
    store: &mut Store<'_>,
    prefix: &WasmStr,
    after: Option<&WasmStr>,
    limit: u32,
) -> wasmtime::Result<Answer<Vec<String>>> {
    let values = match admit(store)? {
        Ok(values) => values,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut bounds = [String::new(), String::new()];
    for (bound, given) in bounds.iter_mut().zip([Some(prefix), after]) {
        let Some(given) = given else { continue };
        let text = given.to_str(&*store)?;
        if text.len() > KEY_BYTES {
            let message = format!("a prefix or cursor has at most {KEY_BYTES} bytes");
            return Ok(Err(GuestAccessError::Invalid(message)));
        }
        *bound = text.into_owned();
    }
    let [prefix, cursor] = &bounds;
    charge(store, prefix.len() + cursor.len())?;
    let cursor = after.is_some().then_some(cursor.as_str());
    let keys = values.list(prefix, cursor, limit.min(PAGE)).await;
    Ok(keys.map_err(GuestAccessError::from))
}

fn over(limit: &str, allowed: u64, seen: u64) -> Answer<()> {
    if seen <= allowed {
        return Ok(());
    }
    let hit = LimitHit::new(limit, allowed, seen);
    let message = format!("{hit}; {}", hit.how_to_raise);
    Err(GuestAccessError::Limit(message))
}

fn check_key(key: &str) -> Answer<()> {
    if (1..=KEY_BYTES).contains(&key.len()) && !key.contains(char::is_control) {
        return Ok(());
    }
    Err(GuestAccessError::Invalid(format!(
        "a key has 1 to {KEY_BYTES} bytes of text without control characters; this one has {} bytes",
        key.len()
    )))
}

/// Seconds as whole milliseconds, rounded up so that a short time is not none.
fn ttl_ms(ttl: Option<f64>) -> Answer<Option<u64>> {
    let Some(seconds) = ttl else { return Ok(None) };
    if seconds > 0.0 && seconds <= TTL_SECONDS {
        return Ok(Some((seconds * 1000.0).ceil() as u64));
    }
    Err(GuestAccessError::Invalid(format!(
        "a time to live is more than 0 seconds and at most ten years, not {seconds}"
    )))
}

/// A whole number that a double holds exactly.
fn whole(by: f64) -> Answer<i64> {
    if by.fract() == 0.0 && by.abs() <= EXACT {
        return Ok(by as i64);
    }
    Err(GuestAccessError::Invalid(format!(
        "what is added is a whole number between -2^53 and 2^53, not {by}"
    )))
}

/// A sum as the contract carries it.
fn exact(sum: i64) -> Answer<f64> {
    let double = sum as f64;
    if double.abs() <= EXACT {
        return Ok(double);
    }
    Err(GuestAccessError::Invalid(format!(
        "the sum is {sum} now, which is beyond 2^53 and cannot be returned exactly"
    )))
}

impl From<AccessError> for GuestAccessError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(text) => Self::Denied(text),
            AccessError::Limit(text) => Self::Limit(text),
            AccessError::Invalid(text) => Self::Invalid(text),
            AccessError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_within_2_to_the_53_are_added() {
        assert_eq!(whole(-EXACT).unwrap(), -(1 << 53));
        assert_eq!(whole(-0.0).unwrap(), 0);
        for by in [0.5, EXACT + 2.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(whole(by).is_err(), "{by}");
        }
        assert_eq!(exact(1 << 53).unwrap(), EXACT);
        assert!(exact((1 << 53) + 2).is_err() && exact(i64::MIN).is_err());
    }

    #[test]
    fn a_time_to_live_is_positive_and_bounded() {
        assert_eq!(ttl_ms(Some(1e-9)).unwrap(), Some(1));
        assert_eq!(ttl_ms(Some(1.5)).unwrap(), Some(1500));
        assert_eq!(ttl_ms(None).unwrap(), None);
        for ttl in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(ttl_ms(Some(ttl)).is_err(), "{ttl}");
        }
    }
}
