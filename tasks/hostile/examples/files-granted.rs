//! Tries every way out of the directories that it was granted.

use celeriac_guest::task;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

/// What leads out, or to what is no file; the arena has put some of it there.
const PATHS: &[&str] = &[
    "../outside/treasure",
    "../outside",
    "..",
    "./../outside/treasure",
    "sub/../../outside/treasure",
    "sub/../../work/../outside/treasure",
    "/etc/passwd",
    "/../../../etc/passwd",
    "/proc/self/environ",
    "file-link",
    "file-link/",
    "directory-link/treasure",
    "directory-link/",
    "directory-link/.",
    "chain",
    "proc-link/environ",
    "null",
    "null/",
    "pipe",
    "sub/../..//outside/treasure",
];

/// What is made during the run: where a link is, and where it leads.
const LINKS: &[(&str, &str)] = &[
    ("made", "../outside/treasure"),
    ("made-directory", "../outside"),
    ("made-absolute", "/etc/passwd"),
    ("sub/made-deep", "../../outside/treasure"),
    ("sub/made-chain", "../directory-link/treasure"),
];

fn ways(found: &mut Vec<String>, at: &Descriptor, path: &str) {
    let follow = PathFlags::SYMLINK_FOLLOW;
    let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
    for (how, open, flags) in [
        ("read", OpenFlags::empty(), read),
        ("written", OpenFlags::empty(), write),
        ("made", OpenFlags::CREATE, read | write),
        ("emptied", OpenFlags::CREATE | OpenFlags::TRUNCATE, write),
        (
            "entered",
            OpenFlags::DIRECTORY,
            read | DescriptorFlags::MUTATE_DIRECTORY,
        ),
    ] {
        if at.open_at(follow, path, open, flags).is_ok() {
            found.push(format!("{path} was {how}"));
        }
    }
    // To see that there is a device is no way to it.
    if !["null", "pipe"].contains(&path) && at.stat_at(follow, path).is_ok() {
        found.push(format!("{path} was looked at"));
    }
    let now = NewTimestamp::Now;
    if at.set_times_at(follow, path, now, now).is_ok() {
        found.push(format!("{path} was touched"));
    }
}

/// Changes that name what is outside by its path, and not by a link that could be moved itself.
fn changes(found: &mut Vec<String>, at: &Descriptor, path: &str) {
    let none = PathFlags::empty();
    for (what, is_done) in [
        ("taken", at.rename_at(path, at, "stolen").is_ok()),
        ("replaced", at.rename_at("file", at, path).is_ok()),
        ("linked to", at.link_at(none, path, at, "hard").is_ok()),
        ("linked from", at.link_at(none, "file", at, path).is_ok()),
        ("removed", at.unlink_file_at(path).is_ok()),
        (
            "removed as a directory",
            at.remove_directory_at(path).is_ok(),
        ),
        ("made a directory", at.create_directory_at(path).is_ok()),
        ("made a link", at.symlink_at("file", path).is_ok()),
    ] {
        if is_done {
            found.push(format!("{path} was {what}"));
        }
    }
}

fn is_outside(path: &str) -> bool {
    path.starts_with("..")
        || path.starts_with('/')
        || path.starts_with("directory-link/t")
        || path.contains("/../..")
}

/// The attack.
#[task(needs(
    directory = "work",
    directory = "documents",
    scratch = "a place to link from"
))]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    let directories = get_directories();
    let named = |name: &str| {
        directories
            .iter()
            .find(|(_, path)| path.trim_matches('/') == name)
    };
    let (Some((work, _)), Some((documents, _)), Some((scratch, _))) =
        (named("work"), named("documents"), named("tmp"))
    else {
        return vec!["the grants are not there: this proves nothing".to_owned()];
    };
    for path in PATHS {
        ways(&mut found, work, path);
    }
    for path in PATHS.iter().filter(|path| is_outside(path)) {
        changes(&mut found, work, path);
    }
    for (link, target) in LINKS {
        let _ = work.symlink_at(target, link);
        ways_by_link(&mut found, work, link);
    }
    // A link that leads nowhere until the directory that it is in has moved up.
    let _ = work.create_directory_at("a");
    let _ = work.create_directory_at("a/b");
    let _ = work.symlink_at("../../outside", "a/b/up");
    let _ = work.rename_at("a/b", work, "b");
    ways_by_link(&mut found, work, "b/up/treasure");
    borders(&mut found, work, documents, scratch);
    found
}

fn ways_by_link(found: &mut Vec<String>, work: &Descriptor, link: &str) {
    let follow = PathFlags::SYMLINK_FOLLOW;
    for path in [
        link.to_owned(),
        format!("{link}/"),
        format!("{link}/treasure"),
    ] {
        for flags in [DescriptorFlags::READ, DescriptorFlags::WRITE] {
            if work
                .open_at(follow, &path, OpenFlags::empty(), flags)
                .is_ok()
            {
                found.push(format!("{path} led out"));
            }
        }
    }
}

/// From one grant to another.
fn borders(
    found: &mut Vec<String>,
    work: &Descriptor,
    documents: &Descriptor,
    scratch: &Descriptor,
) {
    let none = PathFlags::empty();
    let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
    for (what, is_done) in [
        (
            "linked out of documents",
            documents.link_at(none, "file", work, "hard").is_ok(),
        ),
        (
            "linked into documents",
            work.link_at(none, "file", documents, "hard").is_ok(),
        ),
        (
            "linked into scratch",
            work.link_at(none, "file", scratch, "hard").is_ok(),
        ),
        (
            "linked out of scratch",
            scratch.link_at(none, "none", work, "hard").is_ok(),
        ),
        (
            "moved out of documents",
            documents.rename_at("file", work, "file2").is_ok(),
        ),
        (
            "removed from documents",
            documents.unlink_file_at("file").is_ok(),
        ),
        (
            "made in documents",
            documents.create_directory_at("new").is_ok(),
        ),
        (
            "written in documents",
            documents
                .open_at(none, "file", OpenFlags::empty(), write)
                .is_ok(),
        ),
        (
            "emptied in documents",
            documents
                .open_at(none, "file", OpenFlags::TRUNCATE, read)
                .is_ok(),
        ),
    ] {
        if is_done {
            found.push(what.to_owned());
        }
    }
    if documents
        .open_at(none, "file", OpenFlags::empty(), read)
        .is_err()
    {
        found.push("the granted file was not read: this proves nothing".to_owned());
    }
}
