//! Everything documented works: each command in a `sh` block is run, each link leads somewhere, and the
//! demo is played.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use celeriac_tests::sample;

fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?)
}

fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = vec![root()?.join("README.md")];
    for entry in fs::read_dir(root()?.join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

/// The fenced blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect()
}

/// Where the toolchain is, for a script whose home is elsewhere.
fn home(variable: &str, default: &str) -> Result<PathBuf> {
    match std::env::var_os(variable) {
        Some(dir) => Ok(dir.into()),
        None => Ok(PathBuf::from(std::env::var_os("HOME").context("no HOME")?).join(default)),
    }
}

/// Runs commands as a reader would type them: in an empty directory, with the host built, where the shell finds it.
fn run(script: &str, dir: &Path) -> Result<String> {
    let bin = root()?.join("target/release");
    run_bare(
        &format!("export PATH='{}':\"$PATH\"\n{script}", bin.display()),
        dir,
    )
}

/// As `run`, with nothing but the toolchain where the shell finds it.
fn run_bare(script: &str, dir: &Path) -> Result<String> {
    // What a script starts in the background ends with it.
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{script}"
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir)
        .env("HOME", dir)
        .env("CARGO_HOME", home("CARGO_HOME", ".cargo")?)
        .env("RUSTUP_HOME", home("RUSTUP_HOME", ".rustup")?)
        .env("CELERIAC_DATA_DIR", dir.join("data"))
        .env("CELERIAC_CACHE_DIR", dir.join("cache"))
        .env("CELERIAC_LOG_LEVEL", "warn")
        .stdin(Stdio::null())
        .output()?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        output.status.success(),
        "{script}\nended with {}:\n{text}",
        output.status
    );
    Ok(text)
}

#[test]
fn every_link_leads_to_a_file() -> Result<()> {
    for page in pages()? {
        let text = fs::read_to_string(&page)?;
        let dir = page.parent().context("a page is in a directory")?;
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            ensure!(
                dir.join(target).exists(),
                "{} links to {link}, which is not there",
                page.display()
            );
        }
    }
    Ok(())
}

#[test]
fn the_first_task_of_the_readme_is_written_run_uploaded_and_called() -> Result<()> {
    let readme = fs::read_to_string(root()?.join("README.md"))?;
    let task = blocks(&readme, "rust")
        .into_iter()
        .find(|block| block.contains("#[task"))
        .context("no task")?;
    let commands = blocks(&readme, "sh")
        .into_iter()
        .find(|block| block.contains("cargo build"))
        .context("no build")?;
    let begin = blocks(&readme, "sh")
        .into_iter()
        .find(|block| block.contains("celeriac new"))
        .context("no project")?;
    // A reader stands in the repository, where the program is; the project is written elsewhere here.
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::symlink(root()?.join("target"), dir.path().join("target"))?;
    run_bare(&begin, dir.path())?;
    fs::write(dir.path().join("shop/src/lib.rs"), task)?;
    let go_on = begin.replace("celeriac new shop && ", "");
    let printed = run_bare(&format!("{go_on}{commands}"), dir.path())?;
    ensure!(
        printed.matches("3.5").count() >= 2,
        "run and call both answer 3.5:\n{printed}"
    );
    Ok(())
}

#[test]
fn a_new_project_tests_itself_as_it_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    run(
        "celeriac new fresh && cd fresh && cargo test --quiet",
        dir.path(),
    )?;
    Ok(())
}

#[test]
fn the_commands_of_the_pages_work() -> Result<()> {
    for page in pages()?.iter().filter(|page| !page.ends_with("README.md")) {
        let script: String = blocks(&fs::read_to_string(page)?, "sh").join("\n");
        if script.is_empty() {
            continue;
        }
        let dir = tempfile::tempdir()?;
        for module in ["basics", "compute", "images"] {
            fs::write(dir.path().join(format!("{module}.wasm")), sample(module)?)?;
        }
        fs::copy(
            root()?.join("tasks/inputs/chelsea.png"),
            dir.path().join("photo.png"),
        )?;
        run(&script, dir.path()).with_context(|| page.display().to_string())?;
    }
    Ok(())
}

#[test]
fn the_demo_plays_to_its_end() -> Result<()> {
    let demo = root()?.join("target/release/examples/demo");
    let output = Command::new(demo)
        .current_dir(root()?)
        .stdin(Stdio::null())
        .output()
        .context("run `make build`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for word in [
        "1000 invocations in",
        "out_of_fuel",
        "deadline",
        "cancelled",
        "memory_limit",
        "panicked",
        "stack_overflow",
    ] {
        ensure!(
            text.contains(word),
            "the demo does not show `{word}`:\n{text}"
        );
    }
    ensure!(
        text.contains("chelsea.thumbnail.jpg") && text.contains("penguins.json"),
        "files are missing:\n{text}"
    );
    Ok(())
}
