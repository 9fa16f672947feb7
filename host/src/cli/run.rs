//! `celeriac run`: runs a task of a file here and now, and prints the limits contract.

use std::{path::PathBuf, process::ExitCode};

use celeriac::{
    engine::{EngineConfig, LimitRow},
    local::{self, LocalError, LocalHost, LocalRequest},
    process,
    settings::Settings,
};
use celeriac_broker::EventKind;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Color, Table, presets};

use super::{
    call::{LimitArgs, ShowArgs},
    error::CliError,
    exit::Exit,
    figures,
    follow::ShowProgress,
    input::{self, InputArgs},
    log_line,
    outcome::Ended,
    output::{Output, STRONG, paint},
    push, serve,
};

/// Run a task of a file here and now, without any broker
///
/// Prints the output, and on standard error the limits: what was used and what was allowed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac run target/wasm32-wasip2/release/shop.wasm checkout --input @order.json
  celeriac run images.wasm thumbnail --input @photo.jpg --content-type image/jpeg --output small.png
  celeriac run spin.wasm spin --fuel 1G --logs")]
pub(crate) struct RunArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The task's name in it
    #[arg(value_name = "TASK")]
    pub(crate) task: String,

    #[command(flatten)]
    pub(crate) input: InputArgs,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) show: ShowArgs,

    /// What the umask was before this process hardened itself.
    #[arg(skip)]
    pub(crate) umask: Option<u32>,
}

/// Runs the command.
pub(crate) async fn run(
    args: RunArgs,
    settings: &Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let input = args.input.read(settings.caps.input_bytes)?;
    let module = input::file(&args.file, settings.caps.module_bytes)?;
    let request = LocalRequest {
        module: module.into(),
        task: args.task.clone(),
        input,
        options: args.limits.options(),
    };
    let (has_logs, has_progress) = (args.show.logs, args.show.progress != ShowProgress::Never);
    let reporter = *out;
    let report = move |event: EventKind| match &event {
        EventKind::Log(record) if has_logs => {
            reporter.note(&log_line::show(figures::now_ms(), record))
        }
        EventKind::Progress(progress) if has_progress => {
            reporter.note(&log_line::progress(progress))
        }
        _ => {}
    };
    let ran = match local::run(host(settings), request, report).await {
        Ok(ran) => ran,
        Err(LocalError::Refused(report)) => {
            push::show_report(&args.file.display().to_string(), &report, out);
            return Ok(Exit::Refused.into());
        }
        Err(error) => return Err(error.into()),
    };
    let ended = Ended {
        id: None,
        outcome: &ran.outcome,
        file: args.show.output,
        contract: Some(&ran.contract),
    };
    // The output file is the caller's, not the host's.
    if let Some(umask) = args.umask {
        process::restore_umask(umask);
    }
    let code = ended.show(out)?;
    if !out.is_json {
        contract(&ran.contract, out);
    }
    Ok(code)
}

fn host(settings: &Settings) -> LocalHost {
    LocalHost {
        engine: EngineConfig {
            concurrency: 1,
            ..serve::engine(settings)
        },
        limits: serve::limits(settings),
        cache_dir: settings.cache_dir.join("artifacts"),
        compile: serve::compile(settings),
        module_bytes: settings.caps.module_bytes,
    }
}

/// The limits contract: what was used of each, what is allowed, and how much of it that is.
fn contract(rows: &[LimitRow], out: &Output) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        let share = row.used as f64 / row.allowed.max(1) as f64;
        let mut cell =
            Cell::new(format!("{:.0} %", share * 100.0)).set_alignment(CellAlignment::Right);
        if share >= 1.0 && out.is_error_terminal {
            cell = cell.fg(Color::Red);
        }
        table.add_row([
            Cell::new(format!("  {}", row.name)),
            Cell::new(amount(row.used, row.unit)).set_alignment(CellAlignment::Right),
            Cell::new(format!("of {}", amount(row.allowed, row.unit))),
            cell,
        ]);
    }
    out.note(&format!(
        "\n{}\n{}",
        paint(STRONG, "limits, used / allowed"),
        table.trim_fmt()
    ));
}

fn amount(value: u64, unit: &str) -> String {
    match unit {
        "bytes" => figures::size(value),
        "ms" => figures::span(value),
        _ => figures::fuel(value),
    }
}

impl From<LocalError> for CliError {
    fn from(error: LocalError) -> Self {
        match &error {
            LocalError::NoTask { .. } => Self::new(Exit::NotFound, error.to_string(), ""),
            _ => Self::new(
                Exit::Failed,
                error.to_string(),
                "`celeriac doctor` looks closer",
            ),
        }
    }
}
