//! The bytes of hostile modules, and what each says that it tries.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where a module comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Built by cargo.
    Rust(&'static str),
    /// Put together from the text format here.
    Wat(&'static str),
    /// Made by a function.
    Made {
        /// What it tries.
        tries: &'static str,
        /// Makes its bytes.
        make: fn() -> Vec<u8>,
    },
}

impl Source {
    /// The bytes.
    pub(crate) fn bytes(self) -> Result<Vec<u8>> {
        match self {
            Self::Rust(name) => built(name),
            Self::Wat(name) => assemble(&text(&format!("wat/{name}.wat"))?),
            Self::Made { make, .. } => Ok(make()),
        }
    }

    /// The bytes of one in the text format, with this done before all else in its `run`, and these fields besides.
    pub(crate) fn with(name: &str, fields: &str, first: &str) -> Result<Vec<u8>> {
        let run = "(func (export \"run\") (param i32 i32 i32 i32 i32 i32 i32) (result i32)";
        let text = text(&format!("wat/{name}.wat"))?;
        anyhow::ensure!(text.contains(run), "{name} has no `run` of its own");
        assemble(&text.replace(run, &format!("{fields}\n{run}\n{first}")))
    }

    /// What it tries, in the words at the head of its source.
    pub(crate) fn tries(self) -> Result<String> {
        match self {
            Self::Rust(name) => Ok(head(&text(&format!("examples/{name}.rs"))?, "//!")),
            Self::Wat(name) => Ok(head(&text(&format!("wat/{name}.wat"))?, ";;")),
            Self::Made { tries, .. } => Ok(tries.to_owned()),
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tasks/hostile")
}

fn text(path: &str) -> Result<String> {
    let path = directory().join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn built(name: &str) -> Result<Vec<u8>> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = directory()
        .join("target/wasm32-wasip2/release/examples")
        .join(file);
    std::fs::read(&path)
        .with_context(|| format!("{} is not there: run `make tasks`", path.display()))
}

/// The comment at the head of a file, in one line.
fn head(text: &str, mark: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix(mark));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What an attack's core module has unless it exports its own.
const DEFAULTS: [(&str, &str); 5] = [
    ("memory", r#"(memory (export "memory") 1)"#),
    (
        "realloc",
        r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))"#,
    ),
    ("post-run", r#"(func (export "post-run") (param i32))"#),
    // One task, `attack`.
    (
        "describe",
        r#"(data (i32.const 16) "\c0\02\00\00\01\00\00\00") (data (i32.const 704) "\00\02\00\00\06")
           (data (i32.const 512) "attack") (func (export "describe") (result i32) (i32.const 16))"#,
    ),
    // The text `null`.
    (
        "run",
        r#"(data (i32.const 600) "null") (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
           (i32.store (i32.const 1036) (i32.const 600)) (i32.store (i32.const 1040) (i32.const 4)) (i32.const 1024))"#,
    ),
];

/// A component of the contract, made of an attack's fields, or of its own component.
pub(crate) fn assemble(attack: &str) -> Result<Vec<u8>> {
    let is_component = attack.lines().any(|line| line.starts_with("(component"));
    let component = if is_component {
        attack.to_owned()
    } else {
        let mut fields = attack.to_owned();
        for (name, default) in DEFAULTS {
            if !attack.contains(&format!("(export \"{name}\")")) {
                fields.push_str(default);
                fields.push('\n');
            }
        }
        text("wat/component.wat")?.replace("$FIELDS", &fields)
    };
    let whole = component
        .replace("$TYPES", &text("wat/types.wat")?)
        .replace("$EXPORTS", &text("wat/exports.wat")?);
    wat::parse_str(whole).context("the text of a hostile module is wrong")
}
