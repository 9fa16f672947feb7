//! The entries of a directory, some at a time.
//!
//! wasmtime reads a whole directory into memory at once, which a directory of a million entries, or sixty streams
//! of one with many, turns against the host.

use std::collections::VecDeque;
use std::fs::File;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use super::tally::Slot;

/// Entries fetched at once: at most some 30 KiB of names.
const BATCH: usize = 100;

/// A directory being listed.
pub(super) struct Listing {
    pub(super) ready: VecDeque<Result<DirectoryEntry, ErrorCode>>,
    /// None once there is nothing more, and while more is fetched.
    pub(super) source: Option<Source>,
    pub(super) _slot: Slot,
}

/// Where the entries come from.
pub(super) struct Source(Dir);

impl Source {
    /// Opens the directory once more, with a position of its own. Blocks.
    pub(super) fn new(directory: &File) -> Result<Self, ErrorCode> {
        Dir::read_from(directory)
            .map(Self)
            .map_err(|error| std::io::Error::from(error).into())
    }

    /// The next entries, and the source unless this was the end. Blocks.
    pub(super) fn next(mut self) -> (VecDeque<Result<DirectoryEntry, ErrorCode>>, Option<Self>) {
        let mut entries = VecDeque::with_capacity(BATCH);
        while entries.len() < BATCH {
            match self.0.read() {
                None => return (entries, None),
                Some(Err(error)) => {
                    entries.push_back(Err(std::io::Error::from(error).into()));
                    return (entries, None);
                }
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    if !matches!(name.to_bytes(), b"." | b"..") {
                        entries.push_back(self.entry(name, entry.file_type()));
                    }
                }
            }
        }
        (entries, Some(self))
    }

    fn entry(&self, name: &std::ffi::CStr, kind: FileType) -> Result<DirectoryEntry, ErrorCode> {
        let type_ = descriptor_type(match kind {
            // Some filesystems do not say.
            FileType::Unknown => self.look(name).unwrap_or(FileType::Unknown),
            known => known,
        });
        let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence)?;
        Ok(DirectoryEntry {
            type_,
            name: name.to_owned(),
        })
    }

    fn look(&self, name: &std::ffi::CStr) -> rustix::io::Result<FileType> {
        let stat = statat(self.0.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    }
}
