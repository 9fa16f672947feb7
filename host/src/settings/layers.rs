//! The layers that settings come from: defaults, one file, the environment, flags; each over the one before.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    SettingsError,
    table::{Row, TABLE, find, nearest},
    value::{Kind, Value},
};

/// The name of the settings file in each place where it is looked for.
const FILE: &str = "celeriac.toml";
/// The largest settings file that is read, in bytes: one that sets everything has 3 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The table of the file that is no setting: what modules may do, which the policy reads.
const GRANTS: &str = "grants";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value given by a flag: the flag as the user wrote it, the key, and the text.
#[derive(Clone, Debug)]
pub struct Override {
    /// The flag: `--lease`.
    pub flag: String,
    /// The setting.
    pub key: String,
    /// Its value.
    pub text: String,
}

impl Override {
    /// The override of `key` by a flag of its own.
    pub fn new(flag: &str, key: &str, text: impl fmt::Display) -> Self {
        Self {
            flag: flag.to_owned(),
            key: key.to_owned(),
            text: text.to_string(),
        }
    }

    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// `SettingsError::NotAPair`.
    pub fn pair(text: &str) -> Result<Self, SettingsError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| SettingsError::NotAPair(text.to_owned()))?;
        Ok(Self::new("--set", key.trim(), value.trim()))
    }
}

/// The process's surroundings, as far as settings depend on them.
pub(super) struct Surroundings<'a> {
    /// An environment variable, when it is set and not empty.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The working directory.
    pub(super) directory: &'a Path,
}

/// One value with its source.
pub(super) type Set = (&'static Row, Value, Source);

/// Finds the settings file: the one that is named, else the first that exists.
pub(super) fn locate(named: Option<&Path>, around: &Surroundings<'_>) -> Option<PathBuf> {
    let from_env = || (around.env)("CELERIAC_CONFIG").map(PathBuf::from);
    if let Some(path) = named.map(Path::to_path_buf).or_else(from_env) {
        return Some(path);
    }
    let personal =
        xdg(around, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("celeriac").join(FILE));
    [
        Some(around.directory.join(FILE)),
        personal,
        Some(PathBuf::from("/etc/celeriac").join(FILE)),
    ]
    .into_iter()
    .flatten()
    .find(|path| path.is_file())
}

/// A directory by the XDG convention.
pub(super) fn xdg(around: &Surroundings<'_>, variable: &str, below_home: &str) -> Option<PathBuf> {
    let given = (around.env)(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    given.or_else(|| (around.env)("HOME").map(|home| Path::new(&home).join(below_home)))
}

/// Reads a settings file.
pub(super) fn file(path: &Path, around: &Surroundings<'_>) -> Result<Vec<Set>, SettingsError> {
    let text = read(path).map_err(|reason| SettingsError::Unreadable {
        path: path.to_owned(),
        reason,
    })?;
    let table: toml::Table =
        text.parse()
            .map_err(|error: toml::de::Error| SettingsError::NotToml {
                path: path.to_owned(),
                reason: error.to_string().trim_end().to_owned(),
            })?;
    let mut sets = Vec::new();
    walk(&table, "", path, around, &mut sets)?;
    Ok(sets)
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!(
            "it has {bytes} bytes, at most {MAX_FILE_BYTES} are read"
        )));
    }
    std::fs::read_to_string(path)
}

fn walk(
    table: &toml::Table,
    prefix: &str,
    path: &Path,
    around: &Surroundings<'_>,
    sets: &mut Vec<Set>,
) -> Result<(), SettingsError> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let is_section = TABLE
            .iter()
            .any(|row| row.key.starts_with(&format!("{key}.")));
        match (find(&key), value) {
            (Some(row), _) => {
                let value = row
                    .kind
                    .read_toml(value)
                    .ok_or_else(|| wrong(path.display(), row, &show(value)))?;
                let base = path.parent().unwrap_or(around.directory);
                sets.push((
                    row,
                    anchored(row.kind, value, base, around),
                    Source::File(path.to_owned()),
                ));
            }
            (None, toml::Value::Table(inner)) if is_section => {
                walk(inner, &format!("{key}."), path, around, sets)?
            }
            (None, toml::Value::Table(_)) if key == GRANTS => {}
            (None, _) => return Err(unknown(path.display(), &key)),
        }
    }
    Ok(())
}

fn show(value: &toml::Value) -> String {
    match value {
        toml::Value::String(_) => value.to_string(),
        _ => format!("{value} ({})", value.type_str()),
    }
}

/// Reads the environment.
pub(super) fn environment(around: &Surroundings<'_>) -> Result<Vec<Set>, SettingsError> {
    let mut sets = Vec::new();
    for row in TABLE.iter() {
        let name = row.env();
        let Some(text) = (around.env)(&name) else {
            continue;
        };
        let value = row
            .kind
            .read(&text)
            .ok_or_else(|| wrong(&name, row, &quoted(&text)))?;
        sets.push((
            row,
            anchored(row.kind, value, around.directory, around),
            Source::Environment(name),
        ));
    }
    Ok(sets)
}

/// Reads the flags.
pub(super) fn flags(
    overrides: &[Override],
    around: &Surroundings<'_>,
) -> Result<Vec<Set>, SettingsError> {
    let read = |given: &Override| {
        let row = find(&given.key).ok_or_else(|| unknown(&given.flag, &given.key))?;
        let value = row
            .kind
            .read(&given.text)
            .ok_or_else(|| wrong(&given.flag, row, &quoted(&given.text)))?;
        Ok((
            row,
            anchored(row.kind, value, around.directory, around),
            Source::Flag(given.flag.clone()),
        ))
    };
    overrides.iter().map(read).collect()
}

/// Directories and files are relative to the file that names them, else to the working directory; `~/` is home.
fn anchored(kind: Kind, value: Value, base: &Path, around: &Surroundings<'_>) -> Value {
    let (Kind::Directory | Kind::File, Value::Directory(path)) = (kind, &value) else {
        return value;
    };
    let home = (around.env)("HOME");
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => Value::Directory(Path::new(&home).join(rest)),
        _ => Value::Directory(around.directory.join(base).join(path)),
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

fn wrong(place: impl fmt::Display, row: &Row, got: &str) -> SettingsError {
    // A broker's address may carry a password; a wrong one is not worth printing it.
    let got = match row.kind {
        Kind::Url => super::resolved::without_password(got),
        _ => got.to_owned(),
    };
    SettingsError::WrongValue {
        place: place.to_string(),
        key: row.key,
        got,
        expected: row.kind.expected(),
    }
}

fn unknown(place: impl fmt::Display, key: &str) -> SettingsError {
    SettingsError::UnknownKey {
        place: place.to_string(),
        key: key.to_owned(),
        nearest: nearest(key).or_else(|| {
            let first = key.split('.').next().unwrap_or(key);
            (strsim::jaro_winkler(first, GRANTS) > 0.8).then_some(GRANTS)
        }),
    }
}
