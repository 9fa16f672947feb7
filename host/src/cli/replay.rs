//! `celeriac replay`: runs a failed invocation again, here, and says whether it ends as it did.

use std::{path::PathBuf, process::ExitCode};

use celeriac::{
    engine::{Recording, Stopped, Transcript},
    local::{self, LocalReplay},
    process,
    settings::Settings,
};
use celeriac_broker::{
    Broker, Code, EventKind, InvocationId, ModuleRef, Outcome, OutcomeHead, Status,
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    call::ShowArgs,
    connect,
    error::CliError,
    exit::Exit,
    figures,
    follow::ShowProgress,
    input::{self, InputArgs},
    log_line,
    outcome::Ended,
    output::{BAD, GOOD, Output, paint},
    run,
};

/// Run a failed invocation again, here: the same module, input, limits, seed and clock
///
/// Takes the last attempt of a failure from the broker, runs it in this process, and says whether it ended as it did: with the
/// same outcome and the same fuel. The broker is only read. Where the attempt was recorded (`record = true` in its grant, or
/// `celeriac call --record`), all that the task asks its host for is answered as it was. Where it was not, network, key-value
/// store, directories and other tasks are refused, and the clock stands while the task computes.
#[derive(Args, Debug)]
#[command(mut_arg("input", |arg| arg.help("Run it on this instead: JSON, `@FILE` for a file's content, `-` for standard input [default: its own]")))]
#[command(after_help = "\
Examples:
  celeriac replay 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8 --logs
  celeriac replay $id --module target/wasm32-wasip2/release/shop.wasm
  celeriac replay $id --input @smaller.json
  celeriac replay $id --json | jq .replay")]
pub(crate) struct ReplayArgs {
    /// The invocation
    #[arg(value_name = "ID")]
    id: InvocationId,

    /// Run this component instead of the module that failed: does the fix help?
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,

    #[command(flatten)]
    input: InputArgs,

    /// Let it do what the settings file here grants to its module, as `celeriac run` does, recorded or not
    #[arg(long)]
    live: bool,

    #[command(flatten)]
    show: ShowArgs,

    /// What the umask was before this process hardened itself.
    #[arg(skip)]
    pub(crate) umask: Option<u32>,
}

/// Runs the command.
pub(crate) async fn replay(
    args: ReplayArgs,
    settings: &Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let broker = connect::broker(settings).await?;
    let status = broker.status(args.id).await?;
    let recorded = failed(&status)?;
    let request = replayed(&args, &status, broker.as_ref(), settings).await?;
    let policy = run::policy(settings, request.name.as_ref(), &request.module, out)?;
    let recording = request.recording.as_ref();
    let (is_known, calls) = (
        recording.is_some(),
        recording
            .and_then(|recording| recording.transcript.as_ref())
            .map(Transcript::calls),
    );
    let is_other = args.module.is_some() || args.input.input.is_some();
    let (has_logs, has_progress) = (args.show.logs, args.show.progress != ShowProgress::Never);
    let reporter = *out;
    let report = move |event: EventKind| match &event {
        EventKind::Log(record) if has_logs => {
            reporter.note(&log_line::show(figures::now_ms(), record));
        }
        EventKind::Progress(progress) if has_progress => {
            reporter.note(&log_line::progress(progress));
        }
        _ => {}
    };
    let ran = local::replay(run::host(settings, policy), request, report).await?;
    // The output file is the caller's, not the host's.
    if let Some(umask) = args.umask {
        process::restore_umask(umask);
    }
    let compared = Compared {
        recorded,
        outcome: &ran.outcome,
        stopped: ran.stopped.as_ref(),
        is_known,
        calls,
        is_other,
        is_live: args.live,
    };
    let ended = Ended {
        id: Some(args.id),
        outcome: &ran.outcome,
        file: args.show.output,
        contract: Some(&ran.contract),
    };
    if out.is_json {
        let mut document = ended.document();
        if let Value::Object(fields) = &mut document {
            fields.insert("replay".to_owned(), compared.document());
        }
        out.document(&document)?;
    } else {
        if !compared.is_cut_short() {
            ended.show(out)?;
            run::contract(&ran.contract, out);
        }
        compared.show(out);
    }
    Ok(compared.exit().into())
}

/// The outcome of a failure; what has not failed is not replayed.
fn failed(status: &Status) -> Result<&OutcomeHead, CliError> {
    let head = status.outcome.as_ref();
    head.filter(|head| head.code != Code::Ok).ok_or_else(|| {
        let remedy = match status.state.is_terminal() {
            true => "only what has failed is kept with its input",
            false => "wait for its end: `celeriac wait ID`",
        };
        let message = format!("invocation {} is {}", status.id, status.state);
        CliError::usage(message, remedy)
    })
}

/// All that is known of the attempt that failed, with what is to be different.
async fn replayed(
    args: &ReplayArgs,
    status: &Status,
    broker: &dyn Broker,
    settings: &Settings,
) -> Result<LocalReplay, CliError> {
    let request = broker.request(args.id).await?;
    let recording = broker.recording(args.id).await?;
    let recording = recording.map(|bytes| Recording::read(&bytes)).transpose();
    let recording = recording.map_err(|error| {
        let remedy = "without it: `celeriac dead show ID` has the input, `celeriac run` runs it";
        CliError::new(Exit::Failed, error.to_string(), remedy)
    })?;
    let input = match args.input.input {
        Some(_) => args.input.read(settings.caps.input_bytes)?,
        None => local::whole_input(broker, &request.options, request.input).await?,
    };
    Ok(LocalReplay {
        module: module(args, status, broker, settings).await?,
        name: match request.task.module {
            ModuleRef::Digest(name, _) => name.map(ModuleRef::Name),
            named => Some(named),
        },
        task: request.task.task,
        input,
        options: request.options,
        id: args.id,
        attempt: status.attempts.max(1),
        recording,
        is_live: args.live,
    })
}

/// The module that failed, or the one that is to be tried.
async fn module(
    args: &ReplayArgs,
    status: &Status,
    broker: &dyn Broker,
    settings: &Settings,
) -> Result<Vec<u8>, CliError> {
    if let Some(file) = &args.module {
        return Ok(input::file(file, settings.caps.module_bytes)?.into());
    }
    let Some(digest) = status.module else {
        let message = format!("{} is a task of the hosts themselves", status.task);
        return Err(CliError::usage(message, "it runs in no sandbox"));
    };
    match broker.blob(&digest).await? {
        Some(bytes) => Ok(bytes.into()),
        None => Err(CliError::new(
            Exit::NotFound,
            format!("the module that failed, {digest}, was removed"),
            "`--module FILE` runs a copy of it, or another",
        )),
    }
}

/// How a replay ended, beside how it had ended before.
struct Compared<'a> {
    recorded: &'a OutcomeHead,
    outcome: &'a Outcome,
    /// Why it did not come to the end of its recording.
    stopped: Option<&'a Stopped>,
    /// Whether the attempt's host wrote down how it began.
    is_known: bool,
    /// Answers of its host that were kept; none: nobody asked for that.
    calls: Option<usize>,
    /// Whether another module or input was run.
    is_other: bool,
    is_live: bool,
}

impl Compared<'_> {
    fn has_same_outcome(&self) -> bool {
        let (old, new) = (&self.recorded.failure, &self.outcome.failure);
        let (Some(old), Some(new)) = (old, new) else {
            return false;
        };
        // How late it was is different each time; and what ended it from outside says no more than that.
        let is_timed = self.recorded.code == Code::Deadline || self.stopped.is_some();
        !self.is_cut_short()
            && self.recorded.code == self.outcome.code
            && old.kind == new.kind
            && (is_timed || (old.message == new.message && old.details == new.details))
    }

    fn has_same_fuel(&self) -> bool {
        self.recorded.usage.fuel == self.outcome.usage.fuel
    }

    /// Whether the replay says nothing about how the task ends.
    fn is_cut_short(&self) -> bool {
        !matches!(self.stopped, None | Some(Stopped::Ended { .. }))
    }

    fn is_same(&self) -> bool {
        self.has_same_outcome() && self.has_same_fuel()
    }

    /// What was changed is to succeed; what was not, to end as it did.
    fn exit(&self) -> Exit {
        match (self.is_other, self.outcome.code) {
            _ if self.is_cut_short() => Exit::TaskFailed,
            (true, Code::Ok) => Exit::Success,
            (false, _) if self.is_same() => Exit::Success,
            _ => Exit::TaskFailed,
        }
    }

    fn document(&self) -> Value {
        json!({
            "is_same_outcome": self.has_same_outcome(),
            "is_same_fuel": self.has_same_fuel(),
            "recorded": self.recorded,
            "calls": self.calls,
            "stopped": self.stopped.map(ToString::to_string),
            "why": self.why(),
        })
    }

    fn show(&self, out: &Output) {
        if let Some(stopped) = self.stopped.filter(|_| self.is_cut_short()) {
            let stopped = figures::harmless(&stopped.to_string());
            out.note(&format!("{}: {stopped}", paint(BAD, "replay ended")));
            return out.remedy(self.why().unwrap_or_default());
        }
        let failure = self.recorded.failure.as_ref();
        let (old, new) = (self.recorded.usage.fuel, self.outcome.usage.fuel);
        let fuel = match self.has_same_fuel() {
            true => format!("the same fuel ({})", figures::fuel(new)),
            false => format!("other fuel: {new}, and {old} was recorded"),
        };
        let outcome = match self.has_same_outcome() {
            true => "the same outcome".to_owned(),
            false => {
                let message = failure.map_or("", |failure| failure.message.as_str());
                let (code, line) = (self.recorded.code, message.lines().next());
                let line = figures::harmless(line.unwrap_or_default());
                format!("another outcome; recorded was {code}: {line}")
            }
        };
        let (style, word) = match self.exit() {
            Exit::Success => (GOOD, "replayed"),
            _ => (BAD, "replayed"),
        };
        out.note(&format!("{}: {outcome}, {fuel}", paint(style, word)));
        if let Some(why) = self.why() {
            out.remedy(why);
        }
    }

    /// Why it may have ended otherwise.
    fn why(&self) -> Option<&'static str> {
        if self.is_cut_short() {
            return Some(
                "`--live` lets the task do what the settings file here grants, with new answers",
            );
        }
        if self.is_same() || self.is_other {
            return None;
        }
        Some(if !self.is_known {
            "its host did not write down how the attempt began: seed and clock are others, and the limits are those of here"
        } else if self.is_live {
            "with --live the clock runs, and what the task asks for may answer otherwise each time"
        } else if self.calls.is_some() {
            "secrets that are not granted here, and those that stood in answers, were replaced by others of their length"
        } else {
            "the answers of its host were not recorded: the clock stands while the task computes, and network, key-value \
             store, directories and other tasks are refused"
        })
    }
}
