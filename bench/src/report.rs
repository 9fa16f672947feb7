//! Writes the figures of a run into the marked section of `docs/performance.md`.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{artifacts, figure::Figure};

const BEGIN: &str = "<!-- figures: written by `bench --report FILE.jsonl` -->";
const END: &str = "<!-- /figures -->";

/// Replaces the section by the figures in `lines`.
pub(crate) fn rewrite(lines: &Path) -> Result<()> {
    let text = std::fs::read_to_string(lines).with_context(|| lines.display().to_string())?;
    let figures = figures(&text)?;
    let page = artifacts::root().join("docs/performance.md");
    let old = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    std::fs::write(&page, replaced(&old, &table(&figures))?)?;
    eprintln!("{} figures are in {}", figures.len(), page.display());
    Ok(())
}

fn figures(text: &str) -> Result<Vec<Figure>> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).with_context(|| format!("line {} is not a figure", n + 1))
        })
        .collect()
}

fn table(figures: &[Figure]) -> String {
    let mut table = String::from("| figure | value | goal | | against |\n|---|---|---|---|---|\n");
    for figure in figures {
        let goal = figure.goal.map(|goal| goal.to_string()).unwrap_or_default();
        let verdict = match figure.goal {
            None => "",
            Some(_) if figure.is_missed() => "**missed**",
            Some(_) => "met",
        };
        let value = rounded(figure.value);
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {value} {} | {goal} | {verdict} | {} |",
            figure.name, figure.unit, figure.against
        );
    }
    table
}

/// As many digits as mean something.
fn rounded(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn replaced(page: &str, table: &str) -> Result<String> {
    let parts = page
        .split_once(BEGIN)
        .and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let Some((head, tail)) = parts else {
        bail!("docs/performance.md has no section between `{BEGIN}` and `{END}`");
    };
    Ok(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Goal;

    #[test]
    fn replaces_the_section_and_nothing_else() {
        let figures =
            [Figure::new("cold.extra_ms", 4.321, "ms", "a warm run").goal(Goal::AtMost(20.0))];
        let page = format!("before\n{BEGIN}\nstale row\n{END}\nafter\n");
        let page = replaced(&page, &table(&figures)).unwrap();
        assert!(page.starts_with("before\n") && page.ends_with("\nafter\n"));
        assert!(
            page.contains("| `cold.extra_ms` | 4.32 ms | <= 20 | met | a warm run |"),
            "{page}"
        );
        assert!(!page.contains("stale row"));
    }

    #[test]
    fn refuses_a_page_without_the_section() {
        assert!(replaced("nothing here", "").is_err());
    }

    #[test]
    fn says_which_line_is_not_a_figure() {
        assert_eq!(
            figures("\n{}").unwrap_err().to_string(),
            "line 2 is not a figure"
        );
    }
}
