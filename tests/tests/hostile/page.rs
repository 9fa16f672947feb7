//! `docs/hostile.md`: what the suite asserts, and the table that it makes.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Result, ensure};

use crate::{
    arena::{COMPILE, KEPT_MIB, NEIGHBOUR, Report, SLACK},
    table,
};

/// Writes the page when `UPDATE_DOCS` is set; otherwise checks that it tells of every attack.
pub(crate) fn write_or_check(reports: &[Report]) -> Result<()> {
    if std::env::var("HOSTILE").is_ok_and(|wanted| !wanted.is_empty()) {
        return Ok(());
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/hostile.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page(reports))?;
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<_> = table::attacks()
        .into_iter()
        .map(|attack| attack.name)
        .filter(|name| !text.contains(&format!("| `{name}` |")))
        .collect();
    ensure!(
        missing.is_empty(),
        "docs/hostile.md does not tell of {missing:?}: run `make hostile UPDATE_DOCS=1`"
    );
    Ok(())
}

fn page(reports: &[Report]) -> String {
    let mut page = HEAD
        .replace("SLACK", &format!("{} s", SLACK.as_secs()))
        .replace("NEIGHBOUR", &format!("{} s", NEIGHBOUR.as_secs()))
        .replace("COMPILE", &format!("{} s", COMPILE.as_secs()))
        .replace("KEPT", &KEPT_MIB.to_string());
    page.push_str("| attack | what it tries | outcome | time | host's memory | neighbour's slowest call |\n|---|---|---|---|---|---|\n");
    for report in reports {
        let Report {
            name,
            tries,
            outcome,
            took,
            growth_mib,
            slowest,
            ..
        } = report;
        let tries = tries.replace('|', "\\|");
        let _ = writeln!(
            page,
            "| `{name}` | {tries} | {outcome} | {:.2} s | +{growth_mib} MiB | {} ms |",
            took.as_secs_f64(),
            slowest.as_millis()
        );
    }
    page
}

const HEAD: &str = include_str!("head.md");
