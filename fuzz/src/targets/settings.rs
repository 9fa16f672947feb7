//! The settings file and its units: any text is read or refused with words, and what is shown reads back the same.

use std::path::PathBuf;
use std::sync::LazyLock;

use celeriac::settings::{Override, Settings, units};
use tempfile::TempDir;

/// Where the file is written.
static PLACE: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("celeriac.toml");
    (directory, file)
});

/// Reads as a settings file, as a flag, and as each unit.
pub fn run(data: &[u8]) {
    let (_, file) = &*PLACE;
    std::fs::write(file, data).expect("written");
    if let Err(error) = Settings::load(Some(file), &[]) {
        assert!(!error.to_string().is_empty());
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(given) = Override::pair(text)
        && let Err(error) = Settings::load(None, &[given])
    {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(duration) = units::parse_duration(text) {
        let shown = units::show_duration(duration);
        assert_eq!(units::parse_duration(&shown), Ok(duration), "{text:?}");
    }
    if let Ok(size) = units::parse_size(text) {
        assert_eq!(
            units::parse_size(&units::show_size(size)),
            Ok(size),
            "{text:?}"
        );
    }
    if let Ok(fuel) = units::parse_fuel(text) {
        assert_eq!(
            units::parse_fuel(&units::show_fuel(fuel)),
            Ok(fuel),
            "{text:?}"
        );
    }
}
