//! The real binary, without a host, on an embedded store in a temporary directory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A well-formed id that no store has given out.
const UNKNOWN: &str = "0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8";

/// A home of its own for the program: nothing of this machine's settings reaches it.
struct Home(TempDir);

/// What a run of the program said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    #[track_caller]
    fn failed(self, code: i32, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no `{part}` in: {}",
                self.stderr
            );
        }
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.stdout, "", "nothing but data goes to standard output");
        self
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

// ---- settings -------------------------------------------------------------------------------------

#[test]
fn flags_go_over_environment_over_file_over_defaults() {
    let home = Home::new();
    let file = home.write(
        "celeriac.toml",
        "lease = \"11s\"\ngrace = \"12s\"\n[limits]\nfuel = \"13G\"\n",
    );
    let mut command = home.command(&["config", "--json", "--set", "lease=15s"]);
    let said = said(
        command
            .env("CELERIAC_GRACE", "14s")
            .env("CELERIAC_LEASE", "16s")
            .output()
            .unwrap(),
    );
    let document = said.json();
    assert_eq!(document["file"], Value::from(file.as_str()));
    let setting = |key: &str| &document["settings"][key];
    let expect = |key: &str, value: &str, source: &str, place: Value| {
        assert_eq!(setting(key)["value"], value, "{key}");
        assert_eq!(
            (&setting(key)["source"], &setting(key)["place"]),
            (&Value::from(source), &place),
            "{key}"
        );
    };
    expect("lease", "15s", "flag", "--set".into());
    expect("grace", "14s", "environment", "CELERIAC_GRACE".into());
    expect("limits.fuel", "13G", "file", file.into());
    expect("caps.input", "8MiB", "default", Value::Null);
    assert_eq!(
        setting("limits.fuel")["environment"],
        "CELERIAC_LIMITS_FUEL"
    );
}

#[test]
fn an_unknown_key_is_refused_with_file_key_and_the_nearest_one() {
    let home = Home::new();
    let file = home.write("mine.toml", "[limits]\nfule = \"1G\"\n");
    let place = format!("error: {file}: there is no setting `limits.fule`");
    home.run(&["config", "--config", &file])
        .failed(2, &[&place, "→ did you mean `limits.fuel`?"]);
}

#[test]
fn a_value_of_the_wrong_type_says_what_was_expected() {
    let home = Home::new();
    let said = said(
        home.command(&["queues"])
            .env("CELERIAC_LEASE", "soon")
            .output()
            .unwrap(),
    );
    said.failed(
        2,
        &[
            "CELERIAC_LEASE: `lease` is `soon`, expected a duration such as",
            "→ `celeriac config --example`",
        ],
    );
    home.run(&["config", "--set", "concurrency=0"]).failed(
        2,
        &["--set: `concurrency` is `0`, expected a whole number from 1"],
    );
    home.run(&["config", "--config", "none.toml"])
        .failed(2, &["none.toml cannot be read", "→ check the path"]);
}

#[test]
fn the_example_is_a_valid_file() {
    let home = Home::new();
    let example = home.run(&["config", "--example"]);
    assert_eq!(example.code, 0, "{}", example.stderr);
    home.write("celeriac.toml", &example.stdout);
    let document = home.run(&["config", "--json"]).json();
    assert_eq!(document["settings"]["defaults.memory"]["source"], "default");
}

#[test]
fn config_never_shows_a_password() {
    let said = Home::new().run(&["config", "--broker", "redis://me:secret@db/0"]);
    assert!(
        said.stdout.contains("redis://me:***@db/0"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains("secret"), "{}", said.stdout);
}

// ---- what is wrong with what was typed ------------------------------------------------------------

#[test]
fn a_wrong_task_says_what_a_task_looks_like() {
    let home = Home::new();
    home.run(&["call", "resize"]).failed(
        2,
        &["task `resize` is not valid: expected MODULE/TASK, such as `images/resize`"],
    );
    home.run(&["call", "images/resize"]).failed(
        4,
        &["there is no module `images`", "→ `celeriac modules` lists"],
    );
}

#[test]
fn wrong_input_is_refused_before_anything_is_sent() {
    let home = Home::new();
    home.run(&["call", "a/b", "--input", "{a}"]).failed(
        2,
        &["error: --input is not JSON", "→ quote JSON for the shell"],
    );
    home.run(&["call", "a/b", "--input", "@none.json"])
        .failed(2, &["none.json cannot be read"]);
    home.run(&["call", "a/b", "--fuel", "lots"])
        .failed(2, &["fuel such as `500M`"]);
    home.write("big.json", &format!("\"{}\"", "x".repeat(2000)));
    home.run(&[
        "call",
        "a/b",
        "--input",
        "@big.json",
        "--set",
        "caps.input=1KiB",
    ])
    .failed(
        2,
        &[
            "big.json has more than 1024 bytes",
            "→ make it smaller, or raise `caps.input`",
        ],
    );
}

#[test]
fn an_unknown_id_is_told_from_one_that_is_none() {
    let home = Home::new();
    for command in ["status", "wait", "cancel", "logs"] {
        home.run(&[command, "nonsense"]).failed(
            2,
            &["invocation id `nonsense` is not valid", "expected a UUID"],
        );
        home.run(&[command, UNKNOWN]).failed(
            4,
            &[
                &format!("invocation {UNKNOWN} is not known here"),
                "→ check the id",
            ],
        );
    }
}

#[test]
fn what_is_meant_is_said_by_id_or_by_filters() {
    let home = Home::new();
    for (arguments, done) in [
        (&["cancel"][..], "cancelled"),
        (&["cancel", "--dry-run"], "cancelled"),
        (&["dead", "retry"], "retried"),
        (&["dead", "drop"], "dropped"),
    ] {
        home.run(arguments).failed(
            2,
            &[
                &format!("nothing says what is to be {done}"),
                "→ name it by `ID…`, or all that filters ask for: `--",
                "`--older-than`",
            ],
        );
    }
    // With a filter it is meant, also where nothing is there.
    for arguments in [
        &["cancel", "--key", "tenant-17"][..],
        &["cancel", "--older-than", "1h", "--dry-run"],
        &["dead", "drop", "--older-than", "1h"],
        &["dead", "retry", "--task", "shop"],
    ] {
        assert_eq!(home.run(arguments).code, 0, "{arguments:?}");
    }
}

#[test]
fn a_schedule_asks_for_either_way_to_say_when() {
    let home = Home::new();
    let add = ["schedules", "add", "nightly", "a/b"];
    home.run(&add)
        .failed(2, &["--cron <PATTERN>|--every <DURATION>"]);
    let both = [&add[..], &["--cron", "* * * * *", "--every", "1h"]].concat();
    home.run(&both).failed(2, &["cannot be used with"]);
    let own = [&add[..], &["--every", "1h", "--queue", "celeriac"]].concat();
    home.run(&own)
        .failed(2, &["is for what clients ask of hosts"]);
    let unknown = [&add[..], &["--every", "1h", "--limit", "soft_timeoutt=1s"]].concat();
    home.run(&unknown)
        .failed(2, &["did you mean `soft_timeout`?"]);
}

#[test]
fn a_schedule_takes_the_options_of_a_call() {
    let home = Home::new();
    let add = "schedules add nightly a/b --every 1h --priority low --fairness-key t --concurrency-key c \
               --retries 2 --backoff 10s --retry-on io --timeout 5m --fuel 1G --memory 64MiB \
               --limit soft_timeout=4m --ttl 2h --record --delay 1s --expires 5m --deadline 1h --queue q";
    let arguments: Vec<_> = add.split_whitespace().collect();
    assert_eq!(home.run(&arguments).code, 0);
    let shown = home.run(&["schedules", "show", "nightly", "--json"]).json();
    let options = serde_json::json!({
        "queue": "q", "priority": "low", "fairness_key": "t", "concurrency_key": "c", "retries": 2,
        "backoff": "10s", "retry_on": ["io"], "timeout_ms": 300_000, "fuel": 1_000_000_000,
        "memory_bytes": 67_108_864, "limits": { "soft_timeout": 240_000 }, "result_ttl_ms": 7_200_000,
        "record": true, "start": { "in_ms": 1_000 }, "expires": { "in_ms": 300_000 },
        "deadline": { "in_ms": 3_600_000 },
    });
    assert_eq!(shown["options"], options);
}

#[test]
fn the_example_of_a_file_of_schedules_is_applied() {
    let home = Home::new();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schedules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap();
    home.write("schedules.toml", example.split("```").next().unwrap());
    let said = home.run(&["schedules", "apply", "schedules.toml"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "beat added\nnightly added\n"),
        "{}",
        said.stderr
    );
    let again = home.run(&["schedules", "apply", "schedules.toml"]);
    assert_eq!(again.stdout, "beat unchanged\nnightly unchanged\n");
    let shown = home.run(&["schedules", "show", "nightly", "--json"]).json();
    assert_eq!(shown["options"]["limits"]["http_timeout"], 5_000);
}

#[test]
fn a_batch_says_at_once_what_it_does_not_go_with() {
    let home = Home::new();
    for given in [
        ["--idempotency-key", "k"],
        ["--unique", "k"],
        ["--after", UNKNOWN],
        ["--on-success", "a/b"],
        ["--on-failure", "a/b"],
        ["--on-done", "https://example.com/"],
    ] {
        // The file is not even looked for.
        let arguments = [&["call", "a/b", "--batch", "none.jsonl"][..], &given].concat();
        home.run(&arguments).failed(
            2,
            &[
                &format!("`--batch` does not go with `{}`", given[0]),
                "→ these are about one invocation: call the task once for each input",
            ],
        );
    }
}

#[test]
fn a_callback_names_a_host() {
    let home = Home::new();
    for url in ["http://", "https:///hook", "http://:80/"] {
        home.run(&["call", "a/b", "--on-done", url])
            .failed(2, &["https://HOST…"]);
    }
}

#[test]
fn a_broker_that_does_not_answer_has_an_exit_code_of_its_own() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let home = Home::new();
    home.run(&["queues", "--broker", &url])
        .failed(3, &["does not answer", "`celeriac doctor` looks closer"]);
    let said = home.run(&["doctor", "--json", "--broker", &url]);
    assert_eq!(said.code, 3);
    assert_eq!(said.json()["checks"][0]["verdict"], "bad");
}

#[test]
fn an_upload_that_cannot_be_is_refused_at_once() {
    let home = Home::new();
    home.run(&["push", "none.wasm", "--name", "a@1"])
        .failed(2, &["none.wasm cannot be read"]);
    home.run(&["push", "none.wasm", "--name", "No Name"])
        .failed(2, &["module name `No Name` is not valid"]);
    home.write("large.wasm", &"x".repeat(5000));
    home.run(&[
        "push",
        "large.wasm",
        "--name",
        "a@1",
        "--set",
        "caps.module=1KiB",
    ])
    .failed(
        5,
        &[
            "large.wasm has 4.9 KiB and the limit is 1 KiB",
            "→ build with --release",
        ],
    );
}

// ---- what is said ---------------------------------------------------------------------------------

#[test]
fn each_list_is_one_document() {
    let home = Home::new();
    for (command, key) in [
        ("queues", "queues"),
        ("hosts", "hosts"),
        ("modules", "modules"),
    ] {
        let said = home.run(&[command, "--json"]);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{command}");
        assert!(said.json()[key].is_array(), "{}", said.stdout);
    }
    let said = home.run(&["status", UNKNOWN, "--json"]);
    let document = said.json();
    assert_eq!(said.code, 4);
    assert_eq!(document["invocations"][0]["id"], UNKNOWN);
    assert_eq!(document["invocations"][0]["error"]["exit"], 4);
}

#[test]
fn an_error_is_a_document_too() {
    let home = Home::new();
    let said = home
        .run(&["modules", "show", "images", "--json"])
        .failed(4, &[]);
    let document: Value = serde_json::from_str(&said.stderr).unwrap();
    assert_eq!(document["error"]["exit"], 4);
    assert!(
        document["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("celeriac push")
    );
    let said = home.run(&["call", "--json"]).failed(2, &[]);
    let document: Value = serde_json::from_str(&said.stderr).unwrap();
    assert_eq!(document["error"]["exit"], 2);
}

#[test]
fn doctor_checks_broker_and_machine() {
    let home = Home::new();
    let document = home.run(&["doctor", "--json"]).json();
    let checks = document["checks"].as_array().unwrap();
    for name in [
        "broker",
        "hosts",
        "address space",
        "mappings",
        "clock",
        "data_dir",
        "cache_dir",
    ] {
        let check = checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {checks:?}"));
        assert!(
            check["verdict"] == "good" || !check["remedy"].as_str().unwrap_or_default().is_empty(),
            "{check}"
        );
    }
    let said = home.run(&["doctor", "--set", "concurrency=100000"]);
    assert_eq!(said.code, 7, "{}", said.stdout);
    assert!(
        said.stdout.contains("→ set `concurrency` to"),
        "{}",
        said.stdout
    );
}

#[test]
fn no_colour_reaches_a_program() {
    let home = Home::new();
    for arguments in [&["config"][..], &["doctor"], &["--help"], &["call", "x"]] {
        let said = home.run(arguments);
        assert!(
            !format!("{}{}", said.stdout, said.stderr).contains('\u{1b}'),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_reader_that_goes_early_is_no_error() {
    let mut child = Home::new()
        .command(&["config", "--example"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = said(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let home = Home::new();
    for command in [
        "new", "push", "modules", "call", "status", "wait", "cancel", "logs", "queues", "hosts",
        "policy", "doctor", "config",
    ] {
        let said = home.run(&[command, "--help"]);
        assert!(
            said.stdout
                .contains(&format!("Examples:\n  celeriac {command}")),
            "{command}: {}",
            said.stdout
        );
    }
    let said = home.run(&["help", "exit-codes"]);
    for code in 0..=7 {
        assert!(
            said.stdout.contains(&format!("\n  {code}  ")),
            "{}",
            said.stdout
        );
    }
    let said = home.run(&["completions", "bash"]);
    assert!(said.stdout.contains("_celeriac"), "{}", said.stdout);
}

// ---- new ------------------------------------------------------------------------------------------

#[test]
fn new_writes_a_project_and_never_over_one() {
    let home = Home::new();
    let said = home.run(&["new", "my-shop", "--json"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(said.json()["name"], "my-shop");
    let project = home.path().join("my-shop");
    let manifest = std::fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("name = \"my-shop\"")
            && manifest.contains("path = \"vendor/celeriac-guest\""),
        "{manifest}"
    );
    for path in [
        "src/lib.rs",
        "README.md",
        ".gitignore",
        ".cargo/config.toml",
        "vendor/celeriac-guest/wit/task.wit",
    ] {
        assert!(project.join(path).is_file(), "{path}");
    }
    home.run(&["new", "my-shop"]).failed(
        2,
        &["my-shop exists and is not empty", "nothing was written"],
    );
    home.run(&["new", "9lives"])
        .failed(2, &["`9lives` is not valid"]);
}

/// The file of a sample module.
fn sample(name: &str) -> String {
    let directory = std::env::var("CELERIAC_TASKS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tasks/target/wasm32-wasip2/release"),
        Into::into,
    );
    directory.join(format!("{name}.wasm")).display().to_string()
}

#[test]
fn run_prints_every_limit_within_80_columns_and_lowers_them_by_name() {
    let home = Home::new();
    let basics = sample("basics");
    let limits = ["--limit", "log_lines=3", "--limit", "emit_bytes=1MiB"];
    let more = ["--limit", "http_timeout=5s", "--limit", "host_calls=5k"];
    let mut arguments = vec![
        "run",
        &basics,
        "print",
        "--input",
        r#"{"lines":5}"#,
        "--logs",
    ];
    arguments.extend(limits.iter().chain(&more));
    let said = home.run(&arguments);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("log truncated"), "{}", said.stderr);
    let contract = said.stderr.split("limits, used / allowed").nth(1).unwrap();
    for info in celeriac::engine::Limits::all() {
        let name = format!("  {} ", info.name);
        assert!(
            contract.contains(&name),
            "{} is missing: {contract}",
            info.name
        );
    }
    for words in [
        "stack",
        "–",
        "of 5 K",
        "of 5.0 s",
        "of 1 MiB",
        "key-value store",
    ] {
        assert!(contract.contains(words), "`{words}` is missing: {contract}");
    }
    let widest = contract.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 80, "{contract}");
}

#[test]
fn a_limit_that_there_is_not_is_refused_with_the_one_that_was_meant() {
    let home = Home::new();
    for (limit, words) in [
        ("log_line=3", "did you mean `log_lines`?"),
        ("log_lines", "expected NAME=VALUE"),
        ("log_lines=5KiB", "expected a whole number such as"),
        ("emit_bytes=5s", "expected a size such as"),
        ("timeout=5", "expected a duration such as"),
    ] {
        for command in ["call", "run"] {
            let arguments = ["basics/print", "x", "--limit", limit];
            let arguments = match command {
                "call" => &[&["call", "basics/print"][..], &arguments[2..]].concat(),
                _ => &[&["run"][..], &arguments[..]].concat(),
            };
            home.run(arguments).failed(2, &[words]);
        }
    }
}
