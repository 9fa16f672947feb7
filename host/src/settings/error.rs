//! What can be wrong with settings.

use std::path::PathBuf;

/// What can be wrong with settings. Each message names the place and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file that was asked for cannot be read.
    #[error("the settings file {path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not TOML: {reason}")]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// There is no such setting.
    #[error("{place}: there is no setting `{key}`")]
    UnknownKey {
        /// The file, variable or flag.
        place: String,
        /// What was written.
        key: String,
        /// The setting that may have been meant.
        nearest: Option<&'static str>,
    },
    /// The value is not what this setting takes.
    #[error("{place}: `{key}` is {got}, expected {expected}")]
    WrongValue {
        /// The file, variable or flag.
        place: String,
        /// The setting.
        key: &'static str,
        /// What was written.
        got: String,
        /// What would be right.
        expected: String,
    },
    /// A default is above the ceiling that goes with it.
    #[error("{place}: `{default}` is {value}, above `{ceiling}`, which is {most}")]
    AboveCeiling {
        /// The file, variable or flag.
        place: String,
        /// The setting that is the default.
        default: String,
        /// Its value.
        value: String,
        /// The setting that is the ceiling.
        ceiling: String,
        /// Its value, and where that came from.
        most: String,
    },
    /// A flag is not `KEY=VALUE`.
    #[error("--set `{0}`: expected KEY=VALUE, such as `lease=5s`")]
    NotAPair(String),
    /// There is no home directory to derive a default from.
    #[error(
        "there is no home directory to keep {key} in: neither HOME nor the XDG variable is set"
    )]
    NoHome {
        /// The setting that has no default then.
        key: &'static str,
    },
}

impl SettingsError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the path given by --config or CELERIAC_CONFIG".to_owned()
            }
            Self::NotToml { .. } => "`celeriac config --example` prints a file that is".to_owned(),
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { .. } | Self::WrongValue { .. } | Self::NotAPair(_) => {
                "`celeriac config --example` explains every setting".to_owned()
            }
            Self::AboveCeiling {
                default, ceiling, ..
            } => format!("lower `{default}`, or raise `{ceiling}`"),
            Self::NoHome { key } => {
                format!("set `{key}` in a file, or CELERIAC_{}", key.to_uppercase())
            }
        }
    }
}
