//! The host as seen from inside: the imports of a component, or natively a fake that records.

#[cfg(not(target_family = "wasm"))]
mod fake;
#[cfg(not(target_family = "wasm"))]
mod fake_store;
#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(not(target_family = "wasm"))]
pub(crate) use fake::{Host, State, TaskAnswer, backtrace, log};
#[cfg(all(not(target_family = "wasm"), feature = "http"))]
pub(crate) use fake::{HttpAnswer, send};
#[cfg(target_family = "wasm")]
pub(crate) use wasm::{Host, backtrace, log};
