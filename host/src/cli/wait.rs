//! `celeriac wait`: awaits an invocation that was submitted earlier, from anywhere.

use std::{process::ExitCode, time::Duration};

use celeriac::settings::{Settings, units};
use celeriac_broker::InvocationId;
use clap::Args;

use super::{
    call::{ShowArgs, show_end},
    connect::connect,
    error::CliError,
    output::Output,
};

/// Await an invocation and print its output
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac wait 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac wait --timeout 30s --output small.png $id    exit code 6 when it has not ended by then")]
pub(crate) struct WaitArgs {
    /// The invocation, as printed by `celeriac call --detach`
    #[arg(value_name = "ID")]
    id: InvocationId,

    /// Wait at most this long; the invocation goes on
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,

    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command.
pub(crate) async fn wait(
    args: WaitArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let handle = client.handle(args.id);
    // A wrong id is reported at once, not after the spinner.
    handle.status().await?;
    show_end(&client, &handle, &settings, args.show, args.timeout, out).await
}
