//! What type a column has, found by looking at every cell of it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The narrowest type that fits every cell of a column which is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColumnType {
    /// Every cell is empty.
    Null,
    /// `true` or `false`, whatever their case.
    Boolean,
    /// A whole number of at most 64 bits, without leading zeros.
    Integer,
    /// A number.
    Float,
    /// `2026-03-01`, or with a time `2026-03-01T12:30:00`; JSON has no dates, so it stays text.
    Date,
    /// Anything else.
    String,
}

/// Cells that mean "no value".
const EMPTY: [&str; 4] = ["", "NA", "N/A", "null"];

pub(crate) fn is_empty(cell: &str) -> bool {
    EMPTY.iter().any(|empty| empty.eq_ignore_ascii_case(cell))
}

impl ColumnType {
    /// The type of a column with these cells.
    pub(crate) fn infer<'a>(cells: impl Iterator<Item = &'a str>) -> Self {
        cells
            .filter(|cell| !is_empty(cell))
            .map(Self::of)
            .reduce(Self::join)
            .unwrap_or(Self::Null)
    }

    fn of(cell: &str) -> Self {
        if parse_bool(cell).is_some() {
            Self::Boolean
        } else if parse_integer(cell).is_some() {
            Self::Integer
        } else if parse_float(cell).is_some() {
            Self::Float
        } else if is_date(cell) {
            Self::Date
        } else {
            Self::String
        }
    }

    /// The type that fits both.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Integer | Self::Float, Self::Integer | Self::Float) => Self::Float,
            _ => Self::String,
        }
    }

    /// The cell as JSON. Cells fit, because the type was found from them.
    pub(crate) fn value(self, cell: &str) -> Value {
        if is_empty(cell) {
            return Value::Null;
        }
        let typed = match self {
            Self::Boolean => parse_bool(cell).map(Value::from),
            Self::Integer => parse_integer(cell).map(Value::from),
            Self::Float => parse_float(cell).map(Value::from),
            Self::Null | Self::Date | Self::String => None,
        };
        typed.unwrap_or_else(|| Value::from(cell))
    }
}

fn parse_bool(cell: &str) -> Option<bool> {
    match cell {
        _ if cell.eq_ignore_ascii_case("true") => Some(true),
        _ if cell.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Codes such as `007` are text: as a number they would lose their zeros.
fn has_leading_zero(cell: &str) -> bool {
    let digits = cell.trim_start_matches(['-', '+']);
    digits
        .strip_prefix('0')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn parse_integer(cell: &str) -> Option<i64> {
    if has_leading_zero(cell) {
        None
    } else {
        cell.parse().ok()
    }
}

pub(crate) fn parse_float(cell: &str) -> Option<f64> {
    let is_numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    if has_leading_zero(cell) || !cell.chars().all(is_numeric) {
        return None;
    }
    // JSON has no infinity.
    cell.parse().ok().filter(|number: &f64| number.is_finite())
}

/// ISO 8601: a calendar date that exists, and perhaps a time behind it.
fn is_date(cell: &str) -> bool {
    let (date, time) = cell
        .split_once(['T', ' '])
        .map_or((cell, None), |(d, t)| (d, Some(t)));
    is_calendar_date(date).unwrap_or(false) && time.is_none_or(is_time)
}

fn is_calendar_date(date: &str) -> Option<bool> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if (year.len(), month.len(), day.len(), parts.next()) != (4, 2, 2, None) {
        return Some(false);
    }
    let (year, month, day): (u32, u32, u32) =
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    Some((1..=days).contains(&day))
}

/// `12:30`, `12:30:00`, `12:30:00.5`, and a zone behind it: `Z` or `+02:00`.
fn is_time(time: &str) -> bool {
    let clock = time.strip_suffix('Z').unwrap_or(time);
    let clock = clock.split(['+', '-']).next().unwrap_or_default();
    let fields: Vec<_> = clock.split(':').collect();
    let below = |text: &str, limit: f64| text.parse::<f64>().is_ok_and(|n| n >= 0.0 && n < limit);
    match fields.as_slice() {
        [hour, minute] => below(hour, 24.0) && below(minute, 60.0),
        [hour, minute, second] => below(hour, 24.0) && below(minute, 60.0) && below(second, 61.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(cells: &[&str]) -> ColumnType {
        ColumnType::infer(cells.iter().copied())
    }

    #[test]
    fn finds_the_narrowest_type() {
        assert_eq!(infer(&["1", "-2", ""]), ColumnType::Integer);
        assert_eq!(infer(&["1", "2.5"]), ColumnType::Float);
        assert_eq!(infer(&["TRUE", "false", "NA"]), ColumnType::Boolean);
        assert_eq!(
            infer(&["2024-02-29", "2026-01-31T08:15:00Z"]),
            ColumnType::Date
        );
        assert_eq!(infer(&["", "null"]), ColumnType::Null);
        assert_eq!(infer(&["1", "true"]), ColumnType::String);
    }

    #[test]
    fn keeps_codes_and_odd_numbers_as_text() {
        for cell in [
            "007",
            "1e999",
            "inf",
            "NaN",
            "2023-02-29",
            "2026-1-1",
            "12:30",
            "0x10",
        ] {
            assert_eq!(infer(&[cell]), ColumnType::String, "{cell}");
        }
        assert_eq!(infer(&["0", "-0.5"]), ColumnType::Float);
    }
}
