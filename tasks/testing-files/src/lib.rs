//! For tests only: does to files exactly what the test says, call by call, without a standard library in between
//! that would refuse or repair half of it.

use std::{collections::HashMap, mem::ManuallyDrop};

use celeriac_guest::{Failure, task};
use schemars::JsonSchema;
use serde::Deserialize;
use wasip2::filesystem::{
    preopens::get_directories,
    types::{
        Descriptor, DescriptorFlags, DirectoryEntryStream, ErrorCode, NewTimestamp, OpenFlags,
        PathFlags, filesystem_error_code,
    },
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// One call. `at` names a preopen, `/documents`, or what an earlier `open` named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named as the calls of WASI")]
pub enum Step {
    /// `how` is made of r (read), w (write), c (create), x (exclusive), t (truncate), d (directory), n (no follow).
    Open {
        at: String,
        path: String,
        how: String,
        name: String,
    },
    Close {
        name: String,
    },
    Read {
        at: String,
        length: u64,
        offset: u64,
    },
    Write {
        at: String,
        bytes: u64,
        offset: u64,
    },
    ReadStream {
        at: String,
        chunk: u64,
    },
    WriteStream {
        at: String,
        bytes: u64,
        offset: u64,
    },
    AppendStream {
        at: String,
        bytes: u64,
    },
    /// Starts a write without waiting for it.
    StartWrite {
        at: String,
        bytes: u64,
        offset: u64,
    },
    Splice {
        from: String,
        to: String,
        bytes: u64,
    },
    SetSize {
        at: String,
        size: u64,
    },
    SetTimes {
        at: String,
    },
    SetTimesAt {
        at: String,
        path: String,
        follow: bool,
    },
    Mkdir {
        at: String,
        path: String,
    },
    Rmdir {
        at: String,
        path: String,
    },
    Unlink {
        at: String,
        path: String,
    },
    Rename {
        at: String,
        path: String,
        to: String,
        new_path: String,
    },
    Link {
        at: String,
        path: String,
        to: String,
        new_path: String,
    },
    Symlink {
        at: String,
        target: String,
        path: String,
    },
    Readlink {
        at: String,
        path: String,
    },
    Stat {
        at: String,
        path: String,
        follow: bool,
    },
    List {
        at: String,
    },
    /// Opens a stream of entries and keeps it.
    HoldList {
        at: String,
    },
    /// Opens a stream of a file and keeps it.
    HoldStream {
        at: String,
    },
    Preopens {},
    Spin {},
    Panic {},
}

/// Does one step after another; an output says `ok`, what was found, or the error's code.
#[task]
fn script(steps: Vec<Step>) -> Result<Vec<String>, Failure> {
    let mut guest = Guest::default();
    let preopens = get_directories();
    guest.open = preopens
        .into_iter()
        .map(|(descriptor, name)| (name, descriptor))
        .collect();
    let outputs = steps.into_iter().map(|step| match guest.step(step) {
        Ok(output) => output,
        Err(code) => code.name().to_owned(),
    });
    Ok(outputs.collect())
}

#[derive(Default)]
struct Guest {
    open: HashMap<String, Descriptor>,
    lists: Vec<DirectoryEntryStream>,
    streams: Vec<InputStream>,
}

type Answer = Result<String, ErrorCode>;

fn ok<T>(result: Result<T, ErrorCode>) -> Answer {
    result.map(|_| "ok".to_owned())
}

fn path_flags(follow: bool) -> PathFlags {
    if follow {
        PathFlags::SYMLINK_FOLLOW
    } else {
        PathFlags::empty()
    }
}

impl Guest {
    fn at(&self, name: &str) -> Result<&Descriptor, ErrorCode> {
        // A code that no call under test gives.
        self.open.get(name).ok_or(ErrorCode::TextFileBusy)
    }

    fn step(&mut self, step: Step) -> Answer {
        match step {
            Step::Open {
                at,
                path,
                how,
                name,
            } => {
                let opened = open(self.at(&at)?, &path, &how)?;
                self.open.insert(name, opened);
                Ok("ok".to_owned())
            }
            Step::Close { name } => {
                self.open.remove(&name);
                Ok("ok".to_owned())
            }
            Step::Read { at, length, offset } => {
                let (bytes, is_end) = self.at(&at)?.read(length, offset)?;
                Ok(format!("{} {is_end} {}", bytes.len(), head(&bytes)))
            }
            Step::Write { at, bytes, offset } => {
                Ok(self.at(&at)?.write(&filled(bytes), offset)?.to_string())
            }
            Step::ReadStream { at, chunk } => read_all(&self.at(&at)?.read_via_stream(0)?, chunk),
            Step::WriteStream { at, bytes, offset } => {
                write_all(&self.at(&at)?.write_via_stream(offset)?, bytes)
            }
            Step::AppendStream { at, bytes } => {
                write_all(&self.at(&at)?.append_via_stream()?, bytes)
            }
            Step::StartWrite { at, bytes, offset } => {
                let stream = ManuallyDrop::new(self.at(&at)?.write_via_stream(offset)?);
                stream.check_write().map_err(code)?;
                stream.write(&filled(bytes)).map_err(code)?;
                Ok("ok".to_owned())
            }
            Step::Splice { from, to, bytes } => {
                let from = self.at(&from)?.read_via_stream(0)?;
                let to = self.at(&to)?.write_via_stream(0)?;
                Ok(to.blocking_splice(&from, bytes).map_err(code)?.to_string())
            }
            Step::SetSize { at, size } => ok(self.at(&at)?.set_size(size)),
            Step::SetTimes { at } => ok(self
                .at(&at)?
                .set_times(NewTimestamp::Now, NewTimestamp::Now)),
            Step::SetTimesAt { at, path, follow } => {
                let now = NewTimestamp::Now;
                ok(self
                    .at(&at)?
                    .set_times_at(path_flags(follow), &path, now, now))
            }
            Step::Mkdir { at, path } => ok(self.at(&at)?.create_directory_at(&path)),
            Step::Rmdir { at, path } => ok(self.at(&at)?.remove_directory_at(&path)),
            Step::Unlink { at, path } => ok(self.at(&at)?.unlink_file_at(&path)),
            Step::Rename {
                at,
                path,
                to,
                new_path,
            } => ok(self.at(&at)?.rename_at(&path, self.at(&to)?, &new_path)),
            Step::Link {
                at,
                path,
                to,
                new_path,
            } => {
                let none = PathFlags::empty();
                ok(self.at(&at)?.link_at(none, &path, self.at(&to)?, &new_path))
            }
            Step::Symlink { at, target, path } => ok(self.at(&at)?.symlink_at(&target, &path)),
            Step::Readlink { at, path } => self.at(&at)?.readlink_at(&path),
            Step::Stat { at, path, follow } => {
                let stat = self.at(&at)?.stat_at(path_flags(follow), &path)?;
                Ok(format!("{:?} {}", stat.type_, stat.size))
            }
            Step::List { at } => list(&self.at(&at)?.read_directory()?),
            Step::HoldList { at } => {
                let list = self.at(&at)?.read_directory()?;
                self.lists.push(list);
                Ok("ok".to_owned())
            }
            Step::HoldStream { at } => {
                let stream = self.at(&at)?.read_via_stream(0)?;
                self.streams.push(stream);
                Ok("ok".to_owned())
            }
            Step::Preopens {} => {
                let mut names: Vec<_> = get_directories()
                    .into_iter()
                    .map(|(_, name)| name)
                    .collect();
                names.sort();
                Ok(names.join(" "))
            }
            Step::Spin {} => loop {
                std::hint::spin_loop();
            },
            #[expect(clippy::panic, reason = "what the test wants")]
            Step::Panic {} => panic!("as the test wants"),
        }
    }
}

fn open(at: &Descriptor, path: &str, how: &str) -> Result<Descriptor, ErrorCode> {
    let mut open = OpenFlags::empty();
    let mut flags = DescriptorFlags::empty();
    open.set(OpenFlags::CREATE, how.contains('c'));
    open.set(OpenFlags::EXCLUSIVE, how.contains('x'));
    open.set(OpenFlags::TRUNCATE, how.contains('t'));
    open.set(OpenFlags::DIRECTORY, how.contains('d'));
    flags.set(DescriptorFlags::READ, how.contains('r'));
    flags.set(DescriptorFlags::WRITE, how.contains('w'));
    at.open_at(path_flags(!how.contains('n')), path, open, flags)
}

fn filled(bytes: u64) -> Vec<u8> {
    vec![b'x'; usize::try_from(bytes).unwrap_or_default()]
}

/// The first bytes, to be recognised.
fn head(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..16).unwrap_or(bytes)).into_owned()
}

fn code(error: StreamError) -> ErrorCode {
    match error {
        StreamError::LastOperationFailed(error) => {
            filesystem_error_code(&error).unwrap_or(ErrorCode::Io)
        }
        StreamError::Closed => ErrorCode::Pipe,
    }
}

fn read_all(stream: &InputStream, chunk: u64) -> Answer {
    let mut total = 0;
    loop {
        match stream.blocking_read(chunk) {
            Ok(bytes) => total += bytes.len(),
            Err(StreamError::Closed) => return Ok(total.to_string()),
            Err(error) => return Err(code(error)),
        }
    }
}

fn write_all(stream: &OutputStream, bytes: u64) -> Answer {
    for piece in filled(bytes).chunks(4096) {
        stream.blocking_write_and_flush(piece).map_err(code)?;
    }
    Ok(bytes.to_string())
}

fn list(stream: &DirectoryEntryStream) -> Answer {
    let mut names = Vec::new();
    while let Some(entry) = stream.read_directory_entry()? {
        names.push(entry.name);
    }
    names.sort();
    if names.len() > 20 {
        return Ok(names.len().to_string());
    }
    Ok(names.join(" "))
}
