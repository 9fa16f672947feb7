//! Scratch directories come, go, and are swept up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::scratch::ScratchBase;

/// Waits for what a thread in the background brings about.
fn eventually(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(20), "never came");
        std::thread::yield_now();
    }
}

fn count(path: &Path) -> usize {
    fs::read_dir(path).map_or(0, Iterator::count)
}

/// The directory of the only process below `base`.
fn process_directory(base: &Path) -> std::path::PathBuf {
    let mut directories = fs::read_dir(base)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    let only = directories.next().unwrap();
    assert!(directories.next().is_none());
    only
}

#[tokio::test]
async fn is_private_and_gone_when_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("base");
    let base = ScratchBase::new(Some(&path));
    assert!(!path.exists(), "nothing is made before it is needed");
    let scratch = base.create().unwrap();
    let own = process_directory(&path).join("0");
    for private in [&own, &path] {
        let mode = fs::metadata(private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", private.display());
    }
    fs::create_dir_all(own.join("some/thing")).unwrap();
    scratch.remove().await;
    assert!(!own.exists());
    drop(base);
    eventually(|| count(&path) == 0);
}

#[test]
fn is_removed_when_dropped_without_a_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let base = ScratchBase::new(Some(directory.path()));
    let scratch = base.create().unwrap();
    let own = process_directory(directory.path()).join("0");
    fs::write(own.join("file"), "x").unwrap();
    drop(scratch);
    eventually(|| !own.exists());
}

#[test]
fn a_new_process_sweeps_up_after_a_dead_one_and_spares_the_living() {
    let directory = tempfile::tempdir().unwrap();
    let living = ScratchBase::new(Some(directory.path()));
    let scratch = living.create().unwrap();
    let own = process_directory(directory.path());
    // What a killed process leaves: a lock file that nobody locks, and its directory; and what an interrupted
    // sweep leaves: a directory without a lock.
    fs::write(directory.path().join("1-dead.lock"), "").unwrap();
    fs::create_dir_all(directory.path().join("1-dead/3/deep/er")).unwrap();
    fs::write(directory.path().join("1-dead/3/file"), "x").unwrap();
    fs::create_dir_all(directory.path().join("2-gone.4/deep")).unwrap();
    let _next = ScratchBase::new(Some(directory.path()));
    eventually(|| count(directory.path()) == 2);
    assert!(own.join("0").is_dir(), "the living one keeps what it has");
    drop(scratch);
}

#[test]
fn refuses_a_base_directory_behind_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/tmp", &link).unwrap();
    assert!(ScratchBase::new(Some(&link)).create().is_err());
}
