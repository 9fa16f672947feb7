//! `celeriac run`: runs a task of a file here and now, and prints the limits contract.

use std::{path::PathBuf, process::ExitCode};

use celeriac::{
    engine::{Determinism, EngineConfig, LimitRow},
    local::{self, LocalError, LocalHost, LocalRequest},
    policy::{Identity, Policy},
    process,
    settings::Settings,
};
use celeriac_broker::{Digest, EventKind, ModuleRef};
use clap::Args;
use comfy_table::{Cell, CellAlignment, Color, Table, presets};

use super::{
    call::ShowArgs,
    error::CliError,
    exit::Exit,
    figures,
    follow::ShowProgress,
    input::{self, InputArgs},
    log_line,
    options::LimitArgs,
    outcome::Ended,
    output::{Output, STRONG, paint},
    push, serve,
};

/// Run a task of a file here and now, without any broker
///
/// Prints the output, and on standard error the limits: what was used and what was allowed. The task may touch what
/// the settings file grants to its module (`[grants."NAME"]`), as on a host.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac run target/wasm32-wasip2/release/shop.wasm checkout --input @order.json
  celeriac run images.wasm thumbnail --input @photo.jpg --content-type image/jpeg --output small.png
  celeriac run spin.wasm spin --fuel 1G --logs
  celeriac run mail.wasm send --config staging.toml --as mail@1.2.0
  celeriac run images.wasm thumbnail --deterministic=7")]
pub(crate) struct RunArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The task's name in it
    #[arg(value_name = "TASK")]
    pub(crate) task: String,

    /// What the module is called as far as grants are concerned [default: the file's name]
    #[arg(long = "as", value_name = "NAME[@VERSION]")]
    pub(crate) name: Option<ModuleRef>,

    /// A fixed clock and seeded randomness: the same input gives the same output and the same fuel
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub(crate) deterministic: Option<u64>,

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
    let name = named(args.name.as_ref(), &args.file)?;
    let policy = policy(settings, name.as_ref(), &module, out)?;
    let request = LocalRequest {
        module: module.into(),
        name,
        task: args.task.clone(),
        input,
        options: args.limits.options(),
        determinism: args.deterministic.map(Determinism::seeded),
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
    let ran = match local::run(host(settings, policy), request, report).await {
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

/// The name that grants are looked up by: the one that was given, else the file's, where that could be one.
pub(crate) fn named(
    given: Option<&ModuleRef>,
    file: &std::path::Path,
) -> Result<Option<ModuleRef>, CliError> {
    match given {
        Some(ModuleRef::Digest(..)) => Err(CliError::usage(
            "--as is a digest: a module has one by itself",
            "give it a name such as `images` or `images@1.2.0`",
        )),
        Some(name) => Ok(Some(name.clone())),
        None => Ok(file
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok())),
    }
}

/// The policy for this one module: of other modules' secrets nothing is read.
pub(crate) fn policy(
    settings: &Settings,
    name: Option<&ModuleRef>,
    module: &[u8],
    out: &Output,
) -> Result<Policy, CliError> {
    let digest = Digest::of(module);
    let module = match name {
        Some(name) => Identity::called(name, digest, &[]),
        None => Identity::nameless(digest),
    };
    let (policy, warnings) = Policy::load_for(settings.file.as_deref(), &module)?;
    for warning in &warnings {
        out.warn(
            &format!("{}: {}", warning.place, warning.message),
            &warning.remedy,
        );
    }
    Ok(policy)
}

pub(crate) fn host(settings: &Settings, policy: Policy) -> LocalHost {
    LocalHost {
        engine: EngineConfig {
            concurrency: 1,
            ..serve::engine(settings)
        },
        limits: settings.limits.clone(),
        policy,
        cache_dir: settings.cache_dir.join("artifacts"),
        compile: serve::compile(settings),
        upload: settings.upload,
    }
}

/// The limits contract: what was used of each, what is allowed, and how much of it that is.
pub(crate) fn contract(rows: &[LimitRow], out: &Output) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (group, title) in GROUPS {
        table.add_row([Cell::new(title)]);
        for row in rows.iter().filter(|row| row.group == group) {
            table.add_row(line(row, out));
        }
    }
    out.note(&format!(
        "\n{}\n{}",
        paint(STRONG, "limits, used / allowed"),
        table.trim_fmt()
    ));
}

/// The groups of limits with their titles, in the order of the contract.
const GROUPS: [(&str, &str); 8] = [
    ("work", "work"),
    ("memory", "memory"),
    ("data", "input and output"),
    ("reports", "logs, progress, partial results"),
    ("files", "files"),
    ("network", "network"),
    ("keys", "key-value store"),
    ("tasks", "other tasks"),
];

/// One limit; one of a single call, or that the operator alone sets, has nothing used.
fn line(row: &LimitRow, out: &Output) -> [Cell; 4] {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let name = Cell::new(format!("  {}", row.name));
    let allowed = Cell::new(format!("of {}", amount(row.allowed, row.unit)));
    let Some(used) = row.used else {
        return [name, right("–".to_owned()), allowed, Cell::new("")];
    };
    let share = used as f64 / row.allowed.max(1) as f64;
    let mut cell = right(format!("{:.0} %", share * 100.0));
    if share >= 1.0 && out.is_error_terminal {
        cell = cell.fg(Color::Red);
    }
    [name, right(amount(used, row.unit)), allowed, cell]
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
