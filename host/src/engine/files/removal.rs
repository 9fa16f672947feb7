//! Removes a directory with all that guests have put into it.
//!
//! Never follows a link, needs two descriptors however deep the tree is, and does not recurse: a directory inside
//! is moved up beside its parent and waits for its turn there. A tree of ten thousand levels would overflow the
//! stack of whoever descends into it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, chmod, fchmod, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Looks at one directory: the work of a guest that was ended may add one last entry to it.
const PASSES: u32 = 8;

const OWNER: Mode = Mode::RWXU;

/// Removes the directory `name` in `parent`, in which names that start with `name.` are ours. Blocks.
pub(super) fn tree(parent: &File, name: &str) -> io::Result<()> {
    let mut waiting = vec![name.to_owned()];
    let mut moved = 0_u64;
    while let Some(next) = waiting.pop() {
        directory(parent, &next, &mut || {
            moved += 1;
            let fresh = format!("{name}.{moved}");
            waiting.push(fresh.clone());
            fresh
        })?;
    }
    Ok(())
}

/// Empties one directory, moves those inside it up under fresh names, and removes it.
fn directory(parent: &File, name: &str, fresh: &mut dyn FnMut() -> String) -> io::Result<()> {
    for _ in 0..PASSES {
        let inside = match open(parent, name) {
            Err(Errno::NOENT) => return Ok(()),
            result => result?,
        };
        for entry in Dir::read_from(&inside)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            match unlinkat(&inside, entry.file_name(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    // Its `..` changes, so that it must be writable itself.
                    drop(open(&inside, entry.file_name())?);
                    renameat(&inside, entry.file_name(), parent, fresh())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::NOTEMPTY.into())
}

/// Opens a directory, whatever its permissions.
fn open(parent: &File, name: impl rustix::path::Arg + Copy) -> Result<File, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Only the path can be opened, and a change of mode needs a name that cannot be swapped.
            let path = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", path.as_raw_fd()), OWNER)?;
            openat(parent, name, flags, Mode::empty())?
        }
        result => result?,
    };
    if !Mode::from_raw_mode(fstat(&opened)?.st_mode).contains(OWNER) {
        fchmod(&opened, OWNER)?;
    }
    Ok(opened.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn removes_what_is_unreadable_and_leaves_what_links_point_to() {
        let outer = tempfile::tempdir().unwrap();
        let kept = outer.path().join("kept");
        fs::create_dir_all(kept.join("inside")).unwrap();
        fs::write(kept.join("file"), "stays").unwrap();
        let tree_path = outer.path().join("7");
        fs::create_dir_all(tree_path.join("a/b/c")).unwrap();
        fs::write(tree_path.join("a/b/c/file"), "goes").unwrap();
        symlink(&kept, tree_path.join("a/link")).unwrap();
        symlink("../../kept", tree_path.join("relative")).unwrap();
        fs::hard_link(kept.join("file"), tree_path.join("hard")).unwrap();
        for closed in ["a/b", "a"] {
            fs::set_permissions(tree_path.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        tree(&File::open(outer.path()).unwrap(), "7").unwrap();
        let left: Vec<_> = fs::read_dir(outer.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["kept"]);
        assert_eq!(fs::read(kept.join("file")).unwrap(), b"stays");
        assert!(kept.join("inside").is_dir());
    }

    #[test]
    fn removes_a_tree_too_deep_for_any_path() {
        let outer = tempfile::tempdir().unwrap();
        let parent = File::open(outer.path()).unwrap();
        let mut at = parent.try_clone().unwrap();
        for depth in 0..5_000 {
            let name = if depth == 0 { "7" } else { "deep" };
            rustix::fs::mkdirat(&at, name, OWNER).unwrap();
            at = open(&at, name).unwrap();
        }
        drop(at);
        tree(&parent, "7").unwrap();
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
    }
}
