//! Where the files are that the benchmarks need, and how those that must be built are built.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

use crate::process;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where benchmarks put what they build and install: beside the other build products, never committed.
pub(crate) fn workspace(name: &str) -> Result<PathBuf> {
    let target = match std::env::current_exe()?.parent().and_then(Path::parent) {
        Some(target) => target.to_owned(),
        None => root().join("target"),
    };
    let directory = target.join(name);
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

/// The bytes of a sample module. All of them are built as `make tasks` does, which takes no time when nothing
/// has changed; one by one they would get other features and other bytes.
pub(crate) fn component(name: &str) -> Result<Vec<u8>> {
    static BUILT: Mutex<bool> = Mutex::new(false);
    let tasks = root().join("tasks");
    let target = tasks.join("target");
    let mut is_built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_built {
        let mut cargo = cargo(&tasks);
        process::run(
            "building the sample tasks",
            cargo
                .args(["--target", "wasm32-wasip2", "--target-dir"])
                .arg(&target),
        )?;
        *is_built = true;
    }
    let path = target
        .join("wasm32-wasip2/release")
        .join(name)
        .with_extension("wasm");
    std::fs::read(&path).with_context(|| path.display().to_string())
}

/// A file of `tasks/inputs`.
pub(crate) fn input(name: &str) -> Result<Vec<u8>> {
    let path = root().join("tasks/inputs").join(name);
    std::fs::read(&path).with_context(|| path.display().to_string())
}

/// `cargo build --release` in a directory, free of what the surrounding cargo set.
pub(crate) fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(directory).args(["build", "--release"]);
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}
