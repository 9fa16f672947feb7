//! `celeriac modules`: what has been uploaded.

use std::process::ExitCode;

use celeriac::settings::{Settings, units};
use celeriac_broker::{Manifest, ModuleName, ModuleRecord, ModuleRef, TaskInfo};
use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{ago, fuel, harmless, size},
    output::{MINOR, NAME, Output, STRONG, paint},
};

/// List, inspect and remove modules
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac modules                    every name and version
  celeriac modules show images        tasks with schemas, options and needs
  celeriac modules rm images@1.1.0    refused while an unfinished invocation uses it")]
pub(crate) struct ModulesArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List every name and version [the default]
    List,
    /// Show a module: its tasks, their schemas, options and needs
    #[command(
        after_help = "Examples:\n  celeriac modules show images@1.2.0\n  celeriac modules show images --json | jq '.manifest.tasks[].input_schema'"
    )]
    Show {
        /// A name, a version or a digest
        #[arg(value_name = "MODULE")]
        module: ModuleRef,
    },
    /// Remove a name with all its versions, one version, or a digest with every name that points to it
    #[command(
        after_help = "Examples:\n  celeriac modules rm images@1.1.0\n  celeriac modules rm images"
    )]
    Rm {
        /// A name, a version or a digest
        #[arg(value_name = "MODULE")]
        module: ModuleRef,
    },
}

/// Runs the command.
pub(crate) async fn modules(
    args: ModulesArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let broker = client.broker();
    match args.action.unwrap_or(Action::List) {
        Action::List => list(broker.names().await?, out)?,
        Action::Show { module } => show(&module, &broker.module(&module).await?, out)?,
        Action::Rm { module } => {
            broker.remove(&module).await?;
            match out.is_json {
                true => out.document(&json!({ "removed": module }))?,
                false => out.note(&format!("removed {module}")),
            }
        }
    }
    Ok(Exit::Success.into())
}

fn list(mut names: Vec<ModuleName>, out: &Output) -> Result<(), CliError> {
    names.sort_by_key(|name| name.name.to_string());
    if out.is_json {
        return out.document(&json!({ "modules": names }));
    }
    if names.is_empty() {
        out.note("there is no module yet: `celeriac push FILE --name NAME` adds one");
        return Ok(());
    }
    let row = |name: &ModuleName| {
        [
            Cell::new(&name.name).fg(Color::Cyan),
            Cell::new(name.digest.short()),
            Cell::new(ago(name.moved_at_ms)),
        ]
    };
    out.table(["NAME", "DIGEST", "MOVED"], names.iter().map(row).collect())
}

fn show(module: &ModuleRef, record: &ModuleRecord, out: &Output) -> Result<(), CliError> {
    let manifest: Manifest = serde_json::from_str(&record.manifest).map_err(|error| {
        CliError::new(
            Exit::Failed,
            format!("the manifest of {module} is damaged: {error}"),
            "push the module again",
        )
    })?;
    if out.is_json {
        return out.document(&json!({
            "name": module, "digest": record.digest, "invocations": record.invocations, "manifest": manifest,
        }));
    }
    let mut lines = vec![
        format!("{}  {}", paint(NAME, module), paint(MINOR, record.digest)),
        format!(
            "{}, {} unfinished invocations",
            size(manifest.bytes),
            record.invocations
        ),
        paint(MINOR, format!("imports {}", or_none(&manifest.imports))),
    ];
    for task in &manifest.tasks {
        lines.extend(describe(module, task));
    }
    out.line(&lines.join("\n"))
}

fn describe(module: &ModuleRef, task: &TaskInfo) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        paint(STRONG, format!("{module}/{}", harmless(&task.name))),
    ];
    lines.extend(harmless(&task.doc).lines().map(|line| format!("  {line}")));
    lines.push(format!("  options  {}", options(task)));
    let needs: Vec<_> = task
        .needs
        .iter()
        .map(|need| format!("{} {}", need.kind, need.name))
        .collect();
    lines.push(format!("  needs    {}", harmless(&or_none(&needs))));
    lines.extend(schema("input", task.input_schema.as_ref()));
    lines.extend(schema("output", task.output_schema.as_ref()));
    lines
}

fn or_none(items: &[String]) -> String {
    match items {
        [] => "nothing".to_owned(),
        items => items.join(", "),
    }
}

/// A schema as indented JSON; without one the payload is raw bytes.
fn schema(what: &str, schema: Option<&Value>) -> Vec<String> {
    let Some(schema) = schema else {
        return vec![format!("  {what:<8} raw bytes")];
    };
    let text = serde_json::to_string_pretty(schema).unwrap_or_default();
    let mut lines = vec![format!("  {what}")];
    lines.extend(
        harmless(&text)
            .lines()
            .map(|line| format!("    {}", paint(MINOR, line))),
    );
    lines
}

/// The author's defaults, in one line.
fn options(task: &TaskInfo) -> String {
    let set = &task.options;
    let span =
        |ms: Option<u64>| ms.map(|ms| units::show_duration(std::time::Duration::from_millis(ms)));
    let parts = [
        ("queue", set.queue.as_deref().map(harmless)),
        (
            "priority",
            set.priority.map(|priority| priority.to_string()),
        ),
        ("expires", span(set.expires_ms)),
        ("deadline", span(set.deadline_ms)),
        ("result ttl", span(set.result_ttl_ms)),
        ("retries", set.retries.map(|retries| retries.to_string())),
        ("back-off", set.backoff.as_ref().map(ToString::to_string)),
        (
            "retry on",
            (!set.retry_on.is_empty()).then(|| harmless(&set.retry_on.join(", "))),
        ),
        ("timeout", span(set.timeout_ms)),
        ("fuel", set.fuel.map(fuel)),
        ("memory", set.memory_bytes.map(size)),
    ];
    let given: Vec<_> = parts
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value?)))
        .collect();
    match given.is_empty() {
        true => "defaults".to_owned(),
        false => given.join(", "),
    }
}

/// The tasks of a module, one a line.
pub(crate) fn task_table(
    module: &ModuleRef,
    manifest: &Manifest,
    out: &Output,
) -> Result<(), CliError> {
    let row = |task: &TaskInfo| {
        let summary = harmless(&task.doc)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        [
            Cell::new(format!("{module}/{}", harmless(&task.name))).fg(Color::Cyan),
            Cell::new(shape(task.input_schema.as_ref())),
            Cell::new(shape(task.output_schema.as_ref())),
            Cell::new(options(task)),
            Cell::new(summary),
        ]
    };
    out.table(
        ["TASK", "INPUT", "OUTPUT", "OPTIONS", "WHAT IT DOES"],
        manifest.tasks.iter().map(row).collect(),
    )
}

/// A schema in a word: its title, else its type.
fn shape(schema: Option<&Value>) -> String {
    let Some(schema) = schema else {
        return "bytes".to_owned();
    };
    let word = |key| schema.get(key).and_then(Value::as_str);
    harmless(word("title").or_else(|| word("type")).unwrap_or("JSON"))
}
