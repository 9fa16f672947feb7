//! Spans of time as people write them: `500ms`, `30s`, `1h30m`.

use std::time::Duration;

/// Units with their milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads one or more numbers with units; nothing is finer than a millisecond.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, next) = split(after, |c| c.is_ascii_alphabetic());
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *size)?)?;
        rest = next;
    }
    Some(Duration::from_millis(total))
}

/// Writes a span so that `parse` reads the same again.
pub(crate) fn show(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        if rest >= size {
            text += &format!("{}{unit}", rest / size);
            rest %= size;
        }
    }
    text
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn scaled(number: &str, size: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(size);
    }
    let value = number.parse::<f64>().ok()? * size as f64;
    // Only fractions come here, and u64::MAX as f64 is 2^64: what is below it fits.
    (value.is_finite() && value < u64::MAX as f64).then_some(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["500ms", "30s", "1h30m", "1d", "2m1ms", "0s"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(parse("1.5s"), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn refuses_what_is_no_span() {
        for text in ["", "10", "s", "1 week", "-1s", "1e9s", "99999999999999999d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
