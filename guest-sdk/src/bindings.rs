//! What wit-bindgen makes of `wit/task.wit`.

#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated: the canonical ABI is pointers and lengths"
)]

wit_bindgen::generate!({ path: "wit", world: "module" });
