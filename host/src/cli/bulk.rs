//! Commands that do a thing to many invocations, in steps: how far they are, and what they have done.

use std::{process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;
use serde_json::json;

use super::{error::CliError, exit::Exit, follow::style, output::Output};

/// A line on standard error that says how far it is, where a person reads it.
pub(crate) fn counter(out: &Output) -> ProgressBar {
    if !out.draws() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{spinner:.cyan} {msg} {elapsed:.dim}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Neither ids nor filters were given: everything there is is never meant.
pub(crate) fn nothing_meant(done: &str, filters: &str) -> CliError {
    CliError::usage(
        format!("nothing says what is to be {done}"),
        format!("name it by `ID…`, or all that filters ask for: {filters}"),
    )
}

/// Says what was done, or would have been: a sentence, or the counts as a document.
pub(crate) fn show<T: Serialize>(
    done: &T,
    sentence: &str,
    is_dry: bool,
    out: &Output,
) -> Result<ExitCode, CliError> {
    match out.is_json {
        true => out.document(&json!({ "is_dry": is_dry, "invocations": done }))?,
        false => out.line(sentence)?,
    }
    Ok(Exit::Success.into())
}
