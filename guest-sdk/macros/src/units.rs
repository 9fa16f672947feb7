//! Numbers with units, read at compile time.

use proc_macro2::Span;
use syn::{Error, Lit};

/// What an option measures: its units and how to write them.
pub(crate) struct Quantity {
    name: &'static str,
    example: &'static str,
    /// Suffix and factor.
    units: &'static [(&'static str, f64)],
    /// The largest value that makes sense: what an `f64` counts exactly.
    max: f64,
}

const EXACT_IN_F64: f64 = 9_007_199_254_740_992.0;

/// Seconds until an attempt is stopped.
pub(crate) const TIMEOUT: Quantity = timeout("timeout");

/// Seconds until an attempt is told to come to an end.
pub(crate) const SOFT_TIMEOUT: Quantity = timeout("soft_timeout");

const fn timeout(name: &'static str) -> Quantity {
    Quantity {
        name,
        example: "`\"30s\"`, `\"500ms\"`, `\"5m\"`, `\"1h\"`, or a number of seconds",
        units: &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)],
        // A year: longer is a mistake in the unit.
        max: 31_536_000.0,
    }
}

const SPANS: &[(&str, f64)] = &[
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

const SPAN_EXAMPLE: &str = "`\"10m\"`, `\"1h\"`, `\"7d\"`, or a number of seconds";

/// Ten years, which is the longest span that brokers take.
const MAX_SPAN: f64 = 315_360_000.0;

/// Seconds until an invocation has expired.
pub(crate) const EXPIRES: Quantity = span("expires");

/// Seconds until an invocation must have ended.
pub(crate) const DEADLINE: Quantity = span("deadline");

/// Seconds that a result is kept.
pub(crate) const RESULT_TTL: Quantity = span("result_ttl");

const fn span(name: &'static str) -> Quantity {
    Quantity {
        name,
        example: SPAN_EXAMPLE,
        units: SPANS,
        max: MAX_SPAN,
    }
}

/// Units of fuel.
pub(crate) const FUEL: Quantity = Quantity {
    name: "fuel",
    example: "`\"10G\"`, `\"500M\"`, or a number",
    units: &[("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)],
    max: EXACT_IN_F64,
};

/// Bytes.
pub(crate) const MEMORY: Quantity = Quantity {
    name: "memory",
    example: "`\"64MiB\"`, `\"1GiB\"`, or a number of bytes",
    units: &[
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
    ],
    // What a 32-bit guest can address.
    max: 4_294_967_296.0,
};

/// A limit by its name: the host knows whether it is bytes, milliseconds or a count.
pub(crate) const LIMIT: Quantity = Quantity {
    name: "limit",
    example: "`log_lines = 10`, `scratch_bytes = \"64MiB\"`, or `http_timeout = \"10s\"`",
    units: &[
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("ms", 1.0),
        ("s", 1e3),
        ("m", 60e3),
        ("h", 3600e3),
    ],
    max: EXACT_IN_F64,
};

impl Quantity {
    /// The literal's value in the base unit.
    pub(crate) fn parse(&self, literal: &Lit) -> Result<f64, Error> {
        let value = match literal {
            Lit::Int(number) => number.base10_digits().parse().ok(),
            Lit::Float(number) => number.base10_parse().ok(),
            Lit::Str(text) => self.read(&text.value()),
            _ => None,
        };
        let Some(value) = value else {
            return Err(self.error(literal.span(), "is not understood"));
        };
        if value <= 0.0 {
            return Err(self.error(literal.span(), "must be more than zero"));
        }
        if value > self.max {
            let max = self.max;
            return Err(self.error(literal.span(), &format!("must be at most {max}")));
        }
        Ok(value)
    }

    pub(crate) fn read(&self, text: &str) -> Option<f64> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_');
        let (number, unit) = text.split_at_checked(split.unwrap_or(text.len()))?;
        let number: f64 = number.replace('_', "").parse().ok()?;
        let unit = unit.trim();
        if unit.is_empty() {
            return Some(number);
        }
        let (_, factor) = self.units.iter().find(|(suffix, _)| *suffix == unit)?;
        Some(number * factor)
    }

    fn error(&self, span: Span, problem: &str) -> Error {
        let Self { name, example, .. } = self;
        Error::new(span, format!("this {name} {problem}: write {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(TIMEOUT.read("30s"), Some(30.0));
        assert_eq!(TIMEOUT.read("500 ms"), Some(0.5));
        assert_eq!(FUEL.read("10G"), Some(1e10));
        assert_eq!(MEMORY.read("64MiB"), Some(67_108_864.0));
        assert_eq!(MEMORY.read("1_000"), Some(1000.0));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "s", "64 mebibytes", "1.2.3s", "-1s", "64mb"] {
            assert_eq!(MEMORY.read(text).or(TIMEOUT.read(text)), None, "{text}");
        }
    }
}
