//! `celeriac policy`: what is granted to modules, and what a module gets of what it asks for.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use celeriac::{
    engine::{HttpRule, LimitOptions, Limits, TcpRule},
    local::{self, LocalError},
    policy::{self, Advice, Answer, Explained, Grant, Identity, Need, Policy, Warning},
    settings::{Settings, units},
};
use celeriac_broker::{BUILT_IN_MODULE, Broker, Manifest, ModuleName, ModuleRef};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    connect,
    error::CliError,
    exit::Exit,
    figures::harmless,
    input,
    output::{BAD, GOOD, MINOR, NAME, Output, STRONG, paint},
    push, run,
};

/// How long `check` waits for the broker, which it can do without.
const PATIENCE: Duration = Duration::from_secs(2);

/// Check what is granted, and explain what a module gets
///
/// The grants are the [grants."PATTERN"] tables of the settings file.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac policy check                          every grant, and what is wrong with the file
  celeriac policy check --config staging.toml
  celeriac policy explain images                 what each task asks for, gets, and why
  celeriac policy explain images.wasm --as images@1.2.0")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Read the settings file and its secrets, and print every grant
    ///
    /// Exits with 2 when something is wrong. Where a broker answers, grants that are for no uploaded module are named.
    #[command(
        after_help = "Examples:\n  celeriac policy check\n  celeriac policy check --config staging.toml --json | jq '.warnings'"
    )]
    Check,
    /// Print what each task of a module asks for, what it gets by which grant, and what to write for the rest
    #[command(
        after_help = "Examples:\n  celeriac policy explain images@1.2.0\n  celeriac policy explain images.wasm --as images --json"
    )]
    Explain {
        /// A name, a version or a digest at the broker; or a .wasm file
        #[arg(value_name = "MODULE|FILE")]
        module: String,

        /// What a file's module is called [default: the file's name]
        #[arg(long = "as", value_name = "NAME[@VERSION]")]
        name: Option<ModuleRef>,
    },
}

/// Runs the command.
pub(crate) async fn policy(
    args: PolicyArgs,
    settings: &Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Check => check(settings, out).await,
        Action::Explain { module, name } => explain(&module, name.as_ref(), settings, out).await,
    }
}

async fn check(settings: &Settings, out: &Output) -> Result<ExitCode, CliError> {
    let (policy, mut warnings) = Policy::load(settings.file.as_deref())?;
    warnings.extend(useless_limits(&policy, &settings.limits.ceiling));
    let names = match policy.grants().is_empty() {
        true => None,
        false => names(settings).await,
    };
    let unmatched: Vec<_> = policy
        .grants()
        .iter()
        .filter(|grant| {
            // The host itself: for its webhooks.
            grant.pattern.to_string() != BUILT_IN_MODULE
                && names
                    .as_ref()
                    .is_some_and(|names| !is_matched(grant, names))
        })
        .map(|grant| grant.pattern.to_string())
        .collect();
    if out.is_json {
        out.document(&json!({
            "file": settings.file,
            "grants": policy.grants().iter().map(document).collect::<Vec<_>>(),
            "warnings": warnings.iter().map(|warning| json!({
                "place": warning.place, "message": warning.message, "remedy": warning.remedy,
            })).collect::<Vec<_>>(),
            "unmatched": unmatched,
        }))?;
        return Ok(Exit::Success.into());
    }
    for grant in policy.grants() {
        out.line(&shown(grant).join("\n"))?;
    }
    match (&settings.file, policy.grants().len()) {
        (None, _) => out.note("there is no settings file: nothing is granted"),
        (Some(file), 0) => out.note(&format!(
            "{} has no [grants]: nothing is granted",
            file.display()
        )),
        (Some(file), count) => out.note(&format!(
            "{}: {count} grants, nothing is wrong",
            file.display()
        )),
    }
    for warning in &warnings {
        out.warn(
            &format!("{}: {}", warning.place, warning.message),
            &warning.remedy,
        );
    }
    for pattern in &unmatched {
        out.warn(
            &format!("[grants.\"{pattern}\"] is for no uploaded module"),
            "`celeriac modules` lists what there is",
        );
    }
    Ok(Exit::Success.into())
}

/// Limits that the host's ceilings make useless.
fn useless_limits(policy: &Policy, ceiling: &Limits) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for grant in policy.grants() {
        for (name, value, _) in set_limits(&grant.limits) {
            if ceiling.get(name).is_some_and(|ceiling| value >= ceiling) {
                warnings.push(Warning {
                    place: format!("[grants.\"{}\"] limits.{name}", grant.pattern),
                    message: "this is not below what the host allows anyway".to_owned(),
                    remedy: "leave it out, or lower it".to_owned(),
                });
            }
        }
    }
    warnings
}

/// The names at the broker; none when it does not answer. An embedded store is not made for it.
async fn names(settings: &Settings) -> Option<Vec<ModuleName>> {
    if let Some(directory) = settings.broker.strip_prefix("embedded:")
        && !Path::new(directory).exists()
    {
        return None;
    }
    let asked = async {
        let broker = connect::broker(settings).await?;
        broker.names().await
    };
    tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()
}

fn is_matched(grant: &Grant, names: &[ModuleName]) -> bool {
    let is_meant = |module: &ModuleName| {
        grant
            .pattern
            .matches(&Identity::called(&module.name, module.digest, names))
    };
    names.iter().any(is_meant)
}

async fn explain(
    module: &str,
    name: Option<&ModuleRef>,
    settings: &Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let policy = Policy::of_file(settings.file.as_deref())?;
    let path = Path::new(module);
    let is_file = path
        .extension()
        .is_some_and(|extension| extension == "wasm")
        || module.contains('/');
    let (manifest, identity) = match is_file {
        true => match of_file(path, name, settings).await {
            Ok(found) => found,
            Err(FileError::Refused(report)) => {
                push::show_report(module, &report, out);
                return Ok(Exit::Refused.into());
            }
            Err(FileError::Other(error)) => return Err(error),
        },
        false => at_broker(&module.parse::<ModuleRef>()?, settings).await?,
    };
    let explained = policy::explain(&policy, &identity, &manifest.tasks)
        .map_err(|error| CliError::new(Exit::Failed, error.message, error.remedy))?;
    let shown = Shown {
        module: identity.name.clone().unwrap_or_else(|| module.to_owned()),
        identity: &identity,
        manifest: &manifest,
        advice: policy.advice_for(&identity, &explained),
        explained: &explained,
        settings,
    };
    match out.is_json {
        true => out.document(&shown.document())?,
        false => out.line(&shown.text())?,
    }
    Ok(Exit::Success.into())
}

enum FileError {
    Refused(celeriac_broker::UploadReport),
    Other(CliError),
}

impl<E: Into<CliError>> From<E> for FileError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// A module that is not uploaded: it is asked for its tasks as an upload would be.
async fn of_file(
    path: &Path,
    name: Option<&ModuleRef>,
    settings: &Settings,
) -> Result<(Manifest, Identity), FileError> {
    let module = input::file(path, settings.caps.module_bytes)?;
    let host = run::host(settings, Policy::default());
    let manifest = match local::describe(&host, module.into()).await {
        Err(LocalError::Refused(report)) => return Err(FileError::Refused(report)),
        described => described?,
    };
    let identity = match run::named(name, path)? {
        Some(name) => Identity::called(&name, manifest.digest, &[]),
        None => Identity::nameless(manifest.digest),
    };
    Ok((manifest, identity))
}

async fn at_broker(
    module: &ModuleRef,
    settings: &Settings,
) -> Result<(Manifest, Identity), CliError> {
    let broker: Arc<dyn Broker> = connect::broker(settings).await?;
    let (record, names) = (broker.module(module).await?, broker.names().await?);
    let manifest: Manifest = serde_json::from_str(&record.manifest).map_err(|error| {
        CliError::new(
            Exit::Failed,
            format!("the manifest of {module} is damaged: {error}"),
            "push the module again",
        )
    })?;
    Ok((manifest, Identity::called(module, record.digest, &names)))
}

/// What `explain` found, on its way to a reader.
struct Shown<'a> {
    module: String,
    identity: &'a Identity,
    manifest: &'a Manifest,
    explained: &'a [Explained],
    advice: Vec<Advice>,
    settings: &'a Settings,
}

impl Shown<'_> {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{}  {}",
            paint(NAME, &self.module),
            paint(MINOR, self.identity.digest)
        )];
        if self.identity.name.is_none() {
            lines.push(paint(
                MINOR,
                "without a name that counts: only what is granted to its digest and to `*`",
            ));
        }
        for task in self.explained {
            lines.push(String::new());
            lines.push(paint(
                STRONG,
                format!("{}/{}", self.module, harmless(&task.task)),
            ));
            if task.resolved.answers.is_empty() {
                lines.push("  asks for nothing".to_owned());
            }
            lines.extend(
                task.resolved
                    .answers
                    .iter()
                    .map(|answer| answered(answer, task)),
            );
            for (name, value, unit) in set_limits(&task.resolved.limits) {
                lines.push(format!(
                    "  limit {name}: {} by a grant",
                    amount(value, unit)
                ));
            }
        }
        for advice in &self.advice {
            lines.push(String::new());
            lines.push(format!(
                "{} to grant what is missing, {}",
                paint(NAME, "→"),
                advice.to_string().replace('\n', "\n  ")
            ));
        }
        lines.join("\n")
    }

    fn document(&self) -> Value {
        let tasks: Vec<_> = self.explained.iter().map(|task| self.task(task)).collect();
        let advice = |advice: &Advice| json!({ "place": advice.place, "lines": advice.lines });
        json!({
            "module": self.module,
            "digest": self.identity.digest,
            "name": self.identity.name,
            "versions": self.identity.versions,
            "tasks": tasks,
            "add": self.advice.iter().map(advice).collect::<Vec<_>>(),
        })
    }

    fn task(&self, task: &Explained) -> Value {
        let need = |answer: &Answer| {
            json!({
                "kind": answer.need.kind(),
                "name": answer.need.name(),
                "granted_by": answer.granted_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        };
        json!({
            "task": task.task,
            "needs": task.resolved.answers.iter().map(need).collect::<Vec<_>>(),
            "deterministic": task.resolved.rights.determinism.is_some(),
            "limits": self.limits(task),
        })
    }

    /// Every limit of a task as its callers find it.
    fn limits(&self, task: &Explained) -> Value {
        let asked = self
            .manifest
            .tasks
            .iter()
            .find(|info| info.name == task.task);
        let mut author = LimitOptions::default();
        if let Some(options) = asked.map(|info| &info.options) {
            author.fuel = options.fuel;
            author.timeout = options.timeout_ms.map(Duration::from_millis);
            author.memory_bytes = options.memory_bytes;
            for (name, value) in &options.limits {
                // One that this host does not know bounds nothing here.
                let _ = author.set(name, *value);
            }
        }
        let limits = Limits::effective(&self.settings.limits, &author, &task.resolved.limits);
        Limits::all()
            .iter()
            .filter_map(|info| Some((info.name.to_owned(), Value::from(limits.get(info.name)?))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn answered(answer: &Answer, task: &Explained) -> String {
    let need = harmless(&format!("{} {}", answer.need.kind(), answer.need.name()));
    if answer.granted_by.is_empty() {
        return format!("  {} {need}: not granted", paint(BAD, "✗"));
    }
    let by: Vec<_> = answer
        .granted_by
        .iter()
        .map(|pattern| format!("[grants.\"{pattern}\"]"))
        .collect();
    let rights = &task.resolved.rights;
    let what = match &answer.need {
        Need::Directory(name) => rights
            .directories
            .iter()
            .find(|directory| directory.name == *name)
            .map(|directory| {
                format!(
                    " ({}, {})",
                    directory.path.display(),
                    if directory.is_writable {
                        "write"
                    } else {
                        "read"
                    }
                )
            }),
        _ => None,
    };
    format!(
        "  {} {need}: granted by {}{}",
        paint(GOOD, "✓"),
        by.join(", "),
        what.unwrap_or_default()
    )
}

/// The limits that somebody has set: name, value, unit.
fn set_limits(limits: &LimitOptions) -> Vec<(&'static str, u64, &'static str)> {
    let asked = serde_json::to_value(limits).unwrap_or_default();
    let is_set = |name: &str| asked.get(name).is_some_and(|value| !value.is_null());
    let mut highest = Limits::ceiling();
    for info in Limits::all() {
        let _ = highest.set(info.name, u64::MAX);
    }
    let host = celeriac::engine::HostLimits {
        default: highest.clone(),
        ceiling: highest,
    };
    let values = Limits::effective(&host, &LimitOptions::default(), limits);
    let limit =
        |info: celeriac::engine::LimitInfo| Some((info.name, values.get(info.name)?, info.unit));
    Limits::all()
        .into_iter()
        .filter(|info| is_set(info.name))
        .filter_map(limit)
        .collect()
}

fn amount(value: u64, unit: &str) -> String {
    match unit {
        "bytes" => units::show_size(value),
        "ms" => units::show_duration(Duration::from_millis(value)),
        "fuel" => units::show_fuel(value),
        _ => value.to_string(),
    }
}

fn http(rule: &HttpRule) -> String {
    let hosts: Vec<_> = rule.hosts.iter().map(ToString::to_string).collect();
    let ports: Vec<_> = rule.ports.iter().map(ToString::to_string).collect();
    let methods = if rule.methods.is_empty() {
        String::new()
    } else {
        format!("{} ", rule.methods.join(", "))
    };
    let ports = if ports.is_empty() {
        String::new()
    } else {
        format!(" port {}", ports.join(", "))
    };
    format!(
        "{methods}{} {}{ports}{}",
        rule.schemes.join(", "),
        hosts.join(", "),
        networks(&rule.networks)
    )
}

fn tcp(rule: &TcpRule) -> String {
    format!("{}:{}{}", rule.host, rule.port, networks(&rule.networks))
}

fn networks<T: ToString>(networks: &[T]) -> String {
    match networks {
        [] => String::new(),
        networks => format!(
            ", also in {}",
            networks
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// A grant for people, one thing a line.
fn shown(grant: &Grant) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {}",
        paint(STRONG, format!("[grants.\"{}\"]", grant.pattern)),
        paint(MINOR, format!("line {}", grant.line))
    )];
    let mut add =
        |kind: &str, what: String| lines.push(format!("  {kind:<13} {what}").trim_end().to_owned());
    for (name, directory) in &grant.directories {
        let access = if directory.is_writable {
            "write"
        } else {
            "read"
        };
        add(
            "directory",
            format!("{name} = {} ({access})", directory.path.display()),
        );
    }
    if grant.has_scratch {
        add("scratch", String::new());
    }
    grant.http.iter().for_each(|rule| add("http", http(rule)));
    grant.tcp.iter().for_each(|rule| add("tcp", tcp(rule)));
    grant
        .secrets
        .iter()
        .for_each(|(name, source)| add("secret", format!("{name} from {source}")));
    grant
        .config
        .iter()
        .for_each(|(name, value)| add("config", format!("{name} = {value:?}")));
    if grant.has_key_values {
        add("kv", String::new());
    }
    let tasks = grant.tasks.iter();
    tasks.for_each(|tasks| add("tasks", tasks.to_string()));
    match &grant.determinism {
        Some(Some(fixed)) => add("deterministic", format!("seed {}", fixed.seed)),
        Some(None) => add("deterministic", "no".to_owned()),
        None => {}
    }
    match grant.is_recorded {
        Some(true) => add("record", "yes".to_owned()),
        Some(false) => add("record", "no".to_owned()),
        None => {}
    }
    for (name, value, unit) in set_limits(&grant.limits) {
        add("limit", format!("{name} {}", amount(value, unit)));
    }
    lines
}

/// A grant for programs. Where a secret is from, and never its value.
fn document(grant: &Grant) -> Value {
    let limits = set_limits(&grant.limits)
        .into_iter()
        .map(|(name, value, _)| (name.to_owned(), value.into()));
    json!({
        "pattern": grant.pattern.to_string(),
        "line": grant.line,
        "directories": grant.directories.iter().map(|(name, directory)| json!({
            "name": name, "path": directory.path, "access": if directory.is_writable { "write" } else { "read" },
        })).collect::<Vec<_>>(),
        "scratch": grant.has_scratch,
        "http": grant.http.iter().map(|rule| json!({
            "hosts": rule.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "schemes": rule.schemes, "ports": rule.ports, "methods": rule.methods, "networks": rule.networks,
        })).collect::<Vec<_>>(),
        "tcp": grant.tcp.iter().map(|rule| json!({
            "host": rule.host.to_string(), "port": rule.port, "networks": rule.networks,
        })).collect::<Vec<_>>(),
        "secrets": grant.secrets.iter().map(|(name, source)| (name.clone(), source.to_string().into())).collect::<serde_json::Map<_, _>>(),
        "config": grant.config,
        "kv": grant.has_key_values,
        "tasks": grant.tasks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "deterministic": grant.determinism.as_ref().map(Option::is_some),
        "limits": limits.collect::<serde_json::Map<_, _>>(),
    })
}
