//! Rights on a tape: those of an execution that is recorded, and those of its replay.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::answers::Taped;
use super::tape::Tape;
use super::transcript::Transcript;
use crate::engine::{
    Callable, Denials, Directory, KeyValues, Rights, Secret, Secrets, TaskPattern, Tasks,
};

impl Rights {
    /// The same rights, with a tape that keeps what comes of them.
    #[must_use]
    pub fn recorded(mut self, tape: Arc<Tape>) -> Self {
        tape.set_facts(|facts| {
            facts.environment.clone_from(&self.environment);
            let lengths = self.secrets.iter();
            facts.secrets = lengths
                .map(|(name, secret)| (name.clone(), secret.reveal().len()))
                .collect();
            facts.has_key_values = self.key_values.is_some();
            facts.has_tasks = self.tasks.is_some();
            let texts =
                |patterns: &[TaskPattern]| patterns.iter().map(ToString::to_string).collect();
            facts.declared = texts(&self.callable.declared);
            facts.granted = texts(&self.callable.granted);
            let names = self.directories.iter();
            facts.directories = names.map(|directory| directory.name.clone()).collect();
            facts.has_scratch = self.has_scratch;
        });
        tape.set_redactor(self.secrets.redactor().cloned());
        self.key_values = self.key_values.map(|inner| {
            let tape = Arc::clone(&tape);
            let inner = Some(inner);
            Arc::new(Taped { inner, tape }) as Arc<dyn KeyValues>
        });
        self.tasks = self.tasks.map(|inner| {
            let tape = Arc::clone(&tape);
            let inner = Some(inner);
            Arc::new(Taped { inner, tape }) as Arc<dyn Tasks>
        });
        self.denials = Some(Arc::new(Taped {
            inner: self.denials,
            tape: Arc::clone(&tape),
        }));
        self.tape = Some(tape);
        self
    }

    /// What an execution found that was recorded. Secrets are those of `known` that are as long as they were; in the place of
    /// others stands something of their length. Nothing outside the sandbox is touched.
    #[must_use]
    pub fn replayed(
        transcript: &Transcript,
        known: &BTreeMap<String, Secret>,
        tape: Arc<Tape>,
    ) -> Self {
        let facts = &transcript.facts;
        let secret = |(name, len): (&String, &usize)| {
            let value = known.get(name).filter(|value| value.reveal().len() == *len);
            let value = value.cloned();
            (name.clone(), value.unwrap_or_else(|| stand_in(name, *len)))
        };
        let secrets: Secrets = facts.secrets.iter().map(secret).collect();
        tape.set_redactor(secrets.redactor().cloned());
        let patterns = |texts: &[String]| {
            let patterns = texts.iter().filter_map(|text| TaskPattern::parse(text));
            patterns.collect()
        };
        let none: Option<Arc<dyn KeyValues>> = None;
        let key_values = Taped {
            inner: none,
            tape: Arc::clone(&tape),
        };
        let none: Option<Arc<dyn Tasks>> = None;
        let tasks = Taped {
            inner: none,
            tape: Arc::clone(&tape),
        };
        let none: Option<Arc<dyn Denials>> = None;
        let denials = Taped {
            inner: none,
            tape: Arc::clone(&tape),
        };
        Self {
            environment: facts.environment.clone(),
            secrets,
            // No call gets as far as to look into one.
            directories: facts
                .directories
                .iter()
                .map(|name| Directory {
                    name: name.clone(),
                    path: std::env::temp_dir(),
                    is_writable: false,
                })
                .collect(),
            has_scratch: facts.has_scratch,
            key_values: facts
                .has_key_values
                .then(|| Arc::new(key_values) as Arc<dyn KeyValues>),
            tasks: facts.has_tasks.then(|| Arc::new(tasks) as Arc<dyn Tasks>),
            callable: Callable {
                declared: patterns(&facts.declared),
                granted: patterns(&facts.granted),
            },
            denials: Some(Arc::new(denials)),
            tape: Some(tape),
            ..Self::default()
        }
    }
}

/// Something as long as a secret that nobody here knows; found in no text by chance.
fn stand_in(name: &str, len: usize) -> Secret {
    let digits = Sha256::digest(name.as_bytes());
    let digits = digits.iter().map(|byte| char::from(b'a' + byte % 26));
    Secret::new(digits.cycle().take(len).collect())
}
