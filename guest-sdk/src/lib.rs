//! Write Celeriac tasks in Rust: plain functions with typed input and output, compiled to a
//! WebAssembly component by plain `cargo build --target wasm32-wasip2 --release`.
//!
//! ```
//! use celeriac_guest::{Context, Failure, info, task};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Order {
//!     id: String,
//!     prices: Vec<f64>,
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, JsonSchema)]
//! struct Receipt {
//!     total: f64,
//! }
//!
//! /// Adds up an order.
//! #[task(retries = 2, timeout = "30s", memory = "64MiB")]
//! fn checkout(ctx: &Context, order: Order) -> Result<Receipt, Failure> {
//!     if order.prices.is_empty() {
//!         return Err(Failure::new("empty-order", format!("order {} has no items", order.id)));
//!     }
//!     ctx.progress(1, 1);
//!     info!(order = order.id, "priced {} items", order.prices.len());
//!     Ok(Receipt { total: order.prices.iter().sum() })
//! }
//!
//! // Natively it is a function like any other.
//! let order = Order { id: "a1".into(), prices: vec![1.5, 2.0] };
//! assert_eq!(checkout(&Context::fake(), order).unwrap(), Receipt { total: 3.5 });
//! ```
//!
//! # A task
//! [`#[task]`](task) stands on a function that takes, both optional and in this order, a
//! [`&Context`](Context) and one owned input, and returns a value or a `Result` of one. Inputs and
//! outputs are any type with serde's and schemars' derives, which travels as JSON, or [`Bytes`],
//! which travel as they are. An error in a `Result` is a [`Failure`] or converts into one: every
//! `std::error::Error` does.
//!
//! # What a task can do
//! Compute, log ([`info!`] and its siblings), report progress and partial results through its
//! [`Context`], print (stdout and stderr become log records), read clocks and random numbers. It
//! reaches nothing else until an operator grants it: what it says in `needs(…)`, such as secrets
//! ([`Context::secret`]), configuration ([`Context::config`]) and the key-value store of its module
//! ([`Context::store`]). What was not granted is an [`AccessError`], never a crash. Every invocation runs in a fresh instance:
//! nothing survives in memory from one to the next.
//!
//! # Building
//! The crate is a `cdylib`, and for the tests of other crates perhaps an `rlib`. A
//! `.cargo/config.toml` makes the guest's stack small, so that an instance touches few pages:
//!
//! ```toml
//! [target.wasm32-wasip2]
//! rustflags = ["-Clink-arg=-zstack-size=65536"]
//! ```
//!
//! A task that overflows its stack traps with an out-of-bounds access close to 4 GiB. Code that keeps
//! large tables on the stack, as some decoders do, needs more: a `build.rs` has the last word.
//!
//! ```
//! // In the `main` of build.rs:
//! if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("wasm")) {
//!     println!("cargo::rustc-link-arg-cdylib=-zstack-size=262144");
//! }
//! ```

#![deny(missing_docs)]

// The macros name this crate by its public path, also in its own tests.
extern crate self as celeriac_guest;

mod access;
#[cfg(target_family = "wasm")]
mod bindings;
mod context;
#[cfg(target_family = "wasm")]
mod exports;
mod failure;
mod host;
#[cfg(feature = "http")]
pub mod http;
mod log;
mod payload;
mod registry;
mod store;
mod tasks;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use access::AccessError;
pub use celeriac_guest_macros::task;
pub use context::{Amount, Context};
pub use failure::Failure;
pub use log::Level;
pub use payload::{Bytes, FromPayload, IntoPayload, Payload};
pub use store::{Keys, Store};
pub use tasks::{CallError, FailedCall, TaskCall};

/// What the macros expand to. Not for use by hand, and free to change.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        log::{__log, Field},
        registry::{TaskEntry, TaskOptions, input, result_schema, settle},
    };
    pub use inventory;
}
