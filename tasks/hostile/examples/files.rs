//! Tries every way to a file that is not its own.

use celeriac_guest::task;
use std::fs;

const PATHS: &[&str] = &[
    "/",
    ".",
    "..",
    "",
    "/etc/passwd",
    "/etc/passwd/",
    "etc/passwd",
    "../etc/passwd",
    "../../../../../../../../etc/passwd",
    "./././../etc/passwd",
    "/proc/self/environ",
    "/proc/self/mem",
    "/proc/1/root/etc/passwd",
    "/proc/self/fd/0",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/tcp/127.0.0.1/80",
    "/sys/kernel",
    "/tmp",
    "/tmp/../etc/passwd",
    "/var/run/docker.sock",
    "~/.ssh/id_rsa",
    "/root/.ssh",
    "\\\\?\\C:\\Windows",
    "C:\\Windows\\win.ini",
    "file:///etc/passwd",
    "/etc/pass\u{0}wd",
    "//etc//passwd",
    "/./etc/./passwd",
    "/..",
];

/// The attack.
#[task]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    for path in PATHS {
        if let Ok(bytes) = fs::read(path) {
            found.push(format!("read {path}: {} bytes", bytes.len()));
        }
        if fs::read_dir(path).is_ok() {
            found.push(format!("listed {path}"));
        }
        if fs::metadata(path).is_ok() || fs::symlink_metadata(path).is_ok() {
            found.push(format!("saw {path}"));
        }
        if fs::write(path, b"an attack").is_ok() {
            found.push(format!("wrote {path}"));
        }
        let made = format!("{path}/made-by-an-attack");
        if fs::create_dir_all(&made).is_ok() {
            found.push(format!("made {made}"));
        }
        if fs::hard_link(path, "linked").is_ok()
            || fs::rename(path, "moved").is_ok()
            || fs::copy(path, "copied").is_ok()
        {
            found.push(format!("took {path}"));
        }
        if fs::remove_file(path).is_ok() || fs::remove_dir(path).is_ok() {
            found.push(format!("removed {path}"));
        }
    }
    found.extend(
        std::env::current_dir()
            .ok()
            .filter(|dir| dir != "/")
            .map(|dir| dir.display().to_string()),
    );
    found
}
