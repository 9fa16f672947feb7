//! `celeriac serve`: runs a host until it is told to stop.

use std::{io, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use celeriac::{
    engine::EngineConfig,
    gateway::Gateway,
    module::{CompileLimits, LoaderConfig},
    policy::{Policy, PolicyError, Warning},
    process,
    settings::{Override, Settings, units, without_password},
    worker::{Host, HostError, HostOptions},
};
use celeriac_broker::{Broker, require_fit};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{connect, error::CliError, exit::Exit, http, output::Output};

/// Run tasks: take invocations from queues, run each in a sandbox, push its result; and answer HTTP
///
/// SIGTERM or ctrl-c drains: nothing new is taken, what runs may end within the grace time, the rest goes
/// back to its queue. A second one ends at once; nothing is lost either way. SIGHUP reads the grants and secrets
/// of the settings file again, for whatever starts from then on, and the certificate of HTTP.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac serve                                                 the embedded store of this machine
  celeriac serve --broker redis://10.0.0.5:6379 --concurrency 200
  celeriac serve --queues images,default --grace 2m
  celeriac serve --queues urgent:5,default:1                    five of one for each one of the other
  celeriac serve --broker redis://10.0.0.5:6379 --no-worker --http 0.0.0.0:7373
  kill -HUP $(pidof celeriac)                                    after a change of [grants] or secrets")]
pub(crate) struct ServeArgs {
    /// The queues to serve, first come first, or in the proportion of weights: `urgent:5,default:1` [setting: queues]
    #[arg(long, value_name = "QUEUE,…")]
    pub(crate) queues: Option<String>,

    /// Invocations to run at once [setting: concurrency]
    #[arg(long, short, value_name = "N")]
    pub(crate) concurrency: Option<u32>,

    /// How long running tasks may take to end when the host stops [setting: grace]
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    pub(crate) grace: Option<Duration>,

    /// Answer HTTP at this address, or nowhere: `off` [setting: http.listen]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<String>,

    /// Run no tasks, only answer HTTP [setting: worker]
    #[arg(long)]
    pub(crate) no_worker: bool,

    /// How long a lease lasts unless renewed [setting: lease]
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    pub(crate) lease: Option<Duration>,
}

impl ServeArgs {
    /// The settings that these flags set.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let duration = |flag, key, value: Option<Duration>| {
            value.map(|value| Override::new(flag, key, units::show_duration(value)))
        };
        let given = [
            self.queues
                .as_ref()
                .map(|queues| Override::new("--queues", "queues", queues)),
            self.concurrency
                .map(|count| Override::new("--concurrency", "concurrency", count)),
            self.http
                .as_ref()
                .map(|address| Override::new("--http", "http.listen", address)),
            self.no_worker
                .then(|| Override::new("--no-worker", "worker", "off")),
            duration("--grace", "grace", self.grace),
            duration("--lease", "lease", self.lease),
        ];
        given.into_iter().flatten().collect()
    }
}

/// Runs a host until a signal drains it.
pub(crate) async fn serve(settings: Settings, out: &Output) -> Result<ExitCode, CliError> {
    // Before anything is reserved, so that no signal finds nobody listening.
    let (mut terminate, mut interrupt, mut hangup) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    if let Some(warning) = process::warn_of_root() {
        tracing::warn!("{warning}");
    }
    let (policy, warnings) = Policy::load(settings.file.as_deref())?;
    warn(&warnings);
    let broker = connect::broker(&settings).await?;
    let services = Services::start(broker, &settings, policy, out).await?;
    let mut failed = pin!(services.failed());
    let mut told_to_drain = pin!(services.told_to_drain());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = &mut told_to_drain => break,
            _ = hangup.recv() => services.reload(&settings, out).await,
            duty = &mut failed => return Err(given_up(duty)),
        }
    }
    out.note(&format!(
        "draining: {} invocations run; a second signal ends the host now",
        services.running()
    ));
    tokio::select! {
        () = services.drain() => out.note("drained"),
        // What still ran runs again elsewhere when its leases run out: nothing is lost.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        duty = &mut failed => return Err(given_up(duty)),
    }
    Ok(Exit::Success.into())
}

/// What this process does: run tasks, answer HTTP, or both.
struct Services {
    host: Option<Host>,
    gateway: Option<Gateway>,
}

impl Services {
    async fn start(
        broker: Arc<dyn Broker>,
        settings: &Settings,
        policy: Policy,
        out: &Output,
    ) -> Result<Self, CliError> {
        if !settings.worker && settings.http.listen.is_none() {
            return Err(CliError::usage(
                "there is nothing to do: no tasks are run and no HTTP is answered",
                "leave --no-worker out, or say where to listen: `--http 127.0.0.1:7373`",
            ));
        }
        // A port that is taken shows before anything is reserved.
        let gateway = http::start(broker.clone(), settings, out).await?;
        let host = match settings.worker {
            true => Some(Host::start(broker, options(settings, policy)).await?),
            false => {
                require_fit(broker.as_ref()).await?;
                None
            }
        };
        if let Some(info) = host.as_ref().map(Host::info) {
            out.note(&format!(
                "host {} serves {} from {}, {} at once",
                info.host,
                info.queues.join(", "),
                without_password(&settings.broker),
                info.concurrency
            ));
        }
        Ok(Self { host, gateway })
    }

    /// Waits until a part of it cannot go on, and names that.
    fn failed(&self) -> impl Future<Output = &'static str> + use<> {
        let host = self.host.as_ref().map(Host::failed);
        let gateway = self.gateway.as_ref().map(Gateway::failed);
        async move {
            tokio::select! {
                duty = or_never(host) => duty,
                duty = or_never(gateway) => duty,
            }
        }
    }

    /// Waits until an operator wants the host to drain, for ever if need be.
    fn told_to_drain(&self) -> impl Future<Output = ()> + use<> {
        or_never(self.host.as_ref().map(Host::told_to_drain))
    }

    async fn reload(&self, settings: &Settings, out: &Output) {
        if let Some(host) = &self.host {
            reload(settings, host, out).await;
        }
        if let Some(gateway) = &self.gateway {
            http::reload(gateway, out);
        }
    }

    fn running(&self) -> usize {
        self.host.as_ref().map_or(0, Host::running)
    }

    /// Takes no more requests, ends what runs, and answers whoever still waits.
    async fn drain(self) {
        if let Some(gateway) = &self.gateway {
            gateway.close();
        }
        if let Some(host) = self.host {
            host.drain().await;
        }
        if let Some(gateway) = self.gateway {
            gateway.drain().await;
        }
    }
}

async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Takes the grants and secrets of the settings file as it is now. A broken file changes nothing.
async fn reload(settings: &Settings, host: &Host, out: &Output) {
    let started_with = settings.clone();
    let read = move || {
        let fresh = started_with.reload()?;
        let (policy, warnings) = Policy::load(fresh.file.as_deref())?;
        Ok::<_, CliError>((fresh, policy, warnings))
    };
    // Files may be on a disk that takes its time, and this thread talks to the broker.
    let read = tokio::task::spawn_blocking(read).await;
    let (fresh, policy, warnings) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            let (what, remedy) = (error.message, error.remedy);
            return out.warn(
                &format!("the policy is not reloaded and the old one holds: {what}; {remedy}"),
                "",
            );
        }
        Err(error) => return out.warn(&format!("the policy is not reloaded: {error}"), ""),
    };
    warn(&warnings);
    for key in settings.differing(&fresh) {
        out.warn(
            &format!("the setting `{key}` has changed"),
            "restart the host for it",
        );
    }
    let changes = host.set_policy(policy);
    match changes.is_empty() {
        true => out.note("policy reloaded: nothing has changed"),
        false => out.note(&format!("policy reloaded: {}", changes.join(", "))),
    }
}

fn warn(warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// A host without one of its duties would hold leases and do nothing: better none.
fn given_up(duty: &str) -> CliError {
    CliError::new(
        Exit::Failed,
        format!(
            "the host's {duty} panicked, and the host ends; what it ran runs again when its leases run out"
        ),
        "start it again (`Restart=on-failure` in the service), and report the panic above",
    )
}

/// The host that the settings describe.
fn options(settings: &Settings, policy: Policy) -> HostOptions {
    HostOptions {
        broker_url: settings.broker.clone(),
        queues: settings.queues.clone(),
        lease: settings.lease,
        grace: settings.grace,
        engine: engine(settings),
        limits: settings.limits.clone(),
        policy,
        cache_dir: settings.cache_dir.join("artifacts"),
        compile: compile(settings),
        modules: LoaderConfig {
            bytes: settings.engine_modules,
            ..LoaderConfig::default()
        },
        upload: settings.upload,
        emit_backlog: settings.emit_backlog,
    }
}

/// The engine that the settings describe.
pub(super) fn engine(settings: &Settings) -> EngineConfig {
    EngineConfig {
        concurrency: settings.concurrency,
        memory_max_bytes: usize::try_from(settings.limits.ceiling.memory_bytes)
            .unwrap_or(usize::MAX),
        wasm_stack_bytes: usize::try_from(settings.engine_stack).unwrap_or(usize::MAX),
        tick: settings.engine_tick,
        cancel_grace: settings.cancel_grace,
        dns: settings.dns,
        record_bytes: settings.record_bytes,
        scratch_dir: Some(settings.cache_dir.join("scratch")),
        ..EngineConfig::default()
    }
}

/// How compiling is bounded.
pub(super) fn compile(settings: &Settings) -> CompileLimits {
    CompileLimits {
        timeout: settings.compile.timeout,
        memory_bytes: settings.compile.memory_bytes,
        at_once: settings.compile.at_once,
        ..CompileLimits::default()
    }
}

impl From<PolicyError> for CliError {
    fn from(error: PolicyError) -> Self {
        Self::usage(error.to_string(), error.remedy)
    }
}

impl From<HostError> for CliError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Broker(error) => error.into(),
            HostError::System(error) => io_error(&error),
            other => Self::new(
                Exit::Failed,
                other.to_string(),
                "`celeriac doctor` looks closer",
            ),
        }
    }
}

fn io_error(error: &io::Error) -> CliError {
    CliError::new(
        Exit::Failed,
        format!("the operating system refused: {error}"),
        "`celeriac doctor` looks closer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_duty_ends_with_its_own_exit_code() {
        let error = given_up("settler");
        assert_eq!(error.exit, Exit::Failed);
        assert_eq!(error.exit as u8, 7, "what service managers are told");
        assert!(error.message.contains("the host's settler panicked"));
        assert!(error.remedy.contains("Restart=on-failure"));
    }
}
