//! The calls of `wasi:filesystem`, one by one: counted, held against the grant, and done here or by wasmtime.

use std::collections::VecDeque;
use std::path::{Component, Path};
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};
use wasmtime_wasi::runtime::spawn_blocking;

use super::beneath::{self, Opened, Wish};
use super::listing::{Listing, Source};
use super::stream::{Place, ReadStream, WriteError, WriteStream, put};
use super::tally::Quota;
use super::{FilesView, Handle};

type Fd = Resource<Descriptor>;

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        self.meter.call()?;
        let mut directories = Vec::with_capacity(self.files.mounts.len());
        for (index, mount) in self.files.mounts.iter().enumerate() {
            self.meter.bytes(mount.name.len() as u64)?;
            let descriptor = Descriptor::Dir(mount.directory.clone());
            let given = self.table.push(descriptor)?;
            let handle = Handle {
                mount: index,
                slot: None,
            };
            self.files.handles.insert(given.rep(), handle);
            directories.push((given, mount.name.clone()));
        }
        Ok(directories)
    }
}

impl types::Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.meter.call()?;
        if self.table.get(&error)?.is::<Quota>() {
            return Ok(Some(ErrorCode::Quota));
        }
        types::Host::filesystem_error_code(&mut self.wasi(), error)
    }
}

impl HostDescriptor for FilesView<'_> {
    /// Advice is about the page cache, which all share: taken, and not passed on.
    async fn advise(&mut self, fd: Fd, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        self.enter()?;
        self.file(&fd).map(drop)
    }

    /// What is in a scratch directory does not outlive the process: nothing to wait for.
    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.enter()?;
        if self.mount_of(&fd)?.is_scratch {
            return Ok(());
        }
        HostDescriptor::sync_data(&mut self.wasi(), fd).await
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.enter()?;
        if self.mount_of(&fd)?.is_scratch {
            return Ok(());
        }
        HostDescriptor::sync(&mut self.wasi(), fd).await
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<DescriptorFlags> {
        self.enter()?;
        HostDescriptor::get_flags(&mut self.wasi(), fd).await
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<DescriptorType> {
        self.enter()?;
        HostDescriptor::get_type(&mut self.wasi(), fd).await
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        let (file, tally) = (self.file(&fd)?, self.tally());
        let resize = move || -> Result<(), WriteError> {
            tally.write(0, size.saturating_sub(file.metadata()?.len()))?;
            Ok(file.set_len(size)?)
        };
        spawn_blocking(resize).await.map_err(write_error)
    }

    async fn set_times(
        &mut self,
        fd: Fd,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        HostDescriptor::set_times(&mut self.wasi(), fd, accessed, modified).await
    }

    /// At most 64 KiB at once, which wasmtime sees to.
    async fn read(
        &mut self,
        fd: Fd,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.enter()?;
        let length = self.files.tally.readable(length);
        let (bytes, is_end) = HostDescriptor::read(&mut self.wasi(), fd, length, offset).await?;
        self.files.tally.read(bytes.len() as u64)?;
        self.charge(bytes.len())?;
        Ok((bytes, is_end))
    }

    async fn write(&mut self, fd: Fd, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.enter()?;
        self.charge(bytes.len())?;
        self.writable(&fd)?;
        let (file, tally) = (self.file(&fd)?, self.tally());
        let written = bytes.len() as u64;
        spawn_blocking(move || put(&file, &tally, &bytes, Place::At(offset)))
            .await
            .map_err(write_error)?;
        Ok(written)
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<DirectoryEntryStream>> {
        self.enter()?;
        let slot = self.files.tally.open()?;
        let directory = self.directory(&fd)?;
        let source = spawn_blocking(move || Source::new(&directory)).await?;
        let listing = self.table.push(Listing {
            ready: VecDeque::new(),
            source: Some(source),
            _slot: slot,
        })?;
        // The guest's handle has wasmtime's type; its number leads to ours.
        Ok(Resource::new_own(listing.rep()))
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        self.files.tally.create()?;
        let made = HostDescriptor::create_directory_at(&mut self.wasi(), fd, path).await;
        self.created(made)
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<DescriptorStat> {
        self.enter()?;
        HostDescriptor::stat(&mut self.wasi(), fd).await
    }

    async fn stat_at(
        &mut self,
        fd: Fd,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.enter()?;
        HostDescriptor::stat_at(&mut self.wasi(), fd, flags, path).await
    }

    /// Where links are followed wasmtime would open the path for writing, and hang at a FIFO.
    async fn set_times_at(
        &mut self,
        fd: Fd,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        if !flags.contains(PathFlags::SYMLINK_FOLLOW) {
            let mut wasi = self.wasi();
            return HostDescriptor::set_times_at(&mut wasi, fd, flags, path, accessed, modified)
                .await;
        }
        let found = self.open(&fd, path, Wish::to_look()).await?;
        let number = found.rep();
        let result = self.set_times(found, accessed, modified).await;
        HostDescriptor::drop(self, Resource::new_own(number)).map_err(FsError::trap)?;
        result
    }

    async fn link_at(
        &mut self,
        fd: Fd,
        flags: PathFlags,
        path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        self.writable(&new_fd)?;
        self.same_mount(&fd, &new_fd)?;
        self.files.tally.create()?;
        let mut wasi = self.wasi();
        let made = HostDescriptor::link_at(&mut wasi, fd, flags, path, new_fd, new_path).await;
        self.created(made)
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        self.enter()?;
        let wish = Wish::new(path_flags, open_flags, flags)?;
        if wish.writes() {
            self.writable(&fd)?;
        }
        self.open(&fd, path, wish).await
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.meter.call()?;
        self.files.handles.remove(&fd.rep());
        self.table.delete(fd)?;
        Ok(())
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        self.enter()?;
        let target = HostDescriptor::readlink_at(&mut self.wasi(), fd, path).await?;
        self.charge(target.len())?;
        Ok(target)
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        // wasmtime would remove `directory/.`, which no system does. A link without its slash is no directory.
        let bare = match path.trim_end_matches('/') {
            "" => path,
            bare => bare.to_owned(),
        };
        HostDescriptor::remove_directory_at(&mut self.wasi(), fd, bare).await
    }

    async fn rename_at(
        &mut self,
        fd: Fd,
        path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        self.writable(&new_fd)?;
        self.same_mount(&fd, &new_fd)?;
        HostDescriptor::rename_at(&mut self.wasi(), fd, path, new_fd, new_path).await
    }

    /// In a granted directory a link must not point upwards: no guest could follow it out, but another program of
    /// the host that finds it there would.
    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        if !self.mount_of(&fd)?.is_scratch && may_lead_out(&target) {
            return Err(ErrorCode::NotPermitted.into());
        }
        self.files.tally.create()?;
        let made = HostDescriptor::symlink_at(&mut self.wasi(), fd, target, path).await;
        self.created(made)
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.enter()?;
        self.writable(&fd)?;
        HostDescriptor::unlink_file_at(&mut self.wasi(), fd, path).await
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.enter()?;
        let slot = self.handle(&fd)?.slot.clone();
        let inner = HostDescriptor::read_via_stream(&mut self.wasi(), fd, offset)?;
        let stream: DynInputStream = Box::new(ReadStream {
            inner: self.table.delete(inner)?,
            tally: self.tally(),
            _slot: slot,
        });
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Fd,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.write_stream(&fd, Place::At(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        self.write_stream(&fd, Place::End)
    }

    async fn is_same_object(&mut self, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        self.meter.call()?;
        HostDescriptor::is_same_object(&mut self.wasi(), one, other).await
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<MetadataHashValue> {
        self.enter()?;
        HostDescriptor::metadata_hash(&mut self.wasi(), fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.enter()?;
        HostDescriptor::metadata_hash_at(&mut self.wasi(), fd, flags, path).await
    }
}

impl HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.enter()?;
        let ours = Resource::<Listing>::new_borrow(stream.rep());
        let listing = self.table.get_mut(&ours)?;
        if listing.ready.is_empty()
            && let Some(source) = listing.source.take()
        {
            let (ready, source) = spawn_blocking(move || source.next()).await;
            let listing = self.table.get_mut(&ours)?;
            (listing.ready, listing.source) = (ready, source);
        }
        let entry = self.table.get_mut(&ours)?.ready.pop_front().transpose()?;
        self.charge(entry.as_ref().map_or(0, |entry| entry.name.len()))?;
        Ok(entry)
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.meter.call()?;
        self.table
            .delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}

impl FilesView<'_> {
    /// Opens a path beneath a directory, and hands it to the guest.
    async fn open(&mut self, fd: &Fd, path: String, wish: Wish) -> FsResult<Fd> {
        let directory = self.directory(fd)?;
        let slot = Arc::new(self.files.tally.open()?);
        let tally = self.tally();
        let opened = spawn_blocking(move || beneath::open(&directory, &path, wish, &tally)).await?;
        let mount = self.handle(fd)?.mount;
        let perms = self.mount_of(fd)?.directory.perms;
        let descriptor = match opened {
            Opened::File(file) => Descriptor::File(File::new(file, perms, wish.mode, false)),
            Opened::Directory(directory) => {
                Descriptor::Dir(Dir::new(directory, perms, wish.mode, false))
            }
        };
        let slot = Some(slot);
        self.give(descriptor, Handle { mount, slot })
    }

    fn write_stream(&mut self, fd: &Fd, place: Place) -> FsResult<Resource<DynOutputStream>> {
        self.enter()?;
        self.writable(fd)?;
        let slot = self.handle(fd)?.slot.clone();
        let stream = WriteStream::new(self.file(fd)?, place, self.tally(), slot);
        let stream: DynOutputStream = Box::new(stream);
        Ok(self.table.push(stream)?)
    }

    /// What failed to be made does not count.
    fn created(&mut self, made: FsResult<()>) -> FsResult<()> {
        if made.is_err() {
            self.files.tally.not_created();
        }
        made
    }
}

/// Whether a link's target has a step upwards, or starts at the root.
fn may_lead_out(target: &str) -> bool {
    let mut steps = Path::new(target).components();
    steps.any(|step| !matches!(step, Component::Normal(_) | Component::CurDir))
}

fn write_error(error: WriteError) -> FsError {
    match error {
        WriteError::Quota(quota) => quota.into(),
        WriteError::Io(error) => ErrorCode::from(error).into(),
    }
}
