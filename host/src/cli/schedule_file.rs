//! Schedules as a file declares them: TOML, one table for each.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use celeriac::settings::units;
use celeriac_broker::{CatchUp, Overlap, Payload, Schedule, TaskRef, Timing};
use serde::Deserialize;

use super::{error::CliError, schedule_options::FileOptions};

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
    /// Read by itself, so that what is wrong is told in its own words.
    #[serde(default)]
    options: toml::Table,
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
        options: FileOptions::read(entry.options)?.options()?,
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
#[path = "schedule_file_tests.rs"]
mod tests;
