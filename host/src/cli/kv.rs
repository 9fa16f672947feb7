//! `celeriac kv`: the key-value store of a module, for operators.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use celeriac::settings::{Settings, units};
use celeriac_broker::{Broker, MAX_PAGE, MAX_VALUE_BYTES};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{harmless, size},
    output::Output,
};

/// Look into the key-value store of a module, and change it
///
/// All versions of a module share one store, and it outlives them: only `clear` and times to live empty it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac kv counter list --prefix count:     keys, in the order of their bytes
  celeriac kv counter get count:home           the value, as it is
  celeriac kv counter set motd '\"hello\"' --ttl 1h
  celeriac kv counter delete count:home
  celeriac kv counter stats                    how many keys and bytes there are
  celeriac kv counter clear --yes              removes every key")]
pub(crate) struct KvArgs {
    /// The module's name, without a version
    #[arg(value_name = "MODULE")]
    module: String,

    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List keys in the order of their bytes
    #[command(
        after_help = "Examples:\n  celeriac kv counter list\n  celeriac kv counter list --prefix count: --after count:m --limit 50"
    )]
    List {
        /// Only keys that begin with this
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Only keys that come after this one
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 1000, value_name = "N")]
        limit: u64,
    },
    /// Print a value as it is; exit code 4 when there is none
    #[command(after_help = "Examples:\n  celeriac kv counter get count:home")]
    Get {
        /// The key
        key: String,
    },
    /// Set a key to a text, a file's content, or standard input
    #[command(
        after_help = "Examples:\n  celeriac kv counter set count:home 0\n  celeriac kv shop set logo @logo.png\n  date | celeriac kv shop set now - --ttl 5m"
    )]
    Set {
        /// The key
        key: String,
        /// The value: text, `@FILE` for a file's content, `-` for standard input
        #[arg(value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
        value: String,
        /// Remove it after this time, such as `90s` or `7d`
        #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
        ttl: Option<Duration>,
    },
    /// Remove a key; exit code 4 when there is none
    #[command(after_help = "Examples:\n  celeriac kv counter delete count:home")]
    Delete {
        /// The key
        key: String,
    },
    /// Remove every key
    #[command(after_help = "Examples:\n  celeriac kv counter clear --yes")]
    Clear {
        /// Really
        #[arg(long)]
        yes: bool,
    },
    /// Show how many keys and bytes there are, and how many there may be
    #[command(
        after_help = "Examples:\n  celeriac kv counter stats\n  celeriac kv counter stats --json"
    )]
    Stats,
}

/// Runs the command.
pub(crate) async fn kv(
    args: KvArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let (broker, module) = (&**client.broker(), args.module.as_str());
    match args.action {
        Action::List {
            prefix,
            after,
            limit,
        } => list(broker, module, (&prefix, after), limit, out).await?,
        Action::Get { key } => get(broker, module, &key, out).await?,
        Action::Set { key, value, ttl } => {
            let value = read(&value)?;
            broker.kv_set(module, &key, value, ttl).await?;
            done(out, &format!("set {key}"), &json!({ "set": key }))?;
        }
        Action::Delete { key } => match broker.kv_delete(module, &key).await? {
            true => done(out, &format!("deleted {key}"), &json!({ "deleted": key }))?,
            false => return Err(missing(module, &key)),
        },
        Action::Clear { yes: false } => {
            let message = format!("this would remove every key of {module}");
            return Err(CliError::usage(message, "say --yes when you mean it"));
        }
        Action::Clear { yes: true } => {
            let cleared = broker.kv_clear(module).await?;
            done(
                out,
                &format!("removed {cleared} keys"),
                &json!({ "cleared": cleared }),
            )?;
        }
        Action::Stats => stats(broker, module, out).await?,
    }
    Ok(Exit::Success.into())
}

fn done(out: &Output, note: &str, document: &Value) -> Result<(), CliError> {
    match out.is_json {
        true => out.document(document),
        false => {
            out.note(&harmless(note));
            Ok(())
        }
    }
}

fn missing(module: &str, key: &str) -> CliError {
    let message = format!("{module} has no key `{}`", harmless(key));
    let remedy = format!("`celeriac kv {module} list` lists what there is");
    CliError::new(Exit::NotFound, message, remedy)
}

/// Pages as large as the broker gives them; people see each as it comes.
async fn list(
    broker: &dyn Broker,
    module: &str,
    (prefix, mut after): (&str, Option<String>),
    limit: u64,
    out: &Output,
) -> Result<(), CliError> {
    let (mut left, mut all) = (limit, Vec::new());
    while left > 0 {
        let asked = u32::try_from(left).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let page = broker
            .kv_list(module, prefix, after.as_deref(), asked)
            .await?;
        left -= page.len() as u64;
        let is_last = page.len() < asked as usize;
        after = page.last().cloned();
        match out.is_json {
            true => all.extend(page),
            false if page.is_empty() => {}
            false => out.line(&harmless(&page.join("\n")))?,
        }
        if is_last {
            break;
        }
    }
    match out.is_json {
        true => out.document(&json!({ "keys": all })),
        false => Ok(()),
    }
}

async fn get(broker: &dyn Broker, module: &str, key: &str, out: &Output) -> Result<(), CliError> {
    let value = broker.kv_get(module, key).await?;
    let value = value.ok_or_else(|| missing(module, key))?;
    let text = std::str::from_utf8(&value);
    match (out.is_json, text) {
        (true, Ok(text)) => out.document(&json!({ "key": key, "text": text })),
        (true, Err(_)) => out.document(&json!({ "key": key, "base64": STANDARD.encode(&value) })),
        (false, Ok(text)) if out.is_terminal => out.line(&harmless(text)),
        (false, Err(_)) if out.is_terminal => {
            let message = format!(
                "the value of `{}` is {} bytes that are no text",
                harmless(key),
                value.len()
            );
            Err(CliError::usage(
                message,
                "send standard output to a file, or say --json",
            ))
        }
        (false, _) => out.raw(&value),
    }
}

async fn stats(broker: &dyn Broker, module: &str, out: &Output) -> Result<(), CliError> {
    let (stats, caps) = (broker.kv_stats(module).await?, broker.caps());
    match out.is_json {
        true => out.document(&json!({
            "keys": stats.keys, "bytes": stats.bytes, "max_keys": caps.kv_keys, "max_bytes": caps.kv_bytes,
        })),
        false => out.line(&format!(
            "{} of {} keys, {} of {}",
            stats.keys,
            caps.kv_keys,
            size(stats.bytes),
            size(caps.kv_bytes)
        )),
    }
}

/// The value that was named on the command line.
fn read(value: &str) -> Result<Bytes, CliError> {
    let mut data = Vec::new();
    // One byte more than fits: the broker says what is too large.
    let most = MAX_VALUE_BYTES as u64 + 1;
    if let Some(path) = value.strip_prefix('@').map(Path::new) {
        let open = File::open(path).and_then(|file| file.take(most).read_to_end(&mut data));
        open.map_err(|error| CliError::file(path, "read", &error))?;
    } else if value == "-" {
        let read = io::stdin().lock().take(most).read_to_end(&mut data);
        let unreadable =
            |error| CliError::usage(format!("standard input cannot be read: {error}"), "");
        read.map_err(unreadable)?;
    } else {
        data.extend_from_slice(value.as_bytes());
    }
    Ok(data.into())
}
