//! Looks for keys of other modules in its own key-value store, and writes to where theirs could be.

use celeriac_guest::{Context, task};

const NAMES: &[&str] = &[
    "treasure",
    "basics:treasure",
    "basics/treasure",
    "../basics/treasure",
    "basics\u{0}treasure",
    "kv:basics",
    "cel:{0}:kv:basics",
    "{0}:kv:basics treasure",
    "basics' OR '1'='1",
    "%",
    "*",
    "_",
    "\u{10ffff}",
    "",
];

/// The attack.
#[task(needs(kv = "what others keep"))]
pub fn attack(ctx: &Context) -> Vec<String> {
    let (store, mut found) = (ctx.store(), Vec::new());
    for prefix in NAMES {
        for key in store.keys(prefix).flatten() {
            found.push(format!("listed {key}"));
        }
    }
    for name in NAMES {
        if let Ok(Some(value)) = store.get_bytes(name) {
            found.push(format!("read {name}: {} bytes", value.len()));
        }
        let _ = store.delete(name);
        let _ = store.set(name, "stolen");
        let _ = store.increment(name, 1);
    }
    found
}
