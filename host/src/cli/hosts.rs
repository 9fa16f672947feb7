//! `celeriac hosts`: the processes that run tasks.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Broker, Control, HostInfo, Pausable, Paused};
use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::json;

use super::{
    connect::{connect, serve_command},
    error::CliError,
    exit::Exit,
    figures::{ago, span},
    output::Output,
    pause::{find_host, tell},
};

/// List the live hosts, and change how many invocations one runs at once
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac hosts
  celeriac hosts set web-3-91c2 --concurrency 8    until it is started again
  celeriac hosts --json | jq '[.hosts[].running] | add'")]
pub(crate) struct HostsArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Change what a host does, until it is started again
    #[command(after_help = "Examples:\n  celeriac hosts set web-3-91c2 --concurrency 8")]
    Set {
        /// The host, or how its name begins
        #[arg(value_name = "HOST")]
        host: String,
        /// Invocations to run at once: at most as many as it was started with, as its pool has no room for more
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        concurrency: u32,
    },
}

/// Runs the command.
pub(crate) async fn hosts(
    args: HostsArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let broker = client.broker().as_ref();
    if let Some(Action::Set { host, concurrency }) = args.action {
        return set(broker, &host, concurrency, out).await;
    }
    let (hosts, paused) = (broker.hosts().await?, broker.paused().await?);
    let pause = |host: &HostInfo| {
        let what = Pausable::Host(host.host.clone());
        paused.iter().find(|pause| pause.what == what)
    };
    if out.is_json {
        let document = |host: &HostInfo| {
            let mut document = json!(host);
            if let (Some(fields), Some(pause)) = (document.as_object_mut(), pause(host)) {
                fields.insert("paused_since_ms".to_owned(), json!(pause.since_ms));
            }
            document
        };
        out.document(&json!({ "hosts": hosts.iter().map(document).collect::<Vec<_>>() }))?;
    } else if hosts.is_empty() {
        out.note("no host is alive");
        out.remedy(&format!("`{}` starts one", serve_command(&settings)));
    } else {
        out.table(
            [
                "HOST", "STATE", "MACHINE", "PID", "QUEUES", "RUNNING", "STARTED", "SEEN",
                "VERSION",
            ],
            hosts.iter().map(|host| row(host, pause(host))).collect(),
        )?;
    }
    Ok(Exit::Success.into())
}

/// Has a host run fewer or more at once.
async fn set(
    broker: &dyn Broker,
    name: &str,
    concurrency: u32,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let host = find_host(broker, name).await?;
    if concurrency > host.ceiling {
        return Err(CliError::usage(
            format!(
                "host {} was built for {} at once and cannot run {concurrency}",
                host.host, host.ceiling
            ),
            "restart it with a higher `--concurrency`",
        ));
    }
    tell(broker, &host, Control::Concurrency(concurrency)).await?;
    match out.is_json {
        true => out.document(
            &json!({ "host": host.host, "concurrency": concurrency, "ceiling": host.ceiling }),
        )?,
        false => out.note(&format!(
            "host {} runs {concurrency} at once, of the {} that it was built for",
            host.host, host.ceiling
        )),
    }
    Ok(Exit::Success.into())
}

/// What a host is doing, in a word.
pub(crate) fn state(host: &HostInfo, pause: Option<&Paused>) -> &'static str {
    match (host.is_draining, pause) {
        (true, _) => "draining",
        (false, Some(_)) => "paused",
        (false, None) => "live",
    }
}

fn row(host: &HostInfo, pause: Option<&Paused>) -> [Cell; 9] {
    [
        Cell::new(&host.host),
        match state(host, pause) {
            "live" => Cell::new("live"),
            other => Cell::new(other).fg(Color::Yellow),
        },
        Cell::new(&host.machine),
        Cell::new(host.pid),
        Cell::new(host.queues.join(",")),
        Cell::new(format!("{} of {}", host.running, host.concurrency)),
        Cell::new(ago(host.started_at_ms)),
        Cell::new(format!("{} ago", span(host.seen_ms_ago))),
        Cell::new(&host.version),
    ]
}
