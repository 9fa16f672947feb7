//! `celeriac kv`: the real binary on an embedded store in a temporary directory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What a run of the program came to.
struct Said {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

/// Runs `celeriac kv counter …` in a home of its own, with this on standard input.
fn kv(home: &TempDir, arguments: &[&str], input: &[u8]) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(["kv", "counter"])
        .args(arguments)
        .env_clear()
        .env("HOME", home.path())
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read its input has gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn json_of(home: &TempDir, arguments: &[&str]) -> Value {
    let said = kv(home, &[arguments, &["--json"]].concat(), b"");
    assert_eq!(said.code, 0, "{}", said.stderr);
    serde_json::from_slice(&said.stdout).unwrap()
}

#[test]
fn sets_gets_lists_and_deletes() {
    let home = tempfile::tempdir().unwrap();
    for (key, value) in [("b", "2"), ("a", "-1"), ("other", "x")] {
        assert_eq!(kv(&home, &["set", key, value], b"").code, 0);
    }
    assert_eq!(kv(&home, &["get", "a"], b"").stdout, b"-1");
    assert_eq!(kv(&home, &["list"], b"").stdout, b"a\nb\nother\n");
    assert_eq!(
        json_of(&home, &["list", "--after", "a", "--limit", "1"]),
        json!({ "keys": ["b"] })
    );
    assert_eq!(
        json_of(&home, &["list", "--prefix", "o"]),
        json!({ "keys": ["other"] })
    );
    assert_eq!(
        json_of(&home, &["get", "b"]),
        json!({ "key": "b", "text": "2" })
    );
    assert_eq!(json_of(&home, &["delete", "b"]), json!({ "deleted": "b" }));
    for arguments in [["delete", "b"], ["get", "b"]] {
        let said = kv(&home, &arguments, b"");
        assert_eq!(said.code, 4, "{}", said.stderr);
        assert!(said.stderr.contains("counter has no key `b`") && said.stdout.is_empty());
    }
}

#[test]
fn takes_values_from_files_and_standard_input_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let bytes = [0, 255, b'\n', 128];
    std::fs::write(home.path().join("value"), bytes).unwrap();
    kv(&home, &["set", "file", "@value"], b"");
    kv(&home, &["set", "stdin", "-"], &bytes);
    for key in ["file", "stdin"] {
        assert_eq!(kv(&home, &["get", key], b"").stdout, bytes);
        assert_eq!(
            json_of(&home, &["get", key]),
            json!({ "key": key, "base64": "AP8KgA==" })
        );
    }
    let said = kv(&home, &["set", "large", "-"], &vec![0; (1 << 20) + 1]);
    assert_eq!(said.code, 2);
    assert!(
        said.stderr.contains("at most 1048576 bytes of one value"),
        "{}",
        said.stderr
    );
    assert_eq!(kv(&home, &["set", "file", "@missing"], b"").code, 2);
}

#[test]
fn shows_how_full_it_is_and_clears_only_when_it_is_meant() {
    let home = tempfile::tempdir().unwrap();
    kv(&home, &["set", "key", "value"], b"");
    let expected = json!({ "keys": 1, "bytes": 8, "max_keys": 100_000, "max_bytes": 64 << 20 });
    assert_eq!(json_of(&home, &["stats"]), expected);
    let said = kv(&home, &["clear"], b"");
    assert!(
        said.code == 2 && said.stderr.contains("--yes"),
        "{}",
        said.stderr
    );
    assert_eq!(json_of(&home, &["clear", "--yes"]), json!({ "cleared": 1 }));
    assert_eq!(json_of(&home, &["list"]), json!({ "keys": [] }));
    // The cap is the setting's.
    let said = kv(
        &home,
        &["set", "a", "1", "--set", "caps.kv_bytes=1KiB"],
        b"",
    );
    assert_eq!(said.code, 0, "{}", said.stderr);
    let large = "x".repeat(1024);
    let said = kv(
        &home,
        &["set", "b", &large, "--set", "caps.kv_bytes=1KiB"],
        b"",
    );
    assert!(
        said.code == 2 && said.stderr.contains("`caps.kv_bytes`"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_key_with_a_time_to_live_goes_by_itself() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(
        kv(&home, &["set", "gone", "1", "--ttl", "1ms"], b"").code,
        0
    );
    let begun = std::time::Instant::now();
    while kv(&home, &["get", "gone"], b"").code != 4 {
        assert!(begun.elapsed().as_secs() < 10, "it does not go");
    }
    let said = kv(&home, &["get", "bad\nkey"], b"");
    assert!(
        said.code == 2 && said.stderr.contains("control characters"),
        "{}",
        said.stderr
    );
}
