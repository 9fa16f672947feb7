//! Schedules: tasks that are submitted again and again, by whichever host comes first.
//!
//! A schedule is a record in the broker. Its next time stands in the store; when it has come, a ticker works out in
//! Rust which times to fire for and when the next is ([`plan`]), and one step of the engine checks that this next time
//! still stands, submits, and writes the new one. So any host fires, exactly one does, and none needs a clock.

mod plan;
#[cfg(test)]
mod tests;
mod timing;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::plan::Plan;
pub use self::timing::Timing;
use crate::{
    BrokerError, InvocationId, Namespace, Options, Payload, Submission, TaskRef, When, check_name,
};

/// The largest input of a scheduled invocation. What is larger belongs into a file or a store.
pub const MAX_SCHEDULE_INPUT: usize = 64 << 10;

/// Schedules in one store.
pub const MAX_SCHEDULES: usize = 10_000;

/// Runs of a schedule that are remembered.
pub const RUNS_KEPT: usize = 20;

/// Missed times that are caught up at most.
const MAX_CAUGHT_UP: u32 = 100;

/// What is to run, when, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name: what is added under the name of another takes its place.
    pub name: String,
    /// What to run. The module is the one that the name points to when it fires.
    pub task: TaskRef,
    /// What to run it on.
    pub input: Payload,
    /// How. Moments are counted from when it fires.
    pub options: Options,
    /// When.
    pub timing: Timing,
    /// What becomes of times that passed while nobody could fire.
    pub catch_up: CatchUp,
    /// What becomes of a time that comes while an earlier run has not ended.
    pub overlap: Overlap,
}

/// What becomes of times that passed while nobody could fire: no host lived, or the broker was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum CatchUp {
    /// They are left out, unless the last of them is less than ten seconds ago.
    Skip,
    /// It fires once for all of them.
    #[default]
    One,
    /// It fires for each, at most for so many of the latest; one after another unless they may overlap.
    All(u32),
}

/// What becomes of a time that comes while an earlier run has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Another run starts beside it.
    Allow,
    /// This time is left out.
    #[default]
    Skip,
    /// One run is kept back until the earlier one has ended; further times are left out.
    QueueOne,
}

/// A schedule and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRecord {
    /// What was added.
    pub schedule: Schedule,
    /// Whether it fires at all for now.
    pub is_paused: bool,
    /// When it fires next, by the broker's clock: milliseconds since the Unix epoch. None while it is paused.
    pub next_ms: Option<u64>,
    /// The time that waits for an earlier run to end (`Overlap::QueueOne`), or the first of those that do
    /// (`CatchUp::All`): milliseconds since the Unix epoch.
    pub waiting_ms: Option<u64>,
    /// The times that wait behind it.
    pub(crate) behind: Vec<u64>,
    /// Its last runs, newest first.
    pub runs: Vec<Run>,
    /// Grows with each change: what was decided on an older one is not written.
    pub(crate) revision: u64,
}

impl ScheduleRecord {
    /// What it does at `now`, by the broker's clock: the times that wait come first.
    pub(crate) fn plan(&self, now: u64) -> Result<Plan, BrokerError> {
        let Schedule {
            timing, catch_up, ..
        } = &self.schedule;
        let mut plan = match self.next_ms {
            Some(next) => plan::plan(timing, *catch_up, next, now)?,
            None => Plan::default(),
        };
        let waiting = self.waiting_ms.iter().chain(&self.behind);
        let before = plan.fires.len();
        plan.fires.splice(..0, waiting.copied());
        plan.patient += plan.fires.len() - before;
        Ok(plan)
    }

    /// Whether one of its last runs is the invocation `id`.
    pub(crate) fn has_run(&self, id: InvocationId) -> bool {
        self.runs.iter().any(|run| run.id == Some(id))
    }
}

/// One time that a schedule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Run {
    /// The time it was for, by the broker's clock: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What came of it.
    pub result: RunResult,
    /// The invocation, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<InvocationId>,
}

/// What came of one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunResult {
    /// It was submitted.
    Fired,
    /// Somebody asked for it.
    Manual,
    /// It was left out, since an earlier run had not ended.
    Overlapped,
    /// There was no such module.
    NoModule,
    /// The module had no such task.
    NoTask,
    /// It was refused for another reason.
    Refused,
}

/// What adding a schedule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Put {
    /// There was none of this name.
    Added,
    /// It took the place of another.
    Changed,
    /// It was there already, as it is.
    Unchanged,
}

/// The part of a schedule that is one JSON document in the store.
#[derive(Serialize, Deserialize)]
struct Spec {
    task: TaskRef,
    content_type: String,
    #[serde(default)]
    options: Options,
    timing: Timing,
    catch_up: CatchUp,
    overlap: Overlap,
}

impl Schedule {
    /// What must hold before an engine is asked.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<(), BrokerError> {
        check_name("schedule name", &self.name)?;
        self.timing.clockwork()?;
        self.options.check()?;
        check_own(&self.options)?;
        if self.input.data.len() > MAX_SCHEDULE_INPUT {
            let got = format!("{} bytes", self.input.data.len());
            let expected = "at most 64 KiB: have the task read more from a file or a store";
            return Err(BrokerError::invalid("input of a schedule", &got, expected));
        }
        Ok(())
    }

    /// All but name and input, as it stands in the store.
    pub(crate) fn spec(&self) -> Result<String, BrokerError> {
        let spec = Spec {
            task: self.task.clone(),
            content_type: self.input.content_type.clone(),
            options: self.options.clone(),
            timing: self.timing.clone(),
            catch_up: self.catch_up,
            overlap: self.overlap,
        };
        serde_json::to_string(&spec).map_err(|error| damaged(&self.name, error))
    }

    /// The other way round.
    pub(crate) fn read(name: &str, spec: &[u8], input: Vec<u8>) -> Result<Self, BrokerError> {
        let spec: Spec = serde_json::from_slice(spec).map_err(|error| damaged(name, error))?;
        Ok(Self {
            name: name.to_owned(),
            task: spec.task,
            input: Payload::bytes(spec.content_type, input),
            options: spec.options,
            timing: spec.timing,
            catch_up: spec.catch_up,
            overlap: spec.overlap,
        })
    }

    /// The id of the invocation that it submits for `at_ms`. It follows from the name and the time: submitting it
    /// twice is submitting it once.
    pub(crate) fn id_at(&self, namespace: &Namespace, at_ms: u64) -> InvocationId {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"schedule\0")
            .chain_update(self.name.as_bytes())
            .chain_update(at_ms.to_be_bytes())
            .finalize()
            .into();
        namespace.derive_at(at_ms, hash)
    }

    /// The invocation with this id.
    pub(crate) fn submission_as(&self, id: InvocationId) -> Submission {
        Submission {
            id,
            task: self.task.clone(),
            input: self.input.clone(),
            options: Options {
                schedule: Some(self.name.clone()),
                ..self.options.clone()
            },
            reply_to: None,
        }
    }
}

/// Refuses options that mean nothing, or something else, where there is more than one run.
fn check_own(options: &Options) -> Result<(), BrokerError> {
    for (what, when) in [
        ("start of a schedule", options.start),
        ("expiry of a schedule", options.expires),
        ("deadline of a schedule", options.deadline),
    ] {
        if let Some(when @ When::AtMs(_)) = when {
            let expected = "a duration, since a schedule fires more than once";
            return Err(BrokerError::invalid(what, &when.to_string(), expected));
        }
    }
    let one_run = "none: its overlap policy says how many of its runs there may be";
    let alone = "none: what a schedule submits waits for nothing and calls nobody back; have its task submit what follows";
    let key = options.idempotency_key.as_deref();
    let unique = options.unique.as_ref().map(|unique| unique.key.as_str());
    let after = options.after.first().map(|after| after.id.to_string());
    let callback = options.callbacks.first().map(|back| back.to.to_string());
    for (what, got, expected) in [
        ("idempotency key of a schedule", key, one_run),
        ("unique key of a schedule", unique, one_run),
        ("dependency of a schedule", after.as_deref(), alone),
        ("callback of a schedule", callback.as_deref(), alone),
    ] {
        if let Some(got) = got {
            return Err(BrokerError::invalid(what, got, expected));
        }
    }
    Ok(())
}

/// That a schedule cannot be read.
pub(crate) fn damaged(name: &str, reason: impl fmt::Display) -> BrokerError {
    BrokerError::Damaged {
        what: format!("schedule {name}"),
        reason: reason.to_string(),
    }
}

impl CatchUp {
    /// For how many times it fires at once at most, and how many wait at most.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Skip | Self::One => 1,
            Self::All(most) => usize::try_from(most).unwrap_or(1).max(1),
        }
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::One => f.write_str("one"),
            Self::All(most) => write!(f, "all {most}"),
        }
    }
}

impl FromStr for CatchUp {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let most = |text: &str| {
            let most = text.trim().parse().ok();
            most.filter(|most| (1..=MAX_CAUGHT_UP).contains(most))
        };
        let policy = match text.trim() {
            "skip" => Some(Self::Skip),
            "one" => Some(Self::One),
            text => text.strip_prefix("all ").and_then(most).map(Self::All),
        };
        let expected = "`skip`, `one`, or `all N` with N up to 100";
        policy.ok_or_else(|| BrokerError::invalid("catch-up policy", text, expected))
    }
}

impl From<CatchUp> for String {
    fn from(policy: CatchUp) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for CatchUp {
    type Error = BrokerError;

    fn try_from(text: String) -> Result<Self, BrokerError> {
        text.parse()
    }
}

impl Overlap {
    /// The policy as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
            Self::QueueOne => "queue-one",
        }
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Overlap {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        [Self::Allow, Self::Skip, Self::QueueOne]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| {
                BrokerError::invalid("overlap policy", text, "`allow`, `skip` or `queue-one`")
            })
    }
}

impl RunResult {
    /// The letter that stands for it in the store.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Fired => 'f',
            Self::Manual => 'm',
            Self::Overlapped => 'o',
            Self::NoModule => 'n',
            Self::NoTask => 't',
            Self::Refused => 'x',
        }
    }
}

impl Run {
    /// `<ms> <letter> <id or ->`, as it stands in the store.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let at_ms = words.next()?.parse().ok()?;
        let letter = words.next()?.chars().next()?;
        let result = [
            RunResult::Fired,
            RunResult::Manual,
            RunResult::Overlapped,
            RunResult::NoModule,
            RunResult::NoTask,
        ]
        .into_iter()
        .find(|result| result.letter() == letter)
        .unwrap_or(RunResult::Refused);
        let id = words.next().and_then(|id| id.parse().ok());
        Some(Self { at_ms, result, id })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.at_ms, self.result.letter())?;
        match self.id {
            Some(id) => id.fmt(f),
            None => f.write_str("-"),
        }
    }
}
