//! What a schedule is in a body, and in an answer.

use celeriac_broker::{
    CatchUp, InvocationId, Options, Overlap, Run, Schedule, ScheduleRecord, TaskRef, Timing,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    gateway::{
        body,
        payload::{Input, present},
        problem::Problem,
        result::embed,
    },
    settings::units,
};

/// Times that an answer tells.
const UPCOMING: usize = 5;

/// As what a schedule is run.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunSchedule {
    /// The new invocation's id, made as `GET /v1/store` says; left out: the gateway makes one. The same id is run once.
    pub(super) id: Option<InvocationId>,
}

/// What is to run, when, and how: `cron` with a `zone`, or `every`. The input is as at `POST /v1/invocations`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutSchedule {
    /// What to run: the module is the one that the name points to when the time comes.
    #[schema(example = "basics/noop")]
    task: TaskRef,
    /// The input, any JSON; left out: null.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>, nullable)]
    input: Option<Box<RawValue>>,
    /// The input, when it is not JSON.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    input_base64: Option<String>,
    /// The media type of `input_base64`; left out: `application/octet-stream`.
    #[schema(pattern = "^[!-.0-~]{1,60}/[!-~][ -~]{0,119}$", example = "image/png")]
    content_type: Option<String>,
    /// At these times: minute, hour, day of month, month, day of week; with seconds in front where there are six.
    #[schema(example = "30 2 * * *")]
    cron: Option<String>,
    /// Whose calendar: the name of a time zone; left out: UTC.
    #[schema(example = "Europe/Berlin")]
    zone: Option<String>,
    /// Again and again after this time, 100 ms to ten years.
    #[schema(pattern = "^([0-9]+(d|h|m|s|ms))+$", example = "15m")]
    every: Option<String>,
    /// What becomes of times that passed while no host lived.
    #[serde(default)]
    #[schema(required = false)]
    catch_up: CatchUp,
    /// What becomes of a time that comes while an earlier run has not ended.
    #[serde(default)]
    #[schema(required = false)]
    overlap: Overlap,
    /// How to run it. Moments are spans (`in_ms`), counted from when it fires; keys, dependencies and callbacks are
    /// refused.
    #[serde(default, deserialize_with = "body::object")]
    #[schema(required = false)]
    options: Options,
}

impl PutSchedule {
    /// What it says, in the broker's form.
    pub(super) fn prepare(self, name: String) -> Result<Schedule, Problem> {
        let timing = timing(
            self.cron.as_deref(),
            self.zone.as_deref(),
            self.every.as_deref(),
        )?;
        let input = Input {
            json: self.input,
            base64: self.input_base64,
            content_type: self.content_type,
        };
        let schedule = Schedule {
            name,
            task: self.task,
            input: input.payload()?,
            options: self.options,
            timing,
            catch_up: self.catch_up,
            overlap: self.overlap,
        };
        schedule.check().map_err(Problem::of_call)?;
        Ok(schedule)
    }
}

fn timing(cron: Option<&str>, zone: Option<&str>, every: Option<&str>) -> Result<Timing, Problem> {
    let timing = match (cron, zone, every) {
        (Some(pattern), zone, None) => Timing::cron(pattern, zone.unwrap_or_default()),
        (None, None, Some(text)) => {
            let interval = units::parse_duration(text);
            Timing::every(interval.map_err(|reason| Problem::field("/every", reason))?)
        }
        (None, Some(_), Some(_)) => {
            let message = "an interval has no time zone: leave it out";
            return Err(Problem::field("/zone", message));
        }
        (Some(_), _, Some(_)) => {
            let message = "give `cron` or `every`, and not both";
            return Err(Problem::field("/every", message));
        }
        (None, _, None) => {
            let message =
                "say when: either `cron`, such as `30 2 * * *`, or `every`, such as `15m`";
            return Err(Problem::field("/cron", message));
        }
    };
    timing.map_err(Problem::of_call)
}

/// A schedule and where it stands. What a `PUT` takes is in the fields of the same names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(crate) struct Shown {
    /// Its name.
    pub(super) name: String,
    /// What it runs.
    task: TaskRef,
    /// The input, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable)]
    input: Option<Box<RawValue>>,
    /// The input, when it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_base64: Option<String>,
    /// The media type of `input_base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The times of a calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    /// Whose calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// The interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "15m")]
    every: Option<String>,
    catch_up: CatchUp,
    overlap: Overlap,
    options: Options,
    /// Whether it fires at all for now.
    is_paused: bool,
    /// Its next times, by the broker's clock: milliseconds since the Unix epoch. None while it is paused.
    next_ms: Vec<u64>,
    /// The first of the times that wait for an earlier run to end: of `queue-one`, or of `all N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_ms: Option<u64>,
    /// Its last 20 runs, newest first.
    runs: Vec<Run>,
}

impl Shown {
    pub(super) fn new(record: ScheduleRecord) -> Self {
        let next = record.next_ms;
        let upcoming = next.and_then(|next| record.schedule.timing.upcoming(next, UPCOMING).ok());
        let schedule = record.schedule;
        let (input, input_base64) = embed(&schedule.input);
        let (cron, zone, every) = match schedule.timing {
            Timing::Cron { pattern, zone } => (Some(pattern), Some(zone), None),
            Timing::EveryMs(ms) => {
                let interval = std::time::Duration::from_millis(ms);
                (None, None, Some(units::show_duration(interval)))
            }
        };
        Self {
            name: schedule.name,
            task: schedule.task,
            content_type: input_base64
                .is_some()
                .then_some(schedule.input.content_type),
            input,
            input_base64,
            cron,
            zone,
            every,
            catch_up: schedule.catch_up,
            overlap: schedule.overlap,
            options: schedule.options,
            is_paused: record.is_paused,
            next_ms: upcoming.unwrap_or_default(),
            waiting_ms: record.waiting_ms,
            runs: record.runs,
        }
    }
}
