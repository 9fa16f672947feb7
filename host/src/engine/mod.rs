//! The engine: runs one task of one module in a fresh, limited wasmtime instance.
//!
//! It knows nothing of brokers, queues or hosts. The way of an invocation through it:
//! [`Engine::execute`] → a new store under [`Limits`] → the guest's `run`, watched for deadline,
//! cancellation and host panics (`watch`) → an [`Execution`]: one [`Verdict`] with a stable [`Code`], and
//! the [`Usage`] behind it. Whatever the guest says on the way goes to an [`EventSink`].
//!
//! Invariants: a store serves one invocation and is dropped after it; every limit stands before the
//! allocation it bounds; a guest can end its own invocation only.

mod bindings;
mod config;
mod context;
mod event;
mod execute;
mod executor;
mod files;
mod host_pattern;
mod key_value;
mod limiter;
mod limits;
mod meter;
mod net;
mod outcome;
mod payload;
mod recorder;
mod recording;
mod redact;
mod rights;
mod runtime;
mod state;
mod stdio;
mod taped;
mod tasks;
mod ticker;
mod trap;
mod wasi;
mod watch;

pub use bindings::{InvocationOptions, Limit, Need, TaskInfo, TaskOptions};
pub use config::{EngineConfig, Purpose, config};
pub(crate) use config::{MODULE_VERSION, features};
pub use event::{Discard, Event, EventSink, Level, Stream};
pub use execute::{Invocation, Request};
pub use executor::{Executor, ExecutorError};
pub use host_pattern::{HostPattern, NotAHost};
pub use limits::{HostLimits, LimitInfo, LimitOptions, Limits, UnknownLimit};
pub use net::{AddressClass, Destination, Host, Post, PostError, address_class, is_public_address};
pub use outcome::{Code, Execution, Fault, LimitHit, LimitRow, Usage, Verdict};
pub use payload::Payload;
pub use recording::{Damaged, Recording, Stopped, Tape, Transcript};
pub use redact::{MIN_SECRET_BYTES, ShortSecret, check_secret};
pub use rights::{
    AccessError, CallFailed, Callable, CalledTask, Denials, Denied, Determinism, Directory,
    HttpRule, KeyValues, Rights, Secret, Secrets, Seed, TaskPattern, Tasks, TcpRule,
};
pub use runtime::{Engine, EngineError, Module};
pub use tokio_util::sync::CancellationToken;
pub use wasi::{ALLOWED_IMPORTS, CONTRACT_VERSION, WASI_SERIES};
