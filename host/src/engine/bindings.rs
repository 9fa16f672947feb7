//! What `bindgen!` makes of the contract in `guest-sdk/wit`: the typed exports and the shared types.
//!
//! The imports are linked by hand in `context`, because a hand-written import can borrow strings from
//! guest memory: a log message beyond its budget is cut before it is copied.

#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    clippy::all,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "module",
    exports: { default: async },
    require_store_data_send: true,
});

pub use self::celeriac::task::context::{Invocation as CurrentInvocation, Level as GuestLevel};
pub use self::celeriac::task::tasks::{CallError as GuestCallError, CallOptions, FailedCall};
pub use self::celeriac::task::types::{
    AccessError as GuestAccessError, Blob, InvocationOptions, Limit, Need, TaskOptions,
};
