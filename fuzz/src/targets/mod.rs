//! The targets: each takes any bytes, and panics when something does not hold that must hold for all bytes.
//!
//! This directory is compiled twice: by cargo-fuzz, and by the workspace's own test `fuzz`.

pub mod artifact;
pub mod boundary;
pub mod describe;
pub mod destination;
pub mod envelope;
pub mod patterns;
pub mod policy;
pub mod settings;
mod stage;
pub mod upload;

/// A target.
pub struct Target {
    /// Its name, its corpus's, and its binary's.
    pub name: &'static str,
    /// Runs it once.
    pub run: fn(&[u8]),
    /// Mutated inputs that the short smoke in the tests runs: as many as take a second or two.
    pub smoke: u32,
    /// Inputs beyond this many bytes only repeat what shorter ones do.
    pub max_bytes: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "upload",
        run: upload::run,
        smoke: 4_000,
        max_bytes: 16 << 10,
    },
    Target {
        name: "boundary",
        run: boundary::run,
        smoke: 2_000,
        max_bytes: 1 << 10,
    },
    Target {
        name: "describe",
        run: describe::run,
        smoke: 25,
        max_bytes: describe::BYTES,
    },
    Target {
        name: "envelope",
        run: envelope::run,
        smoke: 10_000,
        max_bytes: 4 << 10,
    },
    Target {
        name: "settings",
        run: settings::run,
        smoke: 3_000,
        max_bytes: 4 << 10,
    },
    Target {
        name: "patterns",
        run: patterns::run,
        smoke: 10_000,
        max_bytes: 512,
    },
    Target {
        name: "policy",
        run: policy::run,
        smoke: 5_000,
        max_bytes: 4 << 10,
    },
    Target {
        name: "destination",
        run: destination::run,
        smoke: 20_000,
        max_bytes: 512,
    },
    Target {
        name: "artifact",
        run: artifact::run,
        smoke: 500,
        max_bytes: 4 << 10,
    },
];
