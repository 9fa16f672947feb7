//! `celeriac hosts`: the processes that run tasks.

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::HostInfo;
use clap::Args;
use comfy_table::Cell;
use serde_json::json;

use super::{
    connect::{connect, serve_command},
    error::CliError,
    exit::Exit,
    figures::{ago, span},
    output::Output,
};

/// List the live hosts
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac hosts
  celeriac hosts --json | jq '[.hosts[].running] | add'")]
pub(crate) struct HostsArgs {}

/// Runs the command.
pub(crate) async fn hosts(
    _: HostsArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let hosts = client.broker().hosts().await?;
    if out.is_json {
        out.document(&json!({ "hosts": hosts }))?;
    } else if hosts.is_empty() {
        out.note("no host is alive");
        out.remedy(&format!("`{}` starts one", serve_command(&settings)));
    } else {
        out.table(
            [
                "HOST", "MACHINE", "PID", "QUEUES", "RUNNING", "STARTED", "SEEN", "VERSION",
            ],
            hosts.iter().map(row).collect(),
        )?;
    }
    Ok(Exit::Success.into())
}

fn row(host: &HostInfo) -> [Cell; 8] {
    [
        Cell::new(&host.host),
        Cell::new(&host.machine),
        Cell::new(host.pid),
        Cell::new(host.queues.join(",")),
        Cell::new(format!("{} of {}", host.running, host.concurrency)),
        Cell::new(ago(host.started_at_ms)),
        Cell::new(format!("{} ago", span(host.seen_ms_ago))),
        Cell::new(&host.version),
    ]
}
