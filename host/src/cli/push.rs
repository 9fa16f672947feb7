//! `celeriac push`: uploads a module and has a host admit it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use celeriac::settings::{Settings, units};
use celeriac_broker::{
    Admit, Admitted, BUILT_IN_MODULE, Code, Failure, ModuleRef, Outcome, Ungranted, UploadReport,
};
use celeriac_client::Client;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::{
    connect::{connect, serve_command},
    error::CliError,
    exit::Exit,
    figures::{harmless, size},
    follow::{Follow, ShowProgress, style},
    input, modules,
    outcome::used,
    output::{BAD, GOOD, MINOR, NAME, Output, paint},
};

/// Upload a module and give it a name
///
/// A host checks the module, compiles it and reads its tasks; only then does the name point to it. When it
/// is refused nothing changes, and the report says what is wrong.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac push target/wasm32-wasip2/release/images.wasm --name images@1.2.0
  celeriac push images.wasm --name images --json | jq -r .manifest.digest")]
pub(crate) struct PushArgs {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The name, or name and version, that shall point to it. A version never moves
    #[arg(long, value_name = "NAME[@VERSION]")]
    name: ModuleRef,

    /// Wait at most this long for a host to admit it
    #[arg(long, value_parser = units::parse_duration, default_value = "5m", value_name = "DURATION")]
    timeout: Duration,
}

/// Runs the command.
pub(crate) async fn push(
    args: PushArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    if let ModuleRef::Digest(..) = args.name {
        let message = format!(
            "--name {} is a digest: a module has one by itself",
            args.name
        );
        return Err(CliError::usage(
            message,
            "give it a name such as `images` or `images@1.2.0`",
        ));
    }
    let module = read(&args, &settings)?;
    let bytes = module.len() as u64;
    let client = connect(&settings).await?;
    let step = step(out, format!("uploading {}", size(bytes)));
    let digest = client.broker().put_blob(module).await;
    step.finish_and_clear();
    let digest = digest?;
    done(out, &format!("uploaded {}, {digest}", size(bytes)));
    let admit = Admit {
        digest,
        name: args.name.clone(),
    };
    let outcome = admitted(&client, &admit, &args, &settings, out).await?;
    match (&outcome.code, &outcome.output) {
        (Code::Ok, Some(output)) => {
            let answer: Admitted = output.parse().map_err(|error| {
                CliError::new(
                    Exit::Failed,
                    format!("the host's answer is not a manifest: {error}"),
                    "is the host of this version?",
                )
            })?;
            accepted(&args.name, &answer, out)
        }
        _ => refused(&args.name, &outcome, out),
    }
}

/// Reads the file, at most what the broker takes.
fn read(args: &PushArgs, settings: &Settings) -> Result<Bytes, CliError> {
    let cap = settings.caps.module_bytes;
    let length = std::fs::metadata(&args.file)
        .map_err(|error| CliError::file(&args.file, "read", &error))?
        .len();
    if length > cap {
        return Err(CliError::new(
            Exit::Refused,
            format!(
                "{} has {} and the limit is {}",
                args.file.display(),
                size(length),
                size(cap)
            ),
            "build with --release and `strip = \"debuginfo\"`, or raise `caps.module` here and on the hosts",
        ));
    }
    input::file(&args.file, cap)
}

async fn admitted(
    client: &Client,
    admit: &Admit,
    args: &PushArgs,
    settings: &Settings,
    out: &Output,
) -> Result<std::sync::Arc<Outcome>, CliError> {
    let handle = client
        .task(&format!("{BUILT_IN_MODULE}/admit"))?
        .submit(admit)
        .await?;
    let follow = Follow {
        client,
        out,
        has_logs: false,
        has_chunks: false,
        has_documents: false,
        progress: ShowProgress::Auto,
        patience: Some(args.timeout),
        serve: serve_command(settings),
    };
    let outcome = follow.outcome(&handle).await?;
    if outcome.code == Code::Ok {
        done(
            out,
            &format!(
                "checked, compiled and described by {} in {:.0} ms",
                outcome.usage.host, outcome.usage.run_ms
            ),
        );
    }
    Ok(outcome)
}

fn step(out: &Output, message: String) -> ProgressBar {
    if !out.draws() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner()
        .with_style(style("{spinner:.cyan} {msg} {elapsed:.dim}"))
        .with_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A step that is done; only for people.
fn done(out: &Output, message: &str) {
    if out.draws() {
        out.note(&format!("{} {message}", paint(GOOD, "✓")));
    }
}

fn accepted(name: &ModuleRef, answer: &Admitted, out: &Output) -> Result<ExitCode, CliError> {
    let manifest = &answer.manifest;
    if out.is_json {
        let mut document =
            json!({ "name": name, "manifest": manifest, "ungranted": answer.ungranted });
        if let (None, Some(document)) = (&answer.ungranted, document.as_object_mut()) {
            document.remove("ungranted");
        }
        out.document(&document)?;
        return Ok(Exit::Success.into());
    }
    done(out, &format!("{} is callable", paint(NAME, name)));
    modules::task_table(name, manifest, out)?;
    if let Some(ungranted) = &answer.ungranted {
        show_ungranted(name, ungranted, out);
    }
    Ok(Exit::Success.into())
}

/// What the module asks for and its hosts do not grant. It is callable all the same.
fn show_ungranted(name: &ModuleRef, ungranted: &Ungranted, out: &Output) {
    out.note("");
    for need in &ungranted.needs {
        let what = format!(
            "{}/{} asks for {} {}: not granted",
            name, need.task, need.kind, need.name
        );
        out.warn(harmless(&what).trim_end(), "");
    }
    for remedy in &ungranted.remedy {
        let lines = format!(
            "on the hosts, {}\n(then reload them: kill -HUP)",
            harmless(remedy)
        );
        out.remedy(&lines.replace('\n', "\n  "));
    }
}

fn refused(name: &ModuleRef, outcome: &Outcome, out: &Output) -> Result<ExitCode, CliError> {
    let failure = outcome.failure.clone().unwrap_or_default();
    let report = failure
        .details
        .clone()
        .map(serde_json::from_value::<UploadReport>);
    let Some(Ok(report)) = report else {
        return Err(unreported(outcome, &failure));
    };
    show_report(&format!("{name} (nothing has changed)"), &report, out);
    Ok(Exit::Refused.into())
}

/// Says why a module was refused: everything that was found.
pub(crate) fn show_report(what: &str, report: &UploadReport, out: &Output) {
    if out.is_json {
        let exit = Exit::Refused as u8;
        let message = format!("{what} was refused");
        let error =
            json!({ "exit": exit, "message": message, "remedy": "", "findings": report.findings });
        return out.note(&json!({ "error": error }).to_string());
    }
    out.note(&format!("{}: {what} was refused", paint(BAD, "error")));
    for finding in &report.findings {
        out.note(&format!(
            "\n  {} {}",
            paint(BAD, harmless(&finding.place)),
            indented(&finding.message)
        ));
        if !finding.remedy.is_empty() {
            out.note(&format!(
                "  {} {}",
                paint(NAME, "→"),
                indented(&finding.remedy)
            ));
        }
    }
}

/// An admission that failed without a report: the host is at fault, or a version is taken.
fn unreported(outcome: &Outcome, failure: &Failure) -> CliError {
    let exit = match outcome.code {
        Code::TaskError => Exit::Refused,
        _ => Exit::TaskFailed,
    };
    let message = format!(
        "the module was not admitted: {}: {}",
        outcome.code,
        harmless(&failure.message)
    );
    CliError::new(exit, message, paint(MINOR, used(&outcome.usage)))
}

/// Foreign text of several lines under a heading.
fn indented(text: &str) -> String {
    harmless(text).replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_a_report_keeps_the_hosts_words() {
        let outcome = Outcome::failed(Code::TaskError, "images@1.0.0 is taken");
        let error = unreported(&outcome, outcome.failure.as_ref().unwrap());
        assert_eq!(error.exit, Exit::Refused);
        assert!(error.message.contains("images@1.0.0 is taken"));
    }
}
