//! What the demo prints: steps, a progress bar, a table.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::work::Done;

pub(crate) fn step(text: &str) {
    println!("\n▸ {text}");
}

pub(crate) fn bar(total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:50} {pos}/{len}  {per_sec}  {elapsed}");
    let bar = ProgressBar::new(total as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// One row for each task: how many ran, and what one of them cost.
pub(crate) fn table(done: &[Done]) {
    let mut by_task: BTreeMap<&str, Vec<&Done>> = BTreeMap::new();
    for one in done {
        by_task.entry(one.task).or_default().push(one);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "task",
        "runs",
        "median run",
        "median fuel",
        "peak memory",
        "output",
    ]);
    for (task, runs) in by_task {
        let usage = |of: fn(&Done) -> f64| median(runs.iter().map(|one| of(one)));
        table.add_row([
            task.to_owned(),
            runs.len().to_string(),
            format!("{:.2} ms", usage(|one| one.outcome.usage.run_ms)),
            format!("{:.0}", usage(|one| one.outcome.usage.fuel as f64)),
            format!(
                "{:.1} MiB",
                usage(|one| one.outcome.usage.peak_memory_bytes as f64) / f64::from(1 << 20)
            ),
            runs.first().map_or_else(String::new, |one| output(one)),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

fn output(done: &Done) -> String {
    let Some(output) = &done.outcome.output else {
        return String::new();
    };
    if !output.is_json() || output.data.len() > 60 {
        return format!("{}, {} bytes", output.content_type, output.data.len());
    }
    String::from_utf8_lossy(&output.data).into_owned()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
