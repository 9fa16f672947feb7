//! Figures and foreign text as people read them.

use comfy_table::{Cell, Color};

use celeriac_broker::State;

/// Milliseconds, rounded for reading: `420 ms`, `3.2 s`, `5 min`, `2 h`, `3 d`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..86_400_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// How long ago a moment of the broker's clock was, by this machine's clock.
pub(crate) fn ago(at_ms: u64) -> String {
    format!("{} ago", span(now_ms().saturating_sub(at_ms)))
}

/// This machine's clock: milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The time of day of a moment, UTC.
pub(crate) fn time_of_day(at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{:03}Z", at_ms % 1000)
}

/// Bytes, rounded for reading.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Fuel, rounded for reading.
pub(crate) fn fuel(fuel: u64) -> String {
    scaled(fuel, 1000.0, ["", "K", "M", "G", "T"])
}

fn scaled(value: u64, step: f64, units: [&str; 5]) -> String {
    let mut rest = value as f64;
    for unit in units {
        if rest < step || unit == "T" || unit == "TiB" {
            let digits = usize::from(rest.fract() != 0.0 && rest < 100.0);
            return format!("{rest:.digits$} {unit}").trim_end().to_owned();
        }
        rest /= step;
    }
    value.to_string()
}

/// Text of a task, safe for a terminal: control characters, which could move the cursor or rewrite what
/// stands there, are shown instead of sent.
pub(crate) fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_harmful) {
        return text.to_owned();
    }
    let shown = |c: char| match is_harmful(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A state in its colour.
pub(crate) fn state_cell(state: State) -> Cell {
    let colour = match state {
        State::Succeeded => Color::Green,
        State::Failed => Color::Red,
        State::Cancelled | State::Expired => Color::Yellow,
        State::Running => Color::Cyan,
        _ => Color::Reset,
    };
    Cell::new(state).fg(colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_for_reading() {
        assert_eq!(span(420), "420 ms");
        assert_eq!(span(3_240), "3.2 s");
        assert_eq!(span(7_200_000), "2 h");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(12), "12 B");
        assert_eq!(fuel(10_000_000_000), "10 G");
        assert_eq!(fuel(7), "7");
        assert_eq!(time_of_day(86_400_000 + 3_723_004), "01:02:03.004Z");
    }

    #[test]
    fn escapes_what_a_task_could_do_to_a_terminal() {
        assert_eq!(harmless("a\tb\nc"), "a\tb\nc");
        assert_eq!(harmless("\u{1b}[2J"), "\\u{1b}[2J");
    }
}
