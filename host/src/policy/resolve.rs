//! What of its needs a task gets: the intersection with what is granted to its module.

use super::{Grant, Identity, ModulePattern, Need, Policy, intersect};
use crate::engine::{Determinism, Directory, LimitOptions, Rights, TaskPattern};

/// What a task gets, and by which grants.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Its rights, without key-value store and without whom denials are told: both belong to a running host.
    pub rights: Rights,
    /// Whether it may use its module's key-value store.
    pub has_key_values: bool,
    /// Limits of its grants.
    pub limits: LimitOptions,
    /// What became of each need, in the order in which they were declared.
    pub answers: Vec<Answer>,
}

/// What became of one need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the task needs.
    pub need: Need,
    /// The patterns of the grants that give it, the most specific first; none: it is not granted.
    pub granted_by: Vec<ModulePattern>,
}

impl Policy {
    /// Intersects what a task needs with what is granted to its module.
    #[must_use]
    pub fn resolve(&self, module: &Identity, needs: &[Need]) -> Resolved {
        // The most specific first, as they are kept: the first that says something about a name has said it.
        let grants: Vec<_> = self.matching(module).collect();
        let mut resolved = Resolved {
            limits: grants
                .iter()
                .fold(LimitOptions::default(), |limits, grant| {
                    limits.and(&grant.limits)
                }),
            ..Resolved::default()
        };
        resolved.rights.determinism = determinism(&grants);
        resolved.rights.is_recorded = grants
            .iter()
            .find_map(|grant| grant.is_recorded)
            .unwrap_or(false);
        for need in needs {
            let granted_by = self.add(need, &grants, &mut resolved);
            resolved.answers.push(Answer {
                need: need.clone(),
                granted_by,
            });
        }
        resolved
    }

    /// The grants for a module, the most specific first.
    pub(super) fn matching(&self, module: &Identity) -> impl Iterator<Item = &Grant> {
        self.grants
            .iter()
            .filter(|grant| grant.pattern.matches(module))
    }

    /// Adds what is granted of a need; returns by which grants.
    fn add(&self, need: &Need, grants: &[&Grant], resolved: &mut Resolved) -> Vec<ModulePattern> {
        let rights = &mut resolved.rights;
        let all = |gives: &mut dyn FnMut(&Grant) -> bool| {
            let giving = grants.iter().filter(|grant| gives(grant));
            giving
                .map(|grant| grant.pattern.clone())
                .collect::<Vec<_>>()
        };
        let first = |gives: &mut dyn FnMut(&Grant) -> bool| {
            let giving = grants.iter().find(|grant| gives(grant));
            giving
                .map(|grant| grant.pattern.clone())
                .into_iter()
                .collect::<Vec<_>>()
        };
        match need {
            Need::Http(need) => all(&mut |grant| {
                extend(
                    &mut rights.http,
                    grant
                        .http
                        .iter()
                        .filter_map(|rule| intersect::http(need, rule)),
                )
            }),
            Need::Tcp(need) => all(&mut |grant| {
                extend(
                    &mut rights.tcp,
                    grant
                        .tcp
                        .iter()
                        .filter_map(|rule| intersect::tcp(need, rule)),
                )
            }),
            Need::Scratch(_) => {
                let by = all(&mut |grant| grant.has_scratch);
                rights.has_scratch |= !by.is_empty();
                by
            }
            Need::KeyValues(_) => {
                let by = all(&mut |grant| grant.has_key_values);
                resolved.has_key_values |= !by.is_empty();
                by
            }
            Need::Tasks(declared) => {
                let callable = &mut rights.callable;
                let by = all(&mut |grant| {
                    let overlaps = |granted: &&TaskPattern| {
                        granted.includes(declared) || declared.includes(granted)
                    };
                    let granted = grant.tasks.iter().filter(overlaps);
                    extend(&mut callable.granted, granted.cloned())
                });
                if !by.is_empty() {
                    extend(&mut callable.declared, [declared.clone()]);
                }
                by
            }
            Need::Directory(name) => first(&mut |grant| {
                let Some(directory) = grant.directories.get(name) else {
                    return false;
                };
                extend(
                    &mut rights.directories,
                    [Directory {
                        name: name.clone(),
                        path: directory.path.clone(),
                        is_writable: directory.is_writable,
                    }],
                )
            }),
            Need::Secret(name) => first(&mut |grant| {
                let Some(source) = grant.secrets.get(name) else {
                    return false;
                };
                // Without a value when sources were not read: then it is only explained who grants it.
                if let Some(value) = self.secrets.get(source) {
                    rights.secrets.insert(name.clone(), value.clone());
                }
                true
            }),
            Need::Config(name) => first(&mut |grant| {
                let Some(value) = grant.config.get(name) else {
                    return false;
                };
                extend(&mut rights.environment, [(name.clone(), value.clone())])
            }),
        }
    }
}

/// Adds what is not there yet; whether there was anything to add or to find.
fn extend<T: PartialEq>(list: &mut Vec<T>, items: impl IntoIterator<Item = T>) -> bool {
    let mut has_any = false;
    for item in items {
        has_any = true;
        if !list.contains(&item) {
            list.push(item);
        }
    }
    has_any
}

fn determinism(grants: &[&Grant]) -> Option<Determinism> {
    grants
        .iter()
        .find_map(|grant| grant.determinism.clone())
        .flatten()
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
