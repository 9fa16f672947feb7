//! What a module asks for, what of it it gets, and by which grants.

use celeriac_broker::{TaskInfo, Ungranted, UngrantedNeed};

use super::{Advice, Answer, Identity, InvalidNeed, Need, Policy, Resolved};

/// What became of the needs of one task.
#[derive(Debug)]
pub struct Explained {
    /// The task's name within its module.
    pub task: String,
    /// What it gets.
    pub resolved: Resolved,
}

/// What a module's tasks get.
///
/// # Errors
/// When a task declares a need that means nothing here: the module was admitted by a host of another version.
pub fn explain(
    policy: &Policy,
    module: &Identity,
    tasks: &[TaskInfo],
) -> Result<Vec<Explained>, InvalidNeed> {
    let explain = |task: &TaskInfo| {
        Ok(Explained {
            task: task.name.clone(),
            resolved: policy.resolve(module, &needs(task)?),
        })
    };
    tasks.iter().map(explain).collect()
}

/// The needs of a task.
pub(crate) fn needs(task: &TaskInfo) -> Result<Vec<Need>, InvalidNeed> {
    task.needs
        .iter()
        .map(|need| Need::parse(&need.kind, &need.name))
        .collect()
}

impl Explained {
    /// What the task needs and does not get.
    pub fn missing(&self) -> impl Iterator<Item = &Need> {
        let missing = |answer: &&Answer| answer.granted_by.is_empty();
        self.resolved
            .answers
            .iter()
            .filter(missing)
            .map(|answer| &answer.need)
    }
}

impl Policy {
    /// What a module asks for and does not get, with what to write; none when it gets everything.
    #[must_use]
    pub fn ungranted(&self, module: &Identity, tasks: &[TaskInfo]) -> Option<Ungranted> {
        let explained = explain(self, module, tasks).unwrap_or_default();
        let of_task = |task: &Explained| {
            let name = task.task.clone();
            let ungranted = |need: &Need| UngrantedNeed {
                task: name.clone(),
                kind: need.kind().to_owned(),
                name: need.name(),
            };
            task.missing().map(ungranted).collect::<Vec<_>>()
        };
        let needs: Vec<_> = explained.iter().flat_map(of_task).collect();
        let remedy = self.advice_for(module, &explained);
        (!needs.is_empty()).then(|| Ungranted {
            needs,
            remedy: remedy.iter().map(Advice::to_string).collect(),
        })
    }

    /// What to write so that all tasks of a module get all that they need.
    #[must_use]
    pub fn advice_for(&self, module: &Identity, explained: &[Explained]) -> Vec<Advice> {
        let missing: Vec<_> = explained
            .iter()
            .flat_map(Explained::missing)
            .cloned()
            .collect();
        self.advice(module, &missing)
    }
}
