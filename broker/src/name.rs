//! What a caller writes to name a task: `images/resize`, `images@1.2.0/resize`, `images@sha256:…/resize`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BrokerError, Digest};

/// The module name that the host itself answers to; nobody can push it.
pub const BUILT_IN_MODULE: &str = "celeriac";

/// The longest name, version, task or queue, in bytes. They are part of keys and log lines.
pub const MAX_NAME_BYTES: usize = 64;

/// Names a module: by name, by version, or by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ModuleRef {
    /// `images`: whatever the name points to when the invocation is accepted.
    Name(String),
    /// `images@1.2.0`: a version, which never moves.
    Version(String, String),
    /// `images@sha256:…` or `sha256:…`: exactly these bytes.
    Digest(Option<String>, Digest),
}

/// Names a task of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskRef {
    /// The module that exports the task.
    pub module: ModuleRef,
    /// The task's name within the module.
    pub task: String,
}

impl TaskRef {
    /// Whether the host answers this task itself.
    pub fn is_built_in(&self) -> bool {
        matches!(&self.module, ModuleRef::Name(name) if name == BUILT_IN_MODULE)
    }
}

/// Checks a module name, version, task or queue: `what` names it in the error.
///
/// # Errors
/// `BrokerError::Invalid` unless it is 1 to 64 of `a-z 0-9 . _ -` and starts with a letter or digit.
pub fn check_name(what: &'static str, name: &str) -> Result<(), BrokerError> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return Ok(());
    }
    Err(BrokerError::invalid(
        what,
        name,
        "1 to 64 lower-case letters, digits, `.`, `_` or `-`, a letter or digit first",
    ))
}

impl FromStr for ModuleRef {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("sha256:") {
            return Ok(Self::Digest(None, text.parse()?));
        }
        let Some((name, rest)) = text.split_once('@') else {
            check_name("module name", text)?;
            return Ok(Self::Name(text.to_owned()));
        };
        check_name("module name", name)?;
        if rest.starts_with("sha256:") {
            return Ok(Self::Digest(Some(name.to_owned()), rest.parse()?));
        }
        check_name("module version", rest)?;
        Ok(Self::Version(name.to_owned(), rest.to_owned()))
    }
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Version(name, version) => write!(f, "{name}@{version}"),
            Self::Digest(Some(name), digest) => write!(f, "{name}@{digest}"),
            Self::Digest(None, digest) => digest.fmt(f),
        }
    }
}

impl FromStr for TaskRef {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (module, task) = text.split_once('/').ok_or_else(|| {
            BrokerError::invalid(
                "task",
                text,
                "MODULE/TASK, such as `images/resize` or `images@1.2.0/resize`",
            )
        })?;
        check_name("task name", task)?;
        Ok(Self {
            module: module.parse()?,
            task: task.to_owned(),
        })
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.module, self.task)
    }
}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(ModuleRef, TaskRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_form_and_writes_it_back() {
        let digest = Digest::of(b"x");
        for text in [
            "images/resize".to_owned(),
            "images@1.2.0/resize".to_owned(),
            format!("images@{digest}/resize"),
            format!("{digest}/resize"),
        ] {
            assert_eq!(text.parse::<TaskRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_not_a_task() {
        for text in [
            "resize",
            "images/",
            "/resize",
            "Images/resize",
            "images@/x",
            "images@sha256:1/x",
            "a b/c",
        ] {
            let error = text.parse::<TaskRef>().unwrap_err().to_string();
            assert!(error.contains("expected"), "{text}: {error}");
        }
    }
}
