//! Files of real guests on real directories: what is confined, what is counted, and what is cleared away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use celeriac::engine::{
    CancellationToken, Code, Denials, Denied, Directory, EngineConfig, Event, EventSink, Execution,
    Executor, Limits, Module, Payload, Request, Rights, Stream, Verdict,
};
use serde_json::{Value, json};
use support::{Bench, Notes, fault, request, sample};
use tokio::sync::OnceCell;

/// An engine with both modules, for all tests that look at no scratch directory from outside.
struct Guests {
    bench: Bench,
    script: Module,
    files: Module,
}

impl Guests {
    async fn new(scratch: &Path) -> Self {
        let bench = Bench::with_config(EngineConfig {
            concurrency: 20,
            scratch_dir: Some(scratch.to_owned()),
            ..EngineConfig::default()
        });
        let script = bench.load(sample("testing_files")).await;
        let files = bench.load(sample("files")).await;
        Self {
            bench,
            script,
            files,
        }
    }

    async fn shared() -> &'static Self {
        static GUESTS: OnceCell<Guests> = OnceCell::const_new();
        GUESTS
            .get_or_init(|| async {
                // Its files are removed by the tests' executions themselves.
                Self::new(&tempfile::tempdir().unwrap().keep()).await
            })
            .await
    }

    fn script(
        &self,
        rights: &Arc<Rights>,
        limits: &Limits,
        steps: &Value,
    ) -> (Request, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let mut request = request("script", &steps.to_string(), limits.clone());
        request.rights = Arc::clone(rights);
        request.sink = Arc::clone(&notes) as Arc<dyn EventSink>;
        (request, notes)
    }
}

/// What a script came to.
struct Ran {
    execution: Execution,
    host_log: Vec<String>,
}

impl Ran {
    fn outputs(&self) -> Vec<String> {
        match &self.execution.verdict {
            Verdict::Success(Payload::Json(text)) => serde_json::from_str(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

async fn run_limited(rights: &Arc<Rights>, limits: &Limits, steps: Value) -> Ran {
    let guests = Guests::shared().await;
    let (request, notes) = guests.script(rights, limits, &steps);
    let execution = guests.bench.engine.execute(&guests.script, request).await;
    let notes = notes.0.lock().unwrap();
    let host_log = notes.iter().filter_map(|event| match event {
        Event::Log {
            message,
            stream: Stream::Host,
            ..
        } => Some(message.clone()),
        _ => None,
    });
    Ran {
        execution,
        host_log: host_log.collect(),
    }
}

async fn run(rights: &Arc<Rights>, steps: Value) -> Vec<String> {
    run_limited(rights, &Limits::default(), steps)
        .await
        .outputs()
}

/// `documents` to read, `work` to write, and `outside`, which no guest may see, all in one directory.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for directory in ["documents/sub", "work/sub/deep", "outside/inner"] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        fs::write(place.path("documents/file"), "readable").unwrap();
        fs::write(place.path("work/file"), "writable").unwrap();
        fs::write(place.path("work/sub/file"), "below").unwrap();
        fs::write(place.path("outside/secret"), "SECRET").unwrap();
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn absolute(&self, below: &str) -> String {
        self.path(below).display().to_string()
    }

    fn directory(&self, name: &str, is_writable: bool) -> Directory {
        Directory {
            name: name.to_owned(),
            path: self.path(name),
            is_writable,
        }
    }

    fn rights(&self) -> Arc<Rights> {
        Arc::new(Rights {
            directories: vec![
                self.directory("documents", false),
                self.directory("work", true),
            ],
            has_scratch: true,
            ..Rights::default()
        })
    }

    /// Whatever a guest did, this is as it was.
    fn outside_is_untouched(&self) {
        assert_eq!(
            fs::read_to_string(self.path("outside/secret")).unwrap(),
            "SECRET"
        );
        assert_eq!(
            fs::metadata(self.path("outside/secret")).unwrap().nlink(),
            1
        );
        assert_eq!(tree(&self.path("outside")), ["inner", "secret"]);
        assert_eq!(
            tree(self.0.path())
                .iter()
                .filter(|path| !path.contains('/'))
                .count(),
            3
        );
    }
}

/// All paths below a directory, in order.
fn tree(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        // What goes while it is looked at has gone.
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            paths.push(
                entry
                    .path()
                    .strip_prefix(root)
                    .unwrap()
                    .display()
                    .to_string(),
            );
        }
    }
    paths.sort();
    paths
}

fn open(at: &str, path: &str, how: &str, name: &str) -> Value {
    json!({"open": {"at": at, "path": path, "how": how, "name": name}})
}

/// Every call that takes a path, on one path of a writable grant.
fn everything_on(at: &str, path: &str) -> Value {
    json!([
        open(at, path, "r", "a"),
        open(at, path, "rn", "b"),
        open(at, path, "w", "c"),
        open(at, path, "wct", "d"),
        open(at, path, "wcx", "e"),
        open(at, path, "rd", "f"),
        {"stat": {"at": at, "path": path, "follow": true}},
        {"set-times-at": {"at": at, "path": path, "follow": true}},
        {"mkdir": {"at": at, "path": path}},
        {"rmdir": {"at": at, "path": path}},
        {"unlink": {"at": at, "path": path}},
        {"rename": {"at": at, "path": path, "to": at, "new_path": "stolen"}},
        {"rename": {"at": at, "path": "file", "to": at, "new_path": path}},
        {"link": {"at": at, "path": path, "to": at, "new_path": "linked"}},
        {"link": {"at": at, "path": "file", "to": at, "new_path": path}},
        {"symlink": {"at": at, "target": "file", "path": path}},
        {"readlink": {"at": at, "path": path}},
    ])
}

#[tokio::test]
async fn steps_upwards_and_absolute_paths_lead_nowhere() {
    let place = Place::new();
    let rights = place.rights();
    let paths = [
        "../outside/secret",
        "../outside/new",
        "sub/../../outside/secret",
        "./../outside/secret",
        "sub/deep/../../../outside/secret",
        "../outside/../outside/inner/new",
        "/etc/passwd",
        "/../../../etc/passwd",
        &place.absolute("outside/secret"),
        &place.absolute("work/file"),
    ];
    for path in paths {
        for output in run(&rights, everything_on("/work", path)).await {
            assert_eq!(output, "not-permitted", "{path}");
        }
    }
    let outputs = run(
        &rights,
        json!([
            open("/work", "sub/../file", "r", "a"),
            open("/work", "..", "rd", "b"),
            open("/work", "sub/../..", "rd", "c")
        ]),
    )
    .await;
    assert_eq!(outputs, ["ok", "not-permitted", "not-permitted"]);
    assert_eq!(
        fs::read_to_string(place.path("work/file")).unwrap(),
        "writable"
    );
    place.outside_is_untouched();
}

#[tokio::test]
async fn links_made_before_the_run_do_not_lead_out() {
    let place = Place::new();
    let work = |name: &str| place.path("work").join(name);
    symlink(place.path("outside/secret"), work("absolute")).unwrap();
    symlink("../outside/secret", work("relative")).unwrap();
    symlink("../outside", work("directory")).unwrap();
    symlink("relative", work("chain")).unwrap();
    symlink("../outside/new", work("dangling")).unwrap();
    symlink("sub/file", work("inside")).unwrap();
    symlink("loop", work("loop")).unwrap();
    let paths = [
        "absolute",
        "relative",
        "chain",
        "directory/secret",
        "directory/inner",
        "dangling",
    ];
    for path in paths {
        let steps = json!([
            open("/work", path, "r", "a"),
            open("/work", path, "w", "b"),
            open("/work", path, "wct", "c"),
            {"stat": {"at": "/work", "path": path, "follow": true}},
            {"set-times-at": {"at": "/work", "path": path, "follow": true}},
        ]);
        for output in run(&place.rights(), steps).await {
            assert_eq!(output, "not-permitted", "{path}");
        }
    }
    let steps = json!([
        {"list": {"at": "/work"}},
        open("/work", "directory/", "rd", "d"),
        {"rename": {"at": "/work", "path": "directory/secret", "to": "/work", "new_path": "stolen"}},
        {"link": {"at": "/work", "path": "directory/secret", "to": "/work", "new_path": "stolen"}},
        {"unlink": {"at": "/work", "path": "directory/secret"}},
        {"mkdir": {"at": "/work", "path": "directory/new"}},
        open("/work", "absolute", "rn", "e"),
        open("/work", "loop", "r", "f"),
        open("/work", "inside", "r", "g"),
        {"read": {"at": "g", "length": 9, "offset": 0}},
    ]);
    let outputs = run(&place.rights(), steps).await;
    assert_eq!(
        outputs[0],
        "absolute chain dangling directory file inside loop relative sub"
    );
    assert_eq!(outputs[1..6], ["not-permitted"; 5]);
    assert_eq!(outputs[6..], ["loop", "loop", "ok", "5 false below"]);
    place.outside_is_untouched();
}

#[tokio::test]
async fn links_made_during_the_run_do_not_lead_out() {
    let place = Place::new();
    let secret = place.absolute("outside/secret");
    let symlink = |at: &str, target: &str, path: &str| json!({"symlink": {"at": at, "target": target, "path": path}});
    let steps = json!([
        symlink("/work", &secret, "a"),
        symlink("/work", "../outside/secret", "b"),
        symlink("/work", "sub/../../outside", "c"),
        symlink("/work", "sub/file", "d"),
        open("/work", "d", "r", "d"),
        symlink("/tmp", &secret, "e"),
        symlink("/tmp", "../../../../../../etc/passwd", "f"),
        open("/tmp", "f", "r", "f"),
        {"mkdir": {"at": "/tmp", "path": "x"}},
        {"mkdir": {"at": "/tmp", "path": "x/y"}},
        // Leads to the scratch directory from there, and out of it once it is moved up.
        symlink("/tmp", "../..", "x/y/up"),
        open("/tmp", "x/y/up", "rd", "g"),
        {"rename": {"at": "/tmp", "path": "x/y/up", "to": "/tmp", "new_path": "up"}},
        open("/tmp", "up", "rd", "h"),
        {"stat": {"at": "/tmp", "path": "up", "follow": true}},
    ]);
    let no = "not-permitted";
    let expected = [
        no, no, no, "ok", "ok", no, "ok", no, "ok", "ok", "ok", "ok", "ok", no, no,
    ];
    assert_eq!(run(&place.rights(), steps).await, expected);
    place.outside_is_untouched();
}

#[tokio::test]
async fn moving_an_open_directory_does_not_move_its_walls() {
    let place = Place::new();
    let steps = json!([
        open("/work", "sub/deep", "rd", "deep"),
        {"rename": {"at": "/work", "path": "sub/deep", "to": "/work", "new_path": "deep"}},
        open("deep", "..", "rd", "a"),
        open("deep", "../file", "r", "b"),
        open("deep", "../../outside/secret", "r", "c"),
        {"rename": {"at": "/work", "path": "sub", "to": "deep", "new_path": "sub"}},
        {"rename": {"at": "/work", "path": "deep", "to": "deep", "new_path": "deep"}},
        {"rename": {"at": "/work", "path": "file", "to": "/documents", "new_path": "file"}},
        {"rename": {"at": "/work", "path": "file", "to": "/tmp", "new_path": "file"}},
        {"rename": {"at": "/work", "path": "file", "to": "/work", "new_path": "../outside/file"}},
        {"rename": {"at": "/work", "path": "..", "to": "/work", "new_path": "up"}},
    ]);
    let no = "not-permitted";
    let expected = [
        "ok",
        "ok",
        no,
        no,
        no,
        "ok",
        "invalid",
        "read-only",
        "cross-device",
        no,
        no,
    ];
    assert_eq!(run(&place.rights(), steps).await, expected);
    place.outside_is_untouched();
}

#[tokio::test]
async fn hard_links_do_not_cross_a_grants_border() {
    let place = Place::new();
    let link = |at: &str, path: &str, to: &str| json!({"link": {"at": at, "path": path, "to": to, "new_path": "hard"}});
    let steps = json!([
        link("/documents", "file", "/work"),
        link("/work", "file", "/documents"),
        link("/work", "file", "/tmp"),
        link("/work", "../outside/secret", "/work"),
        link("/work", &place.absolute("outside/secret"), "/work"),
        link("/work", "file", "/work"),
        {"stat": {"at": "/work", "path": "hard", "follow": false}},
    ]);
    let expected = [
        "read-only",
        "read-only",
        "cross-device",
        "not-permitted",
        "not-permitted",
        "ok",
        "DescriptorType::RegularFile 8",
    ];
    assert_eq!(run(&place.rights(), steps).await, expected);
    // Two grants of the same directory are two grants.
    let twice = Arc::new(Rights {
        directories: vec![
            place.directory("work", true),
            Directory {
                name: "again".to_owned(),
                ..place.directory("work", true)
            },
        ],
        ..Rights::default()
    });
    let steps = json!([{"link": {"at": "/work", "path": "file", "to": "/again", "new_path": "x"}}]);
    assert_eq!(run(&twice, steps).await, ["cross-device"]);
    place.outside_is_untouched();
}

#[tokio::test]
async fn trailing_slashes_lead_nowhere() {
    let place = Place::new();
    symlink("../outside", place.path("work/out")).unwrap();
    symlink("../outside/new", place.path("work/dangling")).unwrap();
    for path in [
        "out/",
        "out//",
        "out/.",
        "dangling/",
        "out/inner/",
        "file/",
        "file/.",
        "new/",
        "../outside/",
        "/",
    ] {
        for (index, output) in run(&place.rights(), everything_on("/work", path))
            .await
            .iter()
            .enumerate()
        {
            // `mkdir new/`, and then `rmdir new/`, are as they should be.
            let is_fine = path == "new/" && [8, 9].contains(&index);
            assert!(is_fine == (output == "ok"), "{path} {index}: {output}");
        }
        place.outside_is_untouched();
        assert_eq!(
            fs::read_to_string(place.path("work/file")).unwrap(),
            "writable",
            "{path}"
        );
    }
    assert_eq!(
        tree(&place.path("work")),
        ["dangling", "file", "out", "sub", "sub/deep", "sub/file"]
    );
}

#[tokio::test]
async fn opens_neither_pipes_nor_sockets_nor_devices() {
    let place = Place::new();
    assert!(make("mkfifo", &[&place.absolute("work/fifo")]));
    let _socket = std::os::unix::net::UnixListener::bind(place.path("work/socket")).unwrap();
    symlink("fifo", place.path("work/link")).unwrap();
    let mut names = vec!["fifo", "link", "socket"];
    // Only root can make one.
    if make("mknod", &[&place.absolute("work/null"), "c", "1", "3"]) {
        assert!(
            fs::metadata(place.path("work/null"))
                .unwrap()
                .file_type()
                .is_char_device()
        );
        names.push("null");
    }
    let started = Instant::now();
    for name in names {
        for how in ["r", "w", "rw", "wc", "wct"] {
            let outputs = run(&place.rights(), json!([open("/work", name, how, "a")])).await;
            assert_eq!(outputs, ["not-permitted"], "{name} {how}");
        }
        let steps = json!([{"set-times-at": {"at": "/work", "path": name, "follow": true}}]);
        assert_eq!(
            run(&place.rights(), steps).await,
            ["not-permitted"],
            "{name}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(30), "nothing hung");
    let steps = json!([
        open("/work", "fifo", "rn", "a"),
        open("/work", "fifo", "rd", "b"),
        open("/work", "fifo/", "r", "c"),
        open("/work", "fifo/x", "r", "d"),
        {"stat": {"at": "/work", "path": "fifo", "follow": true}},
        {"unlink": {"at": "/work", "path": "fifo"}},
    ]);
    let outputs = run(&place.rights(), steps).await;
    assert_eq!(
        outputs[..4],
        [
            "not-permitted",
            "not-permitted",
            "not-directory",
            "not-directory"
        ]
    );
    assert_eq!(outputs[5], "ok", "a name can be removed whatever it names");
}

fn make(program: &str, arguments: &[&str]) -> bool {
    let status = std::process::Command::new(program)
        .args(arguments)
        .stderr(std::process::Stdio::null())
        .status();
    status.unwrap().success()
}

#[tokio::test]
async fn magic_links_of_proc_lead_nowhere() {
    let place = Place::new();
    symlink("/proc/self/root/etc/passwd", place.path("work/root")).unwrap();
    symlink("/proc/self/cwd", place.path("work/cwd")).unwrap();
    symlink("/proc/self/fd/0", place.path("work/fd")).unwrap();
    let rights = Arc::new(Rights {
        directories: vec![
            place.directory("work", true),
            // What no operator should grant.
            Directory {
                name: "proc".to_owned(),
                path: "/proc/self".into(),
                is_writable: true,
            },
        ],
        ..Rights::default()
    });
    let paths = [
        ("/work", "root"),
        ("/work", "cwd"),
        ("/work", "fd"),
        ("/proc", "root/etc/passwd"),
        ("/proc", "cwd/Cargo.toml"),
        ("/proc", "task/../root/etc/passwd"),
    ];
    for (at, path) in paths {
        for output in run(
            &rights,
            json!([open(at, path, "r", "a"), open(at, path, "w", "b")]),
        )
        .await
        {
            assert!(
                ["not-permitted", "loop"].contains(&&*output),
                "{path}: {output}"
            );
        }
    }
    for path in ["root", "cwd", "exe", "fd/0", "fd/1"] {
        let output = &run(&rights, json!([open("/proc", path, "r", "a")])).await[0];
        assert!(
            ["not-permitted", "loop", "no-entry"].contains(&&**output),
            "{path}: {output}"
        );
    }
}

/// Remembers what was denied.
#[derive(Default)]
struct Denying(Mutex<Vec<Denied>>);

impl Denials for Denying {
    fn deny(&self, denied: &Denied) -> String {
        self.0.lock().unwrap().push(denied.clone());
        "write `access = \"write\"`".to_owned()
    }
}

#[tokio::test]
async fn a_read_only_grant_is_not_changed_by_any_call() {
    let place = Place::new();
    let before = fs::metadata(place.path("documents/file")).unwrap();
    let denying = Arc::new(Denying::default());
    let rights = Arc::new(Rights {
        directories: vec![
            place.directory("documents", false),
            place.directory("work", true),
        ],
        denials: Some(Arc::clone(&denying) as Arc<dyn Denials>),
        ..Rights::default()
    });
    let at = "/documents";
    let steps = json!([
        open(at, "file", "r", "f"),
        open(at, "sub", "rd", "d"),
        open(at, "file", "w", "a"),
        open(at, "file", "rt", "b"),
        open(at, "new", "rc", "c"),
        open("d", "new", "wcx", "e"),
        {"write": {"at": "f", "bytes": 1, "offset": 0}},
        {"write-stream": {"at": "f", "bytes": 1, "offset": 0}},
        {"append-stream": {"at": "f", "bytes": 1}},
        {"set-size": {"at": "f", "size": 0}},
        {"set-times": {"at": "f"}},
        {"set-times": {"at": "d"}},
        {"set-times-at": {"at": at, "path": "file", "follow": true}},
        {"set-times-at": {"at": at, "path": "file", "follow": false}},
        {"mkdir": {"at": "d", "path": "new"}},
        {"rmdir": {"at": at, "path": "sub"}},
        {"unlink": {"at": at, "path": "file"}},
        {"rename": {"at": at, "path": "file", "to": at, "new_path": "moved"}},
        {"rename": {"at": at, "path": "file", "to": "/work", "new_path": "moved"}},
        {"rename": {"at": "/work", "path": "file", "to": "d", "new_path": "moved"}},
        {"link": {"at": at, "path": "file", "to": at, "new_path": "linked"}},
        {"link": {"at": at, "path": "file", "to": "/work", "new_path": "linked"}},
        {"link": {"at": "/work", "path": "file", "to": "d", "new_path": "linked"}},
        {"symlink": {"at": at, "target": "file", "path": "soft"}},
    ]);
    let ran = run_limited(&rights, &Limits::default(), steps).await;
    let outputs = ran.outputs();
    assert_eq!(outputs[..2], ["ok", "ok"]);
    for (index, output) in outputs[2..].iter().enumerate() {
        assert_eq!(output, "read-only", "step {}", index + 2);
    }
    let after = fs::metadata(place.path("documents/file")).unwrap();
    assert_eq!(
        (after.mtime_nsec(), after.len()),
        (before.mtime_nsec(), before.len())
    );
    assert_eq!(tree(&place.path("documents")), ["file", "sub"]);
    assert_eq!(
        tree(&place.path("work")),
        ["file", "sub", "sub/deep", "sub/file"]
    );
    let denied = denying.0.lock().unwrap();
    assert_eq!(denied.len(), 1, "told once");
    assert_eq!(
        (denied[0].kind, &*denied[0].what),
        ("directory", "documents")
    );
    assert_eq!(ran.host_log, ["write `access = \"write\"`"]);
}

#[tokio::test]
async fn open_files_are_counted_until_nothing_holds_them() {
    let place = Place::new();
    let limits = Limits {
        open_files: 3,
        ..Limits::default()
    };
    let steps = json!([
        open("/work", "file", "r", "a"),
        open("/work", "sub", "rd", "b"),
        {"hold-list": {"at": "b"}},
        open("/work", "file", "r", "c"),
        {"hold-list": {"at": "b"}},
        {"close": {"name": "b"}},
        open("/work", "file", "r", "c"),
        {"hold-stream": {"at": "c"}},
        {"close": {"name": "c"}},
        open("/work", "file", "r", "d"),
        {"close": {"name": "a"}},
        open("/work", "file", "r", "e"),
    ]);
    let ran = run_limited(&place.rights(), &limits, steps).await;
    let expected = [
        "ok", "ok", "ok", "quota", "quota", "ok", "ok", "ok", "ok", "quota", "ok", "ok",
    ];
    assert_eq!(ran.outputs(), expected);
    assert_eq!(ran.execution.usage.open_files, 3);
    assert_eq!(ran.host_log.len(), 1, "{:?}", ran.host_log);
    assert!(
        ran.host_log[0].contains("open_files: 3 allowed, 4 seen"),
        "{:?}",
        ran.host_log
    );
}

#[tokio::test]
async fn bytes_read_and_written_are_counted_to_the_last_one() {
    let place = Place::new();
    fs::write(place.path("work/hundred"), [b'x'; 100]).unwrap();
    let bytes = |file_bytes| Limits {
        file_bytes,
        ..Limits::default()
    };
    let read = json!([
        open("/work", "hundred", "r", "a"),
        {"read": {"at": "a", "length": 1000, "offset": 0}},
        {"read": {"at": "a", "length": 1000, "offset": 99}},
        {"read": {"at": "a", "length": 1000, "offset": 100}},
    ]);
    let ran = run_limited(&place.rights(), &bytes(101), read.clone()).await;
    let whole = "100 false xxxxxxxxxxxxxxxx";
    assert_eq!(
        ran.outputs(),
        ["ok", whole, "1 false x", "0 true "],
        "at the limit"
    );
    assert_eq!(ran.execution.usage.file_bytes, 101);
    let ran = run_limited(&place.rights(), &bytes(100), read.clone()).await;
    assert_eq!(
        ran.outputs(),
        ["ok", whole, "quota", "0 true "],
        "one past it"
    );
    let ran = run_limited(&place.rights(), &bytes(99), read).await;
    assert_eq!(
        ran.outputs()[1],
        "99 false xxxxxxxxxxxxxxxx",
        "cut, not failed"
    );
    assert!(
        ran.host_log[0].contains("file_bytes: 99 allowed, 100 seen"),
        "{:?}",
        ran.host_log
    );

    let stream =
        json!([open("/work", "hundred", "r", "a"), {"read-stream": {"at": "a", "chunk": 30}}]);
    let ran = run_limited(&place.rights(), &bytes(100), stream.clone()).await;
    assert_eq!(ran.outputs(), ["ok", "100"]);
    let ran = run_limited(&place.rights(), &bytes(99), stream).await;
    assert_eq!(
        (ran.outputs()[1].as_str(), ran.execution.usage.file_bytes),
        ("quota", 99)
    );

    for (index, write) in [
        json!({"write": {"at": "a", "bytes": 100, "offset": 0}}),
        json!({"write-stream": {"at": "a", "bytes": 100, "offset": 0}}),
        json!({"append-stream": {"at": "a", "bytes": 100}}),
    ]
    .iter()
    .enumerate()
    {
        let steps = json!([open("/work", &format!("new-{index}"), "wcx", "a"), write]);
        let path = place.path("work").join(format!("new-{index}"));
        let ran = run_limited(&place.rights(), &bytes(99), steps.clone()).await;
        assert_eq!(ran.outputs()[1], "quota", "{write}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 0, "nothing is written");
        fs::remove_file(&path).unwrap();
        let ran = run_limited(&place.rights(), &bytes(100), steps).await;
        assert_eq!(ran.outputs()[1], "100", "{write}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
    }
    let splice = json!([
        open("/work", "hundred", "r", "a"),
        open("/work", "copy", "wcx", "b"),
        {"splice": {"from": "a", "to": "b", "bytes": 100}},
    ]);
    let ran = run_limited(&place.rights(), &bytes(200), splice).await;
    assert_eq!(
        (ran.outputs()[2].as_str(), ran.execution.usage.file_bytes),
        ("100", 200)
    );
}

#[tokio::test]
async fn growth_is_counted_by_the_new_end_and_never_given_back() {
    let place = Place::new();
    let limits = Limits {
        scratch_bytes: 1_000,
        ..Limits::default()
    };
    for at in ["/tmp", "/work"] {
        let steps = json!([
            open(at, "new", "rwc", "a"),
            {"write": {"at": "a", "bytes": 600, "offset": 0}},
            {"write": {"at": "a", "bytes": 600, "offset": 0}},
            {"write-stream": {"at": "a", "bytes": 650, "offset": 0}},
            {"set-size": {"at": "a", "size": 900}},
            {"append-stream": {"at": "a", "bytes": 90}},
            {"set-size": {"at": "a", "size": 1001}},
            {"write": {"at": "a", "bytes": 1, "offset": 1000}},
            {"write": {"at": "a", "bytes": 1, "offset": 1_u64 << 40}},
            {"write": {"at": "a", "bytes": 1, "offset": u64::MAX}},
            {"set-size": {"at": "a", "size": u64::MAX}},
            {"append-stream": {"at": "a", "bytes": 11}},
            {"set-size": {"at": "a", "size": 1000}},
            {"set-size": {"at": "a", "size": 0}},
            {"write": {"at": "a", "bytes": 1, "offset": 0}},
        ]);
        let ran = run_limited(&place.rights(), &limits, steps).await;
        let expected = [
            "ok",
            "600",
            "600",
            "650",
            "ok",
            "90",
            "quota",
            "quota",
            "quota",
            "file-too-large",
            "quota",
            "quota",
            "ok",
            "ok",
            "quota",
        ];
        assert_eq!(ran.outputs(), expected, "{at}");
        assert_eq!(ran.execution.usage.scratch_bytes, 1_000);
        assert_eq!(ran.host_log.len(), 1, "{:?}", ran.host_log);
    }
    // What was there already can be overwritten, but not grown.
    let none = Limits {
        scratch_bytes: 0,
        ..Limits::default()
    };
    let steps = json!([
        open("/work", "file", "w", "a"),
        {"write": {"at": "a", "bytes": 8, "offset": 0}},
        {"write": {"at": "a", "bytes": 9, "offset": 0}},
    ]);
    assert_eq!(
        run_limited(&place.rights(), &none, steps).await.outputs(),
        ["ok", "8", "quota"]
    );
}

#[tokio::test]
async fn what_is_created_is_counted() {
    let place = Place::new();
    let limits = Limits {
        scratch_files: 4,
        ..Limits::default()
    };
    let steps = json!([
        open("/tmp", "file", "wcx", "a"),
        open("/tmp", "file", "wcx", "b"),
        open("/tmp", "file", "wct", "c"),
        {"mkdir": {"at": "/tmp", "path": "directory"}},
        {"mkdir": {"at": "/tmp", "path": "directory"}},
        {"link": {"at": "/tmp", "path": "file", "to": "/tmp", "new_path": "hard"}},
        {"link": {"at": "/tmp", "path": "none", "to": "/tmp", "new_path": "hard-too"}},
        {"symlink": {"at": "/work", "target": "file", "path": "soft"}},
        open("/tmp", "two", "wc", "d"),
        {"mkdir": {"at": "/work", "path": "two"}},
        {"link": {"at": "/tmp", "path": "file", "to": "/tmp", "new_path": "two"}},
        {"symlink": {"at": "/tmp", "target": "file", "path": "two"}},
        {"unlink": {"at": "/tmp", "path": "hard"}},
        open("/tmp", "two", "wc", "e"),
        {"list": {"at": "/tmp"}},
    ]);
    let ran = run_limited(&place.rights(), &limits, steps).await;
    let quota = "quota";
    let expected = [
        "ok",
        "exist",
        "ok",
        "ok",
        "exist",
        "ok",
        "no-entry",
        "ok",
        quota,
        quota,
        quota,
        quota,
        "ok",
        quota,
        "directory file",
    ];
    assert_eq!(ran.outputs(), expected);
    assert_eq!(ran.execution.usage.scratch_files, 4);
}

#[tokio::test]
async fn a_huge_read_is_cut_and_what_is_read_costs_fuel() {
    let place = Place::new();
    fs::File::create(place.path("documents/large"))
        .unwrap()
        .set_len(8 << 30)
        .unwrap();
    let read = |length: u64| {
        json!([
            open("/documents", "large", "r", "a"),
            {"read": {"at": "a", "length": length, "offset": 0}},
        ])
    };
    let rights = place.rights();
    let large = run_limited(&rights, &Limits::default(), read(4 << 30)).await;
    assert!(
        large.outputs()[1].starts_with("65536 false"),
        "{:?}",
        large.outputs()
    );
    assert_eq!(large.execution.usage.file_bytes, 65_536);
    let small = run_limited(&rights, &Limits::default(), read(1)).await;
    let more = large.execution.usage.fuel - small.execution.usage.fuel;
    assert!(more >= 65_535, "{more}");
    // By stream, in one call for 4 GiB each.
    let limits = Limits {
        file_bytes: 1 << 20,
        ..Limits::default()
    };
    let steps = json!([
        open("/documents", "large", "r", "a"),
        {"read-stream": {"at": "a", "chunk": 4_u64 << 30}},
    ]);
    let ran = run_limited(&rights, &limits, steps).await;
    assert_eq!(
        (ran.outputs()[1].as_str(), ran.execution.usage.file_bytes),
        ("quota", 1 << 20)
    );
}

#[tokio::test]
async fn every_call_counts() {
    let place = Place::new();
    let stat = json!({"stat": {"at": "/documents", "path": "file", "follow": true}});
    let limits = Limits {
        host_calls: 60,
        ..Limits::default()
    };
    let ran = run_limited(&place.rights(), &limits, Value::Array(vec![stat; 100])).await;
    let fault = fault(ran.execution);
    assert_eq!(fault.code, Code::OutOfFuel);
    assert_eq!(fault.limit.unwrap().name, "host_calls");
}

#[tokio::test]
async fn lists_directories_of_any_size() {
    let place = Place::new();
    for n in 0..350 {
        fs::write(place.path("documents/sub").join(n.to_string()), "").unwrap();
    }
    let steps = json!([open("/documents", "sub", "rd", "a"), {"list": {"at": "a"}}, {"list": {"at": "/tmp"}}]);
    assert_eq!(run(&place.rights(), steps).await, ["ok", "350", ""]);
}

/// What is below the directory of the one process that uses `base`.
fn left_in(base: &Path) -> Vec<String> {
    let mut processes = fs::read_dir(base)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    tree(&processes.next().unwrap())
}

/// Waits for what a thread in the background brings about.
async fn eventually(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(30), "never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Panics at the first event.
struct Panicking;

impl EventSink for Panicking {
    #[expect(clippy::panic, reason = "host code that panics is what is tested")]
    fn event(&self, _event: Event) {
        panic!("a sink must not, and this one does");
    }
}

#[tokio::test]
async fn scratch_is_gone_however_an_execution_ends() {
    let base = tempfile::tempdir().unwrap();
    let guests = Guests::new(base.path()).await;
    let engine = &guests.bench.engine;
    let rights = Arc::new(Rights {
        has_scratch: true,
        ..Rights::default()
    });
    let and = |last: Value| {
        json!([
            {"mkdir": {"at": "/tmp", "path": "a"}},
            {"mkdir": {"at": "/tmp", "path": "a/b"}},
            open("/tmp", "a/b/file", "rwc", "f"),
            {"write": {"at": "f", "bytes": 10_000, "offset": 0}},
            {"symlink": {"at": "/tmp", "target": "a/b", "path": "soft"}},
            {"start-write": {"at": "f", "bytes": 60_000, "offset": 0}},
            last,
        ])
    };
    let limits = Limits::default();
    let (request, _) = guests.script(&rights, &limits, &and(json!({"list": {"at": "/tmp"}})));
    let execution = engine.execute(&guests.script, request).await;
    assert!(
        support::json(&execution).contains("a soft"),
        "{execution:?}"
    );
    assert!(left_in(base.path()).is_empty(), "after success");

    let (request, _) = guests.script(&rights, &limits, &and(json!({"panic": {}})));
    assert_eq!(
        fault(engine.execute(&guests.script, request).await).code,
        Code::Panicked
    );
    assert!(left_in(base.path()).is_empty(), "after a panic");

    let spin = and(json!({"spin": {}}));
    let short = Limits {
        timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let (request, _) = guests.script(&rights, &short, &spin);
    assert_eq!(
        fault(engine.execute(&guests.script, request).await).code,
        Code::Deadline
    );
    assert!(left_in(base.path()).is_empty(), "after the deadline");

    let (request, _) = guests.script(&rights, &limits, &spin);
    let cancel = CancellationToken::clone(&request.cancel);
    let (execution, ()) = tokio::join!(engine.execute(&guests.script, request), async {
        eventually(|| {
            left_in(base.path())
                .iter()
                .any(|path| path.ends_with("soft"))
        })
        .await;
        cancel.cancel();
    });
    assert_eq!(fault(execution).code, Code::Cancelled);
    assert!(left_in(base.path()).is_empty(), "after cancelling");

    let (request, _) = guests.script(&rights, &limits, &spin);
    {
        let mut running = Box::pin(engine.execute(&guests.script, request));
        tokio::select! {
            _ = &mut running => panic!("it spins"),
            () = eventually(|| left_in(base.path()).iter().any(|path| path.ends_with("soft"))) => {}
        }
    }
    eventually(|| left_in(base.path()).is_empty()).await;

    let none = Limits {
        scratch_bytes: 0,
        ..Limits::default()
    };
    let (mut request, _) = guests.script(&rights, &none, &spin);
    request.sink = Arc::new(Panicking);
    assert_eq!(
        fault(engine.execute(&guests.script, request).await).code,
        Code::HostFault
    );
    assert!(left_in(base.path()).is_empty(), "after a panic of the host");
}

#[tokio::test]
async fn each_execution_finds_its_scratch_empty() {
    let place = Place::new();
    let steps =
        json!([{"list": {"at": "/tmp"}}, open("/tmp", "mine", "wcx", "a"), {"preopens": {}}]);
    for _ in 0..2 {
        let outputs = run(&place.rights(), steps.clone()).await;
        assert_eq!(outputs, ["", "ok", "/documents /tmp /work"]);
    }
}

#[test]
fn works_on_guest_threads_and_ends_with_an_aborted_task() {
    let base = tempfile::tempdir().unwrap();
    let around = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let guests = around.block_on(Guests::new(base.path()));
    let rights = Arc::new(Rights {
        has_scratch: true,
        ..Rights::default()
    });
    let executor = Executor::new(1).unwrap();
    let write = json!([
        open("/tmp", "file", "rwc", "a"),
        {"write-stream": {"at": "a", "bytes": 100_000, "offset": 0}},
        {"read-stream": {"at": "a", "chunk": 8192}},
    ]);
    let start = |steps: &Value| {
        let (request, _) = guests.script(&rights, &Limits::default(), steps);
        let (engine, module) = (guests.bench.engine.clone(), guests.script.clone());
        executor.spawn(async move { engine.execute(&module, request).await })
    };
    let execution = around.block_on(start(&write)).unwrap();
    assert_eq!(support::json(&execution), r#"["ok","100000","100000"]"#);
    assert!(left_in(base.path()).is_empty());
    let mut spinning = write;
    spinning.as_array_mut().unwrap().push(json!({"spin": {}}));
    let handle = start(&spinning);
    around.block_on(eventually(|| !left_in(base.path()).is_empty()));
    handle.abort();
    around.block_on(eventually(|| left_in(base.path()).is_empty()));
}

#[tokio::test]
async fn without_a_grant_there_is_no_directory() {
    let none = Rights::none();
    let ran = run_limited(&none, &Limits::default(), json!([{"preopens": {}}])).await;
    assert_eq!(ran.outputs(), [""]);
    let usage = ran.execution.usage;
    assert_eq!(
        (usage.open_files, usage.file_bytes, usage.scratch_files),
        (0, 0, 0)
    );
    let guests = Guests::shared().await;
    let request = request("index", "{}", Limits::default());
    let fault = fault(guests.bench.engine.execute(&guests.files, request).await);
    assert_eq!((fault.code, &*fault.kind), (Code::TaskError, "not-found"));
}

#[tokio::test]
async fn says_which_granted_directory_is_missing() {
    let place = Place::new();
    fs::remove_dir_all(place.path("documents")).unwrap();
    let ran = run_limited(&place.rights(), &Limits::default(), json!([])).await;
    let fault = fault(ran.execution);
    assert_eq!(fault.code, Code::HostFault);
    assert!(fault.message.contains("`documents`"), "{}", fault.message);
    assert!(
        !fault.message.contains(&place.absolute("")),
        "the path is the operator's business"
    );
}

#[tokio::test]
async fn the_sample_indexes_a_granted_directory() {
    let place = Place::new();
    fs::write(place.path("documents/sub/note.txt"), "hello").unwrap();
    let guests = Guests::shared().await;
    let mut request = request("index", r#"{"suffix": ".txt"}"#, Limits::default());
    request.rights = place.rights();
    let execution = guests.bench.engine.execute(&guests.files, request).await;
    let index: Value = serde_json::from_str(support::json(&execution)).unwrap();
    let expected = json!([{
        "path": "sub/note.txt",
        "size": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }]);
    assert_eq!((&index["entries"], &index["files"]), (&expected, &json!(1)));
}

#[tokio::test]
async fn the_sample_sorts_through_its_scratch_directory() {
    let guests = Guests::shared().await;
    let lines: String = (0..300_000_u32)
        .map(|n| format!("{:07}\n", n.wrapping_mul(7_919) % 1_000_003))
        .collect();
    let mut sorted: Vec<_> = lines.lines().collect();
    sorted.sort_unstable();
    let sort = async |limits: Limits, has_scratch| {
        let mut request = request("sort-lines", "", limits);
        request.input = Payload::Bytes {
            content_type: "text/plain".to_owned(),
            data: lines.clone().into_bytes(),
        };
        request.rights = Arc::new(Rights {
            has_scratch,
            ..Rights::default()
        });
        guests.bench.engine.execute(&guests.files, request).await
    };
    let execution = sort(Limits::default(), true).await;
    let Verdict::Success(Payload::Bytes { data, .. }) = execution.verdict else {
        panic!("{:?}", execution.verdict);
    };
    assert_eq!(String::from_utf8(data).unwrap(), sorted.join("\n") + "\n");
    let usage = execution.usage;
    assert_eq!((usage.scratch_bytes, usage.scratch_files), (2_400_000, 3));
    assert_eq!(usage.file_bytes, 4_800_000);
    assert_eq!(
        fault(sort(Limits::default(), false).await).kind,
        "no-scratch"
    );
    let small = Limits {
        scratch_bytes: 2_399_999,
        ..Limits::default()
    };
    assert_eq!(fault(sort(small, true).await).kind, "io");
    let few = Limits {
        scratch_files: 2,
        ..Limits::default()
    };
    let fault = fault(sort(few, true).await);
    assert_eq!(fault.kind, "limit", "{}", fault.message);
}
