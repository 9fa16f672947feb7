//! Private directories of executions, gone with them.
//!
//! Below one base directory each process has a directory of its own and, beside it, a lock file that it holds
//! locked while it lives. Each execution that may have one gets a directory in there. It is removed before its
//! execution's answer is given; one whose execution was dropped is removed by a thread of its own; and what a
//! crashed process left is removed when the next one starts: its lock is free.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use wasmtime_wasi::runtime::spawn_blocking;

use super::removal;

/// The end of a lock file's name.
const LOCK: &str = ".lock";

/// Only the process's own user: what is in there are the secrets of a task.
const PRIVATE: u32 = 0o700;

/// Makes private directories. Touches no file until the first is asked for, save for a look at what a process
/// before it may have left.
pub(crate) struct ScratchBase {
    path: PathBuf,
    process: Mutex<Option<Arc<Process>>>,
}

impl ScratchBase {
    /// Scratch directories will be below `path`, which need not be there yet.
    pub(crate) fn new(path: Option<&Path>) -> Self {
        let path = path.map_or_else(default_path, Path::to_owned);
        if path.exists() {
            let base = path.clone();
            in_background("scratch-sweep", move || {
                if let Err(error) = open_base(&base).and_then(|base| sweep(&base)) {
                    warn(&base, &error);
                }
            });
        }
        Self {
            path,
            process: Mutex::default(),
        }
    }

    /// A new, empty directory. Blocks.
    pub(crate) fn create(&self) -> io::Result<Scratch> {
        let process = self.process()?;
        let name = process.next.fetch_add(1, Ordering::Relaxed);
        mkdirat(
            &process.directory,
            name.to_string(),
            Mode::from_bits_truncate(PRIVATE),
        )?;
        Ok(Scratch {
            process,
            name,
            is_gone: false,
        })
    }

    /// This process's directory, made at the first use.
    fn process(&self) -> io::Result<Arc<Process>> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = &*process {
            return Ok(Arc::clone(process));
        }
        let made = Arc::new(Process::new(&self.path)?);
        *process = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// What all scratch directories of a process are in.
struct Process {
    directory: File,
    next: AtomicU64,
    /// Takes the names of those whose executions were dropped.
    dropped: Sender<u64>,
}

impl Process {
    fn new(path: &Path) -> io::Result<Self> {
        let base = open_base(path)?;
        let (id, lock) = lock_new(path)?;
        mkdirat(&base, &*id, Mode::from_bits_truncate(PRIVATE))?;
        let directory = open_directory(&base, &id)?;
        let (dropped, names) = channel();
        let inside = directory.try_clone()?;
        in_background("scratch-removal", move || {
            remove_dropped(&inside, &names);
            // Whatever cannot be removed now is the next sweep's: the lock file stays beside it.
            if unlinkat(&base, &*id, AtFlags::REMOVEDIR).is_ok() {
                let _ = unlinkat(&base, format!("{id}{LOCK}"), AtFlags::empty());
            }
            drop(lock);
        });
        Ok(Self {
            directory,
            next: AtomicU64::new(0),
            dropped,
        })
    }
}

/// Until no execution and no engine is left.
fn remove_dropped(directory: &File, names: &Receiver<u64>) {
    for name in names {
        remove(directory, name);
    }
}

fn remove(directory: &File, name: u64) {
    if let Err(error) = removal::tree(directory, &name.to_string()) {
        tracing::warn!(%error, "cannot remove a task's scratch directory; the next start of a host tries again");
    }
}

/// The private directory of one execution. Dropping it removes the directory in the background.
pub(crate) struct Scratch {
    process: Arc<Process>,
    name: u64,
    is_gone: bool,
}

impl Scratch {
    /// The directory. Blocks.
    pub(crate) fn open(&self) -> io::Result<File> {
        open_directory(&self.process.directory, &self.name.to_string())
    }

    /// Removes it, and returns once it is gone.
    pub(crate) async fn remove(self) {
        spawn_blocking(move || self.remove_now()).await;
    }

    fn remove_now(mut self) {
        remove(&self.process.directory, self.name);
        self.is_gone = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_gone {
            // Fails only without the thread, which ends after the last of us.
            let _ = self.process.dropped.send(self.name);
        }
    }
}

/// Below the system's directory for temporary files, a name for each user.
fn default_path() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("celeriac-scratch-{user}"))
}

/// Opens the base directory, made if need be: ours, and nobody else's business.
fn open_base(path: &Path) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(path)?;
    let base = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
        .open(path)?;
    let metadata = base.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to another user: remove it, or set another directory",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        base.set_permissions(PermissionsExt::from_mode(PRIVATE))?;
    }
    Ok(base)
}

fn open_directory(parent: &File, name: &str) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?.into())
}

/// A lock file with a name that nobody else has, and held. A sweep may lock it first, and then removes it: the
/// next name will do.
fn lock_new(base: &Path) -> io::Result<(String, File)> {
    loop {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let id = format!("{}-{:016x}", std::process::id(), u64::from_ne_bytes(random));
        let lock = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(base.join(format!("{id}{LOCK}")))?;
        if lock.try_lock().is_ok() && lock.metadata()?.nlink() > 0 {
            return Ok((id, lock));
        }
    }
}

/// Removes what processes left that are no more.
fn sweep(base: &File) -> io::Result<()> {
    for entry in Dir::read_from(base)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        // A directory's removal moves those inside it here, under its name and a dot.
        let id = name.split('.').next().unwrap_or(name);
        let result = if name.ends_with(LOCK) {
            sweep_process(base, id)
        } else {
            sweep_orphan(base, id, name)
        };
        if let Err(error) = result {
            warn(Path::new(name), &error);
        }
    }
    Ok(())
}

/// Removes the directory of a process whose lock is free, and the lock after it.
fn sweep_process(base: &File, id: &str) -> io::Result<()> {
    let lock_name = format!("{id}{LOCK}");
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = match openat(base, &*lock_name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => File::from(result?),
    };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    removal::tree(base, id)?;
    unlinkat(base, &*lock_name, AtFlags::empty())?;
    tracing::info!(
        process = id,
        "removed scratch directories that a process left behind"
    );
    Ok(())
}

/// Removes a directory that has no lock: what an interrupted sweep leaves. A live process makes its lock first.
fn sweep_orphan(base: &File, id: &str, name: &str) -> io::Result<()> {
    match rustix::fs::statat(base, format!("{id}{LOCK}"), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => removal::tree(base, name),
        _ => Ok(()),
    }
}

fn warn(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "cannot clear scratch directories");
}

/// A thread rather than a runtime's: dropping happens where there is none, or none any more.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) {
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work);
    if let Err(error) = started {
        tracing::warn!(%error, "cannot start the thread `{name}`; the next start of a host clears scratch directories");
    }
}
