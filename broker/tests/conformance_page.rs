//! `docs/conformance.md` is the list of cases in `conformance/mod.rs`; `UPDATE_DOCS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::{fmt::Write as _, fs, path::Path};

const HEAD: &str = "# The conformance suite

What every broker engine must do. Each case is run on Redis (a real server) and on the embedded store, by
`cargo test --release --workspace --test conformance_redis --test conformance_embedded`; a case has no way to know which
engine it is on. The eight invariants come first ([internals.md](internals.md#eight-promises-and-where-they-are-kept)).

<!-- Generated from broker/tests/conformance/mod.rs: `UPDATE_DOCS=1 cargo test --workspace --test conformance_page` -->
";

/// Headings with their cases, as the macro's list has them.
fn list(source: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut headings: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let list = source.split_once("@expand $open;").expect("the list").1;
    for line in list.lines().map(str::trim) {
        if line.starts_with("(@expand") {
            break;
        }
        if let Some(heading) = line.strip_suffix(" {") {
            headings.push((heading.to_owned(), Vec::new()));
        } else if let (Some((module, case)), Some((_, cases))) = (
            line.trim_end_matches(',').split_once("::"),
            headings.last_mut(),
        ) {
            cases.push((module.to_owned(), case.to_owned()));
        }
    }
    headings
}

fn page(headings: &[(String, Vec<(String, String)>)]) -> String {
    let count: usize = headings.iter().map(|(_, cases)| cases.len()).sum();
    let mut page = format!("{HEAD}\n{count} cases.\n");
    for (heading, cases) in headings {
        let _ = write!(page, "\n## {}\n\n", heading.replace('_', " "));
        for (module, case) in cases {
            let words = case.replace('_', " ");
            let _ = writeln!(
                page,
                "- {words} ([{module}](../broker/tests/conformance/{module}.rs))"
            );
        }
    }
    page
}

#[test]
fn the_page_lists_every_case_by_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("tests/conformance/mod.rs")).unwrap();
    let headings = list(&source);
    assert!(headings.len() > 20 && headings.iter().all(|(_, cases)| !cases.is_empty()));
    let (fresh, stored) = (page(&headings), root.join("../docs/conformance.md"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&stored, &fresh).unwrap();
    }
    assert!(
        fs::read_to_string(stored).unwrap_or_default() == fresh,
        "docs/conformance.md is stale: UPDATE_DOCS=1 cargo test --workspace --test conformance_page"
    );
}
