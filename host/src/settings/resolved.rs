//! The one resolved view of all settings.

use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use celeriac_broker::{Caps, DeadLetters};

use crate::{
    engine::{HostLimits, LimitInfo, Limits},
    module::UploadCaps,
};

use super::{
    SettingsError,
    layers::{Override, Set, Source, Surroundings, environment, file, flags, locate, xdg},
    table::{Default, Row, TABLE},
    value::Value,
};

/// Invocations at once for each core, when nobody says how many: most tasks wait more than they compute.
const SLOTS_PER_CORE: u64 = 32;

/// Every setting, resolved; `entries` tells where each value came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the broker is. May carry a password: print it through `without_password`.
    pub broker: String,
    /// The directory of the embedded store.
    pub data_dir: PathBuf,
    /// The directory of compiled modules.
    pub cache_dir: PathBuf,
    /// The queues that a host serves.
    pub queues: Vec<String>,
    /// Invocations that a host runs at once.
    pub concurrency: u32,
    /// How long a lease lasts unless renewed.
    pub lease: Duration,
    /// How long a drain waits for running attempts.
    pub grace: Duration,
    /// How long a cancelled task may take to end by itself.
    pub cancel_grace: Duration,
    /// The DNS server that tasks' names are looked up at; none: the system's.
    pub dns: Option<SocketAddr>,
    /// How long a result is kept by default.
    pub result_ttl: Duration,
    /// How long failures are kept, and how many.
    pub dead_letters: DeadLetters,
    /// The largest payloads.
    pub caps: Caps,
    /// What modules may consist of.
    pub upload: UploadCaps,
    /// What an attempt gets when nobody says how much, and at most.
    pub limits: HostLimits,
    /// Whether `celeriac serve` runs tasks.
    pub worker: bool,
    /// The HTTP gateway.
    pub http: Http,
    /// The bounds of the process that compiles modules.
    pub compile: Compile,
    /// Bytes of partial results that may wait for the broker.
    pub emit_backlog: u64,
    /// Bytes of the answers that are kept of one recorded attempt.
    pub record_bytes: u64,
    /// The engine's epoch tick.
    pub engine_tick: Duration,
    /// Bytes of an attempt's wasm stack.
    pub engine_stack: u64,
    /// Bytes of compiled modules that are kept in memory.
    pub engine_modules: u64,
    /// How the embedded store writes.
    pub durability: Durability,
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// The settings file that was read, if one was.
    pub file: Option<PathBuf>,
    entries: Vec<Entry>,
    /// What they were resolved from, to resolve them again.
    named: Option<PathBuf>,
    overrides: Vec<Override>,
}

/// The HTTP gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// Whether everybody needs a token, on loopback too.
    pub always_tokens: bool,
    /// The certificate, for TLS.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The origins whose pages may call.
    pub origins: Vec<String>,
    /// Connections that may be open at once.
    pub connections: usize,
    /// Streams that may be open at once.
    pub streams: usize,
    /// Bytes of request bodies that are kept at once.
    pub body_bytes: u64,
    /// The longest that a request waits for a result.
    pub wait: Duration,
}

/// Where HTTP is answered with the embedded store, when nobody says where.
const LOCAL_HTTP: &str = "127.0.0.1:7373";

/// Bounds of compiling one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compile {
    /// Wall time.
    pub timeout: Duration,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Modules compiled at once.
    pub at_once: usize,
}

/// How the embedded store writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives the death of every process.
    Normal,
    /// Also survives loss of power.
    Full,
}

/// How a host logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// One setting as resolved.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The setting.
    pub row: &'static Row,
    /// Its value, without a password.
    pub value: Value,
    /// Where that came from.
    pub source: Source,
}

impl Settings {
    /// Resolves all settings: defaults, then the file `named` (else the first one found), then the
    /// environment, then flags.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and what would be right.
    pub fn load(named: Option<&Path>, overrides: &[Override]) -> Result<Self, SettingsError> {
        let directory = env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let around = Surroundings {
            env: &|name| env::var(name).ok().filter(|value| !value.is_empty()),
            directory: &directory,
        };
        let mut settings = Self::resolve(named, overrides, &around)?;
        settings.named = named.map(Path::to_owned);
        settings.overrides = overrides.to_vec();
        Ok(settings)
    }

    /// Resolves them again: the file may have changed; environment and flags are those of this process.
    ///
    /// # Errors
    /// As for `load`.
    pub fn reload(&self) -> Result<Self, SettingsError> {
        Self::load(self.named.as_deref(), &self.overrides)
    }

    /// The keys of what is set otherwise in `other`.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static str> + 'a {
        let is_other = |entry: &&Entry| {
            let same =
                |other: &&Entry| other.row.key == entry.row.key && other.value == entry.value;
            !other.entries.iter().any(|other| same(&other))
        };
        self.entries
            .iter()
            .filter(is_other)
            .map(|entry| entry.row.key)
    }

    /// Every setting with its value and source, in the order of the table.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether somebody set this.
    pub fn is_set(&self, key: &str) -> bool {
        let is_given = |entry: &Entry| entry.row.key == key && entry.source != Source::Default;
        self.entries.iter().any(is_given)
    }

    fn resolve(
        named: Option<&Path>,
        overrides: &[Override],
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let path = locate(named, around);
        let mut sets = match &path {
            Some(path) => file(path, around)?,
            None => Vec::new(),
        };
        sets.extend(environment(around)?);
        sets.extend(flags(overrides, around)?);
        let mut values = Values::new(sets);
        values.add_defaults(around)?;
        for info in Limits::all() {
            values.reconcile(&info)?;
        }
        Ok(values.into_settings(path))
    }
}

/// The address as it may be shown: a password in it is replaced by `***`.
pub fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        None => address.to_owned(),
    }
}

/// Values by key while they are put together.
struct Values(HashMap<&'static str, (Value, Source)>);

impl Values {
    fn new(sets: Vec<Set>) -> Self {
        Self(
            sets.into_iter()
                .map(|(row, value, source)| (row.key, (value, source)))
                .collect(),
        )
    }

    fn add_defaults(&mut self, around: &Surroundings<'_>) -> Result<(), SettingsError> {
        // The store's address follows from its directory, and where HTTP is answered from that, so they come last.
        let follows = |row: &&Row| matches!(row.key, "broker" | "http.listen");
        for row in TABLE.iter().filter(|row| !follows(row)) {
            if !self.0.contains_key(row.key) {
                self.0
                    .insert(row.key, (default(row, around)?, Source::Default));
            }
        }
        let embedded = Value::Text(format!("embedded:{}", self.directory("data_dir").display()));
        self.0
            .entry("broker")
            .or_insert((embedded, Source::Default));
        let listen = match self.text("broker").starts_with("embedded:") {
            true => LOCAL_HTTP,
            false => "off",
        };
        self.0
            .entry("http.listen")
            .or_insert((Value::Text(listen.to_owned()), Source::Default));
        Ok(())
    }

    /// A default above its ceiling is refused where the operator wrote it; where only the ceiling was lowered,
    /// the default follows.
    fn reconcile(&mut self, info: &LimitInfo) -> Result<(), SettingsError> {
        let (Some(default), ceiling) = (info.default_setting(), info.ceiling_setting()) else {
            return Ok(());
        };
        if self.amount(&default) <= self.amount(&ceiling) {
            return Ok(());
        }
        let Some((most, from)) = self.0.get(ceiling.as_str()).cloned() else {
            return Ok(());
        };
        match self.0.get_mut(default.as_str()) {
            Some((value, Source::Default)) => *value = most,
            Some((value, source)) => {
                return Err(SettingsError::AboveCeiling {
                    place: source.to_string(),
                    default,
                    value: value.to_string(),
                    ceiling,
                    most: format!("{most} ({from})"),
                });
            }
            None => {}
        }
        Ok(())
    }

    /// What attempts get of every limit.
    fn limits(&self) -> HostLimits {
        let mut limits = HostLimits::default();
        for info in Limits::all() {
            let ceiling = self.amount(&info.ceiling_setting());
            let default = info
                .default_setting()
                .map_or(ceiling, |key| self.amount(&key));
            // The names come from the limits themselves.
            let _ = limits.ceiling.set(info.name, ceiling);
            let _ = limits.default.set(info.name, default);
        }
        limits
    }

    /// A value as a plain number: a duration in milliseconds.
    fn amount(&self, key: &str) -> u64 {
        match self.get(key) {
            Some(Value::Duration(_)) => {
                u64::try_from(self.duration(key).as_millis()).unwrap_or(u64::MAX)
            }
            _ => self.number(key),
        }
    }

    fn into_settings(self, file: Option<PathBuf>) -> Settings {
        Settings {
            broker: self.text("broker"),
            data_dir: self.directory("data_dir"),
            cache_dir: self.directory("cache_dir"),
            queues: self.names("queues"),
            concurrency: u32::try_from(self.number("concurrency")).unwrap_or(u32::MAX),
            lease: self.duration("lease"),
            grace: self.duration("grace"),
            cancel_grace: self.duration("cancel_grace"),
            // `system` is no address.
            dns: self.text("dns").parse().ok(),
            result_ttl: self.duration("result_ttl"),
            dead_letters: DeadLetters {
                ttl: self.duration("dead_letters.ttl"),
                most: self.number("dead_letters.most"),
            },
            caps: Caps {
                input_bytes: self.number("caps.input"),
                output_bytes: self.number("caps.output"),
                module_bytes: self.number("caps.module"),
                kv_keys: self.number("caps.kv_keys"),
                kv_bytes: self.number("caps.kv_bytes"),
            },
            upload: UploadCaps::from_settings(|key| self.number(key)),
            limits: self.limits(),
            worker: self.text("worker") == "on",
            http: self.http(),
            compile: Compile {
                timeout: self.duration("compile.timeout"),
                memory_bytes: self.number("compile.memory"),
                at_once: usize::try_from(self.number("compile.at_once")).unwrap_or(usize::MAX),
            },
            emit_backlog: self.number("emit_backlog"),
            record_bytes: self.number("record_bytes"),
            engine_tick: self.duration("engine.tick"),
            engine_stack: self.number("engine.stack"),
            engine_modules: self.number("engine.modules"),
            durability: match self.text("durability").as_str() {
                "full" => Durability::Full,
                _ => Durability::Normal,
            },
            log_level: self.text("log.level"),
            log_format: match self.text("log.format").as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            file,
            entries: self.entries(),
            named: None,
            overrides: Vec::new(),
        }
    }

    fn http(&self) -> Http {
        let count = |key| usize::try_from(self.number(key)).unwrap_or(usize::MAX);
        Http {
            // `off` is no address.
            listen: self.text("http.listen").parse().ok(),
            always_tokens: self.text("http.tokens") == "always",
            certificate: self.file("http.certificate"),
            key: self.file("http.key"),
            origins: self.names("http.origins"),
            connections: count("http.connections"),
            streams: count("http.streams"),
            body_bytes: self.number("http.body_memory"),
            wait: self.duration("http.wait"),
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |row: &'static Row| {
            let (value, source) = self.0.get(row.key)?;
            let value = match value {
                Value::Text(text) if row.key == "broker" => Value::Text(without_password(text)),
                other => other.clone(),
            };
            Some(Entry {
                row,
                value,
                source: source.clone(),
            })
        };
        TABLE.iter().filter_map(entry).collect()
    }

    // The table gives each key its kind, so that the wrong kind under a key cannot be: a test reads all.

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).map(|(value, _)| value)
    }

    fn text(&self, key: &str) -> String {
        match self.get(key) {
            Some(Value::Text(text)) => text.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn directory(&self, key: &str) -> PathBuf {
        match self.get(key) {
            Some(Value::Directory(path)) => path.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    /// A file; none when the setting says `none`.
    fn file(&self, key: &str) -> Option<PathBuf> {
        match self.get(key) {
            Some(Value::Directory(path)) => Some(path.clone()),
            _ => None,
        }
    }

    fn names(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Value::Names(names)) => names.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn number(&self, key: &str) -> u64 {
        match self.get(key) {
            Some(Value::Count(number) | Value::Size(number) | Value::Fuel(number)) => *number,
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn duration(&self, key: &str) -> Duration {
        match self.get(key) {
            Some(Value::Duration(duration)) => *duration,
            other => unreachable!("{key} is {other:?}"),
        }
    }
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

fn default(row: &'static Row, around: &Surroundings<'_>) -> Result<Value, SettingsError> {
    let home = |variable, below| {
        let dir = xdg(around, variable, below).ok_or(SettingsError::NoHome { key: row.key })?;
        Ok(Value::Directory(dir.join("celeriac")))
    };
    match (row.key, row.default) {
        (key, Default::Fixed(text)) => Ok(row
            .kind
            .read(text)
            .unwrap_or_else(|| unreachable!("{key} is {text}"))),
        ("data_dir", _) => home("XDG_DATA_HOME", ".local/share"),
        ("cache_dir", _) => home("XDG_CACHE_HOME", ".cache"),
        ("concurrency", _) => Ok(Value::Count(cores() * SLOTS_PER_CORE)),
        ("compile.at_once", _) => Ok(Value::Count((cores() / 2).max(1))),
        (key, Default::Found(_)) => unreachable!("nobody finds the default of {key}"),
    }
}

#[cfg(test)]
#[path = "resolved_tests.rs"]
mod tests;
