//! The table of settings as an example file and as the page docs/configuration.md.

use std::fmt::Write as _;

use super::table::{Default, Row, TABLE};

const INTRODUCTION: &str = "\
# Settings

<!-- Generated from host/src/settings/table.rs: `UPDATE_DOCS=1 cargo test --release -p celeriac --test cli_docs` -->

Each setting is resolved once, at start, from four layers; a later one goes over an earlier one:

1. its default;
2. one file: the one named by `--config FILE` or `CELERIAC_CONFIG` (it must exist then), else the first of
   `celeriac.toml` in the working directory, `$XDG_CONFIG_HOME/celeriac/celeriac.toml` (`~/.config/…`) and
   `/etc/celeriac/celeriac.toml`;
3. the environment: `CELERIAC_` and the key in capitals, `_` for `.`: `CELERIAC_LIMITS_FUEL=50G`;
4. flags: those of the command (`--broker`, `serve --queues`, …), and `--set KEY=VALUE` for any setting.

`celeriac config` prints every value with its source, `celeriac config --example` a commented file.
A key that does not exist and a value of the wrong type are refused, with what was expected.

The file also holds the tables `[grants.\"PATTERN\"]`: what modules may do. They are described in [policy.md](policy.md),
come from the file only, and are the one part that a running host reads again (at SIGHUP).

## How values are written

| kind | examples | meaning |
|---|---|---|
| duration | `\"500us\"` `\"10ms\"` `\"30s\"` `\"5m\"` `\"1h30m\"` `\"1d\"` | always text with a unit |
| size | `\"512KiB\"` `\"64MiB\"` `\"2GiB\"` `\"1MB\"` `4096` | `KiB` is 1024 bytes, `kB` 1000; a bare number is bytes |
| fuel | `\"500M\"` `\"10G\"` `1000` | `K` `M` `G` `T` are powers of 1000; one unit is about one wasm instruction |
| list | `[\"default\", \"images\"]` | in the environment and in flags: `default,images` |
| directory | `\"store\"` `\"~/celeriac\"` | relative to the file that names it, else to the working directory |

What an attempt gets is the least of what its author asks for (else `defaults.*`), what its caller asks
for, and `limits.*`.

## All settings

";

/// A settings file with every setting in it, commented out, with its default.
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of Celeriac. Each line that is commented out shows the default.\n\
         # Environment variables (CELERIAC_LIMITS_FUEL for limits.fuel) and flags go over this file.\n",
    );
    let mut section = "";
    for row in TABLE.iter() {
        let (group, name) = row.key.split_once('.').unwrap_or(("", row.key));
        // Keys outside a section would become part of the section before them.
        if group.is_empty() {
            write_setting(&mut text, row, name);
        }
    }
    for row in TABLE.iter() {
        let Some((group, name)) = row.key.split_once('.') else {
            continue;
        };
        if group != section {
            section = group;
            let _ = write!(text, "\n[{group}]\n");
        }
        write_setting(&mut text, row, name);
    }
    text
}

fn write_setting(text: &mut String, row: &Row, name: &str) {
    text.push('\n');
    for line in wrapped(row.doc, 96) {
        let _ = writeln!(text, "# {line}");
    }
    let _ = match row.default {
        Default::Fixed(default) => writeln!(text, "# {name} = {}", as_toml(row, default)),
        Default::Found(words) => {
            writeln!(text, "# Default: {words}.\n# {name} = {}", sample(row.key))
        }
    };
}

fn as_toml(row: &Row, text: &str) -> String {
    row.kind
        .read(text)
        .map(|value| value.to_toml())
        .unwrap_or_default()
}

/// What a setting without a fixed default may look like.
fn sample(key: &str) -> &'static str {
    match key {
        "broker" => "\"redis://127.0.0.1:6379\"",
        "data_dir" => "\"/var/lib/celeriac\"",
        "cache_dir" => "\"/var/cache/celeriac\"",
        "http.listen" => "\"127.0.0.1:7373\"",
        _ => "64",
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The page docs/configuration.md.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    for row in TABLE.iter() {
        let default = match row.default {
            Default::Fixed(default) => format!("`{}`", as_toml(row, default)),
            Default::Found(words) => words.to_owned(),
        };
        let _ = write!(
            text,
            "### `{}`\n\n{}\n\n- default: {default}\n- expects: {}\n- environment: `{}`\n\n",
            row.key,
            row.doc,
            row.kind.expected(),
            row.env()
        );
    }
    let _ = write!(
        text,
        "## A file to start from\n\n```toml\n{}```\n",
        example()
    );
    text
}
