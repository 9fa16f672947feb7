//! End-to-end tests, in one binary so that they link once. One module for each promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod callbacks;
mod calls;
mod conformance;
mod crash;
mod declined;
mod dependencies;
mod documented;
mod drain;
mod flow;
mod gateway;
mod gateway_contract;
mod gateway_control;
mod gateway_dead;
mod gateway_hostile;
mod gateway_options;
mod gateway_schedules;
mod gateway_tls;
mod idle;
mod operations;
mod policy;
mod replay;
mod replay_recorded;
mod replay_tried;
mod retries;
mod runaway;
mod schedules;
mod service;
mod soak;
mod syscalls;
mod time;
mod upload;
mod watching;
