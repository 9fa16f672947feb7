//! Tries from within the confined child what it may not do: the child's sandbox is tested by breaking out of it.

use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};

use super::{Bounds, Confined, seal};

/// What has to be at hand before the child is sealed.
struct Tools {
    parent: Option<Pid>,
    /// The child's output under another number.
    copy: Option<OwnedFd>,
    engine: Option<wasmtime::Engine>,
}

/// Seals the child and tries what `attempt` names; the text says what came of it, where anything did.
///
/// # Errors
/// When the child cannot be sealed, or knows no such attempt.
pub(crate) fn probe(attempt: &str, bounds: Bounds) -> Result<String, String> {
    // Never dropped: a debug build asks the kernel about a descriptor before it closes it.
    let tools = ManuallyDrop::new(Tools {
        parent: rustix::process::getppid(),
        copy: rustix::io::dup(std::io::stdout()).ok(),
        engine: wasmtime::Engine::new(&wasmtime::Config::new()).ok(),
    });
    let before = state();
    let Confined { has_filter } = seal(bounds)?;
    match attempt {
        "state" => Ok(serde_json::json!({"has_filter": has_filter, "before": before}).to_string()),
        _ if !has_filter => Ok("no filter".to_owned()),
        _ => attack(attempt, &tools),
    }
}

/// What the kernel tells of this process, before it may no longer ask.
fn state() -> serde_json::Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    serde_json::json!({
        "no_new_privileges": line("NoNewPrivs:"),
        "umask": line("Umask:"),
        "is_dumpable": rustix::process::dumpable_behavior().ok() != Some(rustix::process::DumpableBehavior::NotDumpable),
        "environment": std::env::vars_os().count(),
        "directory": std::env::current_dir().unwrap_or_default(),
        "descriptors": super::harden::descriptors(),
    })
}

fn attack(attempt: &str, tools: &Tools) -> Result<String, String> {
    let said = match attempt {
        "open" => show(std::fs::File::open("/etc/passwd")),
        "create" => show(std::fs::File::create("/tmp/celeriac-probe")),
        "look" => show(std::fs::metadata("/etc/passwd")),
        "remove" => show(std::fs::remove_file("/tmp/celeriac-probe")),
        "socket" => show(std::net::UdpSocket::bind("127.0.0.1:0")),
        "connect" => show(std::net::TcpStream::connect("127.0.0.1:9")),
        "local-socket" => show(std::os::unix::net::UnixStream::pair()),
        "exec" => format!("{:?}", Command::new("/bin/true").exec()),
        "fork" => show(Command::new("/bin/true").spawn()),
        "thread" => show(std::thread::Builder::new().spawn(|| ())),
        "kill" => show(
            tools
                .parent
                .map(|parent| rustix::process::kill_process(parent, Signal::CONT)),
        ),
        "descriptor" => show(
            tools
                .copy
                .as_ref()
                .map(|copy| rustix::io::write(copy, b"x")),
        ),
        "execute" => show(
            tools
                .engine
                .as_ref()
                .map(|engine| wasmtime::Module::new(engine, CODE).is_ok()),
        ),
        other => return Err(format!("there is no attempt `{other}`")),
    };
    Ok(said)
}

fn show(result: impl std::fmt::Debug) -> String {
    format!("{result:?}")
}

/// A module with one empty function: loading it maps executable memory.
const CODE: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";
