//! What a broker keeps about modules: bytes, manifests, and the names that point to them.

use serde::{Deserialize, Serialize};

use crate::{Digest, ModuleRef, TaskDefaults};

/// A request to admit a module that has been stored: the input of the built-in task `celeriac/admit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admit {
    /// The bytes to admit.
    pub digest: Digest,
    /// The name, or name and version, that shall point to it: `images` or `images@1.2.0`.
    pub name: ModuleRef,
}

/// What admission writes, all or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// The admitted bytes.
    pub digest: Digest,
    /// A name, or a name and version. A version never moves; its bare name moves along with it.
    pub name: ModuleRef,
    /// The whole manifest, as JSON text that the broker does not look into.
    pub manifest: String,
    /// Each task with what its author says about its invocations.
    pub tasks: Vec<(String, TaskDefaults)>,
}

/// A name and what it points to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModuleName {
    /// A name or a version.
    pub name: ModuleRef,
    /// The module.
    pub digest: Digest,
    /// When it was last moved, by the broker's clock: milliseconds since the Unix epoch.
    pub moved_at_ms: u64,
}

/// A module as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleRecord {
    /// Its name in all places.
    pub digest: Digest,
    /// The manifest, JSON text.
    pub manifest: String,
    /// Unfinished invocations that refer to it.
    pub invocations: u64,
}
