//! Runs a failed invocation again in this process: what `celeriac replay` does.
//!
//! The same module, input, id, attempt, limits, seed and clock. What nobody has recorded is refused unless it is asked for:
//! a replay that sends the mail once more is none. What was recorded is answered from the recording, whatever there is here.

use std::sync::Arc;

use celeriac_broker::{
    Broker, Code, EventKind, InvocationId, ModuleRef, Options, Outcome, Payload,
};

use super::{LocalError, LocalHost, LocalRun, Run, Stage, find, granted};
use crate::{
    engine::{
        CancellationToken, Denials, Denied, Invocation, Limits, Recording, Rights, Stopped, Tape,
    },
    worker::{Unfilled, fill, translate},
};

/// A failed invocation with all that is known of it.
#[derive(Debug)]
pub struct LocalReplay {
    /// The component: the one that failed, or another.
    pub module: Vec<u8>,
    /// What it is called as far as the policy is concerned; none: it has only its digest.
    pub name: Option<ModuleRef>,
    /// The task's name in it.
    pub task: String,
    /// The input.
    pub input: Payload,
    /// What the caller asked for: it counts where nothing is known of the attempt's limits.
    pub options: Options,
    /// The invocation.
    pub id: InvocationId,
    /// The attempt.
    pub attempt: u32,
    /// What its host wrote down; none: nobody has.
    pub recording: Option<Recording>,
    /// Whether it may do what the policy here grants, with the real clock: requests, connections, directories.
    pub is_live: bool,
}

/// Runs it; `report` is told what it reports, as it does.
///
/// # Errors
/// When nothing was run; what a task comes to is in the outcome.
pub async fn replay(
    mut host: LocalHost,
    request: LocalReplay,
    report: impl Fn(EventKind) + Send + Sync + 'static,
) -> Result<LocalRun, LocalError> {
    if let Some(recording) = &request.recording {
        let memory = usize::try_from(recording.limits.memory_bytes).unwrap_or(usize::MAX);
        // The other host's slots may have been larger.
        host.engine.memory_max_bytes = host.engine.memory_max_bytes.max(memory);
    }
    let stage = Stage::new(&host)?;
    let manifest = stage.admitter.admit(Arc::from(request.module)).await?;
    let module = stage.loader.load(&manifest.digest).await?;
    let task = find(&manifest, &request.task)?;
    let granted = granted(host.policy, request.name.as_ref(), manifest.digest, task)?;
    let recording = request.recording.as_ref();
    let limits = match recording {
        Some(recording) if request.is_live => recording.limits.clone(),
        Some(recording) => recording.replay_limits(),
        None => Limits::effective(
            &host.limits,
            &translate::authored(&task.options)?,
            &translate::asked(&request.options)?.and(&granted.limits),
        ),
    };
    let cancel = CancellationToken::new();
    let rights = rights(&granted.rights, recording, request.is_live, &cancel);
    let tape = rights.tape.clone();
    let run = Run {
        invocation: Invocation {
            id: request.id.to_string(),
            task: request.task,
            attempt: request.attempt,
        },
        input: request.input,
        limits,
        rights: Arc::new(rights),
        cancel,
        digest: manifest.digest,
    };
    let mut ran = stage.run(&module, run, report).await?;
    ran.stopped = tape.and_then(|tape| tape.stopped());
    let ended = match &ran.stopped {
        Some(Stopped::Ended { code }) => Some(code.clone()),
        // It was computing when its host stopped it: it was stopped at the same fuel.
        None if ran.outcome.code == Code::OutOfFuel && !request.is_live => recording
            .filter(|recording| recording.stopped_at() == Some(ran.outcome.usage.fuel))
            .and_then(|recording| recording.transcript.as_ref())
            .map(|transcript| transcript.code().to_owned()),
        _ => None,
    };
    let code = ended.and_then(|ended| Code::ALL.into_iter().find(|code| code.as_str() == ended));
    if let Some(code) = code {
        let message = "the attempt was ended by its host here, and so is its replay";
        ran.outcome = Outcome {
            usage: ran.outcome.usage,
            ..Outcome::failed(code, message)
        };
        ran.stopped = Some(Stopped::Ended {
            code: code.as_str().to_owned(),
        });
    }
    Ok(ran)
}

/// What the replay may touch.
fn rights(
    granted: &Rights,
    recording: Option<&Recording>,
    is_live: bool,
    cancel: &CancellationToken,
) -> Rights {
    if is_live {
        // The clock is the real one: with one that stands, whatever waits for the network would be late at once.
        return Rights {
            seed: recording.and_then(|recording| recording.seed.clone()),
            determinism: recording
                .filter(|recording| recording.is_fixed)
                .map(Recording::determinism),
            ..granted.clone()
        };
    }
    if let Some(recording) = recording
        && let Some(transcript) = &recording.transcript
    {
        let tape = Tape::replaying(transcript.clone(), cancel.clone());
        return Rights {
            seed: recording.seed.clone(),
            determinism: recording.is_fixed.then(|| recording.determinism()),
            ..Rights::replayed(transcript, &granted.secrets, tape)
        };
    }
    Rights {
        environment: granted.environment.clone(),
        secrets: granted.secrets.clone(),
        has_scratch: granted.has_scratch,
        determinism: recording.map(Recording::determinism),
        denials: Some(Arc::new(NotReplayed)),
        ..Rights::default()
    }
}

/// Says that something is not done in a replay.
struct NotReplayed;

impl Denials for NotReplayed {
    fn deny(&self, denied: &Denied) -> String {
        format!(
            "{denied} is not to be had in a replay: nothing was recorded of it, and `--live` was not given"
        )
    }
}

/// The input as the task got it: with what the invocation waited for where it refers to that.
///
/// # Errors
/// `LocalError::Parents` when that is gone.
pub async fn whole_input(
    broker: &dyn Broker,
    options: &Options,
    mut input: Payload,
) -> Result<Payload, LocalError> {
    match fill(broker, &options.after, &mut input).await {
        Ok(()) => Ok(input),
        Err(Unfilled::Later(error)) => Err(LocalError::Parents(error.to_string())),
        Err(Unfilled::Failed(outcome)) => {
            let failure = outcome.failure.unwrap_or_default();
            Err(LocalError::Parents(failure.message))
        }
    }
}
