//! `celeriac new`: writes a project that builds as it is, with the SDK's sources inside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use celeriac_broker::check_name;
use clap::Args;
use include_dir::{Dir, include_dir};
use serde_json::json;

use super::{
    error::CliError,
    exit::Exit,
    output::{GOOD, NAME, Output, paint},
};

static TEMPLATE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/template");

/// Where the SDK lies in a new project.
const SDK: &str = "vendor/celeriac-guest";
/// What a build of the SDK needs, by directory: not its tests, nor what building it left behind.
static SDK_DIRS: [(&str, Dir<'_>); 3] = [
    ("src", include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/src")),
    (
        "macros/src",
        include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/macros/src"),
    ),
    ("wit", include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/wit")),
];
const SDK_FILES: [(&str, &str); 2] = [
    (
        "Cargo.toml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../guest-sdk/Cargo.toml"
        )),
    ),
    (
        "macros/Cargo.toml",
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../guest-sdk/macros/Cargo.toml"
        )),
    ),
];

/// Keeps a project that is written into another workspace's directory apart from it.
const WORKSPACE: &str =
    "\n# A workspace of its own, wherever it lies.\n[workspace]\nexclude = [\"vendor\"]\n";

/// Write a ready project: a first task, its test, and the SDK
///
/// The project builds anywhere with `cargo build --target wasm32-wasip2 --release`; the SDK's sources are
/// part of it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac new shop
  celeriac new shop --dir ~/tasks/shop")]
pub(crate) struct NewArgs {
    /// The project's name, which its package and module get
    name: String,

    /// Where to write it [default: ./NAME]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn new(args: &NewArgs, out: &Output) -> Result<ExitCode, CliError> {
    check(&args.name)?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("{} exists and is not empty", dir.display());
        return Err(CliError::usage(
            message,
            "choose another with --dir DIRECTORY; nothing was written",
        ));
    }
    let files = files(&args.name);
    for (path, content) in &files {
        let path = dir.join(path);
        write(&path, content).map_err(|error| CliError::file(&path, "written", &error))?;
    }
    report(&args.name, &dir, files.len(), out)
}

/// A module's name that is also a package's: cargo takes no dots and no leading digit.
fn check(name: &str) -> Result<(), CliError> {
    check_name("project name", name)?;
    if name.contains('.') || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let message = format!(
            "project name `{name}` is not valid: cargo takes no dot, and no digit in front"
        );
        return Err(CliError::usage(
            message,
            "use lower-case letters, digits, `-` and `_`, a letter first",
        ));
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)
}

/// Every file of the project, by its path in it.
fn files(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for (path, content) in entries(&TEMPLATE) {
        files.push(from_template(path, content, name));
    }
    for (place, dir) in &SDK_DIRS {
        let below = Path::new(SDK).join(place);
        files.extend(
            entries(dir)
                .into_iter()
                .map(|(path, content)| (below.join(path), content.to_vec())),
        );
    }
    let manifests = SDK_FILES
        .iter()
        .map(|(path, text)| (Path::new(SDK).join(path), text.as_bytes().to_vec()));
    files.extend(manifests);
    files
}

/// The files of an embedded directory, all the way down.
fn entries(dir: &'static Dir<'static>) -> Vec<(&'static Path, &'static [u8])> {
    let mut found: Vec<_> = dir
        .files()
        .map(|file| (file.path(), file.contents()))
        .collect();
    for dir in dir.dirs() {
        found.extend(entries(dir));
    }
    found
}

/// A file of the template: `{{name}}` and `{{sdk}}` are filled in, a `.in` goes from the path.
fn from_template(path: &Path, content: &[u8], name: &str) -> (PathBuf, Vec<u8>) {
    let target = match path.extension() {
        Some(extension) if extension == "in" => path.with_extension(""),
        _ => path.to_path_buf(),
    };
    let Ok(text) = std::str::from_utf8(content) else {
        return (target, content.to_vec());
    };
    let mut text = text
        .replace("{{name}}", name)
        .replace("{{sdk}}", SDK)
        .replace("MODULE.wasm", &format!("{}.wasm", name.replace('-', "_")));
    if target == Path::new("Cargo.toml") && !text.contains("[workspace]") {
        text.push_str(WORKSPACE);
    }
    (target, text.into_bytes())
}

fn report(name: &str, dir: &Path, count: usize, out: &Output) -> Result<ExitCode, CliError> {
    if out.is_json {
        out.document(&json!({ "name": name, "directory": dir, "files": count }))?;
        return Ok(Exit::Success.into());
    }
    let wasm = format!(
        "target/wasm32-wasip2/release/{}.wasm",
        name.replace('-', "_")
    );
    out.note(&format!(
        "{} wrote {} in {}",
        paint(GOOD, "✓"),
        paint(NAME, name),
        dir.display()
    ));
    out.note(&format!(
        "\n  cd {}\n  cargo build --target wasm32-wasip2 --release\n  celeriac push {wasm} --name {name}@0.1.0\n",
        dir.display()
    ));
    Ok(Exit::Success.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_its_name_the_sdk_and_no_placeholder() {
        let files = files("my-shop");
        let text = |path: &str| {
            let (_, content) = files
                .iter()
                .find(|(at, _)| at == Path::new(path))
                .unwrap_or_else(|| panic!("{path}"));
            String::from_utf8(content.clone()).unwrap()
        };
        let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("my-shop"));
        assert_eq!(
            manifest["dependencies"]["celeriac-guest"]["path"].as_str(),
            Some(SDK)
        );
        assert!(manifest.contains_key("workspace"));
        assert!(text("README.md").contains("my_shop.wasm"));
        assert!(text("src/lib.rs").contains("#[task"));
        for path in [
            "Cargo.toml",
            "src/lib.rs",
            "macros/Cargo.toml",
            "macros/src/lib.rs",
            "wit/task.wit",
        ] {
            assert!(!text(&format!("{SDK}/{path}")).is_empty());
        }
        for (path, content) in files.iter().filter(|(path, _)| !path.starts_with("vendor")) {
            assert!(
                !String::from_utf8_lossy(content).contains("{{"),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn refuses_names_that_cargo_would_refuse() {
        for name in ["Shop", "1shop", "a.b", "", "a b", "../up"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
