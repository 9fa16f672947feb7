//! What a task is run on: JSON from the command line, a file or standard input; or raw bytes with a content type.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;
use celeriac_broker::Payload;
use clap::Args;

use super::error::CliError;

/// What goes wrong most often with JSON on a command line.
const QUOTING: &str = "quote JSON for the shell, such as --input '{\"name\":\"Ada\"}'; text has quotes of its own: '\"text\"'";

/// Where the input comes from.
#[derive(Args, Debug, Clone)]
pub(crate) struct InputArgs {
    /// The input: JSON, `@FILE` for a file's content, `-` for standard input [default: null]
    #[arg(long, short, value_name = "JSON|@FILE|-")]
    pub(crate) input: Option<String>,

    /// Send the input as raw bytes of this media type instead of JSON
    #[arg(long, value_name = "TYPE", requires = "input")]
    pub(crate) content_type: Option<String>,
}

impl InputArgs {
    /// Reads the input, at most `cap` bytes of it.
    pub(crate) fn read(&self, cap: u64) -> Result<Payload, CliError> {
        let (place, data) = match self.input.as_deref() {
            None => ("--input", Bytes::from_static(b"null")),
            Some("-") => (
                "standard input",
                limited("standard input", io::stdin().lock(), cap)?,
            ),
            Some(text) => match text.strip_prefix('@') {
                Some(path) => (path, file(Path::new(path), cap)?),
                None => ("--input", Bytes::from(text.to_owned())),
            },
        };
        if let Some(content_type) = &self.content_type {
            return Ok(Payload::bytes(content_type.clone(), data));
        }
        check_json(place, &data)?;
        Ok(Payload::json_text(data))
    }
}

/// A whole file, at most `cap` bytes.
pub(crate) fn file(path: &Path, cap: u64) -> Result<Bytes, CliError> {
    let open = File::open(path).map_err(|error| CliError::file(path, "read", &error))?;
    limited(&path.display().to_string(), open, cap)
}

fn limited(place: &str, source: impl Read, cap: u64) -> Result<Bytes, CliError> {
    let mut data = Vec::new();
    // One byte more than fits tells a full read from a cut one; nothing larger is held.
    let read = source.take(cap.saturating_add(1)).read_to_end(&mut data);
    read.map_err(|error| CliError::usage(format!("{place} cannot be read: {error}"), ""))?;
    if data.len() as u64 > cap {
        let message = format!("{place} has more than {cap} bytes, the most that an input may have");
        return Err(CliError::usage(
            message,
            "make it smaller, or raise `caps.input` here and on the hosts",
        ));
    }
    Ok(data.into())
}

fn check_json(place: &str, data: &[u8]) -> Result<(), CliError> {
    let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(data) else {
        return Ok(());
    };
    let remedy = match (place, guess(place)) {
        ("--input", _) => QUOTING.to_owned(),
        (_, Some(content_type)) => format!("--content-type {content_type} sends it as raw bytes"),
        _ => "--content-type TYPE sends raw bytes, such as --content-type application/octet-stream"
            .to_owned(),
    };
    Err(CliError::usage(
        format!("{place} is not JSON: {error}"),
        remedy,
    ))
}

/// The media type that a file's name suggests, for the hint only: what is sent is never guessed.
fn guess(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "csv" => "text/csv",
        "md" => "text/markdown",
        "txt" => "text/plain",
        "pdf" => "application/pdf",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        input: Option<&str>,
        content_type: Option<&str>,
        cap: u64,
    ) -> Result<Payload, CliError> {
        let args = InputArgs {
            input: input.map(str::to_owned),
            content_type: content_type.map(str::to_owned),
        };
        args.read(cap)
    }

    #[test]
    fn sends_null_when_there_is_no_input() {
        assert_eq!(read(None, None, 100).unwrap(), Payload::json_text("null"));
    }

    #[test]
    fn sends_json_untouched_and_refuses_what_is_not() {
        assert_eq!(
            read(Some("{ \"a\":1}"), None, 100).unwrap(),
            Payload::json_text("{ \"a\":1}")
        );
        let error = read(Some("hello"), None, 100).unwrap_err();
        assert!(error.message.starts_with("--input is not JSON"), "{error}");
        assert!(error.remedy.contains("quote"), "{}", error.remedy);
    }

    #[test]
    fn sends_a_file_as_bytes_of_its_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        std::fs::write(&path, [0, 159, 146, 150]).unwrap();
        let at = format!("@{}", path.display());
        let payload = read(Some(&at), Some("image/png"), 100).unwrap();
        assert_eq!(
            (payload.content_type.as_str(), payload.data.len()),
            ("image/png", 4)
        );
        let error = read(Some(&at), None, 100).unwrap_err();
        assert!(
            error.remedy.contains("--content-type image/png"),
            "{}",
            error.remedy
        );
    }

    #[test]
    fn refuses_more_than_the_cap_before_it_is_read() {
        let error = read(Some("@/dev/zero"), Some("application/octet-stream"), 1000).unwrap_err();
        assert!(error.message.contains("more than 1000 bytes"), "{error}");
    }
}
