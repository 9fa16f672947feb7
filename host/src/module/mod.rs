//! Modules: how uploaded bytes become something that can run.
//!
//! [`Admitter::admit`] checks ([`check`]), compiles in a child process ([`Compiler`]), keeps the artifact
//! ([`ArtifactCache`]), runs `describe` under limits and answers with a [`celeriac_broker::Manifest`], or with an
//! [`celeriac_broker::UploadReport`] for the author. [`Loader::load`] makes a module of a digest, once at a time: from memory,
//! from the artifact cache, or from the uploaded bytes.

mod admit;
mod artifact;
mod caps;
mod check;
mod compile;
mod loader;
mod lru;
mod manifest;
mod signature;
mod world;

pub use admit::{AdmitError, Admitter};
pub use artifact::{ArtifactCache, ArtifactError};
pub use caps::{UploadCap, UploadCaps};
pub use check::check;
pub use compile::{CHILD_COMMAND, CompileError, CompileLimits, Compiler, compile_child_main};
pub use loader::{LoadError, Loader, LoaderConfig, Source, SourceError};
