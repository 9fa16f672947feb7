//! `celeriac doctor`: looks for what is wrong on this machine and with the broker, and says the remedy.

mod broker;
mod machine;

use std::process::ExitCode;

use celeriac::settings::Settings;
use celeriac_broker::{Check, Verdict};
use clap::Args;
use serde_json::json;

use super::{
    error::CliError,
    exit::Exit,
    output::{BAD, GOOD, NAME, Output, RISK, paint},
};

/// Look for what is wrong with the broker and this machine, and say the remedy
///
/// The exit code is 3 when the broker does not answer, 7 when a check is bad, and 0 otherwise; warnings
/// do not count.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac doctor
  celeriac doctor --broker redis://10.0.0.5:6379 --set concurrency=2000
  celeriac doctor --json | jq '.checks[] | select(.verdict != \"good\")'")]
pub(crate) struct DoctorArgs {}

/// Runs the command.
pub(crate) async fn doctor(
    _: DoctorArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let (mut checks, has_broker) = broker::checks(&settings).await;
    checks.extend(machine::checks(&settings));
    let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    if out.is_json {
        out.document(&json!({ "is_well": !is_bad, "checks": checks }))?;
    } else {
        let lines: Vec<_> = checks.iter().map(line).collect();
        out.line(&lines.join("\n"))?;
    }
    Ok(match (has_broker, is_bad) {
        (false, _) => Exit::NoBroker,
        (true, true) => Exit::Failed,
        (true, false) => Exit::Success,
    }
    .into())
}

fn line(check: &Check) -> String {
    let (style, mark) = match check.verdict {
        Verdict::Good => (GOOD, "✓"),
        Verdict::Warning => (RISK, "!"),
        Verdict::Bad => (BAD, "✗"),
    };
    let line = format!("{} {:<14} {}", paint(style, mark), check.name, check.found);
    match check.remedy.as_str() {
        "" => line,
        remedy => format!("{line}\n  {:<14} {} {remedy}", "", paint(NAME, "→")),
    }
}

fn check(
    name: &str,
    verdict: Verdict,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Check {
    Check {
        name: name.to_owned(),
        verdict,
        found: found.into(),
        remedy: remedy.into(),
    }
}

fn good(name: &str, found: impl Into<String>) -> Check {
    check(name, Verdict::Good, found, "")
}
