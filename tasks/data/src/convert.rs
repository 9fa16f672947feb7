//! CSV to JSON.

use std::{collections::BTreeMap, rc::Rc};

use celeriac_guest::{Context, Failure, FromPayload, Payload, info, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{column::ColumnType, table::Table};

/// A table to convert.
#[derive(Debug, Deserialize, JsonSchema)]
struct Csv {
    /// CSV with a header line.
    csv: String,
    /// What stands between two cells.
    #[serde(default = "comma")]
    delimiter: char,
}

fn comma() -> char {
    ','
}

/// A converted table.
#[derive(Debug, Serialize, JsonSchema)]
struct Converted {
    /// The columns in their order.
    columns: Vec<Column>,
    /// One object a row. Empty cells, `NA` and `null` are null.
    #[schemars(with = "Vec<BTreeMap<String, Value>>")]
    rows: Vec<Row>,
}

/// A row, which becomes an object with its keys in the order of the columns.
#[derive(Debug)]
struct Row {
    names: Rc<[String]>,
    cells: Vec<Value>,
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names.iter().zip(&self.cells))
    }
}

/// A column and what was found in it.
#[derive(Debug, Serialize, JsonSchema)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: ColumnType,
}

/// Rows between two progress reports.
const BATCH: usize = 1000;

/// Converts CSV to JSON and finds the type of each column: integers, floats, booleans, dates (which
/// stay text), text, and null for empty cells. Takes `{"csv": "…"}`, or a CSV file as raw bytes.
#[task(name = "csv-to-json", timeout = "1m", memory = "512MiB")]
fn csv_to_json(ctx: &Context, input: Payload) -> Result<Converted, Failure> {
    let table = match input {
        Payload::Bytes(file) => Table::read(&file.data, b',')?,
        json => {
            let input = Csv::from_payload(json)?;
            Table::read(input.csv.as_bytes(), delimiter(input.delimiter)?)?
        }
    };
    let kinds: Vec<_> = (0..table.columns.len())
        .map(|column| ColumnType::infer(table.rows.iter().map(|row| Table::cell(row, column))))
        .collect();
    let names: Rc<[String]> = table.columns.into();
    let mut rows = Vec::with_capacity(table.rows.len());
    for (done, row) in table.rows.iter().enumerate() {
        if done % BATCH == 0 {
            ctx.progress(done, table.rows.len());
        }
        let typed = kinds.iter().enumerate();
        let cells = typed
            .map(|(i, kind)| kind.value(Table::cell(row, i)))
            .collect();
        rows.push(Row {
            names: names.clone(),
            cells,
        });
    }
    info!(rows = rows.len(), columns = kinds.len(), "converted");
    let column = |(name, kind): (&String, ColumnType)| Column {
        name: name.clone(),
        kind,
    };
    Ok(Converted {
        columns: names.iter().zip(kinds).map(column).collect(),
        rows,
    })
}

fn delimiter(character: char) -> Result<u8, Failure> {
    u8::try_from(character)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| {
            let message = format!("the delimiter `{character}` is not an ASCII character");
            Failure::new("invalid-input", message)
        })
}

#[cfg(test)]
mod tests {
    use celeriac_guest::{Bytes, testing};
    use serde_json::json;

    use super::*;

    fn convert(csv: &str) -> Value {
        testing::run("csv-to-json", json!({ "csv": csv }))
            .unwrap()
            .read()
            .unwrap()
    }

    #[test]
    fn gives_cells_the_type_of_their_column() {
        let output = convert("id,ok,when,note\n1,true,2026-01-02,x\n2,,2026-01-03,\"a, b\"\n");
        assert_eq!(
            output["rows"][0],
            json!({"id": 1, "ok": true, "when": "2026-01-02", "note": "x"})
        );
        assert_eq!(output["rows"][1]["ok"], Value::Null);
        assert_eq!(
            output["columns"][2],
            json!({ "name": "when", "type": "date" })
        );
    }

    #[test]
    fn reads_a_real_file_as_bytes() {
        let file = Bytes::new("text/csv", include_bytes!("../../inputs/penguins.csv"));
        let output: Value = testing::run("csv-to-json", file).unwrap().read().unwrap();
        assert_eq!(output["rows"].as_array().unwrap().len(), 344);
        let kinds: Vec<_> = output["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["type"])
            .collect();
        let expected = [
            "string", "string", "float", "float", "integer", "integer", "string", "integer",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(output["rows"][3]["sex"], Value::Null);
    }

    #[test]
    fn keeps_the_order_of_columns() {
        let output = testing::run("csv-to-json", json!({ "csv": "z,a\n1,2\n" })).unwrap();
        let Payload::Json(text) = output else {
            panic!("a table is JSON")
        };
        assert!(text.ends_with(r#""rows":[{"z":1,"a":2}]}"#), "{text}");
    }

    #[test]
    fn refuses_a_delimiter_outside_ascii() {
        let input = json!({ "csv": "a\n1\n", "delimiter": "→" });
        assert_eq!(
            testing::run("csv-to-json", input).unwrap_err().kind,
            "invalid-input"
        );
    }
}
