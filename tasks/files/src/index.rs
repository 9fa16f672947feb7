//! What is in a granted directory.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use celeriac_guest::{Context, Failure, task, warn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where the host puts the directory that was granted as `documents`.
const DOCUMENTS: &str = "/documents";

/// Bytes read at once: the host gives no more.
const CHUNK: usize = 64 * 1024;

/// Files between two progress reports.
const BATCH: usize = 20;

/// What to index.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    /// A directory below `/documents`; empty for all of it.
    #[serde(default)]
    path: String,
    /// Only files whose name ends in this, such as `.pdf`.
    #[serde(default)]
    suffix: String,
    /// The most files to list; the rest is only counted.
    #[serde(default = "thousand")]
    max_entries: usize,
}

fn thousand() -> usize {
    1_000
}

/// What was found.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Index {
    /// The files, in the order of their paths.
    entries: Vec<Entry>,
    /// All files that fit, listed or not.
    files: usize,
    /// Bytes of the listed files together.
    bytes: u64,
    /// What is neither file nor directory: links, devices and the like are not followed.
    skipped: usize,
}

/// One file.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Entry {
    /// Its path below the directory that was asked for.
    path: String,
    /// Its size in bytes.
    size: u64,
    /// The SHA-256 of its contents in hexadecimal.
    sha256: String,
}

/// Walks the granted directory `documents` and lists its files with size and SHA-256.
#[task(
    timeout = "10m",
    needs(directory = "documents"),
    limits(file_bytes = "16GiB")
)]
fn index(ctx: &Context, request: Request) -> Result<Index, Failure> {
    index_of(ctx, Path::new(DOCUMENTS), &request)
}

fn index_of(ctx: &Context, documents: &Path, request: &Request) -> Result<Index, Failure> {
    let root = documents.join(request.path.trim_start_matches('/'));
    let mut found = Found::default();
    found.walk(&root, &request.suffix)?;
    found.files.sort();
    let files = found.files.len();
    let listed = files.min(request.max_entries);
    let mut entries = Vec::with_capacity(listed);
    for (done, path) in found.files.iter().take(listed).enumerate() {
        if ctx.is_cancelled() {
            return Err(Failure::new("cancelled", format!("after {done} files")));
        }
        if done % BATCH == 0 {
            ctx.progress(done, listed);
        }
        entries.push(entry(&root, path)?);
    }
    Ok(Index {
        bytes: entries.iter().map(|entry| entry.size).sum(),
        entries,
        files,
        skipped: found.skipped,
    })
}

#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    skipped: usize,
}

impl Found {
    /// Without recursion: a tree may be deeper than a stack. A directory that cannot be read is left out, save for
    /// the first, without which there is no answer.
    fn walk(&mut self, root: &Path, suffix: &str) -> Result<(), Failure> {
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if directory == root => return Err(failure(root, &error)),
                Err(error) => {
                    let (path, error) = (directory.display().to_string(), error.to_string());
                    warn!(path = path, error = error, "left out");
                    self.skipped += 1;
                    continue;
                }
            };
            for entry in entries {
                let entry = entry.map_err(|error| failure(&directory, &error))?;
                let kind = entry
                    .file_type()
                    .map_err(|error| failure(&entry.path(), &error))?;
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else if !kind.is_file() {
                    self.skipped += 1;
                } else if entry.file_name().to_string_lossy().ends_with(suffix) {
                    self.files.push(entry.path());
                }
            }
        }
        Ok(())
    }
}

fn entry(root: &Path, path: &Path) -> Result<Entry, Failure> {
    let (size, sha256) = digest(path).map_err(|error| failure(path, &error))?;
    let below = path.strip_prefix(root).unwrap_or(path);
    Ok(Entry {
        path: below.display().to_string(),
        size,
        sha256,
    })
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
    let hex = hasher
        .finalize()
        .into_iter()
        .map(|byte| format!("{byte:02x}"));
    Ok((size, hex.collect()))
}

/// A word that a caller can act upon.
fn failure(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => "not-found",
        io::ErrorKind::NotADirectory => "not-a-directory",
        io::ErrorKind::PermissionDenied => "denied",
        io::ErrorKind::QuotaExceeded => "limit",
        _ => return Failure::new("io", format!("{}: {error}", path.display())).retryable(),
    };
    Failure::new(kind, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, suffix: &str, max_entries: usize) -> Request {
        Request {
            path: path.to_owned(),
            suffix: suffix.to_owned(),
            max_entries,
        }
    }

    fn documents() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("b/deep")).unwrap();
        fs::write(directory.path().join("a.txt"), "hello").unwrap();
        fs::write(directory.path().join("b/deep/c.txt"), "").unwrap();
        fs::write(directory.path().join("b/d.pdf"), "pdf").unwrap();
        directory
    }

    fn paths(index: &Index) -> Vec<&str> {
        index.entries.iter().map(|entry| &*entry.path).collect()
    }

    #[test]
    fn lists_files_with_size_and_digest_in_order() {
        let directory = documents();
        let index = index_of(&Context::fake(), directory.path(), &request("", "", 10)).unwrap();
        assert_eq!(paths(&index), ["a.txt", "b/d.pdf", "b/deep/c.txt"]);
        assert_eq!((index.files, index.bytes, index.skipped), (3, 8, 0));
        assert_eq!(
            index.entries[0].sha256,
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
    }

    #[test]
    fn takes_a_directory_a_suffix_and_a_bound() {
        let directory = documents();
        let ctx = Context::fake();
        let index = index_of(&ctx, directory.path(), &request("/b", ".txt", 10)).unwrap();
        assert_eq!(paths(&index), ["deep/c.txt"]);
        let index = index_of(&ctx, directory.path(), &request("", "", 1)).unwrap();
        assert_eq!((index.entries.len(), index.files), (1, 3));
    }

    #[test]
    fn does_not_follow_links() {
        let directory = documents();
        std::os::unix::fs::symlink("..", directory.path().join("b/up")).unwrap();
        let index = index_of(&Context::fake(), directory.path(), &request("", "", 10)).unwrap();
        assert_eq!((index.files, index.skipped), (3, 1));
    }

    #[test]
    fn names_what_is_not_there() {
        let directory = documents();
        let ctx = Context::fake();
        let failure = index_of(&ctx, directory.path(), &request("none", "", 1)).unwrap_err();
        assert_eq!(failure.kind, "not-found");
        let failure = index_of(&ctx, directory.path(), &request("a.txt", "", 1)).unwrap_err();
        assert_eq!(failure.kind, "not-a-directory");
    }

    #[test]
    fn stops_when_cancelled() {
        let directory = documents();
        let ctx = celeriac_guest::testing::FakeContext::new().cancelled(true);
        let failure = index_of(&ctx, directory.path(), &request("", "", 10)).unwrap_err();
        assert_eq!(failure.kind, "cancelled");
    }
}
