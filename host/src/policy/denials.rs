//! Tells guests and operators what was refused, and what to write so that it is not.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Identity, Need, Policy};
use crate::engine::{Denials, Denied};

/// Refusals that are told apart: a guest that tries a new host with every call must not fill memory or log.
const REMEMBERED: usize = 1024;

/// One policy with what was refused under it.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    pub(super) policy: Policy,
    /// Hashes of what has been logged.
    logged: Mutex<HashSet<u64>>,
}

impl Ruling {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            logged: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.logged.lock().unwrap().len()
    }

    /// Whether this was not logged yet and shall be now.
    fn is_news(&self, module: &str, denied: &Denied) -> bool {
        let mut hasher = DefaultHasher::new();
        (module, denied.kind, &denied.what).hash(&mut hasher);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() > REMEMBERED || !logged.insert(hasher.finish()) {
            return false;
        }
        if logged.len() > REMEMBERED {
            tracing::warn!(
                "more was denied than is told apart: further denials are not logged until the policy is reloaded"
            );
            return false;
        }
        true
    }
}

/// Answers for one task.
pub(super) struct TaskDenials {
    pub(super) ruling: Arc<Ruling>,
    pub(super) module: Identity,
    pub(super) task: String,
    pub(super) needs: Vec<Need>,
}

impl Denials for TaskDenials {
    fn deny(&self, denied: &Denied) -> String {
        let policy = &self.ruling.policy;
        let task = format!("{}/{}", self.module.pattern(), self.task);
        let remedy = policy
            .remedy(&self.module, &self.needs, denied)
            .unwrap_or_default();
        if self.ruling.is_news(&self.module.pattern(), denied) {
            // What a guest tried is its own text: it must not write lines of this log.
            let denied = denied.to_string().escape_debug().to_string();
            tracing::warn!(%task, %denied, "{remedy}");
        }
        let remedy = without_directory(&remedy, policy);
        match remedy.is_empty() {
            true => format!("{denied} is not granted to {task}"),
            false => format!("{denied} is not granted to {task}: {remedy}"),
        }
    }
}

/// The same for a guest, and for whoever reads its result: where the host keeps its files is not their concern.
fn without_directory(remedy: &str, policy: &Policy) -> String {
    let file = policy.file.as_deref();
    match file.and_then(|file| Some((file.to_str()?, file.file_name()?.to_str()?))) {
        Some((path, name)) => remedy.replace(path, name),
        None => remedy.to_owned(),
    }
}
