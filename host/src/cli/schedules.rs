//! `celeriac schedules`: tasks that are submitted again and again.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use celeriac::settings::{Settings, units};
use celeriac_broker::{
    CatchUp, Options, Overlap, Put, Run, Schedule, ScheduleRecord, TaskRef, When,
};
use celeriac_client::{Applied, Apply, Change, Client};
use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{
    connect::connect, error::CliError, exit::Exit, input::InputArgs, options::OptionArgs,
    output::Output, schedule_file,
};

/// Times that `show` lists.
const UPCOMING: usize = 5;

/// Submit tasks again and again: at the times of a calendar, or at fixed intervals
///
/// A schedule is kept in the broker and fired by whichever host comes first; each time is fired once.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac schedules                                     what there is, and when it comes next
  celeriac schedules add nightly reports/send --cron '30 2 * * *' --zone Europe/Berlin
  celeriac schedules add beat basics/noop --every 15m --overlap skip
  celeriac schedules show nightly                        last and next runs
  celeriac schedules pause nightly
  celeriac schedules run nightly                         once, now
  celeriac schedules apply schedules.toml --prune --dry-run")]
pub(crate) struct SchedulesArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List every schedule [the default]
    List,
    /// Show a schedule: what it submits, its last and its next runs
    #[command(
        after_help = "Examples:\n  celeriac schedules show nightly\n  celeriac schedules show nightly --json | jq '.runs[0].id'"
    )]
    Show {
        /// Its name
        name: String,
    },
    /// Add a schedule, or put it in the place of the one of its name
    Add(Box<AddArgs>),
    /// Remove a schedule; what it has submitted goes on
    #[command(after_help = "Examples:\n  celeriac schedules remove nightly")]
    Remove {
        /// Its name
        name: String,
    },
    /// Have a schedule fire no more until it is resumed
    #[command(after_help = "Examples:\n  celeriac schedules pause nightly")]
    Pause {
        /// Its name
        name: String,
    },
    /// Have a schedule fire again; times that passed meanwhile are left out
    #[command(after_help = "Examples:\n  celeriac schedules resume nightly")]
    Resume {
        /// Its name
        name: String,
    },
    /// Submit now what a schedule would submit, and print the invocation's id
    #[command(after_help = "Examples:\n  celeriac wait $(celeriac schedules run nightly)")]
    Run {
        /// Its name
        name: String,
    },
    /// Bring the schedules in line with a TOML file
    #[command(
        after_help = "Examples:\n  celeriac schedules apply schedules.toml\n  celeriac schedules apply schedules.toml --prune --dry-run"
    )]
    Apply {
        /// The file: a table for each schedule; docs/schedules.md shows one
        file: PathBuf,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Remove schedules that are not in the file
        #[arg(long)]
        prune: bool,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac schedules add nightly reports/send --cron '30 2 * * *' --zone Europe/Berlin --input '{\"kind\":\"daily\"}'
  celeriac schedules add tick basics/noop --cron '*/10 * * * * *' --overlap allow
  celeriac schedules add beat basics/noop --every 15m --catch-up skip --expires 5m --retries 2 --backoff 10s
  celeriac schedules add sync crm/pull --every 1h --priority low --timeout 5m --limit soft_timeout=4m")]
#[command(group = clap::ArgGroup::new("when").required(true).args(["cron", "every"]))]
struct AddArgs {
    /// Its name
    name: String,

    /// What to run: the module is the one that the name points to when the time comes
    #[arg(value_name = "TASK")]
    task: TaskRef,

    /// At these times: minute, hour, day of month, month, day of week; with seconds in front where there are six
    #[arg(long, value_name = "PATTERN")]
    cron: Option<String>,

    /// Whose calendar, such as `Europe/Berlin` [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    zone: Option<String>,

    /// Again and again after this time, such as `15m`
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    every: Option<Duration>,

    #[command(flatten)]
    input: InputArgs,

    /// What becomes of times that passed while no host lived: `skip`, `one` (once for all), or `all N` (the last N)
    #[arg(long, value_name = "POLICY", default_value_t)]
    catch_up: CatchUp,

    /// What becomes of a time while an earlier run has not ended: `allow`, `skip`, or `queue-one`
    #[arg(long, value_name = "POLICY", default_value_t)]
    overlap: Overlap,

    #[command(flatten)]
    how: OptionArgs,

    /// Submit a run so long after its time, such as `10m`
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    delay: Option<Duration>,

    /// Have a run expire unless it was started within this time
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    expires: Option<Duration>,

    /// Have a run fail unless it has ended within this time, retries and all
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    deadline: Option<Duration>,
}

impl AddArgs {
    fn schedule(self, settings: &Settings) -> Result<Schedule, CliError> {
        let timing = schedule_file::timing(self.cron.as_deref(), self.zone.as_deref(), self.every)
            .map_err(|reason| CliError::usage(reason, ""))?;
        Ok(Schedule {
            name: self.name,
            task: self.task,
            input: self.input.read(settings.caps.input_bytes)?,
            options: Options {
                start: self.delay.map(When::from),
                expires: self.expires.map(When::from),
                deadline: self.deadline.map(When::from),
                ..self.how.options()
            },
            timing,
            catch_up: self.catch_up,
            overlap: self.overlap,
        })
    }
}

/// Runs the command.
pub(crate) async fn schedules(
    args: SchedulesArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let schedules = client.schedules();
    match args.action.unwrap_or(Action::List) {
        Action::List => list(&schedules.list().await?, out)?,
        Action::Show { name } => show(&schedules.get(&name).await?, out)?,
        Action::Add(add) => {
            let schedule = add.schedule(&settings)?;
            let change = match schedules.put(&schedule).await? {
                Put::Added => Change::Added,
                Put::Changed => Change::Changed,
                Put::Unchanged => Change::Unchanged,
            };
            let name = schedule.name;
            tell(&[Applied { name, change }], false, out)?;
        }
        Action::Remove { name } => {
            schedules.remove(&name).await?;
            let change = Change::Removed;
            tell(&[Applied { name, change }], false, out)?;
        }
        Action::Pause { name } => {
            schedules.pause(&name).await?;
            set(&client, &name, out).await?;
        }
        Action::Resume { name } => {
            schedules.resume(&name).await?;
            set(&client, &name, out).await?;
        }
        Action::Run { name } => {
            let handle = schedules.run(&name).await?;
            match out.is_json {
                true => out.document(&json!({ "id": handle.id() }))?,
                false => out.line(&handle.id().to_string())?,
            }
        }
        Action::Apply {
            file,
            dry_run,
            prune,
        } => {
            let wanted = schedule_file::read(&file)?;
            let how = Apply {
                is_dry_run: dry_run,
                is_pruning: prune,
            };
            tell(&schedules.apply(&wanted, how).await?, dry_run, out)?;
        }
    }
    Ok(Exit::Success.into())
}

/// What was done, or would be.
fn tell(applied: &[Applied], is_dry_run: bool, out: &Output) -> Result<(), CliError> {
    if out.is_json {
        return out.document(&json!({ "schedules": applied, "is_dry_run": is_dry_run }));
    }
    for Applied { name, change } in applied {
        let word = match (change, is_dry_run) {
            (Change::Unchanged, _) => "unchanged",
            (Change::Added, false) => "added",
            (Change::Changed, false) => "changed",
            (Change::Removed, false) => "removed",
            (Change::Added, true) => "would be added",
            (Change::Changed, true) => "would be changed",
            (Change::Removed, true) => "would be removed",
        };
        out.line(&format!("{name} {word}"))?;
    }
    Ok(())
}

/// Where a schedule stands after it was paused or resumed.
async fn set(client: &Client, name: &str, out: &Output) -> Result<(), CliError> {
    let record = client.schedules().get(name).await?;
    match out.is_json {
        true => out.document(&document(&record)),
        false => {
            out.note(&format!("{name}: next {}", next(&record)));
            Ok(())
        }
    }
}

fn list(records: &[ScheduleRecord], out: &Output) -> Result<(), CliError> {
    if out.is_json {
        let documents: Vec<_> = records.iter().map(document).collect();
        return out.document(&json!({ "schedules": documents }));
    }
    if records.is_empty() {
        out.note(
            "there is no schedule yet: `celeriac schedules add NAME TASK --cron PATTERN` adds one",
        );
        return Ok(());
    }
    let row = |record: &ScheduleRecord| {
        let last = record.runs.first();
        [
            Cell::new(&record.schedule.name).fg(Color::Cyan),
            Cell::new(&record.schedule.task),
            Cell::new(&record.schedule.timing),
            Cell::new(last.map_or("-".to_owned(), |run| moment(run.at_ms))),
            Cell::new(last.map_or("-", came_to)),
            Cell::new(next(record)),
        ]
    };
    out.table(
        ["NAME", "TASK", "WHEN", "LAST", "CAME TO", "NEXT"],
        records.iter().map(row).collect(),
    )
}

fn show(record: &ScheduleRecord, out: &Output) -> Result<(), CliError> {
    if out.is_json {
        return out.document(&document(record));
    }
    let schedule = &record.schedule;
    out.line(&format!(
        "{}  {}, {}\ncatch-up {}, overlap {}, input {} bytes",
        schedule.name,
        schedule.task,
        schedule.timing,
        schedule.catch_up,
        schedule.overlap,
        schedule.input.data.len()
    ))?;
    for at in upcoming(record).into_iter().rev() {
        out.line(&format!("  {}  next", moment(at)))?;
    }
    if let Some(waiting) = record.waiting_ms {
        out.line(&format!("  {}  waits for the run before", moment(waiting)))?;
    }
    if record.is_paused {
        out.line("  paused")?;
    }
    for run in &record.runs {
        let id = run.id.map(|id| id.to_string()).unwrap_or_default();
        let line = format!("  {}  {} {id}", moment(run.at_ms), came_to(run));
        out.line(line.trim_end())?;
    }
    Ok(())
}

fn document(record: &ScheduleRecord) -> Value {
    let schedule = &record.schedule;
    let text = std::str::from_utf8(&schedule.input.data).ok();
    json!({
        "name": schedule.name,
        "task": schedule.task,
        "timing": schedule.timing,
        "options": schedule.options,
        "input": text.and_then(|text| serde_json::from_str::<Value>(text).ok()),
        "content_type": schedule.input.content_type,
        "catch_up": schedule.catch_up,
        "overlap": schedule.overlap,
        "is_paused": record.is_paused,
        "waiting_ms": record.waiting_ms,
        "next_ms": upcoming(record),
        "runs": record.runs,
    })
}

fn upcoming(record: &ScheduleRecord) -> Vec<u64> {
    let next = record.next_ms;
    let times = next.and_then(|next| record.schedule.timing.upcoming(next, UPCOMING).ok());
    times.unwrap_or_default()
}

fn next(record: &ScheduleRecord) -> String {
    match record.next_ms {
        Some(next) => moment(next),
        None if record.is_paused => "paused".to_owned(),
        None => "never".to_owned(),
    }
}

/// A moment of the broker's clock, UTC.
fn moment(at_ms: u64) -> String {
    When::AtMs(at_ms).to_string()
}

fn came_to(run: &Run) -> &'static str {
    use celeriac_broker::RunResult as R;
    match run.result {
        R::Fired => "submitted",
        R::Manual => "submitted by hand",
        R::Overlapped => "left out: the run before had not ended",
        R::NoModule => "refused: there is no such module",
        R::NoTask => "refused: there is no such task",
        R::Refused => "refused",
    }
}
