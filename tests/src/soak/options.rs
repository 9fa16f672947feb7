//! The command line.

use std::{path::PathBuf, time::Duration};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Usage: soak [OPTIONS]

Runs a mixed load on three hosts and a Redis of its own, kills, drains and freezes hosts and kills and restarts
Redis meanwhile, and then accounts for every invocation, the hosts' memory and Redis' keys.

  --time SPAN     how long the load lasts, such as 30m          [30m]
  --rate N        invocations submitted in a second, about      [200]
  --every SPAN    a fault this often, on average                [20s]
  --ttl SPAN      how long results and failures are kept        [1m]
  --seed N        of the load and of the faults                 [random, printed]
  --logs DIR      keeps the hosts' logs here                    [removed]
  --report FILE   writes the summary there as JSON too

The host's program is CELERIAC_BIN, the sample tasks are in CELERIAC_TASKS; without these, those that `make build` makes.
The exit code is 0 when all is accounted for, 1 when something is wrong, and 2 when the command line is.";

/// The command line, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// How long the load lasts.
    pub(crate) time: Duration,
    /// Invocations in a second.
    pub(crate) rate: f64,
    /// From one fault to the next, on average.
    pub(crate) every: Duration,
    /// How long results and failures are kept.
    pub(crate) ttl: Duration,
    /// Of the load and of the faults.
    pub(crate) seed: u64,
    /// Where the hosts' logs stay.
    pub(crate) logs: Option<PathBuf>,
    /// Where the summary goes beside stdout.
    pub(crate) report: Option<PathBuf>,
}

impl Options {
    /// Reads arguments without the program's name; none when help is asked for.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Option<Self>, String> {
        let mut options = Self {
            time: Duration::from_secs(1800),
            rate: 200.0,
            every: Duration::from_secs(20),
            ttl: Duration::from_secs(60),
            seed: fastrand::u64(..),
            logs: None,
            report: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("`{name}` is no option, or lacks its value"))?;
            let wrong = |expected| format!("{name} is `{value}`: expected {expected}");
            match name.as_str() {
                "--time" => options.time = span(&value).ok_or_else(|| wrong(SPAN))?,
                "--every" => options.every = span(&value).ok_or_else(|| wrong(SPAN))?,
                "--ttl" => options.ttl = span(&value).ok_or_else(|| wrong(SPAN))?,
                "--rate" => {
                    let rate = value.parse().ok().filter(|rate| (1.0..1e5).contains(rate));
                    options.rate = rate.ok_or_else(|| wrong("a number from 1 to 100000"))?;
                }
                "--seed" => {
                    options.seed = value.parse().map_err(|_| wrong("a whole number"))?;
                }
                "--logs" => options.logs = Some(value.into()),
                "--report" => options.report = Some(value.into()),
                _ => return Err(format!("`{name}` is no option")),
            }
        }
        Ok(Some(options))
    }
}

const SPAN: &str = "a span such as 90s, 30m or 2h";

/// A whole number of seconds, minutes or hours; more than none.
fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn takes_spans_and_numbers() {
        let options = parse("--time 2h --rate 50 --seed 7").unwrap().unwrap();
        assert_eq!(options.time, Duration::from_secs(7200));
        assert_eq!((options.rate, options.seed), (50.0, 7));
        assert_eq!(options.ttl, Duration::from_secs(60));
    }

    #[test]
    fn says_what_is_wrong_with_a_line() {
        for (line, named) in [
            ("--time 30", "a span such as"),
            ("--time 0s", "a span such as"),
            ("--rate fast", "a number from 1"),
            ("--tiem 30m", "`--tiem` is no option"),
            ("--seed", "lacks its value"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
