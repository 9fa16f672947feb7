//! `celeriac call --batch`: one invocation for each line of a file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    process::ExitCode,
};

use celeriac_client::{BatchError, Call, Handle};
use serde_json::{json, value::RawValue};

use super::{error::CliError, exit::Exit, output::Output};

/// Lines that are read before they are handed in: what is held of a file of any length.
const PIECE: usize = 5_000;

/// Hands in an invocation for each line, and prints their ids in order.
pub(crate) async fn batch(call: &Call, source: &str, out: &Output) -> Result<ExitCode, CliError> {
    let mut lines = Lines::open(source)?;
    let mut ids = Vec::new();
    loop {
        let piece = lines.next_piece()?;
        if piece.is_empty() {
            break;
        }
        let result = call.submit_batch(&piece).await;
        let (handles, error) = match result {
            Ok(handles) => (handles, None),
            Err(BatchError { accepted, error }) => (accepted, Some(error)),
        };
        show(&handles, &mut ids, out)?;
        if let Some(error) = error {
            return Err(stopped(error.into(), ids.len(), out)?);
        }
    }
    if out.is_json {
        out.document(&json!({ "ids": ids }))?;
    }
    Ok(Exit::Success.into())
}

fn show(handles: &[Handle], ids: &mut Vec<String>, out: &Output) -> Result<(), CliError> {
    for handle in handles {
        let id = handle.id().to_string();
        if !out.is_json {
            out.line(&id)?;
        }
        ids.push(id);
    }
    Ok(())
}

/// The error of a batch that was not accepted to its end.
fn stopped(error: CliError, accepted: usize, out: &Output) -> Result<CliError, CliError> {
    if out.is_json {
        out.note(&format!("accepted: {accepted}"));
    }
    let message = format!(
        "the first {accepted} inputs were accepted and run, the others were not: {}",
        error.message
    );
    Ok(CliError { message, ..error })
}

/// The inputs in a file, JSON, one on each line that is not blank.
struct Lines {
    name: String,
    lines: io::Lines<Box<dyn BufRead + Send>>,
    number: usize,
}

impl Lines {
    fn open(source: &str) -> Result<Self, CliError> {
        let path = Path::new(source);
        let (name, reader): (_, Box<dyn BufRead + Send>) = match source {
            "-" => (
                "standard input".to_owned(),
                Box::new(BufReader::new(io::stdin())),
            ),
            _ => {
                let file =
                    File::open(path).map_err(|error| CliError::file(path, "read", &error))?;
                (source.to_owned(), Box::new(BufReader::new(file)))
            }
        };
        Ok(Self {
            name,
            lines: reader.lines(),
            number: 0,
        })
    }

    fn next_piece(&mut self) -> Result<Vec<Box<RawValue>>, CliError> {
        let mut piece = Vec::new();
        for line in self.lines.by_ref() {
            self.number += 1;
            let wrong = |error: &dyn std::fmt::Display| {
                CliError::usage(
                    format!("line {} of {} is no JSON: {error}", self.number, self.name),
                    "each line is the input of one invocation; lines before it may have been handed in",
                )
            };
            let line = line.map_err(|error| wrong(&error))?;
            if line.trim().is_empty() {
                continue;
            }
            piece.push(
                RawValue::from_string(line.trim().to_owned()).map_err(|error| wrong(&error))?,
            );
            if piece.len() == PIECE {
                break;
            }
        }
        Ok(piece)
    }
}
