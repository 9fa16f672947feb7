//! What our own processes may ask of the kernel: no more than they need.
//!
//! [`harden`] is for the processes that run tasks, `confine` for the child that compiles uploads.
//! `docs/security-process.md` lists what each gives up, and the test that shows it.

mod confine;
mod filter;
mod harden;
mod panics;
mod probe;
mod trim;

pub(crate) use confine::{Bounds, Confined, confine, seal};
pub(crate) use filter::is_supported as has_seccomp;
pub(crate) use harden::keep_descriptors_from_children;
pub use harden::{Hardening, harden, hardening, restore_umask, warn_of_root};
pub(crate) use panics::{Alarm, caught};
pub(crate) use probe::probe;
pub(crate) use trim::Trimmer;
