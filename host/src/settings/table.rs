//! The flat table of all settings: the one source of the keys, the example file, the environment's
//! names and docs/configuration.md. The rows of the limits come from the engine's own table.

use std::sync::LazyLock;
use std::time::Duration;

use super::{units, value::Kind};
use crate::engine::{LimitInfo, Limits};
use crate::module::UploadCaps;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its path in the file: `limits.fuel`.
    pub key: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is when nobody sets it.
    pub default: Default,
    /// What it is for: one or two sentences.
    pub doc: &'static str,
}

/// What a setting is when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// Always this.
    Fixed(&'static str),
    /// Found out at start, in these words.
    Found(&'static str),
}

impl Row {
    /// The environment variable that sets it: `CELERIAC_LIMITS_FUEL`.
    pub fn env(&self) -> String {
        format!("CELERIAC_{}", self.key.replace('.', "_").to_uppercase())
    }
}

const fn row(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Row {
    Row {
        key,
        kind,
        default: Default::Fixed(default),
        doc,
    }
}

const fn found(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Row {
    Row {
        key,
        kind,
        default: Default::Found(default),
        doc,
    }
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const KIB: u64 = 1 << 10;

/// The settings of a host and its broker.
#[rustfmt::skip]
const GENERAL: &[Row] = &[
    found("broker", Kind::Url, "embedded:<data_dir>",
        "Where invocations, results and modules are kept: a Redis server, or an embedded store on this machine."),
    found("data_dir", Kind::Directory, "$XDG_DATA_HOME/celeriac, else ~/.local/share/celeriac",
        "The directory of the embedded store."),
    found("cache_dir", Kind::Directory, "$XDG_CACHE_HOME/celeriac, else ~/.cache/celeriac",
        "The directory of compiled modules; it can be deleted at any time and fills again."),
    row("queues", Kind::Names, "default",
        "The queues that `celeriac serve` takes invocations from, first come first; with weights, such as `urgent:5, default:1`, in that proportion."),
    found("concurrency", Kind::Count(1, 100_000), "32 × cores",
        "Invocations that `celeriac serve` runs at once. Each has a pool slot of 4 GiB of address space; memory is used only as tasks touch it."),
    row("lease", Kind::Duration(SECOND, HOUR), "10s",
        "How long a host keeps an invocation without a sign of life. Shorter: a dead host's work runs again sooner; longer: a broker that hangs costs less double work."),
    row("grace", Kind::Duration(Duration::ZERO, DAY), "30s",
        "How long running tasks may take to end once the host is told to stop; the rest is given back to the queues."),
    row("cancel_grace", Kind::Duration(Duration::ZERO, MINUTE), "20ms",
        "How long a cancelled task may take to end by itself before it is stopped."),
    row("dns", Kind::DnsServer, "system",
        "The DNS server that the hosts in tasks' requests and connections are looked up at; `system`: as this machine is set up."),
    row("result_ttl", Kind::Duration(SECOND, YEAR), "1d",
        "How long a result is kept after the end, unless the caller says otherwise."),
    row("emit_backlog", Kind::Size(KIB), "32MiB",
        "How many bytes of partial results may wait until the broker has them, over all tasks of a host. Beyond it, a task that emits waits for its turn."),
    row("record_bytes", Kind::Size(KIB), "1MiB",
        "How many bytes of answers are kept of a recorded attempt that fails for good, with its dead letter, for `celeriac replay`. Beyond it the recording is cut."),
    row("dead_letters.ttl", Kind::Duration(SECOND, YEAR), "7d",
        "How long what has failed for good is kept, with its input and its logs, to be looked at and retried."),
    row("dead_letters.most", Kind::Count(0, 1_000_000), "10000",
        "How many failures are kept at most: the oldest go first, and with 0 none is kept longer than its result. The input of each is kept with it."),
    row("caps.input", Kind::Size(KIB), "8MiB",
        "The largest input of an invocation."),
    row("caps.output", Kind::Size(KIB), "8MiB",
        "The largest output of an invocation."),
    row("caps.kv_keys", Kind::Count(1, 10_000_000), "100000",
        "The most keys in one module's key-value store."),
    row("caps.kv_bytes", Kind::Size(KIB), "64MiB",
        "The most bytes in one module's key-value store, keys and values together."),
];

/// The settings of the HTTP gateway.
#[rustfmt::skip]
const HTTP: &[Row] = &[
    row("worker", Kind::OneOf(&["on", "off"]), "on",
        "Whether `celeriac serve` runs tasks. `off`: it answers HTTP only."),
    found("http.listen", Kind::Listen, "127.0.0.1:7373 with the embedded store, else off",
        "Where `celeriac serve` answers HTTP. A port that is taken is an error where somebody set it, else a warning."),
    row("http.tokens", Kind::OneOf(&["auto", "always"]), "auto",
        "Who needs a token over HTTP. `auto`: everybody, except with the embedded store on a loopback address; `always`: everybody."),
    row("http.certificate", Kind::File, "none",
        "The certificate for TLS, PEM, with those that lead to a known one. SIGHUP reads it again."),
    row("http.key", Kind::File, "none",
        "The certificate's private key, PEM."),
    row("http.origins", Kind::Origins, "none",
        "The origins whose web pages may call over HTTP (CORS)."),
    row("http.connections", Kind::Count(1, 1_000_000), "10000",
        "HTTP connections that may be open at once. Further ones are told so and closed."),
    row("http.streams", Kind::Count(1, 1_000_000), "1000",
        "Streams of events and replies that may be open at once over HTTP."),
    row("http.body_memory", Kind::Size(KIB * KIB), "256MiB",
        "Bytes of HTTP request bodies that are kept at once, all requests together; one module always fits."),
    row("http.wait", Kind::Duration(Duration::ZERO, HOUR), "5m",
        "The longest that a request waits for a result, whatever it asks."),
];

/// The settings of compiler, engine, store and log.
#[rustfmt::skip]
const MACHINERY: &[Row] = &[
    row("compile.timeout", Kind::Duration(SECOND, HOUR), "60s",
        "How long compiling an uploaded module may take; it runs in a process of its own."),
    row("compile.memory", Kind::Size(64 * KIB * KIB), "2GiB",
        "How much memory the process that compiles a module may have."),
    found("compile.at_once", Kind::Count(1, 1_000), "half the cores, at least 1",
        "How many modules are compiled at once; further uploads wait. Compiling uses all the processors it gets, and tasks want some."),
    row("engine.tick", Kind::Duration(Duration::from_micros(100), SECOND), "2ms",
        "How long a computing task runs before it lets others run, and how soon it sees a cancel. Shorter is fairer and costs more."),
    row("engine.stack", Kind::Size(64 * KIB), "512KiB",
        "The wasm stack of an attempt: how deep a task can recurse. Besides the stack that a task's toolchain gives it in its own memory. Address space for all slots at once, memory only as it is used."),
    row("engine.modules", Kind::Size(KIB), "256MiB",
        "How many bytes of compiled modules stay in memory, ready to run; of more, those that were used longest ago are read from the disk again when they are called."),
    row("durability", Kind::OneOf(&["normal", "full"]), "normal",
        "How the embedded store writes. `normal` survives the death of every process; `full` also survives loss of power, and each write waits for the disk."),
    row("log.level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"]), "info",
        "What a host logs, on standard error. Other commands log warnings only, unless this is set."),
    row("log.format", Kind::OneOf(&["text", "json"]), "text",
        "How it is logged: lines for people, or a JSON object a line."),
];

/// Every setting, in the order of the documentation.
pub static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let mut table = GENERAL.to_vec();
    table.extend(UploadCaps::all().iter().map(|cap| {
        let kind = match cap.is_bytes {
            true => Kind::Size(KIB),
            false => Kind::Count(1, MOST),
        };
        let default = match cap.is_bytes {
            true => units::show_size(cap.default),
            false => cap.default.to_string(),
        };
        row(kept(cap.setting()), kind, kept(default), cap.doc)
    }));
    let limits = Limits::all();
    table.extend(limits.iter().filter_map(ceiling));
    table.extend(limits.iter().filter_map(default));
    table.extend(HTTP);
    table.extend(MACHINERY);
    table
});

/// The most of anything that is counted.
const MOST: u64 = 1_000_000_000_000;

/// The setting that is a limit's ceiling; inputs and outputs have theirs among the caps.
fn ceiling(info: &LimitInfo) -> Option<Row> {
    let key = info.ceiling_setting();
    let doc = format!("The most that any attempt gets, whoever asks: {}", info.doc);
    let value = amount(info, info.ceiling);
    key.starts_with("limits.")
        .then(|| row(kept(key), kind(info), kept(value), kept(doc)))
}

/// The setting that is a limit's default.
fn default(info: &LimitInfo) -> Option<Row> {
    let key = info.default_setting()?;
    let doc = format!(
        "What an attempt gets of `{}` when its author does not say; never more than `{}`.",
        info.name,
        info.ceiling_setting()
    );
    let value = amount(info, info.default);
    Some(row(kept(key), kind(info), kept(value), kept(doc)))
}

fn kind(info: &LimitInfo) -> Kind {
    match info.unit {
        "fuel" => Kind::Fuel,
        "ms" => Kind::Duration(MS, YEAR),
        // Less than a page of memory is none.
        "bytes" if info.name == "memory_bytes" => Kind::Size(64 * KIB),
        "bytes" => Kind::Size(0),
        _ => Kind::Count(0, MOST),
    }
}

/// An amount of a limit as the settings have it.
fn amount(info: &LimitInfo, number: u64) -> String {
    match info.unit {
        "fuel" => units::show_fuel(number),
        "ms" => units::show_duration(Duration::from_millis(number)),
        "bytes" => units::show_size(number),
        _ => number.to_string(),
    }
}

/// Text for as long as the program runs: the table is made once.
fn kept(text: String) -> &'static str {
    text.leak()
}

/// The setting with this path.
pub(super) fn find(key: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.key == key)
}

/// The path that is most like `key`, when one is alike enough to have been meant.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let alike = |row: &&Row| {
        let whole = strsim::jaro_winkler(key, row.key);
        // `fuel` alone means `limits.fuel` rather than nothing.
        whole.max(strsim::jaro_winkler(key, last(row.key)) - 0.05)
    };
    let best = TABLE.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) > 0.8).then_some(best.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_default_is_of_its_own_kind() {
        for row in TABLE.iter() {
            if let Default::Fixed(text) = row.default {
                assert!(row.kind.read(text).is_some(), "{} = {text}", row.key);
            }
        }
    }

    #[test]
    fn every_limit_has_a_ceiling_and_a_default() {
        for info in Limits::all() {
            assert!(find(&info.ceiling_setting()).is_some(), "{}", info.name);
            let is_payload = matches!(info.name, "input_bytes" | "output_bytes");
            let default = info.default_setting();
            assert_eq!(default.is_none(), is_payload, "{}", info.name);
            assert!(default.is_none_or(|key| find(&key).is_some()));
        }
    }

    #[test]
    fn finds_the_key_that_was_meant() {
        assert_eq!(nearest("limits.feul"), Some("limits.fuel"));
        assert_eq!(nearest("concurency"), Some("concurrency"));
        assert_eq!(nearest("tick"), Some("engine.tick"));
        assert_eq!(nearest("zzz"), None);
    }
}
