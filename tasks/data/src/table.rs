//! A CSV table in memory.

use celeriac_guest::Failure;
use serde_json::json;

/// A header and its rows, all of the header's width.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<csv::StringRecord>,
}

impl Table {
    /// Reads CSV with a header line.
    ///
    /// # Errors
    /// `invalid-csv`, with the line in the message and in the details.
    pub(crate) fn read(csv: &[u8], delimiter: u8) -> Result<Self, Failure> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(csv);
        let columns = reader.headers().map_err(|error| invalid_csv(&error))?;
        let columns: Vec<String> = columns.iter().map(|name| name.trim().to_owned()).collect();
        if let Some(name) = duplicate(&columns) {
            let message = format!("two columns are named `{name}`: their values would collide");
            return Err(Failure::new("invalid-csv", message));
        }
        let rows: Result<_, _> = reader.records().collect();
        Ok(Self {
            columns,
            rows: rows.map_err(|error| invalid_csv(&error))?,
        })
    }

    /// The index of the column called `name`.
    ///
    /// # Errors
    /// `unknown-column`, naming those that there are.
    pub(crate) fn column(&self, name: &str) -> Result<usize, Failure> {
        self.columns
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| {
                let known = self.columns.join(", ");
                Failure::new(
                    "unknown-column",
                    format!("there is no column `{name}`; there are: {known}"),
                )
            })
    }

    /// The cell, trimmed.
    pub(crate) fn cell(row: &csv::StringRecord, column: usize) -> &str {
        row.get(column).unwrap_or_default().trim()
    }
}

fn duplicate(columns: &[String]) -> Option<&String> {
    columns
        .iter()
        .enumerate()
        .find_map(|(i, name)| columns.iter().take(i).find(|seen| *seen == name))
}

fn invalid_csv(error: &csv::Error) -> Failure {
    let failure = Failure::new("invalid-csv", error.to_string());
    match error.position() {
        Some(position) => failure.details(json!({ "line": position.line() })),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_line_is_wrong() {
        let failure = Table::read(b"a,b\n1,2\n3\n", b',').unwrap_err();
        assert_eq!(failure.kind, "invalid-csv");
        assert_eq!(failure.details.as_deref(), Some(&json!({ "line": 3 })));
    }

    #[test]
    fn refuses_two_columns_of_one_name() {
        let failure = Table::read(b"a,b, a\n", b',').unwrap_err();
        assert!(failure.message.contains("`a`"), "{failure}");
    }
}
