//! Moments as callers name them: a span from acceptance on, or a date with a zone.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, Zoned, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{BrokerError, span};

/// The longest span from acceptance on: ten years.
pub(crate) const MAX_IN_MS: u64 = 10 * 365 * 86_400_000;

/// The last moment: the end of the year 9999.
pub(crate) const MAX_AT_MS: u64 = 253_402_300_799_000;

const EXPECTED: &str = "a duration such as `90s` or `1h30m`, or a time with its zone: \
    `2026-11-21T09:00:00Z`, `2026-11-21T09:00+01:00` or `2026-11-21 09:00 Europe/Berlin`";

/// A moment. The broker's clock decides when it has come: no host's and no client's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Milliseconds after the invocation is accepted.
    InMs(u64),
    /// Milliseconds since the Unix epoch.
    AtMs(u64),
}

impl When {
    /// The moment by a clock that showed `accepted_ms` when the invocation was accepted.
    pub const fn resolve(self, accepted_ms: u64) -> u64 {
        match self {
            Self::InMs(ms) => accepted_ms.saturating_add(ms),
            Self::AtMs(ms) => ms,
        }
    }

    /// Whether this moment surely does not come after `other`, whenever the invocation is accepted.
    pub(crate) const fn never_after(self, other: Self) -> bool {
        match (self, other) {
            (Self::InMs(this), Self::InMs(other)) | (Self::AtMs(this), Self::AtMs(other)) => {
                this <= other
            }
            _ => false,
        }
    }

    /// Refuses what no store can keep.
    pub(crate) fn check(self, what: &'static str) -> Result<(), BrokerError> {
        match self {
            Self::InMs(ms) if ms > MAX_IN_MS => Err(BrokerError::invalid(
                what,
                &self.to_string(),
                "at most ten years",
            )),
            Self::AtMs(ms) if ms > MAX_AT_MS => Err(BrokerError::invalid(
                what,
                &format!("{ms} ms since 1970"),
                "a time before the year 10000",
            )),
            _ => Ok(()),
        }
    }
}

impl From<Duration> for When {
    fn from(span: Duration) -> Self {
        Self::InMs(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<SystemTime> for When {
    /// What lies before 1970 is 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::AtMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InMs(ms) => f.write_str(&span::show(Duration::from_millis(*ms))),
            Self::AtMs(ms) => match i64::try_from(*ms).map(Timestamp::from_millisecond) {
                Ok(Ok(time)) => write!(f, "{time}"),
                _ => write!(f, "{ms} ms since 1970"),
            },
        }
    }
}

impl FromStr for When {
    type Err = BrokerError;

    /// Reads a span, RFC 3339, or a civil time followed by the name of its zone. Where clocks go
    /// back, the first of the two moments is meant; where they go forward, the skipped time is read as
    /// if they had not.
    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let text = text.trim();
        let when = match span::parse(text) {
            Some(span) => Some(span.into()),
            None => timestamp(text).map(|ms| Self::AtMs(ms.max(0).unsigned_abs())),
        };
        let when = when.ok_or_else(|| BrokerError::invalid("time", text, EXPECTED))?;
        when.check("time")?;
        Ok(when)
    }
}

fn timestamp(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    if let Ok(time) = text.parse::<Zoned>() {
        return Some(time.timestamp().as_millisecond());
    }
    let (civil, zone) = text.rsplit_once(' ')?;
    let civil: DateTime = civil.trim_end().parse().ok()?;
    let zone = TimeZone::get(zone).ok()?;
    Some(civil.to_zoned(zone).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NINE_IN_BERLIN: When = When::AtMs(1_795_248_000_000);

    #[test]
    fn reads_spans_and_times_with_zones() {
        assert_eq!("90s".parse::<When>().unwrap(), When::InMs(90_000));
        for text in [
            "2026-11-21T08:00:00Z",
            "2026-11-21T09:00:00+01:00",
            "2026-11-21T09:00+01:00",
            "2026-11-21 09:00 Europe/Berlin",
            "2026-11-21T09:00:00 Europe/Berlin",
            "2026-11-21T09:00:00[Europe/Berlin]",
            "2026-11-21 08:00 UTC",
        ] {
            assert_eq!(text.parse::<When>().unwrap(), NINE_IN_BERLIN, "{text}");
        }
    }

    #[test]
    fn a_zone_is_needed_because_nobody_elses_clock_is_meant() {
        for text in ["2026-11-21 09:00", "2026-11-21", "tomorrow", "9", ""] {
            let error = text.parse::<When>().unwrap_err().to_string();
            assert!(error.contains("with its zone"), "{text}: {error}");
        }
        assert!("2026-11-21 09:00 Europe/Atlantis".parse::<When>().is_err());
        assert!("20y".parse::<When>().is_err());
        assert!("9999999999h".parse::<When>().is_err());
    }

    #[test]
    fn a_time_that_clocks_skip_or_repeat_is_one_moment() {
        let at = |text: &str| text.parse::<When>().unwrap();
        assert_eq!(
            at("2026-03-29 02:30 Europe/Berlin"),
            at("2026-03-29T01:30:00Z")
        );
        assert_eq!(
            at("2026-10-25 02:30 Europe/Berlin"),
            at("2026-10-25T00:30:00Z")
        );
    }

    #[test]
    fn is_written_as_one_named_number() {
        let json = serde_json::to_string(&When::InMs(5)).unwrap();
        assert_eq!(json, r#"{"in_ms":5}"#);
        assert_eq!(
            serde_json::from_str::<When>(r#"{"at_ms":7}"#).unwrap(),
            When::AtMs(7)
        );
        assert_eq!(NINE_IN_BERLIN.to_string(), "2026-11-21T08:00:00Z");
        assert_eq!(When::InMs(5).resolve(100), 105);
    }
}
