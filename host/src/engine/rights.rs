//! What one execution may touch outside its sandbox: the intersection of what its task declared and what the
//! operator granted. Nothing, unless somebody put it here.
//!
//! The engine knows no policy and no file: whoever starts an execution resolves both and hands in a [`Rights`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::SystemTime;

use ipnet::IpNet;

use zeroize::Zeroizing;

use super::HostPattern;
use super::Tape;
use super::redact::Redactor;

/// What one execution may touch. Shared by all executions of a task until the policy changes.
#[derive(Clone, Default)]
pub struct Rights {
    /// Environment variables that the guest finds: named configuration, never secrets.
    pub environment: Vec<(String, String)>,
    /// Values that the guest gets by name, and that never leave through logs, results or traces.
    pub secrets: Secrets,
    /// Directories of the host that the guest finds at `/NAME`.
    pub directories: Vec<Directory>,
    /// Whether there is an empty directory at `/tmp`, gone with the execution.
    pub has_scratch: bool,
    /// Where HTTP requests may go; each must be allowed by one of these.
    pub http: Vec<HttpRule>,
    /// Where TCP connections may go.
    pub tcp: Vec<TcpRule>,
    /// The key-value store of the module.
    pub key_values: Option<Arc<dyn KeyValues>>,
    /// Which other tasks it may have run.
    pub callable: Callable,
    /// Who has them run; none: nobody here can.
    pub tasks: Option<Arc<dyn Tasks>>,
    /// A fixed clock and seeded randomness instead of the real ones.
    pub determinism: Option<Determinism>,
    /// What randomness is made from where the clock is the real one; none: something that nobody knows.
    pub seed: Option<Seed>,
    /// Whether the answers of its host are to be kept, so that a failure can be replayed with them.
    pub is_recorded: bool,
    /// Keeps these answers, or gives them; see [`Rights::recorded`] and [`Rights::replayed`].
    pub tape: Option<Arc<Tape>>,
    /// Who is told of what was refused, and knows what to do about it.
    pub denials: Option<Arc<dyn Denials>>,
}

impl Rights {
    /// No rights at all.
    #[must_use]
    pub fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Rights>> = LazyLock::new(Arc::default);
        NONE.clone()
    }

    /// Tells of something refused; returns the sentence for the guest. A secret that the guest asked with is in
    /// neither.
    pub(crate) fn deny(&self, denied: &Denied) -> String {
        let clean = self.secrets.redactor().map(|redactor| Denied {
            kind: denied.kind,
            what: redactor.text(&denied.what).into_owned(),
            why: denied
                .why
                .as_ref()
                .map(|why| redactor.text(why).into_owned()),
        });
        let denied = clean.as_ref().unwrap_or(denied);
        self.denials.as_ref().map_or_else(
            || format!("{denied} is not granted to this task"),
            |denials| denials.deny(denied),
        )
    }
}

impl std::fmt::Debug for Rights {
    /// Without a single value: names are enough to see what is granted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let environment: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Rights")
            .field("environment", &environment)
            .field("secrets", &self.secrets.keys())
            .field("directories", &self.directories)
            .field("has_scratch", &self.has_scratch)
            .field("http", &self.http)
            .field("tcp", &self.tcp)
            .field("has_key_values", &self.key_values.is_some())
            .field("callable", &self.callable)
            .field("determinism", &self.determinism)
            .finish_non_exhaustive()
    }
}

/// A value that must not be seen. Its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Secrets by name, with what takes them out of texts: that is made once, for all executions that share it.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<String, Secret>,
    redactor: OnceLock<Option<Arc<Redactor>>>,
}

impl Secrets {
    /// Adds a secret, or replaces it.
    pub fn insert(&mut self, name: String, secret: Secret) {
        self.values.insert(name, secret);
        self.redactor = OnceLock::new();
    }

    /// Takes them out of texts; none when there are none.
    pub(crate) fn redactor(&self) -> Option<&Arc<Redactor>> {
        let make = || Redactor::new(&self.values).map(Arc::new);
        self.redactor.get_or_init(make).as_ref()
    }
}

impl std::ops::Deref for Secrets {
    type Target = BTreeMap<String, Secret>;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<T: IntoIterator<Item = (String, Secret)>>(secrets: T) -> Self {
        Self {
            values: secrets.into_iter().collect(),
            redactor: OnceLock::new(),
        }
    }
}

impl<const N: usize> From<[(String, Secret); N]> for Secrets {
    fn from(secrets: [(String, Secret); N]) -> Self {
        secrets.into_iter().collect()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.values.fmt(f)
    }
}

/// A directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its name: the guest finds it at `/NAME`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether the guest may change what is in it.
    pub is_writable: bool,
}

/// Where HTTP requests may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// Hosts; an address counts as a host by itself.
    pub hosts: Vec<HostPattern>,
    /// `http`, `https`.
    pub schemes: Vec<String>,
    /// Ports; none: the port that belongs to the scheme.
    pub ports: Vec<u16>,
    /// Methods, in capitals; none: any.
    pub methods: Vec<String>,
    /// Addresses that are not public, and may be connected to all the same.
    pub networks: Vec<IpNet>,
}

/// Where TCP connections may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRule {
    /// The host; an address counts as a host by itself.
    pub host: HostPattern,
    /// The port.
    pub port: u16,
    /// Addresses that are not public, and may be connected to all the same.
    pub networks: Vec<IpNet>,
}

/// A fixed clock and seeded randomness: same module, input and seed, same output and fuel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Determinism {
    /// What randomness is made from.
    pub seed: Seed,
    /// The time that the clock shows at the start; it moves only while the guest sleeps.
    pub now: SystemTime,
}

/// What all randomness of one execution is made from.
#[derive(Clone, PartialEq, Eq)]
pub enum Seed {
    /// A number that somebody chose.
    Number(u64),
    /// Bytes that nobody could foresee.
    Bytes([u8; 32]),
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl std::fmt::Display for Seed {
    /// Bytes are not shown: they tell what an execution has drawn.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(_) => f.write_str("…"),
        }
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed({self})")
    }
}

/// Something that a guest tried and may not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denied {
    /// `http`, `tcp`, `directory`, `scratch`, `secret`, `config`, `kv` or `tasks`.
    pub kind: &'static str,
    /// What it tried: `GET https://example.com:443`, `smtp.example.com:25`, a name.
    pub what: String,
    /// Why, where it is not simply that nobody granted it: `the address 10.0.0.1 is private`.
    pub why: Option<String>,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.kind, self.what)?;
        match &self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

/// Is told of what guests were refused.
pub trait Denials: Send + Sync {
    /// Logs it, once for each thing, and returns the sentence that the guest gets: what was refused, and what
    /// to write where so that it is allowed. Must be quick; guests can call it as often as they like.
    fn deny(&self, denied: &Denied) -> String;
}

/// The key-value store of one module. All calls are bounded by the caller's limits before they get here.
#[async_trait::async_trait]
pub trait KeyValues: Send + Sync {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError>;

    /// Sets a key, for `ttl_ms` or for ever.
    async fn set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), AccessError>;

    /// Removes a key; whether it was there.
    async fn delete(&self, key: &str) -> Result<bool, AccessError>;

    /// Adds to a number and returns the sum; a key that is not there counts as 0 and gets the `ttl_ms`.
    async fn increment(&self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, AccessError>;

    /// Sets a key to `value` (none: removes it) if it has the value `expected` (none: is not there); whether it did.
    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, AccessError>;

    /// At most `limit` keys that start with `prefix`, in order, after `after`.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, AccessError>;
}

/// Which other tasks an execution may have run: those that are both declared and granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callable {
    /// What the task declared.
    pub declared: Vec<TaskPattern>,
    /// What the operator granted.
    pub granted: Vec<TaskPattern>,
}

impl Callable {
    /// Whether this task, as it is called, may be run.
    #[must_use]
    pub fn allows(&self, task: &str) -> bool {
        let is_among = |patterns: &[TaskPattern]| patterns.iter().any(|one| one.matches(task));
        is_among(&self.declared) && is_among(&self.granted)
    }
}

/// The module of the host's own tasks.
const OWN: &str = "celeriac";

/// Tasks: `images/resize`, `images/*` or `*`; whichever version of the module is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskPattern(String);

impl TaskPattern {
    /// Reads a pattern; none where it means no task.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            !name.is_empty() && name.len() <= 64 && name.chars().all(fits)
        };
        let fits = match text.split_once('/') {
            None => text == "*",
            Some((module, task)) => is_name(module) && (task == "*" || is_name(task)),
        };
        fits.then(|| Self(text.to_owned()))
    }

    /// `*`: every task.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether a task is meant. One that is called by the digest of its module alone, or together with a name that nobody
    /// vouches for, is meant by `*` only.
    #[must_use]
    pub fn matches(&self, task: &str) -> bool {
        let Some((module, task)) = task.split_once('/') else {
            return false;
        };
        // The host's own tasks are for people and for itself.
        if module == OWN {
            return false;
        }
        let (name, version) = module.split_once('@').unwrap_or((module, ""));
        match self.0.split_once('/') {
            None => true,
            Some(_) if name.starts_with("sha256:") || version.starts_with("sha256:") => false,
            Some((module, wanted)) => module == name && (wanted == "*" || wanted == task),
        }
    }

    /// Whether everything that `other` means is meant.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self == other
            || self.0 == "*"
            || (other.0.contains('/') && self.0.ends_with("/*") && self.matches(&other.0))
    }
}

impl std::fmt::Display for TaskPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invocation that a guest asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct CalledTask {
    /// `module/task`.
    pub task: String,
    /// What to run it on.
    pub input: super::Payload,
    /// The queue, instead of the task's own.
    pub queue: Option<String>,
    /// How long it waits at least.
    pub delay_ms: Option<u64>,
    /// How long an attempt may take.
    pub timeout_ms: Option<u64>,
    /// Attempts after the first one.
    pub retries: Option<u32>,
}

/// Why a call has no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailed {
    /// It was not made.
    Refused(AccessError),
    /// It was made, and failed.
    Failed {
        /// The invocation's id.
        id: String,
        /// The stable code.
        code: String,
        /// The task's own word, or the code.
        kind: String,
        /// A sentence for people.
        message: String,
        /// Whether running the same input again may succeed.
        retryable: bool,
    },
}

/// Has other tasks run, for one execution. What may be called has been checked before it gets here.
#[async_trait::async_trait]
pub trait Tasks: Send + Sync {
    /// Hands in an invocation; its id.
    async fn submit(&self, called: CalledTask) -> Result<String, AccessError>;

    /// Hands in an invocation and waits for its output.
    async fn call(&self, called: CalledTask) -> Result<super::Payload, CallFailed>;
}

/// Why something outside the sandbox was not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Not declared or not granted; the text says what to do.
    #[error("{0}")]
    Denied(String),
    /// A limit stands in the way; the text names it.
    #[error("{0}")]
    Limit(String),
    /// The request makes no sense: an empty key, a number that is none.
    #[error("{0}")]
    Invalid(String),
    /// Not now: the store does not answer.
    #[error("{0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_callable_when_it_is_declared_and_granted() {
        let patterns = |all: &[&str]| {
            all.iter()
                .filter_map(|one| TaskPattern::parse(one))
                .collect()
        };
        let callable = Callable {
            declared: patterns(&["images/*", "mail/send"]),
            granted: patterns(&["images/resize", "mail/*"]),
        };
        for (task, is_callable) in [
            ("images/resize", true),
            ("images@1.2.0/resize", true),
            ("images@sha256:00/resize", false),
            ("images/crop", false),
            ("mail/send", true),
            ("mail/read", false),
            ("resize", false),
        ] {
            assert_eq!(callable.allows(task), is_callable, "{task}");
        }
        assert!(!Callable::default().allows("images/resize"));
        for text in ["images", "*/resize", "Images/x", "images/", "images@1/x"] {
            assert_eq!(TaskPattern::parse(text), None, "{text}");
        }
        let any = TaskPattern::parse("*").unwrap();
        assert!(any.matches("sha256:00/x") && any.includes(&TaskPattern::parse("a/b").unwrap()));
    }
}
