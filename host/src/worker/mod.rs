//! The host's work: reserve, run, settle; and the duties that keep it safe.
//!
//! [`Host::start`] sets up: the `worker` takes pool slots and reserves as many invocations; each becomes
//! an `attempt`, which loads its module, has the engine run it on the guest threads, and hands its
//! outcome to the `settler`. Beside them the `renewer` keeps leases alive from a thread of its own, the
//! `recorder` sends what tasks report, and `controls` listens for cancels and
//! for operators, and the `throttle` withholds slots that shall not be used.
//!
//! Invariants: a pool slot is taken before an invocation is reserved; nothing is written without the
//! lease; an attempt whose lease is lost is stopped and writes nothing.

mod admission;
mod attempt;
mod backlog;
mod controls;
mod held;
mod host;
mod identities;
mod key_values;
mod modules;
mod parents;
mod recorder;
mod renewer;
mod settler;
mod slot;
mod tasks;
mod throttle;
pub(crate) mod translate;
mod webhook;
#[expect(
    clippy::module_inception,
    reason = "the worker is what this module is named for"
)]
mod worker;

pub(crate) use parents::{Unfilled, fill};

pub use host::{Host, HostError, HostOptions};
pub use key_values::BrokerKeyValues;
