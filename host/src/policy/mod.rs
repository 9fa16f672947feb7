//! The policy: what the operator grants to which modules, and what of it a task gets.
//!
//! A policy is the `[grants."PATTERN"]` tables of the settings file. [`parse`] reads and checks the text and touches
//! nothing else; [`Policy::read_sources`] then reads the secrets that it names. [`Policy::resolve`] intersects what a
//! task needs with what is granted to its module. [`LivePolicy`] keeps the answers while the policy does not change,
//! and takes a new policy without disturbing what runs under the old one.
//!
//! Invariants: what was not declared by the task *and* granted by the operator is not to be had; a limit in a grant
//! only ever lowers; a value of a secret is in no message, log line or report.

mod advice;
mod denials;
mod error;
mod explain;
mod fields;
mod grant;
mod intersect;
mod live;
mod need;
mod pattern;
mod read;
mod resolve;
mod sources;

pub use advice::Advice;
pub use error::PolicyError;
pub(crate) use explain::needs;
pub use explain::{Explained, explain};
pub use grant::{DirectoryGrant, Grant, Policy, SecretSource};
pub use live::{Granted, KeyValuesOf, LivePolicy};
pub use need::{HttpNeed, InvalidNeed, Need, TcpNeed};
pub use pattern::{Identity, ModulePattern, NotAPattern};
pub use read::parse;
pub use resolve::{Answer, Resolved};
pub use sources::Warning;
