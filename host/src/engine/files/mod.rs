//! Files: the directories that an execution was granted, its scratch directory, and nothing else.
//!
//! The guest sees `wasi:filesystem`. wasmtime-wasi does what is safe as it is (looking, linking, renaming);
//! what has to be counted or must not block is done here: opening (`beneath`), reading and writing (`stream`),
//! listing (`listing`). Everything runs on threads for blocking work, never on a guest's.
//!
//! Invariants: a path that leaves its directory fails, whoever made which link when; only files and directories are
//! opened; a read-only grant is not changed by any call; going over a limit fails the call, never the task.

mod beneath;
mod descriptor;
mod listing;
mod removal;
mod scratch;
mod stream;
mod tally;

#[cfg(test)]
mod scratch_tests;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use rustix::fs::OFlags;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::runtime::spawn_blocking;
use wasmtime_wasi::{FsPerms, OpenMode};

pub(crate) use self::scratch::{Scratch, ScratchBase};
use self::tally::{Quota, Slot, Tally, Used};
use super::meter::Meter;
use super::recorder::Recorder;
use super::state::State;
use super::{Denied, Level, Limits, Rights};

/// Where the scratch directory is.
const SCRATCH: &str = "/tmp";

/// What one execution has of files.
pub(crate) struct Files {
    ctx: WasiFilesystemCtx,
    tally: Arc<Tally>,
    mounts: Vec<Mount>,
    /// What is known of each descriptor that the guest holds, by its number.
    handles: HashMap<u32, Handle>,
    scratch: Option<Scratch>,
}

/// A directory of the host that the guest finds by a name.
struct Mount {
    /// With the slash.
    name: String,
    directory: Dir,
    is_writable: bool,
    is_scratch: bool,
    /// Whether the task's log has been told that it is read-only.
    is_told: bool,
}

#[derive(Clone)]
struct Handle {
    mount: usize,
    /// None for the mounts themselves, which the guest did not open.
    slot: Option<Arc<Slot>>,
}

/// A directory that the execution was granted is not to be had: the host's fault, not the task's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MountError(String);

impl Files {
    pub(crate) fn new(limits: &Limits, recorder: &Arc<Recorder>) -> Self {
        Self {
            ctx: WasiFilesystemCtx::default(),
            tally: Arc::new(Tally::new(limits, Arc::clone(recorder))),
            mounts: Vec::new(),
            handles: HashMap::new(),
            scratch: None,
        }
    }

    /// Opens what is granted. Touches no file where nothing is.
    pub(crate) async fn mount(
        &mut self,
        rights: &Arc<Rights>,
        base: &Arc<ScratchBase>,
    ) -> Result<(), MountError> {
        if rights.directories.is_empty() && !rights.has_scratch {
            return Ok(());
        }
        let (rights, base) = (Arc::clone(rights), Arc::clone(base));
        (self.mounts, self.scratch) = spawn_blocking(move || open_all(&rights, &base)).await?;
        Ok(())
    }

    /// What was used of the limits on files.
    pub(crate) fn used(&self) -> Used {
        self.tally.used()
    }

    /// The scratch directory, for its removal to be awaited; else dropping removes it.
    pub(crate) fn take_scratch(&mut self) -> Option<Scratch> {
        self.scratch.take()
    }
}

/// Opens every granted directory, and makes the scratch directory. Blocks.
fn open_all(
    rights: &Rights,
    base: &ScratchBase,
) -> Result<(Vec<Mount>, Option<Scratch>), MountError> {
    let mut mounts = Vec::new();
    for granted in &rights.directories {
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(&granted.path);
        let directory = opened.map_err(|error| {
            tracing::error!(path = %granted.path.display(), %error, "cannot open a granted directory");
            let name = &granted.name;
            MountError(format!("the granted directory `{name}` cannot be opened: {error}"))
        })?;
        mounts.push(Mount::new(&granted.name, directory, granted.is_writable));
    }
    let mut scratch = None;
    if rights.has_scratch {
        let made = base.create().map_err(|error| no_scratch(&error))?;
        let directory = made.open().map_err(|error| no_scratch(&error))?;
        mounts.push(Mount {
            is_scratch: true,
            ..Mount::new(SCRATCH.trim_start_matches('/'), directory, true)
        });
        scratch = Some(made);
    }
    if let Some(mount) = mounts.first() {
        beneath::is_supported(&mount.directory.dir).map_err(|error| no_openat2(error.into()))?;
    }
    Ok((mounts, scratch))
}

fn no_scratch(error: &io::Error) -> MountError {
    tracing::error!(%error, "cannot make a scratch directory");
    MountError(format!("the host cannot make a scratch directory: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "an error on its way up")]
fn no_openat2(error: io::Error) -> MountError {
    tracing::error!(%error, "the system call openat2 fails; Linux 5.6 has it, and containers must allow it");
    MountError(format!(
        "the host cannot confine paths to a directory: openat2: {error}"
    ))
}

impl Mount {
    fn new(name: &str, directory: File, is_writable: bool) -> Self {
        let (perms, mode) = if is_writable {
            (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
        } else {
            (FsPerms::ReadOnly, OpenMode::READ)
        };
        Self {
            name: format!("/{name}"),
            directory: Dir::new(directory, perms, mode, false),
            is_writable,
            is_scratch: false,
            is_told: false,
        }
    }
}

impl From<Quota> for ErrorCode {
    fn from(_: Quota) -> Self {
        Self::Quota
    }
}

impl From<Quota> for FsError {
    fn from(_: Quota) -> Self {
        ErrorCode::Quota.into()
    }
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = FilesView<'a>;
}

/// Links both interfaces.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<State, HasFiles>(linker, State::files)?;
    preopens::add_to_linker::<State, HasFiles>(linker, State::files)
}

/// The parts of a store that a call about files needs.
pub(crate) struct FilesView<'a> {
    pub(crate) files: &'a mut Files,
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) meter: &'a mut Meter,
    pub(crate) rights: &'a Rights,
    pub(crate) recorder: &'a Recorder,
}

/// What a recording says of them: their answers are not kept.
const UNTAPED: &str = "files";

impl FilesView<'_> {
    /// wasmtime's own implementation.
    fn wasi(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView {
            ctx: &mut self.files.ctx,
            table: self.table,
        }
    }

    fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.files.tally)
    }

    /// Counts a call.
    fn enter(&mut self) -> FsResult<()> {
        self.meter.call().map_err(FsError::trap)?;
        match &self.rights.tape {
            Some(tape) => tape.gap(UNTAPED).map_err(FsError::trap),
            None => Ok(()),
        }
    }

    /// Charges bytes that cross the boundary.
    fn charge(&mut self, bytes: usize) -> FsResult<()> {
        self.meter.bytes(bytes as u64).map_err(FsError::trap)
    }

    fn handle(&self, descriptor: &Resource<Descriptor>) -> FsResult<&Handle> {
        let handle = self.files.handles.get(&descriptor.rep());
        handle.ok_or_else(|| FsError::trap(wasmtime::format_err!("no such descriptor")))
    }

    fn mount_of(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<&mut Mount> {
        let index = self.handle(descriptor)?.mount;
        let mount = self.files.mounts.get_mut(index);
        mount.ok_or_else(|| FsError::trap(wasmtime::format_err!("no such directory")))
    }

    fn directory(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.table.get(descriptor)? {
            Descriptor::Dir(directory) => Ok(Arc::clone(&directory.dir)),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        match self.table.get(descriptor)? {
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Fails where the grant is read-only; the task's log and the operator learn of it once.
    fn writable(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<()> {
        let mount = self.mount_of(descriptor)?;
        if mount.is_writable {
            return Ok(());
        }
        let is_told = std::mem::replace(&mut mount.is_told, true);
        if !is_told {
            let denied = Denied {
                kind: "directory",
                what: mount.name.trim_start_matches('/').to_owned(),
                why: Some("the grant is read-only; `access = \"write\"` allows writing".to_owned()),
            };
            let sentence = self.rights.deny(&denied);
            self.recorder.host(Level::Warn, &sentence);
        }
        Err(ErrorCode::ReadOnly.into())
    }

    /// Two descriptors of one grant. Linking and renaming across would carry files out of the reach of one
    /// grant and into that of another; file systems refuse it too.
    fn same_mount(&self, one: &Resource<Descriptor>, other: &Resource<Descriptor>) -> FsResult<()> {
        if self.handle(one)?.mount == self.handle(other)?.mount {
            Ok(())
        } else {
            Err(ErrorCode::CrossDevice.into())
        }
    }

    /// Hands a descriptor to the guest.
    fn give(&mut self, descriptor: Descriptor, handle: Handle) -> FsResult<Resource<Descriptor>> {
        let given = self.table.push(descriptor)?;
        self.files.handles.insert(given.rep(), handle);
        Ok(given)
    }
}
