//! `celeriac pause`, `resume` and `drain`: what operators do to queues, tasks and hosts while they work.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Broker, Control, HostInfo, LimitScope, Pausable};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{connect::connect, error::CliError, exit::Exit, output::Output};

/// Pause a queue, a task or a host: nothing more is taken from it, started of it, or taken by it
///
/// What runs goes on, and what is submitted waits. A pause outlives every process; `celeriac queues`, `celeriac hosts`
/// and, of tasks, `celeriac limits list` show it. What waits of a paused task is in the way of nothing else in its queue.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac pause queue images
  celeriac pause task images/resize  in every version and every queue
  celeriac pause host web-3-91c2     a live host, or how its name begins")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    target: Target,
}

/// End a pause: what waits is taken at once
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac resume queue images
  celeriac resume task images/resize
  celeriac resume host web-3-91c2")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    target: Target,
}

/// Have a host take nothing more, end what it runs, and stop, as SIGTERM does
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac drain web-3-91c2    a live host, or how its name begins")]
pub(crate) struct DrainArgs {
    /// The host, or how its name begins
    #[arg(value_name = "HOST")]
    host: String,
}

#[derive(Args, Debug)]
struct Target {
    /// What kind of thing it is
    #[arg(value_name = "KIND")]
    kind: Kind,

    /// Its name: of a task MODULE/TASK, of a host how it begins
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// No host takes anything from it
    Queue,
    /// No host starts it, in whichever version and queue
    Task,
    /// It takes nothing from any queue
    Host,
}

impl Target {
    async fn find(self, broker: &dyn Broker) -> Result<Pausable, CliError> {
        match self.kind {
            Kind::Queue => Ok(Pausable::Queue(self.name)),
            Kind::Task => task(&self.name),
            Kind::Host => Ok(Pausable::Host(find_host(broker, &self.name).await?.host)),
        }
    }

    /// As `find`; a host that lives no more is found among what is paused.
    async fn find_paused(self, broker: &dyn Broker) -> Result<Pausable, CliError> {
        if let Kind::Host = self.kind {
            let begins = |what: &Pausable| matches!(what, Pausable::Host(host) if host.as_str().starts_with(&self.name));
            let paused = broker.paused().await?;
            let found: Vec<_> = paused.iter().filter(|pause| begins(&pause.what)).collect();
            if let [only] = found.as_slice() {
                return Ok(only.what.clone());
            }
        }
        self.find(broker).await
    }
}

/// A task by name: a version of it is not paused alone.
fn task(name: &str) -> Result<Pausable, CliError> {
    let remedy = "write MODULE/TASK, such as images/resize: all its versions are meant";
    match format!("task:{name}").parse::<LimitScope>() {
        Ok(LimitScope::Task(module, task)) => Ok(Pausable::Task(module, task)),
        _ => Err(CliError::usage(format!("`{name}` is no task"), remedy)),
    }
}

/// The live host with this name, or whose name begins so.
pub(crate) async fn find_host(broker: &dyn Broker, name: &str) -> Result<HostInfo, CliError> {
    let hosts = broker.hosts().await?;
    let mut found: Vec<_> = hosts
        .into_iter()
        .filter(|host| host.host.as_str().starts_with(name))
        .collect();
    if let Some(exactly) = found.iter().position(|host| host.host.as_str() == name) {
        return Ok(found.swap_remove(exactly));
    }
    match (found.pop(), found.len()) {
        (Some(host), 0) => Ok(host),
        (None, _) => Err(CliError::new(
            Exit::NotFound,
            format!("no live host's name begins with `{name}`"),
            "`celeriac hosts` lists them",
        )),
        (Some(_), others) => Err(CliError::usage(
            format!("the names of {} live hosts begin with `{name}`", others + 1),
            "write more of it: `celeriac hosts` lists them",
        )),
    }
}

/// Runs `celeriac pause`.
pub(crate) async fn pause(
    args: PauseArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let what = args.target.find(client.broker().as_ref()).await?;
    let is_new = client.broker().pause(&what).await?;
    say(&what, true, is_new, "was paused already", out)
}

/// Runs `celeriac resume`.
pub(crate) async fn resume(
    args: ResumeArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let what = args.target.find_paused(client.broker().as_ref()).await?;
    let was_paused = client.broker().resume(&what).await?;
    say(&what, false, was_paused, "was not paused", out)
}

fn say(
    what: &Pausable,
    is_paused: bool,
    has_changed: bool,
    otherwise: &str,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let name = what.to_string().replacen(':', " ", 1);
    match (out.is_json, has_changed) {
        (true, _) => out.document(
            &json!({ "what": what, "is_paused": is_paused, "has_changed": has_changed }),
        )?,
        (false, true) if is_paused => out.note(&format!("{name} is paused")),
        (false, true) => out.note(&format!("{name} is resumed")),
        (false, false) => out.note(&format!("{name} {otherwise}")),
    }
    Ok(Exit::Success.into())
}

/// Runs `celeriac drain`.
pub(crate) async fn drain(
    args: DrainArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let host = find_host(client.broker().as_ref(), &args.host).await?;
    tell(client.broker().as_ref(), &host, Control::Drain).await?;
    match out.is_json {
        true => out.document(&json!({ "host": host.host, "running": host.running }))?,
        false => out.note(&format!(
            "host {} drains: {} invocations run",
            host.host, host.running
        )),
    }
    Ok(Exit::Success.into())
}

/// Tells a host something, or says that it does not hear.
pub(crate) async fn tell(
    broker: &dyn Broker,
    host: &HostInfo,
    word: Control,
) -> Result<(), CliError> {
    match broker.tell(&host.host, word).await? {
        true => Ok(()),
        false => Err(CliError::new(
            Exit::Failed,
            format!("host {} does not listen at this moment", host.host),
            "it may be reconnecting or gone: try again, and look at `celeriac hosts`",
        )),
    }
}
