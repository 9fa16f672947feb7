//! What a process that runs tasks gives up at its start.
//!
//! | what | why |
//! |---|---|
//! | descriptors that it inherited above 2 | what the shell or the service manager left open is nothing for tasks or compilers |
//! | new privileges (`no_new_privs`) | nothing that it starts can gain rights by a set-uid bit |
//! | core dumps (`RLIMIT_CORE` 0) and `dumpable` | its memory holds secrets, inputs and outputs; no file and no other process of the user may have them |
//! | bits of others (`umask 077`) | caches, the embedded store and scratch directories are for this user only |
//! | the soft limit of descriptors | raised to the hard one: connections and files of tasks need more than the usual 1,024 |

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior,
    setrlimit, umask,
};

/// Says to the program started again that it was: it must not try for ever.
const RESTARTED: &str = "CELERIAC_WITHOUT_INHERITED";

/// One thing that [`harden`] did or did not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// What it is about.
    pub name: &'static str,
    /// The state, in words.
    pub found: String,
    /// What to do, where the state is not as it should be.
    pub remedy: Option<&'static str>,
}

/// Gives up what a process that runs tasks does not need. To be called first of all, while there is one thread.
///
/// Where something inherited is open above descriptor 2, the program starts itself again without it, in the same
/// process: closing a descriptor that one does not own is not safe in Rust.
///
/// Answers with the umask that was, for files that a person asks for.
///
/// # Errors
/// When the kernel refuses a step.
pub fn harden() -> io::Result<u32> {
    if !descriptors().is_empty() && std::env::var_os(RESTARTED).is_none() {
        return Err(restart());
    }
    rustix::thread::set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    raise_descriptors()?;
    Ok(umask(Mode::RWXG | Mode::RWXO).bits())
}

/// Sets the umask back to what [`harden`] found.
pub fn restore_umask(bits: u32) {
    umask(Mode::from_bits_truncate(bits));
}

/// Descriptors above 2 that are open, the one that reads the list left out.
pub(super) fn descriptors() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let is_list = |target: &std::path::Path| {
        let own = format!("/proc/{}/fd", std::process::id());
        target.as_os_str() == OsStr::new(&own)
    };
    let mut open: Vec<String> = entries
        .flatten()
        .filter(|entry| !std::fs::read_link(entry.path()).is_ok_and(|target| is_list(&target)))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.parse::<u32>().is_ok_and(|number| number > 2))
        .collect();
    open.sort();
    open
}

/// Marks every descriptor above 2 to be closed in whatever this process starts.
pub(crate) fn keep_descriptors_from_children() {
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
}

/// Runs the same program with the same arguments in this process; returns only when that fails.
fn restart() -> io::Error {
    keep_descriptors_from_children();
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(RESTARTED, "1")
        .exec()
}

fn raise_descriptors() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?)
}

/// How this process and machine stand, for `celeriac doctor`. Call [`harden`] first, as `celeriac serve` does.
#[must_use]
pub fn hardening() -> Vec<Hardening> {
    vec![privileges(), dumps(), files(), compiler(), user()]
}

fn row(name: &'static str, found: impl Into<String>, remedy: Option<&'static str>) -> Hardening {
    Hardening {
        name,
        found: found.into(),
        remedy,
    }
}

fn privileges() -> Hardening {
    match rustix::thread::no_new_privs() {
        Ok(true) => row("privileges", "none can be gained", None),
        _ => row(
            "privileges",
            "the kernel does not take `no_new_privs`",
            Some("run hosts as a user of their own, on Linux 3.5 or later"),
        ),
    }
}

fn dumps() -> Hardening {
    let is_off = getrlimit(Resource::Core).current == Some(0)
        && dumpable_behavior().ok() == Some(DumpableBehavior::NotDumpable);
    match is_off {
        true => row("memory dumps", "off", None),
        false => row(
            "memory dumps",
            "on: a crash could write inputs and secrets to disk",
            Some("set LimitCORE=0 in the service"),
        ),
    }
}

fn files() -> Hardening {
    let limit = getrlimit(Resource::Nofile).current;
    match limit {
        Some(limit) if limit < FEW_DESCRIPTORS => row(
            "descriptors",
            format!("{limit} at most"),
            Some(
                "LimitNOFILE=65536 in the service, or `ulimit -Hn`: connections and files of tasks count",
            ),
        ),
        Some(limit) => row("descriptors", format!("up to {limit}"), None),
        None => row("descriptors", "without limit", None),
    }
}

/// Fewer than these are soon used up by a few hundred tasks with a connection each.
const FEW_DESCRIPTORS: u64 = 4_096;

fn compiler() -> Hardening {
    match super::has_seccomp() {
        true => row("compiler", "its system calls are filtered", None),
        false => row(
            "compiler",
            "this kernel does not filter system calls: uploads are compiled under resource limits only",
            Some(
                "a kernel with CONFIG_SECCOMP_FILTER (Linux 4.14 or later), or admit modules of people you trust only",
            ),
        ),
    }
}

fn user() -> Hardening {
    match rustix::process::geteuid().is_root() {
        true => row(
            "user",
            "root: a hole in the sandbox would be one in the machine",
            Some(AS_ROOT),
        ),
        false => row("user", "not root", None),
    }
}

/// What to do about a host that runs as root.
const AS_ROOT: &str = "run hosts as a user of their own, such as with `User=celeriac` or `DynamicUser=yes` in the service";

/// The warning of a host that runs as root; none otherwise.
#[must_use]
pub fn warn_of_root() -> Option<String> {
    let Hardening { found, remedy, .. } = user();
    remedy.map(|remedy| format!("this host runs as {found}; {remedy}"))
}
