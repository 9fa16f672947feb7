//! Runs a failed invocation again in this process: what `celeriac replay` does.
//!
//! The same module, input, id, attempt, limits, seed and clock. What nobody has recorded is refused unless it is asked for:
//! a replay that sends the mail once more is none.

use std::sync::Arc;

use celeriac_broker::{Broker, EventKind, InvocationId, ModuleRef, Options, Payload};

use super::{LocalError, LocalHost, LocalRun, Run, Stage, find, granted};
use crate::{
    engine::{Denials, Denied, Invocation, Limits, Recording, Rights},
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
        Some(recording) => recording.limits.clone(),
        None => Limits::effective(
            &host.limits,
            &translate::authored(&task.options)?,
            &translate::asked(&request.options)?.and(&granted.limits),
        ),
    };
    let run = Run {
        invocation: Invocation {
            id: request.id.to_string(),
            task: request.task,
            attempt: request.attempt,
        },
        input: request.input,
        limits,
        rights: Arc::new(rights(&granted.rights, recording, request.is_live)),
        digest: manifest.digest,
    };
    stage.run(&module, run, report).await
}

/// What the replay may touch.
fn rights(granted: &Rights, recording: Option<&Recording>, is_live: bool) -> Rights {
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
