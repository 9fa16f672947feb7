//! The stage on which end-to-end tests play: real host processes, a real Redis or the embedded store,
//! and the sample tasks. Everything started here listens on loopback or nowhere, and ends by its pid.

mod host;
pub mod http;
mod stage;

pub use self::{
    host::HostProcess,
    stage::{Stage, binary, sample, until},
};
