//! When a schedule fires: pure functions of a timing and of the broker's time.

use std::{fmt, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{BrokerError, span};

/// The shortest interval: what has to come more often is a loop in one task.
const MIN_EVERY_MS: u64 = 100;

/// The longest interval: ten years.
const MAX_EVERY_MS: u64 = 10 * 365 * 86_400_000;

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Timing {
    /// At the times of a calendar.
    Cron {
        /// Five fields, or six with seconds in front.
        pattern: String,
        /// Whose calendar: the name of a time zone, such as `Europe/Berlin`.
        #[serde(default = "utc")]
        zone: String,
    },
    /// Again and again after so many milliseconds, counted from when the schedule was added.
    EveryMs(u64),
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Timing {
    /// A calendar's times; an empty `zone` is UTC.
    ///
    /// # Errors
    /// `Invalid` unless the pattern can be read, matches some day, and the zone is known.
    pub fn cron(pattern: &str, zone: &str) -> Result<Self, BrokerError> {
        let zone = if zone.is_empty() { "UTC" } else { zone };
        let timing = Self::Cron {
            pattern: pattern.trim().to_owned(),
            zone: zone.to_owned(),
        };
        timing.clockwork()?;
        Ok(timing)
    }

    /// A fixed interval.
    ///
    /// # Errors
    /// `Invalid` unless it is between 100 ms and ten years.
    pub fn every(interval: Duration) -> Result<Self, BrokerError> {
        let timing = Self::EveryMs(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        timing.clockwork()?;
        Ok(timing)
    }

    /// When it fires first when it is added at `now_ms`.
    ///
    /// # Errors
    /// `Invalid` when the timing is not.
    pub fn first(&self, now_ms: u64) -> Result<Option<u64>, BrokerError> {
        Ok(self.clockwork()?.after(now_ms, now_ms))
    }

    /// The first `count` times from `next_ms` on, which is one of them.
    ///
    /// # Errors
    /// `Invalid` when the timing is not.
    pub fn upcoming(&self, next_ms: u64, count: usize) -> Result<Vec<u64>, BrokerError> {
        let clockwork = self.clockwork()?;
        let times = std::iter::successors(Some(next_ms), |at| clockwork.after(next_ms, *at));
        Ok(times.take(count).collect())
    }

    /// The timing, read.
    pub(crate) fn clockwork(&self) -> Result<Clockwork, BrokerError> {
        match self {
            Self::EveryMs(ms) if (MIN_EVERY_MS..=MAX_EVERY_MS).contains(ms) => {
                Ok(Clockwork::Every(*ms))
            }
            Self::EveryMs(ms) => {
                let got = span::show(Duration::from_millis(*ms));
                let expected = "an interval between 100ms and 3650d";
                Err(BrokerError::invalid("interval", &got, expected))
            }
            Self::Cron { pattern, zone } => Clockwork::cron(pattern, zone),
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron { pattern, zone } => write!(f, "{pattern} {zone}"),
            Self::EveryMs(ms) => {
                write!(f, "every {}", span::show(Duration::from_millis(*ms)))
            }
        }
    }
}

/// A timing that has been read and can be asked.
#[derive(Debug)]
pub(crate) enum Clockwork {
    Cron(Box<Cron>, TimeZone),
    Every(u64),
}

impl Clockwork {
    fn cron(pattern: &str, zone: &str) -> Result<Self, BrokerError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let invalid = |reason: String| {
            let expected = format!(
                "five fields (minute, hour, day of month, month, day of week), or six with seconds in \
                 front, such as `30 2 * * MON-FRI`: {reason}"
            );
            BrokerError::invalid("cron pattern", pattern, expected)
        };
        let cron = parser
            .parse(pattern)
            .map_err(|error| invalid(error.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|_| {
            let expected =
                "the name of a time zone, such as `UTC`, `Europe/Berlin` or `America/New_York`";
            BrokerError::invalid("time zone", zone, expected)
        })?;
        // Any date will do: a pattern that matches none after it matches none.
        let some = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        cron.find_next_occurrence(&some, false)
            .map_err(|_| invalid("no day ever matches it".to_owned()))?;
        Ok(Self::Cron(Box::new(cron), zone))
    }

    /// The first time after `ms`; `anchor` is one that is known, from which intervals are counted.
    pub(crate) fn after(&self, anchor: u64, ms: u64) -> Option<u64> {
        match self {
            Self::Every(_) if ms < anchor => Some(anchor),
            Self::Every(every) => Some(anchor + ((ms - anchor) / every + 1) * every),
            Self::Cron(cron, zone) => {
                let found = cron.find_next_occurrence(&second(ms, zone)?, false);
                milliseconds(&found.ok()?)
            }
        }
    }

    /// The last time that is not after `ms`; `anchor` is one that is known, and not after `ms`.
    pub(crate) fn until(&self, anchor: u64, ms: u64) -> Option<u64> {
        match self {
            Self::Every(every) => Some(anchor + ms.checked_sub(anchor)? / every * every),
            Self::Cron(cron, zone) => {
                let found = cron.find_previous_occurrence(&second(ms, zone)?, true);
                milliseconds(&found.ok()?)
            }
        }
    }
}

/// The second that `ms` lies in, as the zone's clocks show it.
fn second(ms: u64, zone: &TimeZone) -> Option<Zoned> {
    let seconds = i64::try_from(ms / 1000).ok()?;
    Some(Timestamp::from_second(seconds).ok()?.to_zoned(zone.clone()))
}

fn milliseconds(time: &Zoned) -> Option<u64> {
    u64::try_from(time.timestamp().as_millisecond()).ok()
}
