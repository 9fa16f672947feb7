//! The pages about the command line and the settings say what the program does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::{fs, path::PathBuf, process::Command};

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// The table of settings is the source; `UPDATE_DOCS=1` writes the page anew.
#[test]
fn configuration_page_is_generated_from_the_table() {
    assert_generated("configuration.md", &celeriac::settings::reference());
}

#[test]
fn limits_page_is_generated_from_the_limits_and_has_each_of_them() {
    let fresh = celeriac::settings::limits_page();
    assert_generated("limits.md", &fresh);
    for info in celeriac::engine::Limits::all() {
        assert!(
            fresh.contains(&format!("| `{}` (", info.name)),
            "{}",
            info.name
        );
    }
}

fn assert_generated(name: &str, fresh: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(name), fresh).unwrap();
    }
    let stored = fs::read_to_string(page(name)).unwrap_or_default();
    assert!(
        stored == fresh,
        "docs/{name} is stale: UPDATE_DOCS=1 cargo test --release -p celeriac --test cli_docs"
    );
}

#[test]
fn command_line_page_has_each_command_with_an_example_and_each_exit_code() {
    let text = fs::read_to_string(page("cli.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let mut count = 0;
    for line in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let command = line.split_whitespace().next().unwrap();
        if command != "help" {
            count += 1;
            assert!(
                text.contains(&format!("## `celeriac {command}")),
                "{command} has no section"
            );
            assert!(
                text.contains(&format!("\nceleriac {command}")),
                "{command} has no example"
            );
        }
    }
    assert!(count > 10, "{help}");
    let explained = Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(["help", "exit-codes"])
        .output()
        .unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    for code in 0..=8 {
        assert!(text.contains(&format!("| {code} |")), "exit code {code}");
        assert!(
            explained.contains(&format!("\n  {code}  ")),
            "exit code {code}: {explained}"
        );
    }
}
