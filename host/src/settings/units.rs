//! Durations, sizes and fuel as people write them: `30s`, `64MiB`, `10G`.
//!
//! What is written here can be read back here: each `show_*` is the inverse of its `parse_*`.

use std::time::Duration;

/// How a duration is written, for messages.
pub const DURATION_FORM: &str = "a duration such as `10ms`, `30s`, `5m`, `1h` or `1d`";
/// How a size is written, for messages.
pub const SIZE_FORM: &str = "a size such as `512KiB`, `64MiB` or `2GiB`";
/// How a number of things is written, for messages.
pub const COUNT_FORM: &str = "a whole number such as `500`, `5k` or `2M`";
/// How fuel is written, for messages.
pub const FUEL_FORM: &str =
    "fuel such as `500M`, `10G` or `1T` (one unit is about one wasm instruction)";

const TIME_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("", 1),
];
const COUNT_UNITS: [(&str, u64); 5] = [
    ("k", 1_000),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("", 1),
];
const FUEL_UNITS: [(&str, u64); 5] = [
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("K", 1_000),
    ("", 1),
];

/// Reads a duration: one or more numbers with units, such as `30s` or `1h30m`.
///
/// # Errors
/// What would have been expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut micros = 0_u64;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let after = rest.get(number..).unwrap_or_default();
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let part = scaled(rest.get(..number + unit).unwrap_or_default(), &TIME_UNITS);
        micros = part
            .and_then(|part| micros.checked_add(part))
            .ok_or(DURATION_FORM)?;
        rest = after.get(unit..).unwrap_or_default();
    }
    if text.trim().is_empty() {
        return Err(DURATION_FORM.to_owned());
    }
    Ok(Duration::from_micros(micros))
}

/// Reads a size in bytes; a bare number is bytes.
///
/// # Errors
/// What would have been expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    scaled(text.trim(), &SIZE_UNITS).ok_or_else(|| SIZE_FORM.to_owned())
}

/// Reads an amount of fuel.
///
/// # Errors
/// What would have been expected.
pub fn parse_fuel(text: &str) -> Result<u64, String> {
    scaled(text.trim(), &FUEL_UNITS).ok_or_else(|| FUEL_FORM.to_owned())
}

/// Reads a number of things.
///
/// # Errors
/// What would have been expected.
pub fn parse_count(text: &str) -> Result<u64, String> {
    scaled(text.trim(), &COUNT_UNITS).ok_or_else(|| COUNT_FORM.to_owned())
}

/// Writes a duration exactly, largest unit first.
pub fn show_duration(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in TIME_UNITS {
        if micros >= size {
            text += &format!("{}{unit}", micros / size);
            micros %= size;
        }
    }
    text
}

/// Writes a size exactly, in the largest binary unit that fits it without a remainder.
pub fn show_size(bytes: u64) -> String {
    show_scaled(bytes, SIZE_UNITS.get(..4).unwrap_or_default()).unwrap_or_else(|| bytes.to_string())
}

/// Writes fuel exactly, in the largest unit that fits it without a remainder.
pub fn show_fuel(fuel: u64) -> String {
    show_scaled(fuel, FUEL_UNITS.get(..4).unwrap_or_default()).unwrap_or_else(|| fuel.to_string())
}

/// Writes a number of things exactly, in the largest unit that fits it without a remainder.
pub fn show_count(count: u64) -> String {
    let units = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];
    show_scaled(count, &units).unwrap_or_else(|| count.to_string())
}

fn show_scaled(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let fits = |(_, size): &&(&str, u64)| value >= *size && value.is_multiple_of(*size);
    let (unit, size) = units.iter().find(fits)?;
    Some(format!("{}{unit}", value / size))
}

/// A number with a unit, times the unit; none when it is not one, or does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let number = number.replace('_', "");
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim())?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*size);
    }
    let value = number.parse::<f64>().ok()? * *size as f64;
    // Only fractions come here, and u64::MAX as f64 is 2^64: what is below it fits.
    (value.is_finite() && value < u64::MAX as f64).then_some(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_people_write_them() {
        for (text, micros) in [
            ("10ms", 10_000),
            ("1.5s", 1_500_000),
            ("1h30m", 5_400_000_000),
            ("1d", 86_400_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_micros(micros)),
                "{text}"
            );
        }
        for text in ["", "10", "s", "1 week", "-1s", "1e9s", "99999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_sizes_and_fuel_as_people_write_them() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1MB"), Ok(1_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("64m").is_err());
        assert!(parse_size("99999999999TiB").is_err());
        assert_eq!(parse_fuel("10G"), Ok(10_000_000_000));
        assert_eq!(parse_fuel("1.5M"), Ok(1_500_000));
        assert!(parse_fuel("much").is_err());
        assert_eq!(parse_count("5k"), Ok(5_000));
        assert_eq!(parse_count("12"), Ok(12));
        assert!(parse_count("5KiB").is_err());
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["10ms", "1h30m", "1d", "2ms", "500us", "0s"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["64MiB", "2GiB", "1000", "1KiB"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
        for text in ["5k", "12M", "65536"] {
            assert_eq!(show_count(parse_count(text).unwrap()), text);
        }
        for text in ["10G", "1500K", "7"] {
            assert_eq!(show_fuel(parse_fuel(text).unwrap()), text);
        }
    }
}
