//! Aggregation by group.

use std::collections::BTreeMap;

use celeriac_guest::{Failure, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    column::{is_empty, parse_float},
    table::Table,
};

/// What to aggregate.
#[derive(Debug, Deserialize, JsonSchema)]
struct Request {
    /// CSV with a header line.
    csv: String,
    /// The column whose values make the groups.
    group_by: String,
    /// The column to aggregate.
    column: String,
    /// How to aggregate it.
    op: Operation,
}

/// What becomes of a group's values.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Their sum.
    Sum,
    /// Their arithmetic mean.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// How many cells are not empty, numbers or not.
    Count,
}

/// One group.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Group {
    /// The value that its rows share.
    group: String,
    /// Rows in the group.
    rows: usize,
    /// The aggregate; null when no row has a value.
    value: Option<f64>,
}

/// What is known of a group while its rows go by.
#[derive(Default)]
struct Tally {
    rows: usize,
    count: usize,
    sum: f64,
    min: Option<f64>,
    max: Option<f64>,
}

/// Groups the rows of a CSV by one column and aggregates another: sum, mean, min, max or count.
/// Empty cells and `NA` do not count. Groups come in order of their names.
#[task(timeout = "1m", memory = "512MiB")]
fn aggregate(input: Request) -> Result<Vec<Group>, Failure> {
    let table = Table::read(input.csv.as_bytes(), b',')?;
    let (group_by, column) = (table.column(&input.group_by)?, table.column(&input.column)?);
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for row in &table.rows {
        let tally = tallies.entry(Table::cell(row, group_by)).or_default();
        tally.rows += 1;
        let cell = Table::cell(row, column);
        if is_empty(cell) {
            continue;
        }
        match input.op {
            Operation::Count => tally.count += 1,
            _ => {
                tally.add(parse_float(cell).ok_or_else(|| not_a_number(&input.column, cell, row))?)
            }
        }
    }
    let group = |(name, tally): (&str, Tally)| Group {
        group: name.to_owned(),
        rows: tally.rows,
        value: tally.value(input.op),
    };
    Ok(tallies.into_iter().map(group).collect())
}

fn not_a_number(column: &str, cell: &str, row: &csv::StringRecord) -> Failure {
    let line = row.position().map(csv::Position::line);
    let place = line
        .map(|line| format!(" in line {line}"))
        .unwrap_or_default();
    let message = format!("`{cell}` in column `{column}`{place} is not a number");
    Failure::new("not-a-number", message).details(json!({ "line": line, "cell": cell }))
}

impl Tally {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
    }

    fn value(&self, op: Operation) -> Option<f64> {
        match op {
            Operation::Count => Some(self.count as f64),
            _ if self.count == 0 => None,
            Operation::Sum => Some(self.sum),
            Operation::Mean => Some(self.sum / self.count as f64),
            Operation::Min => self.min,
            Operation::Max => self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use celeriac_guest::testing;
    use serde_json::Value;

    use super::*;

    fn run(csv: &str, column: &str, op: &str) -> Result<Value, Failure> {
        let input = json!({ "csv": csv, "group_by": "species", "column": column, "op": op });
        testing::run("aggregate", input)?.read()
    }

    #[test]
    fn aggregates_a_real_table() {
        let csv = include_str!("../../inputs/penguins.csv");
        let count = run(csv, "sex", "count").unwrap();
        assert_eq!(
            count[0],
            json!({ "group": "Adelie", "rows": 152, "value": 146.0 })
        );
        let mean = run(csv, "body_mass_g", "mean").unwrap();
        assert!(
            (mean[0]["value"].as_f64().unwrap() - 3700.66).abs() < 0.01,
            "{mean}"
        );
    }

    #[test]
    fn a_group_without_values_has_none() {
        let output = run("species,n\na,NA\nb,2\nb,5\n", "n", "min").unwrap();
        assert_eq!(output[0]["value"], Value::Null);
        assert_eq!(output[1]["value"], 2.0);
    }

    #[test]
    fn says_where_a_cell_is_no_number() {
        let failure = run("species,n\na,1\na,x\n", "n", "sum").unwrap_err();
        assert_eq!(failure.kind, "not-a-number");
        assert_eq!(failure.details.unwrap()["line"], 3);
    }

    #[test]
    fn names_the_columns_when_one_is_unknown() {
        let failure = run("species,n\n", "m", "sum").unwrap_err();
        assert!(failure.message.contains("species, n"), "{failure}");
    }
}
