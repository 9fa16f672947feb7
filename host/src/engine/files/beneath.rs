//! Opens a path beneath a directory, and only what is a file or a directory there.
//!
//! The kernel resolves the path (`openat2` with `RESOLVE_BENEATH`), so that nothing can be swapped between a check
//! and its use: no `..`, absolute path, symbolic link or magic link leads out, whenever it was made. What is
//! neither file nor directory is looked at before it is opened, as opening alone has effects on a device; and it
//! is opened without blocking and looked at again, as a FIFO put in place in between would hang the thread.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, OpenFlags, PathFlags,
};

use super::tally::Tally;

/// The kernel gives up when something is renamed anywhere while it resolves `..`; then it is worth another try.
const TRIES: u32 = 16;

/// How a path is to be opened.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    oflags: OFlags,
    pub(super) mode: OpenMode,
}

impl Wish {
    /// What a guest asked for.
    pub(super) fn new(
        path: PathFlags,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Self, ErrorCode> {
        let syncs = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(syncs) {
            return Err(ErrorCode::Unsupported);
        }
        let makes = open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        if open.contains(OpenFlags::DIRECTORY) && (makes || open.contains(OpenFlags::EXCLUSIVE)) {
            return Err(ErrorCode::Invalid);
        }
        let writes = makes || flags.contains(DescriptorFlags::WRITE);
        // A descriptor for neither is opened for reading, so that it can be opened at all.
        let reads =
            flags.contains(DescriptorFlags::READ) || !flags.contains(DescriptorFlags::WRITE);
        let (access, mode) = match (reads, writes) {
            (true, true) => (OFlags::RDWR, OpenMode::READ | OpenMode::WRITE),
            (false, true) => (OFlags::WRONLY, OpenMode::WRITE),
            _ => (OFlags::RDONLY, OpenMode::READ),
        };
        let mut oflags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        oflags.set(OFlags::DIRECTORY, open.contains(OpenFlags::DIRECTORY));
        oflags.set(OFlags::CREATE, open.contains(OpenFlags::CREATE));
        let excludes = open.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        oflags.set(OFlags::EXCL, excludes);
        oflags.set(OFlags::TRUNC, open.contains(OpenFlags::TRUNCATE));
        oflags.set(OFlags::NOFOLLOW, !path.contains(PathFlags::SYMLINK_FOLLOW));
        Ok(Self { oflags, mode })
    }

    /// To read, following links: for calls that need a file for a moment.
    pub(super) fn to_look() -> Self {
        Self {
            oflags: OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
            mode: OpenMode::READ,
        }
    }

    /// Whether it could change anything.
    pub(super) fn writes(self) -> bool {
        self.mode.contains(OpenMode::WRITE)
    }
}

/// What was found there.
pub(super) enum Opened {
    File(File),
    Directory(File),
}

/// Opens `path` beneath `directory`. Blocks.
pub(super) fn open(
    directory: &File,
    path: &str,
    wish: Wish,
    tally: &Tally,
) -> Result<Opened, ErrorCode> {
    let looking = OFlags::PATH | OFlags::CLOEXEC | (wish.oflags & OFlags::NOFOLLOW);
    let is_new = match resolve(directory, path, looking, Mode::empty()) {
        Ok(found) => {
            // The link itself: opening it fails by its own error.
            let is_link = file_type(&found)? == FileType::Symlink;
            if !is_link {
                kind(&found)?;
            }
            false
        }
        Err(Errno::NOENT) if wish.oflags.contains(OFlags::CREATE) => true,
        Err(error) => return Err(code(error)),
    };
    if is_new {
        tally.create()?;
    }
    let mode = if wish.oflags.contains(OFlags::CREATE) {
        Mode::from_bits_truncate(0o666)
    } else {
        Mode::empty()
    };
    match resolve(directory, path, wish.oflags, mode) {
        Ok(found) => Ok(match kind(&found)? {
            FileType::Directory => Opened::Directory(found.into()),
            _ => Opened::File(found.into()),
        }),
        Err(error) => {
            if is_new {
                tally.not_created();
            }
            Err(code(error))
        }
    }
}

/// Whether the kernel resolves paths beneath a directory; Linux 5.6 does, unless a container forbids it.
pub(super) fn is_supported(directory: impl AsFd) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(directory, ".", flags, Mode::empty(), ResolveFlags::BENEATH).map(drop)
}

fn resolve(directory: &File, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 1..TRIES {
        match openat2(directory, path, flags, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    openat2(directory, path, flags, mode, how)
}

fn file_type(found: &OwnedFd) -> Result<FileType, ErrorCode> {
    Ok(FileType::from_raw_mode(fstat(found).map_err(code)?.st_mode))
}

/// A file or a directory; anything else is refused.
fn kind(found: &OwnedFd) -> Result<FileType, ErrorCode> {
    match file_type(found)? {
        kind @ (FileType::RegularFile | FileType::Directory) => Ok(kind),
        _ => Err(ErrorCode::NotPermitted),
    }
}

/// The guest's word for an error of the system. `XDEV` is how `openat2` says that a path leads out.
fn code(error: Errno) -> ErrorCode {
    match error {
        Errno::XDEV => ErrorCode::NotPermitted,
        Errno::AGAIN => ErrorCode::Busy,
        error => ErrorCode::from(std::io::Error::from(error)),
    }
}
