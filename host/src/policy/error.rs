//! What can be wrong with a policy.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a policy: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The settings file, once it is known.
    pub file: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The table and the key: `[grants."images"] http[0].ports`; empty when the text is no TOML.
    pub place: String,
    /// What is wrong there.
    pub message: String,
    /// What to write.
    pub remedy: String,
}

impl PolicyError {
    pub(super) fn new(
        line: Option<usize>,
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: None,
            line,
            place: place.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// The same, in this file.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}
