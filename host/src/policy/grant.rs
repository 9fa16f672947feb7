//! One `[grants."PATTERN"]` table, and all of them: the policy.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::ModulePattern;
use crate::engine::{Determinism, HttpRule, LimitOptions, Secret, TaskPattern, TcpRule};

/// What is granted to the modules that a pattern means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which modules.
    pub pattern: ModulePattern,
    /// The line of its table, from 1.
    pub line: usize,
    /// Directories by the name under which a guest finds them.
    pub directories: BTreeMap<String, DirectoryGrant>,
    /// Whether there is a scratch directory.
    pub has_scratch: bool,
    /// Where HTTP requests may go.
    pub http: Vec<HttpRule>,
    /// Where TCP connections may go.
    pub tcp: Vec<TcpRule>,
    /// Where the secrets come from, by name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Configuration values by name.
    pub config: BTreeMap<String, String>,
    /// Whether the module has a key-value store.
    pub has_key_values: bool,
    /// Which other tasks it may have run.
    pub tasks: Vec<TaskPattern>,
    /// A fixed clock and seed, or the real ones; none: this grant does not say.
    pub determinism: Option<Option<Determinism>>,
    /// Whether the answers of hosts are kept of what fails; none: this grant does not say.
    pub is_recorded: Option<bool>,
    /// Limits; they only ever lower.
    pub limits: LimitOptions,
}

impl Grant {
    pub(super) fn empty(pattern: ModulePattern, line: usize) -> Self {
        Self {
            pattern,
            line,
            directories: BTreeMap::new(),
            has_scratch: false,
            http: Vec::new(),
            tcp: Vec::new(),
            secrets: BTreeMap::new(),
            config: BTreeMap::new(),
            has_key_values: false,
            tasks: Vec::new(),
            determinism: None,
            is_recorded: None,
            limits: LimitOptions::default(),
        }
    }

    /// Whether its table has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        match key {
            "directories" => !self.directories.is_empty(),
            "http" => !self.http.is_empty(),
            "tcp" => !self.tcp.is_empty(),
            "tasks" => !self.tasks.is_empty(),
            "secrets" => !self.secrets.is_empty(),
            "config" => !self.config.is_empty(),
            _ => false,
        }
    }
}

/// A directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryGrant {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// Whether a guest may change what is in it.
    pub is_writable: bool,
}

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The content of a file.
    File(PathBuf),
    /// An environment variable of the host process.
    Environment(String),
    /// `$CREDENTIALS_DIRECTORY/NAME`, as systemd hands them out.
    Credential(String),
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// All grants of one settings file. The default grants nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The most specific first.
    pub(super) grants: Vec<Grant>,
    /// Values of secrets that have been read.
    pub(super) secrets: HashMap<SecretSource, Secret>,
    /// Where it was read from.
    pub(super) file: Option<PathBuf>,
}

impl Policy {
    /// Every grant, the most specific first.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The same policy, known to be from this file.
    #[must_use]
    pub fn with_file(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }

    /// Whether a grant depends on the version of a module of this name.
    #[must_use]
    pub fn names_versions_of(&self, name: &str) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.pattern.has_version() && grant.pattern.may_mean(name))
    }

    /// What another policy changes, in names only: never a value.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let find = |policy: &'_ Self, grant: &Grant| {
            policy
                .grants
                .iter()
                .find(|other| other.pattern == grant.pattern)
                .cloned()
        };
        let mut changes = Vec::new();
        for grant in &new.grants {
            let pattern = &grant.pattern;
            match find(self, grant) {
                None => changes.push(format!("`{pattern}` is new")),
                Some(old)
                    if (Grant {
                        line: grant.line,
                        ..old.clone()
                    }) != *grant =>
                {
                    changes.push(format!("`{pattern}` has changed"))
                }
                Some(_) => {}
            }
            for (name, source) in &grant.secrets {
                let is_new_value = self
                    .secrets
                    .get(source)
                    .is_some_and(|value| new.secrets.get(source) != Some(value));
                if is_new_value {
                    changes.push(format!("secret `{name}` of `{pattern}` has a new value"));
                }
            }
        }
        let gone = self
            .grants
            .iter()
            .filter(|grant| find(new, grant).is_none());
        changes.extend(gone.map(|grant| format!("`{}` is gone", grant.pattern)));
        changes
    }
}
