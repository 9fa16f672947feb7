//! What our own processes gave up, seen from outside and tried from inside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use celeriac::module::CHILD_COMMAND;
use celeriac_broker::Digest;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use serde_json::Value;
use support::{Bench, sample};

/// The compiling child, told to try something instead of compiling.
fn child(attempt: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args([CHILD_COMMAND, "4294967296", "60", attempt])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn the_compiling_child_may_only_compile() {
    let state: Value = serde_json::from_slice(&child("state").stdout).unwrap();
    assert_eq!(
        state["has_filter"], true,
        "this kernel has no seccomp: the child cannot be tested here"
    );
    for attempt in [
        "look",
        "remove",
        "socket",
        "connect",
        "local-socket",
        "exec",
        "fork",
        "thread",
        "kill",
        "descriptor",
        "execute",
    ] {
        let output = child(attempt);
        assert_eq!(
            output.status.signal(),
            Some(Signal::SYS.as_raw()),
            "{attempt}: {output:?}"
        );
        assert!(output.stdout.is_empty(), "{attempt}: {output:?}");
    }
    // The allocator asks for a file, and must live on without it.
    for attempt in ["open", "create"] {
        let said = String::from_utf8(child(attempt).stdout).unwrap();
        assert!(said.contains("PermissionDenied"), "{attempt}: {said}");
    }
    assert!(!std::path::Path::new("/tmp/celeriac-probe").exists());
    let unknown = child("nonsense");
    assert!(!unknown.status.success(), "{unknown:?}");
}

#[test]
fn the_compiling_child_has_nothing_but_its_pipes() {
    let state: Value = serde_json::from_slice(&child("state").stdout).unwrap();
    let before = &state["before"];
    assert_eq!(before["no_new_privileges"], "1");
    assert_eq!(before["umask"], "0077");
    assert_eq!(before["is_dumpable"], false);
    assert_eq!(before["environment"], 0);
    assert_eq!(before["directory"], "/");
}

/// Compiling goes through the whole of Cranelift: every sample module, one of them many MiB of code.
#[tokio::test]
async fn what_is_left_is_enough_to_compile_every_sample() {
    for name in ["basics", "compute", "data", "images", "text"] {
        let bench = Bench::new();
        let wasm = sample(name);
        let installed = bench.loader.install(&Digest::of(&wasm), &wasm).await;
        installed.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn a_compiler_that_its_sandbox_stopped_is_the_hosts_concern() {
    // A program that says what it has open, and ends as the kernel ends one that breaks the filter.
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    fcntl_setfd(&leak, FdFlags::empty()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("compiler");
    std::fs::write(
        &program,
        "#!/bin/sh\nls -l /proc/$$/fd > $0.open\nkill -SYS $$\n",
    )
    .unwrap();
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let bench = Bench::new();
    let compiler = celeriac::module::Compiler::with_binary(program.clone(), Default::default());
    let loader = celeriac::module::Loader::new(
        bench.engine.clone(),
        celeriac::module::ArtifactCache::open(&directory.path().join("artifacts")).unwrap(),
        compiler,
        bench.shelf.clone(),
        &celeriac::module::LoaderConfig::default(),
    );
    let wasm = sample("basics");
    let error = loader.install(&Digest::of(&wasm), &wasm).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(
            error,
            celeriac::module::LoadError::Compile {
                cause: celeriac::module::CompileError::Host(_),
                ..
            }
        ),
        "{text}"
    );
    assert!(
        text.contains("stopped by its sandbox") && text.contains("journalctl"),
        "{text}"
    );
    let open = std::fs::read_to_string(program.with_extension("open")).unwrap();
    assert!(
        open.contains("pipe:") && !open.contains("passwd"),
        "a descriptor was left to the compiler:\n{open}"
    );
}

/// `celeriac doctor` hardens itself as `celeriac serve` does, and says how it stands.
fn doctor(command: &mut Command) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let output = command
        .args(["doctor", "--json"])
        .env("CELERIAC_DATA_DIR", directory.path().join("data"))
        .env("CELERIAC_CACHE_DIR", directory.path().join("cache"))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn doctor_shows_what_a_host_gave_up() {
    let found = doctor(&mut Command::new(env!("CARGO_BIN_EXE_celeriac")));
    for (name, words) in [
        ("privileges", "none can be gained"),
        ("memory dumps", "off"),
        ("compiler", "filtered"),
        ("user", "root"),
    ] {
        let checks = found["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        let text = check.expect(name)["found"].as_str().unwrap();
        assert!(text.contains(words), "{name}: {text}");
    }
}

/// What a process of this program has open, umask and limits, from /proc.
struct Serving {
    child: std::process::Child,
    _directory: tempfile::TempDir,
}

impl Serving {
    /// A host that has said that it serves, started with a descriptor too many.
    fn start() -> Self {
        use std::io::BufRead as _;
        let directory = tempfile::tempdir().unwrap();
        let leak = std::fs::File::open("/etc/passwd").unwrap();
        fcntl_setfd(&leak, FdFlags::empty()).unwrap();
        assert!(leak.as_raw_fd() > 2);
        let mut child = Command::new(env!("CARGO_BIN_EXE_celeriac"))
            .args(["serve", "--concurrency", "4"])
            .env("CELERIAC_DATA_DIR", directory.path().join("data"))
            .env("CELERIAC_CACHE_DIR", directory.path().join("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        let is_up = lines.any(|line| line.unwrap().contains(" serves "));
        assert!(is_up, "the host does not come up");
        Self {
            child,
            _directory: directory,
        }
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_serving_host_keeps_no_more_than_it_needs() {
    let host = Serving::start();
    let status = host.proc("status");
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is missing")).trim()
    };
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("Umask:"), "0077");
    let limits = host.proc("limits");
    let limit = |name: &str| -> Vec<String> {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values = line[name.len()..].split_whitespace().take(2);
        values.map(str::to_owned).collect()
    };
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    let files = limit("Max open files");
    assert_eq!(files[0], files[1], "the soft limit is not raised");
    // Others of this user cannot read a process that is not dumpable; root can.
    if let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", host.child.id())) {
        let open: Vec<_> = entries
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .collect();
        assert!(open.len() > 3, "{open:?}");
        assert!(
            !open.iter().any(|path| path.ends_with("passwd")),
            "an inherited descriptor is still open: {open:?}"
        );
    }
}

/// Every file and directory below a host's data and cache is for its user only.
#[test]
fn what_a_host_creates_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Serving::start();
    let (mut left, mut seen) = (vec![host._directory.path().to_owned()], 0);
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
            seen += 1;
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    assert!(seen >= 4, "{seen} files only");
}
