//! The second step of reading a policy: the values of its secrets, and whether its directories are there.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Grant, Identity, Policy, PolicyError, SecretSource, parse};
use crate::engine::Secret;

/// A secret that is shorter would be found, and blotted out, all over innocent text.
const MIN_SECRET_BYTES: usize = 4;
/// Keys and certificates fit many times.
const MAX_SECRET_BYTES: usize = 64 << 10;
/// As for settings: a file that grants everything to everybody has a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Something that works, and that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The table and key.
    pub place: String,
    /// What is the matter.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.message, self.remedy)
    }
}

impl Policy {
    /// Reads the policy of a settings file, without its secrets; no file grants nothing.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it is wrong.
    pub fn of_file(file: Option<&Path>) -> Result<Self, PolicyError> {
        let Some(path) = file else {
            return Ok(Self::default());
        };
        let text = read(path, MAX_FILE_BYTES).map_err(|error| {
            PolicyError::new(
                None,
                "",
                format!("cannot be read: {error}"),
                "check the path and its permissions",
            )
            .in_file(path)
        })?;
        let policy = String::from_utf8(text)
            .map_err(|_| PolicyError::new(None, "", "not UTF-8 text", "write TOML"))
            .and_then(|text| parse(&text))
            .map_err(|error| error.in_file(path))?;
        Ok(policy.with_file(Some(path.to_owned())))
    }

    /// Reads the policy of a settings file with the secrets of all its grants.
    ///
    /// # Errors
    /// When the file or a secret cannot be read, or something is wrong.
    pub fn load(file: Option<&Path>) -> Result<(Self, Vec<Warning>), PolicyError> {
        let mut policy = Self::of_file(file)?;
        let warnings = policy.read_sources(|_| true)?;
        Ok((policy, warnings))
    }

    /// Reads the policy of a settings file with the secrets of what is granted to one module only.
    ///
    /// # Errors
    /// When the file or one of these secrets cannot be read, or something is wrong.
    pub fn load_for(
        file: Option<&Path>,
        module: &Identity,
    ) -> Result<(Self, Vec<Warning>), PolicyError> {
        let mut policy = Self::of_file(file)?;
        let warnings = policy.read_sources(|grant| grant.pattern.matches(module))?;
        Ok((policy, warnings))
    }

    /// Reads the secrets of these grants, and looks for their directories.
    ///
    /// # Errors
    /// When a secret cannot be had, or is no secret.
    pub fn read_sources(
        &mut self,
        which: impl Fn(&Grant) -> bool,
    ) -> Result<Vec<Warning>, PolicyError> {
        let mut warnings = Vec::new();
        for grant in self.grants.iter().filter(|grant| which(grant)) {
            let place =
                |key: &str, name: &str| format!("[grants.\"{}\"] {key}.{name}", grant.pattern);
            for (name, directory) in &grant.directories {
                if !directory.path.is_dir() {
                    warnings.push(Warning {
                        place: place("directories", name),
                        message: format!("there is no directory {}", directory.path.display()),
                        remedy: "make it before a task needs it".to_owned(),
                    });
                }
            }
            for (name, source) in &grant.secrets {
                let place = place("secrets", name);
                let fail = |(message, remedy): (String, &str)| {
                    let error = PolicyError::new(None, place.clone(), message, remedy);
                    match &self.file {
                        Some(file) => error.in_file(file),
                        None => error,
                    }
                };
                let path = path(source).map_err(fail)?;
                let value = value(source, path.as_deref()).map_err(fail)?;
                self.secrets.insert(source.clone(), value);
                if let Some(mode) = path.and_then(|path| open_mode(&path)) {
                    warnings.push(Warning {
                        place,
                        message: format!("{source} can be read by others (mode {mode:o})"),
                        remedy: "chmod 600".to_owned(),
                    });
                }
            }
        }
        Ok(warnings)
    }
}

/// The file of a source that is one.
fn path(source: &SecretSource) -> Result<Option<PathBuf>, (String, &'static str)> {
    match source {
        SecretSource::File(path) => Ok(Some(path.clone())),
        SecretSource::Environment(_) => Ok(None),
        SecretSource::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => Ok(Some(Path::new(&directory).join(name))),
            None => Err((
                "there are no credentials: CREDENTIALS_DIRECTORY is not set".to_owned(),
                "start the host by systemd with `LoadCredential=`, or write `{ file = \"…\" }`",
            )),
        },
    }
}

fn value(source: &SecretSource, path: Option<&Path>) -> Result<Secret, (String, &'static str)> {
    let bytes = match (source, path) {
        (SecretSource::Environment(name), _) => match std::env::var_os(name) {
            Some(value) => value.into_encoded_bytes(),
            None => {
                return Err((
                    format!("the environment variable {name} is not set"),
                    "set it for the host process",
                ));
            }
        },
        (_, Some(path)) => read(path, MAX_SECRET_BYTES as u64 + 2).map_err(|error| {
            (
                format!("{} cannot be read: {error}", path.display()),
                "check the path and its permissions",
            )
        })?,
        (_, None) => Vec::new(),
    };
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err((
            format!("{source} is not UTF-8 text"),
            "encode it, in base64 for one",
        ));
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&text.len()) {
        return Err((
            format!("{source} has {} bytes", text.len()),
            "a secret has 4 bytes to 64 KiB, a newline at the end not counted",
        ));
    }
    Ok(Secret::new(text))
}

/// At most `max` bytes of a file.
fn read(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(max + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::Error::other(format!(
            "it has more than {max} bytes"
        )));
    }
    Ok(bytes)
}

/// The mode of a file that others than its owner can read.
fn open_mode(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o044 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;
    use crate::policy::Need;
    use celeriac_broker::Digest;

    fn images() -> Identity {
        Identity {
            digest: Digest::of(b"x"),
            name: Some("images".to_owned()),
            versions: Vec::new(),
        }
    }

    /// A settings file that grants `images` the secret in `file`.
    fn settings(directory: &Path, file: &Path) -> PathBuf {
        let path = directory.join("celeriac.toml");
        let text = format!("[grants.images]\nsecrets = {{ s = {{ file = {file:?} }} }}\n");
        fs::write(&path, text).unwrap();
        path
    }

    fn secret(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
        let path = directory.join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_is_read_without_its_final_newline() {
        let directory = tempfile::tempdir().unwrap();
        let need = Need::parse("secret", "s").unwrap();
        for content in ["sesame", "sesame\n", "sesame\r\n"] {
            let file = settings(
                directory.path(),
                &secret(directory.path(), content.as_bytes(), 0o600),
            );
            let (policy, warnings) = Policy::load(Some(&file)).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            let rights = policy
                .resolve(&images(), std::slice::from_ref(&need))
                .rights;
            assert_eq!(rights.secrets["s"].reveal(), "sesame");
            assert!(!format!("{policy:?} {rights:?}").contains("sesame"));
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        for content in [
            b"".to_vec(),
            b"abc\n".to_vec(),
            vec![b'x'; MAX_SECRET_BYTES + 1],
            vec![0xff; 9],
        ] {
            let file = settings(directory.path(), &secret(directory.path(), &content, 0o600));
            let error = Policy::load(Some(&file)).unwrap_err();
            let text = format!("{error} {}", error.remedy);
            assert!(
                text.contains("celeriac.toml") && text.contains("[grants.\"images\"] secrets.s"),
                "{text}"
            );
            assert!(!text.contains("abc"), "{text}");
        }
        let missing = settings(directory.path(), &directory.path().join("missing"));
        assert!(
            Policy::load(Some(&missing))
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
    }

    #[test]
    fn what_others_can_read_or_is_not_there_is_worth_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(
            directory.path(),
            &secret(directory.path(), b"sesame", 0o640),
        );
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("directories = { photos = { path = \"/nowhere/at/all\" } }\n");
        fs::write(&file, text).unwrap();
        let (_, warnings) = Policy::load(Some(&file)).unwrap();
        let texts: Vec<_> = warnings.iter().map(Warning::to_string).collect();
        assert!(
            texts.len() == 2 && texts[0].contains("/nowhere/at/all") && texts[1].contains("640"),
            "{texts:?}"
        );
    }

    #[test]
    fn for_one_module_the_secrets_of_others_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = settings(directory.path(), &directory.path().join("missing"));
        let other = Identity::nameless(Digest::of(b"y"));
        assert!(Policy::load_for(Some(&file), &other).is_ok());
        assert!(Policy::load_for(Some(&file), &images()).is_err());
    }
}
