//! From the text of a settings file to its grants. Pure: no file, no environment, no clock is looked at.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::fields::{At, Lines, Node, field};
use super::need::{self, split_port};
use super::pattern::NotAPattern;
use super::{DirectoryGrant, Grant, ModulePattern, Policy, PolicyError, SecretSource};
use crate::engine::{
    Determinism, HostPattern, HttpRule, LimitOptions, Limits, TaskPattern, TcpRule,
};
use crate::settings::units;

/// The table of a settings file that holds the grants.
pub(super) const TABLE: &str = "grants";

/// The keys of a grant.
const KEYS: [&str; 11] = [
    "directories",
    "scratch",
    "http",
    "tcp",
    "secrets",
    "config",
    "kv",
    "tasks",
    "deterministic",
    "record",
    "limits",
];

/// Tables of one file: each is looked at when a task starts for the first time.
const GRANTS: usize = 4_096;

/// Bytes of a configuration value: the environment of a guest is copied into each instance.
const CONFIG_BYTES: usize = 16 << 10;

/// What a deterministic run shows as the time unless told otherwise: 2000-01-01T00:00:00Z.
const FIXED_TIME: Duration = Duration::from_secs(946_684_800);

const HOST: &str =
    "a host: `example.com`, `*.example.com`, `*` or an address, without scheme, port or path";
const NETWORK: &str = "a network in CIDR form, such as `10.1.0.0/16` or `fd00::/8`";
const PORT: &str = "a port from 1 to 65535";

/// Reads the grants of a settings file; the rest of the file is not looked at.
///
/// # Errors
/// The first thing that is wrong, with its line and what to write.
pub fn parse(text: &str) -> Result<Policy, PolicyError> {
    let lines = Lines::of(text);
    let whole = At::table(&lines, format!("[{TABLE}]"));
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| whole.line(&span));
        PolicyError::new(
            line,
            "",
            format!("not TOML: {}", error.message()),
            "`celeriac config --example` prints a file that is",
        )
    })?;
    let mut grants = match field(document.get_ref(), TABLE) {
        Some(node) => tables(&lines, &whole, node)?,
        None => Vec::new(),
    };
    grants.sort_by(|a, b| b.pattern.cmp(&a.pattern));
    Ok(Policy {
        grants,
        ..Policy::default()
    })
}

fn tables(lines: &Lines, whole: &At<'_>, node: &Node<'_>) -> Result<Vec<Grant>, PolicyError> {
    let tables = node.get_ref().as_table().ok_or_else(|| {
        let remedy = "write tables such as [grants.\"images\"]";
        whole.fail(node.span(), "this is no table", remedy)
    })?;
    if tables.len() > GRANTS {
        let message = format!("there are {} tables, {GRANTS} are allowed", tables.len());
        return Err(whole.fail(node.span(), message, "grant to wildcards"));
    }
    let mut grants: Vec<Grant> = Vec::with_capacity(tables.len());
    for (key, body) in tables {
        let name = key.get_ref();
        let at = At::table(lines, format!("[{TABLE}.\"{}\"]", name.escape_debug()));
        let pattern: ModulePattern = name.parse().map_err(|error: NotAPattern| {
            at.fail(key.span(), error.to_string(), NotAPattern::REMEDY)
        })?;
        // `sha256:AB…` and `sha256:ab…` are two keys of TOML.
        if grants.iter().any(|other| other.pattern == pattern) {
            let message = "two tables are for these modules";
            return Err(at.fail(key.span(), message, "make them one"));
        }
        grants.push(grant(pattern, &at, at.line(&key.span()), body)?);
    }
    Ok(grants)
}

fn grant(
    pattern: ModulePattern,
    at: &At<'_>,
    line: usize,
    body: &Node<'_>,
) -> Result<Grant, PolicyError> {
    let mut grant = Grant::empty(pattern, line);
    for (key, value) in at.fields(body, &KEYS)? {
        let at = at.below(key.get_ref());
        match key.get_ref().as_ref() {
            "directories" => directories(&at, value, &mut grant)?,
            "scratch" => grant.has_scratch = at.flag(value)?,
            "http" => {
                for (at, rule) in at.list(
                    value,
                    "a list of tables such as `{ hosts = [\"example.com\"] }`",
                )? {
                    grant.http.push(http(&at, rule)?);
                }
            }
            "tcp" => {
                for (at, rule) in at.list(value, "a list of `HOST:PORT`")? {
                    grant.tcp.push(tcp(&at, rule)?);
                }
            }
            "secrets" => secrets(&at, value, &mut grant)?,
            "config" => config(&at, value, &mut grant)?,
            "kv" => grant.has_key_values = at.flag(value)?,
            "tasks" => {
                const FORM: &str = "a list of `MODULE/TASK`, `MODULE/*` or `*`";
                for (at, task) in at.list(value, FORM)? {
                    let text = at.text(task, "`MODULE/TASK`, `MODULE/*` or `*`")?;
                    let pattern = TaskPattern::parse(text).ok_or_else(|| {
                        let message = format!("`{}` means no task", text.escape_debug());
                        at.fail(task.span(), message, need::TASKS)
                    })?;
                    grant.tasks.push(pattern);
                }
            }
            "deterministic" => grant.determinism = Some(determinism(&at, value)?),
            "record" => grant.is_recorded = Some(at.flag(value)?),
            _ => grant.limits = limits(&at, value)?,
        }
    }
    Ok(grant)
}

fn directories(at: &At<'_>, node: &Node<'_>, grant: &mut Grant) -> Result<(), PolicyError> {
    const FORM: &str = "tables such as `photos = { path = \"/srv/photos\", access = \"read\" }`";
    for (key, value) in at.entries(node, FORM)? {
        let (name, at) = (key.get_ref(), at.below(key.get_ref()));
        if !need::is_directory_name(name) {
            let message = format!(
                "`{}` cannot be the name of a directory",
                name.escape_debug()
            );
            return Err(at.fail(key.span(), message, need::DIRECTORY_NAME));
        }
        let table = at.fields(value, &["path", "access"])?;
        let Some(path) = field(table, "path") else {
            return Err(at.fail(value.span(), "it has no `path`", format!("write {FORM}")));
        };
        let is_writable = match field(table, "access") {
            None => false,
            Some(access) => {
                let at = at.below("access");
                match at.text(access, "`read` or `write`")? {
                    "read" => false,
                    "write" => true,
                    other => {
                        let message = format!("there is no access `{}`", other.escape_debug());
                        return Err(at.fail(
                            access.span(),
                            message,
                            "write `read`, or `write` for both",
                        ));
                    }
                }
            }
        };
        let path = absolute(&at.below("path"), path)?;
        grant
            .directories
            .insert(name.to_string(), DirectoryGrant { path, is_writable });
    }
    Ok(())
}

fn absolute(at: &At<'_>, node: &Node<'_>) -> Result<PathBuf, PolicyError> {
    let path = Path::new(at.text(node, "an absolute path")?);
    let climbs = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if !path.is_absolute() || climbs || path.as_os_str().as_encoded_bytes().contains(&0) {
        let message = format!(
            "`{}` is not an absolute path without `..`",
            path.display().to_string().escape_debug()
        );
        return Err(at.fail(
            node.span(),
            message,
            "write the whole path: what it is relative to would depend on who reads it",
        ));
    }
    Ok(path.to_owned())
}

fn http(at: &At<'_>, node: &Node<'_>) -> Result<HttpRule, PolicyError> {
    let table = at.fields(node, &["hosts", "schemes", "ports", "methods", "networks"])?;
    let list = |key: &str| field(table, key).map(|node| (at.below(key), node));
    let Some((hosts_at, hosts)) = list("hosts") else {
        return Err(at.fail(
            node.span(),
            "it has no `hosts`",
            "write `hosts = [\"example.com\"]`",
        ));
    };
    let scheme = |text: &str| matches!(text, "http" | "https").then(|| text.to_owned());
    Ok(HttpRule {
        hosts: hosts_at.each(hosts, HOST, |text| text.parse::<HostPattern>().ok())?,
        schemes: match list("schemes") {
            Some((at, node)) => at.each(node, "`http` or `https`", scheme)?,
            None => vec!["https".to_owned()],
        },
        ports: match list("ports") {
            Some((at, node)) => ports(&at, node)?,
            None => Vec::new(),
        },
        methods: match list("methods") {
            Some((at, node)) => at.each(node, "a method in capitals, such as `GET`", method)?,
            None => Vec::new(),
        },
        networks: networks(at, table)?,
    })
}

fn method(text: &str) -> Option<String> {
    let fits =
        (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    fits.then(|| text.to_owned())
}

fn ports(at: &At<'_>, node: &Node<'_>) -> Result<Vec<u16>, PolicyError> {
    let mut ports = Vec::new();
    for (at, item) in at.list(node, "a list of ports")? {
        let port = port(&at, item)?;
        if ports.contains(&port) {
            return Err(at.fail(item.span(), format!("{port} is there twice"), "keep one"));
        }
        ports.push(port);
    }
    Ok(ports)
}

fn port(at: &At<'_>, node: &Node<'_>) -> Result<u16, PolicyError> {
    match u16::try_from(at.number(node, PORT)?) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(at.fail(node.span(), "this is not a port", format!("write {PORT}"))),
    }
}

fn networks(at: &At<'_>, table: &DeTable<'_>) -> Result<Vec<IpNet>, PolicyError> {
    match field(table, "networks") {
        None => Ok(Vec::new()),
        Some(node) => at
            .below("networks")
            .each(node, NETWORK, |text| text.parse::<IpNet>().ok()),
    }
}

fn tcp(at: &At<'_>, node: &Node<'_>) -> Result<TcpRule, PolicyError> {
    const FORM: &str =
        "`HOST:PORT`, or `{ host = \"db.internal\", port = 5432, networks = [\"10.0.0.0/8\"] }`";
    if let DeValue::String(text) = node.get_ref() {
        let parts = split_port(text).and_then(|(host, port)| Some((host.parse().ok()?, port?)));
        let Some((host, port)) = parts else {
            let message = format!("`{}` is not `HOST:PORT`", text.escape_debug());
            return Err(at.fail(node.span(), message, format!("write {FORM}")));
        };
        return Ok(TcpRule {
            host,
            port,
            networks: Vec::new(),
        });
    }
    let table = at.fields(node, &["host", "port", "networks"])?;
    let (Some(host), Some(number)) = (field(table, "host"), field(table, "port")) else {
        return Err(at.fail(
            node.span(),
            "it has no `host` or no `port`",
            format!("write {FORM}"),
        ));
    };
    let host_at = at.below("host");
    Ok(TcpRule {
        host: host_at
            .text(host, HOST)?
            .parse()
            .map_err(|error: crate::engine::NotAHost| {
                host_at.fail(host.span(), error.to_string(), format!("write {HOST}"))
            })?,
        port: port(&at.below("port"), number)?,
        networks: networks(at, table)?,
    })
}

fn secrets(at: &At<'_>, node: &Node<'_>, grant: &mut Grant) -> Result<(), PolicyError> {
    const FORM: &str = "one of `{ file = \"/run/secrets/NAME\" }`, `{ env = \"NAME\" }` and `{ credential = \"NAME\" }`";
    for (key, value) in at.entries(node, "a table of secrets by name")? {
        let (name, at) = (key.get_ref(), at.below(key.get_ref()));
        if !need::is_name(name) {
            let message = format!("`{}` cannot be the name of a secret", name.escape_debug());
            return Err(at.fail(key.span(), message, need::NAME));
        }
        if value.get_ref().is_str() {
            let message = "a secret is not written into the settings file";
            return Err(at.fail(
                value.span(),
                message,
                format!("put it elsewhere, and write {FORM}"),
            ));
        }
        let table = at.fields(value, &["file", "env", "credential"])?;
        let mut sources = table.iter();
        let (Some((kind, place)), None) = (sources.next(), sources.next()) else {
            return Err(at.fail(
                value.span(),
                "a secret has one source",
                format!("write {FORM}"),
            ));
        };
        let at = at.below(kind.get_ref());
        let named = |check: fn(&str) -> bool, remedy: &str| {
            let name = at.text(place, remedy)?;
            match check(name) {
                true => Ok(name.to_owned()),
                false => Err(at.fail(
                    place.span(),
                    format!("`{}` is not a name", name.escape_debug()),
                    remedy,
                )),
            }
        };
        let source = match kind.get_ref().as_ref() {
            "file" => SecretSource::File(absolute(&at, place)?),
            "env" => SecretSource::Environment(named(need::is_variable, need::VARIABLE)?),
            _ => SecretSource::Credential(named(need::is_name, need::NAME)?),
        };
        grant.secrets.insert(name.to_string(), source);
    }
    Ok(())
}

fn config(at: &At<'_>, node: &Node<'_>, grant: &mut Grant) -> Result<(), PolicyError> {
    for (key, value) in at.entries(node, "a table of texts by name")? {
        let (name, at) = (key.get_ref(), at.below(key.get_ref()));
        if !need::is_variable(name) {
            let message = format!(
                "`{}` cannot be the name of a configuration value",
                name.escape_debug()
            );
            return Err(at.fail(key.span(), message, need::VARIABLE));
        }
        let text = at.text(value, "a text, numbers too: `LEVEL = \"3\"`")?;
        if text.len() > CONFIG_BYTES || text.contains('\0') {
            let message = format!("the value has {} bytes or a zero byte", text.len());
            return Err(at.fail(
                value.span(),
                message,
                format!("write at most {CONFIG_BYTES} bytes of text, or grant a directory"),
            ));
        }
        grant.config.insert(name.to_string(), text.to_owned());
    }
    Ok(())
}

fn determinism(at: &At<'_>, node: &Node<'_>) -> Result<Option<Determinism>, PolicyError> {
    let usual = Determinism::seeded(0);
    if let DeValue::Boolean(is_fixed) = node.get_ref() {
        return Ok(is_fixed.then_some(usual));
    }
    let table = at.fields(node, &["seed", "now"])?;
    Ok(Some(Determinism {
        seed: match field(table, "seed") {
            Some(node) => at
                .below("seed")
                .number(node, "a whole number, not negative")?
                .into(),
            None => usual.seed,
        },
        now: match field(table, "now") {
            Some(node) => time(&at.below("now"), node)?,
            None => usual.now,
        },
    }))
}

impl Determinism {
    /// With this seed, at 2000-01-01T00:00:00Z.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed: seed.into(),
            now: UNIX_EPOCH + FIXED_TIME,
        }
    }
}

fn time(at: &At<'_>, node: &Node<'_>) -> Result<SystemTime, PolicyError> {
    const FORM: &str = "a time with its zone, from 1970 on, such as `\"2026-01-01T00:00:00Z\"`";
    let time = match node.get_ref() {
        DeValue::Datetime(time) => Some(*time),
        DeValue::String(text) => text.parse::<Datetime>().ok(),
        _ => None,
    };
    let seconds = time.and_then(|time| seconds(&time));
    let seconds = seconds
        .ok_or_else(|| at.fail(node.span(), "this is not a time", format!("write {FORM}")))?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Seconds since 1970 of a time with a zone.
fn seconds(time: &Datetime) -> Option<u64> {
    let (date, clock) = (time.date?, time.time?);
    let offset = match time.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    // Days since 1970 in the Gregorian calendar, with years that begin in March.
    let (year, month) = (i64::from(date.year), i64::from(date.month));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(date.day) - 1;
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
            - 719_468;
    let minutes = i64::from(clock.hour) * 60 + i64::from(clock.minute) - offset;
    let seconds = days * 86_400 + minutes * 60 + i64::from(clock.second.unwrap_or(0));
    u64::try_from(seconds).ok()
}

fn limits(at: &At<'_>, node: &Node<'_>) -> Result<LimitOptions, PolicyError> {
    let all = Limits::all();
    let mut known: Vec<_> = all.iter().map(|limit| limit.name).collect();
    // As in the rest of the settings.
    known.push("memory");
    let mut limits = LimitOptions::default();
    for (key, value) in at.fields(node, &known)? {
        let at = at.below(key.get_ref());
        let name = match key.get_ref().as_ref() {
            "memory" => "memory_bytes",
            name => name,
        };
        let Some(info) = all.iter().find(|info| info.name == name) else {
            continue;
        };
        let number = quantity(&at, value, info.unit)?;
        limits = limits.and(&set(&at, value, name, number)?);
    }
    Ok(limits)
}

fn set(at: &At<'_>, node: &Node<'_>, name: &str, number: u64) -> Result<LimitOptions, PolicyError> {
    let mut limits = LimitOptions::default();
    limits
        .set(name, number)
        .map_err(|error| at.fail(node.span(), error.to_string(), ""))?;
    Ok(limits)
}

/// A limit in its unit, as the settings write it.
fn quantity(at: &At<'_>, node: &Node<'_>, unit: &str) -> Result<u64, PolicyError> {
    let (form, is_positive) = match unit {
        "fuel" => (units::FUEL_FORM, true),
        "bytes" => (units::SIZE_FORM, false),
        "ms" => (units::DURATION_FORM, true),
        _ => ("a whole number", false),
    };
    let number = match (node.get_ref(), unit) {
        (DeValue::String(text), "fuel") => units::parse_fuel(text).ok(),
        (DeValue::String(text), "bytes") => units::parse_size(text).ok(),
        (DeValue::String(text), "ms") => units::parse_duration(text)
            .ok()
            .and_then(|time| u64::try_from(time.as_millis()).ok()),
        (DeValue::Integer(_), unit) if unit != "ms" => Some(at.number(node, form)?),
        _ => None,
    };
    match number {
        Some(number) if number > 0 || !is_positive => Ok(number),
        _ => Err(at.fail(
            node.span(),
            "this cannot be the value of the limit",
            format!("write {form}"),
        )),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
