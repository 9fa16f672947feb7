//! Where everything that a command says goes: data to standard output, all else to standard error.
//!
//! Colours appear on terminals only and follow NO_COLOR; with `--json` there is one document on
//! standard output, and an error is one document on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::json;

use super::error::CliError;

/// Success, good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Risky.
pub(crate) const RISK: Style = AnsiColor::Yellow.on_default().bold();
/// Names and ids.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
/// Of minor interest.
pub(crate) const MINOR: Style = Style::new().dimmed();
/// Headings.
pub(crate) const STRONG: Style = Style::new().bold();

/// `text` in a style. The streams below take styles out again where they do not belong.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// How and where a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether a program reads standard output.
    pub(crate) is_json: bool,
    /// Whether a person reads standard output.
    pub(crate) is_terminal: bool,
    /// Whether a person reads standard error: bars and spinners are for them.
    pub(crate) is_error_terminal: bool,
    has_colour: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        Self {
            is_json,
            is_terminal: stdout.is_terminal(),
            is_error_terminal: io::stderr().is_terminal(),
            has_colour: anstream::AutoStream::choice(&stdout) != ColorChoice::Never,
        }
    }

    /// Whether bars and spinners may be drawn.
    pub(crate) fn draws(&self) -> bool {
        self.is_error_terminal && !self.is_json
    }

    /// The one document of a command under `--json`.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), CliError> {
        let text = match self.is_terminal {
            true => serde_json::to_string_pretty(document),
            false => serde_json::to_string(document),
        };
        self.line(&text.map_err(io::Error::from)?)
    }

    /// A line, or lines, of data.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Data as it is.
    pub(crate) fn raw(&self, data: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(data)?;
        Ok(stdout.flush()?)
    }

    /// A table of data, as wide as the terminal.
    pub(crate) fn table<const N: usize>(
        &self,
        header: [&str; N],
        rows: Vec<[Cell; N]>,
    ) -> Result<(), CliError> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for row in rows {
            table.add_row(row.to_vec());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if self.is_terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            if let Some(width) = table.width() {
                table.set_width(width);
            }
        } else {
            // A program may cut columns out of it: one row is one line, however long.
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        match self.has_colour {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        self.line(&table.trim_fmt())
    }

    /// Says something that is not data. A reader of standard error that has gone is nobody's concern.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    /// Says that something is risky or missing, and what to type.
    pub(crate) fn warn(&self, message: &str, remedy: &str) {
        self.note(&format!("{}: {message}", paint(RISK, "warning")));
        self.remedy(remedy);
    }

    /// Says what to do.
    pub(crate) fn remedy(&self, remedy: &str) {
        if !remedy.is_empty() {
            self.note(&format!("{} {remedy}", paint(NAME, "→")));
        }
    }

    /// Says why a command ended without doing its work.
    pub(crate) fn error(&self, error: &CliError) {
        if error.is_broken_pipe {
            return;
        }
        if self.is_json {
            let CliError {
                exit,
                message,
                remedy,
                ..
            } = error;
            let document =
                json!({ "error": { "exit": *exit as u8, "message": message, "remedy": remedy } });
            return self.note(&document.to_string());
        }
        self.note(&format!("{}: {}", paint(BAD, "error"), error.message));
        self.remedy(&error.remedy);
    }
}
