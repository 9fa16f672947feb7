//! Schedules as a file declares them: TOML, one table for each.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use celeriac::settings::units;
use celeriac_broker::{CatchUp, Options, Overlap, Payload, Schedule, TaskRef, Timing};
use serde::Deserialize;

use super::error::CliError;

/// One table of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    task: TaskRef,
    cron: Option<String>,
    zone: Option<String>,
    every: Option<String>,
    #[serde(default)]
    input: serde_json::Value,
    #[serde(default)]
    catch_up: CatchUp,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    options: Options,
}

/// The schedules of a file, by name.
pub(crate) fn read(path: &Path) -> Result<Vec<Schedule>, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CliError::file(path, "read", &error))?;
    parse(&text).map_err(|reason| {
        let message = format!("{}: {reason}", path.display());
        CliError::usage(message, "docs/schedules.md shows what such a file may say")
    })
}

fn parse(text: &str) -> Result<Vec<Schedule>, String> {
    let entries: BTreeMap<String, Entry> =
        toml::from_str(text).map_err(|error| error.to_string())?;
    entries
        .into_iter()
        .map(|(name, entry)| {
            schedule(&name, entry).map_err(|reason| format!("schedule `{name}`: {reason}"))
        })
        .collect()
}

fn schedule(name: &str, entry: Entry) -> Result<Schedule, String> {
    let timing = timing(
        entry.cron.as_deref(),
        entry.zone.as_deref(),
        entry
            .every
            .map(|every| units::parse_duration(&every))
            .transpose()?,
    )?;
    let input = serde_json::to_vec(&entry.input).map_err(|error| error.to_string())?;
    let schedule = Schedule {
        name: name.to_owned(),
        task: entry.task,
        input: Payload::json_text(Bytes::from(input)),
        options: entry.options,
        timing,
        catch_up: entry.catch_up,
        overlap: entry.overlap,
    };
    schedule.check().map_err(|error| error.to_string())?;
    Ok(schedule)
}

/// A timing from what was given of it: a pattern with or without a zone, or an interval.
pub(crate) fn timing(
    cron: Option<&str>,
    zone: Option<&str>,
    every: Option<Duration>,
) -> Result<Timing, String> {
    let timing = match (cron, zone, every) {
        (Some(pattern), zone, None) => Timing::cron(pattern, zone.unwrap_or_default()),
        (None, None, Some(interval)) => Timing::every(interval),
        (None, Some(_), Some(_)) => {
            return Err("an interval has no time zone: leave `zone` out".to_owned());
        }
        _ => {
            return Err(
                "say when: either `cron`, such as \"30 2 * * *\", or `every`, such as \"15m\""
                    .to_owned(),
            );
        }
    };
    timing.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_field() {
        let text = r#"
            [nightly]
            task = "reports/send"
            cron = "30 2 * * *"
            zone = "Europe/Berlin"
            input = { kind = "daily", pages = [1, 2] }
            catch_up = "all 3"
            overlap = "queue-one"
            [nightly.options]
            retries = 4
            queue = "reports"

            [beat]
            task = "basics/noop"
            every = "15m"
        "#;
        let schedules = parse(text).unwrap();
        let [beat, nightly] = schedules.as_slice() else {
            panic!("two schedules: {schedules:?}");
        };
        assert_eq!(beat.timing, Timing::EveryMs(900_000));
        assert_eq!(
            (&beat.input.data[..], beat.catch_up),
            (&b"null"[..], CatchUp::One)
        );
        assert_eq!(nightly.overlap, Overlap::QueueOne);
        assert_eq!(nightly.catch_up, CatchUp::All(3));
        assert_eq!(nightly.options.retries, Some(4));
        assert_eq!(
            &nightly.input.data[..],
            br#"{"kind":"daily","pages":[1,2]}"#
        );
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (text, reason) in [
            ("[a]\ntask = \"b/c\"", "either `cron`"),
            ("[a]\ntask = \"b/c\"\nevery = \"soon\"", "schedule `a`"),
            (
                "[a]\ntask = \"b/c\"\nevery = \"1h\"\nzone = \"UTC\"",
                "no time zone",
            ),
            ("[a]\ntask = \"b/c\"\ncron = \"* *\"", "cron pattern"),
            (
                "[a]\ntask = \"b/c\"\nevery = \"1h\"\nwhen = 1",
                "unknown field",
            ),
            (
                "[a]\ntask = \"b/c\"\nevery = \"1h\"\noverlap = \"never\"",
                "overlap",
            ),
            ("[\"a b\"]\ntask = \"b/c\"\nevery = \"1h\"", "schedule name"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
