//! The bounds of one invocation, each with its default, its ceiling, and the reason for its number.
//!
//! One table defines everything: the field, what an author or caller may ask for, and the minimum of all.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A bound of one invocation, as the documentation and the settings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitInfo {
    /// The field of [`Limits`], and its name everywhere else.
    pub name: &'static str,
    /// `fuel`, `ms`, `bytes` or `count`.
    pub unit: &'static str,
    /// What a task gets unasked.
    pub default: u64,
    /// The most that a host allows when its operator has not said otherwise.
    pub ceiling: u64,
    /// What it bounds, and why by that much.
    pub doc: &'static str,
    /// What happens when it is hit: which code ends the task, or which error its call gets.
    pub on_hit: &'static str,
    /// What it belongs to: `work`, `memory`, `data`, `reports`, `files`, `network`, `keys` or `tasks`.
    pub group: &'static str,
}

impl LimitInfo {
    /// The setting of the operator's that is its ceiling.
    #[must_use]
    pub fn ceiling_setting(&self) -> String {
        match self.name {
            "input_bytes" => "caps.input".to_owned(),
            "output_bytes" => "caps.output".to_owned(),
            name => format!("limits.{}", short(name)),
        }
    }

    /// The setting of the operator's that is its default; none where the ceiling is the default too.
    #[must_use]
    pub fn default_setting(&self) -> Option<String> {
        match self.name {
            "input_bytes" | "output_bytes" => None,
            name => Some(format!("defaults.{}", short(name))),
        }
    }
}

/// The name in settings and in `#[task(…)]`.
fn short(name: &str) -> &str {
    match name {
        "memory_bytes" => "memory",
        name => name,
    }
}

/// A limit's value as a plain number in its unit.
trait Number: Copy {
    fn number(self) -> u64;
    fn from_number(number: u64) -> Self;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }

    fn from_number(number: u64) -> Self {
        number
    }
}

impl Number for Duration {
    fn number(self) -> u64 {
        super::outcome::millis(self)
    }

    fn from_number(number: u64) -> Self {
        Self::from_millis(number)
    }
}

/// No limit has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no limit `{name}`{}; there are {}", did_you_mean(name), Limits::names().join(", "))]
pub struct UnknownLimit {
    /// What was asked for.
    pub name: String,
}

/// A question with the limit that is most like `name`, where one is alike enough to have been meant.
fn did_you_mean(name: &str) -> String {
    let alike = |known: &&str| strsim::jaro_winkler(name, known);
    let names = Limits::names();
    let best = names
        .iter()
        .copied()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)));
    best.filter(|best| alike(best) > 0.75)
        .map_or_else(String::new, |best| format!(": did you mean `{best}`?"))
}

macro_rules! limits {
    ($($group:literal { $($(#[doc = $doc:literal])* $name:ident: $ty:ty, $unit:literal = $default:expr,
        ceiling $ceiling:expr, on hit $on_hit:literal;)* })*) => {
        /// The bounds of one invocation. All of them hold, always.
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits { $($($(#[doc = $doc])* pub $name: $ty,)*)* }

        impl Default for Limits {
            fn default() -> Self { Self { $($($name: $default,)*)* } }
        }

        impl Limits {
            /// The most that a host allows when its operator has not said otherwise.
            #[must_use]
            pub fn ceiling() -> Self { Self { $($($name: $ceiling,)*)* } }

            /// `effective = min(ceiling, task or default, caller)`, field by field.
            #[must_use]
            pub fn effective(host: &HostLimits, task: &LimitOptions, caller: &LimitOptions) -> Self {
                Self { $($($name: {
                    let asked = task.$name.unwrap_or(host.default.$name).min(host.ceiling.$name);
                    caller.$name.map_or(asked, |caller| caller.min(asked))
                },)*)* }
            }

            /// Every limit, in the order of the documentation.
            #[must_use]
            pub fn all() -> Vec<LimitInfo> {
                let (default, ceiling) = (Self::default(), Self::ceiling());
                vec![$($(LimitInfo {
                    name: stringify!($name),
                    unit: $unit,
                    default: default.$name.number(),
                    ceiling: ceiling.$name.number(),
                    doc: concat!($($doc,)*).trim_ascii(),
                    on_hit: $on_hit,
                    group: $group,
                },)*)*]
            }

            /// The value of the limit `name` in its unit.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $($(stringify!($name) => Some(self.$name.number()),)*)*
                    _ => None,
                }
            }

            /// Sets the limit `name` to `number` of its unit.
            ///
            /// # Errors
            /// When there is no such limit.
            pub fn set(&mut self, name: &str, number: u64) -> Result<(), UnknownLimit> {
                match name {
                    $($(stringify!($name) => self.$name = <$ty>::from_number(number),)*)*
                    _ => return Err(UnknownLimit { name: name.to_owned() }),
                }
                Ok(())
            }

            /// The names of all limits.
            fn names() -> Vec<&'static str> {
                vec![$($(stringify!($name),)*)*]
            }
        }

        /// Limits that somebody asks for; what is `None` is left to the others.
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitOptions { $($($(#[doc = $doc])* pub $name: Option<$ty>,)*)* }

        impl LimitOptions {
            /// Asks for `number` of the unit of the limit `name`.
            ///
            /// # Errors
            /// When there is no such limit.
            pub fn set(&mut self, name: &str, number: u64) -> Result<(), UnknownLimit> {
                match name {
                    $($(stringify!($name) => self.$name = Some(<$ty>::from_number(number)),)*)*
                    _ => return Err(UnknownLimit { name: name.to_owned() }),
                }
                Ok(())
            }

            /// Both at once: the lower of the two where both ask.
            #[must_use]
            pub fn and(&self, other: &Self) -> Self {
                Self { $($($name: match (self.$name, other.$name) {
                    (Some(one), Some(two)) => Some(one.min(two)),
                    (one, two) => one.or(two),
                },)*)* }
            }
        }
    };
}

limits! {
    "work" {
        /// Guest work, about one unit per wasm instruction, and one for each byte that crosses to or from the host;
        /// some 10^10 a second, so 10^11 is about ten seconds of pure computing, a sixth of the default timeout. A
        /// safety budget: numbers change with wasmtime.
        fuel: u64, "fuel" = 100_000_000_000, ceiling 100_000_000_000_000,
            on hit "ends the task: `out_of_fuel`";
        /// Wall time of one attempt, sleeping included. A minute, as people await results; an hour at most,
        /// as a host that drains has to wait for it.
        timeout: Duration, "ms" = Duration::from_secs(60), ceiling Duration::from_secs(3600),
            on hit "ends the task: `deadline`";
        /// Wall time after which the task is told that it is cancelled, to leave in good order while there is still
        /// time. An hour: unless somebody says less, `timeout` comes first.
        soft_timeout: Duration, "ms" = Duration::from_secs(3600), ceiling Duration::from_secs(3600),
            on hit "the task's `is_cancelled` says so";
        /// Calls of the host, those of WASI included: its work is nothing that fuel sees.
        host_calls: u64, "count" = 10_000_000, ceiling 1_000_000_000,
            on hit "ends the task: `out_of_fuel`";
        /// Random bytes of all calls together: half a million keys.
        random_bytes: u64, "bytes" = 16 * MIB, ceiling 1024 * MIB,
            on hit "ends the task: `out_of_fuel`, before anything is allocated";
    }
    "memory" {
        /// Bytes of all linear memories and tables together. 128 MiB decodes a 12 megapixel image with room.
        memory_bytes: u64, "bytes" = 128 * MIB, ceiling 256 * MIB,
            on hit "the growth is refused as wasm does it (-1); a guest that cannot go on without ends as `memory_limit`";
        /// Elements of all tables together: a Rust guest has hundreds, an interpreter some ten thousand.
        table_elements: u64, "count" = 65_536, ceiling 524_288,
            on hit "the growth is refused as wasm does it (-1); a guest that cannot go on without ends as `memory_limit`";
        /// Live handles (streams, timers, open files, requests): std needs under ten.
        handles: u64, "count" = 256, ceiling 4_096,
            on hit "ends the task: `memory_limit`";
    }
    "data" {
        /// Bytes of the input, equal to what the broker stores at most.
        input_bytes: u64, "bytes" = 8 * MIB, ceiling 8 * MIB,
            on hit "refused when it is handed in; `input_too_large` where only the host's setting is lower, before the guest runs";
        /// Bytes of the output or of a failure, equal to what the broker stores at most.
        output_bytes: u64, "bytes" = 8 * MIB, ceiling 8 * MIB,
            on hit "ends the task: `output_too_large`";
        /// Bytes beyond the output that a guest may hand to the host in one call: names, messages, media types.
        host_call_bytes: u64, "bytes" = 64 * KIB, ceiling 4 * MIB,
            on hit "ends the task: `output_too_large`";
    }
    "reports" {
        /// Bytes of all log records, stdout and stderr included: what a person can still read.
        log_bytes: u64, "bytes" = 256 * KIB, ceiling 4 * MIB,
            on hit "cut off: one record says so, later ones are dropped, the task goes on";
        /// Log records, stdout and stderr lines included; empty lines must not be free.
        log_lines: u64, "count" = 4_096, ceiling 65_536,
            on hit "cut off: one record says so, later ones are dropped, the task goes on";
        /// Progress reports; later ones are dropped. Enough for one per permille, ten times over.
        progress_events: u64, "count" = 10_000, ceiling 1_000_000,
            on hit "later reports are dropped, the task goes on";
        /// Bytes of all notes of progress reports; a report beyond it loses its note.
        progress_bytes: u64, "bytes" = MIB, ceiling 16 * MIB,
            on hit "later reports lose their notes, the task goes on";
        /// Partial results.
        emit_events: u64, "count" = 10_000, ceiling 1_000_000,
            on hit "ends the task: `output_too_large`";
        /// Bytes of all partial results together.
        emit_bytes: u64, "bytes" = 32 * MIB, ceiling 256 * MIB,
            on hit "ends the task: `output_too_large`";
    }
    "files" {
        /// Files and directories open at once.
        open_files: u64, "count" = 64, ceiling 1_024,
            on hit "the call gets an error: too many open files";
        /// Bytes read from and written to files, all together: a gigabyte takes a second or so.
        file_bytes: u64, "bytes" = 1024 * MIB, ceiling 65_536 * MIB,
            on hit "the call gets an error: quota exceeded";
        /// Bytes by which a task may make files grow, in its scratch directory and in those it may write to.
        scratch_bytes: u64, "bytes" = 64 * MIB, ceiling 4_096 * MIB,
            on hit "the call gets an error: quota exceeded";
        /// Files and directories that a task may create.
        scratch_files: u64, "count" = 1_000, ceiling 100_000,
            on hit "the call gets an error: quota exceeded";
    }
    "network" {
        /// HTTP requests sent.
        http_requests: u64, "count" = 1_000, ceiling 100_000,
            on hit "the call gets an HTTP error code of WASI that names the limit";
        /// HTTP requests under way at once.
        http_concurrent: u64, "count" = 8, ceiling 64,
            on hit "the call gets an HTTP error code of WASI that names the limit";
        /// Bytes of the headers of one HTTP request, and of one response.
        http_header_bytes: u64, "bytes" = 32 * KIB, ceiling 128 * KIB,
            on hit "the call gets an HTTP error code of WASI that names the limit";
        /// Bytes of the body of one HTTP request.
        http_request_bytes: u64, "bytes" = 8 * MIB, ceiling 256 * MIB,
            on hit "the call gets an HTTP error code of WASI that names the limit";
        /// Bytes of the body of one HTTP response.
        http_response_bytes: u64, "bytes" = 32 * MIB, ceiling 1_024 * MIB,
            on hit "reading the body gets an HTTP error code of WASI that names the limit";
        /// Time from an HTTP request's start to the first byte of its answer; the deadline of the attempt holds besides.
        http_first_byte_timeout: Duration, "ms" = Duration::from_secs(30), ceiling Duration::from_secs(600),
            on hit "the call gets a response timeout";
        /// Time of a whole HTTP request, its body included.
        http_timeout: Duration, "ms" = Duration::from_secs(60), ceiling Duration::from_secs(3600),
            on hit "the call, or reading the body, gets a response timeout";
        /// TCP connections opened.
        tcp_connections: u64, "count" = 16, ceiling 1_024,
            on hit "the call gets an error: new socket limit";
        /// Bytes sent and received over TCP, all together.
        tcp_bytes: u64, "bytes" = 64 * MIB, ceiling 4_096 * MIB,
            on hit "the stream gets an error";
        /// Time for resolving the name, connecting and TLS of one HTTP request or TCP connection.
        connect_timeout: Duration, "ms" = Duration::from_secs(5), ceiling Duration::from_secs(30),
            on hit "the call gets a connection timeout";
    }
    "keys" {
        /// Calls of the key-value store: each is a trip to the broker.
        kv_calls: u64, "count" = 10_000, ceiling 1_000_000,
            on hit "the call gets the error `limit`";
        /// Bytes of one value in the key-value store.
        kv_value_bytes: u64, "bytes" = 256 * KIB, ceiling MIB,
            on hit "the call gets the error `limit`";
    }
    "tasks" {
        /// Other tasks that one attempt hands in or calls: each is an invocation.
        task_calls: u64, "count" = 1_000, ceiling 10_000,
            on hit "the call gets the error `limit`";
    }
}

/// What an operator sets: what tasks get unasked, and what they get at most.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostLimits {
    /// Where a task asks for nothing.
    pub default: Limits,
    /// Whatever a task asks for.
    pub ceiling: Limits,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            default: Limits::default(),
            ceiling: Limits::ceiling(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_is_the_least_of_task_caller_and_host() {
        let host = HostLimits::default();
        let task = LimitOptions {
            fuel: Some(500),
            timeout: Some(Duration::from_secs(99_999)),
            ..Default::default()
        };
        let caller = LimitOptions {
            fuel: Some(700),
            memory_bytes: Some(MIB),
            ..Default::default()
        };
        let limits = Limits::effective(&host, &task, &caller);
        assert_eq!(
            limits.fuel, 500,
            "a caller cannot raise what the author set"
        );
        assert_eq!(
            limits.timeout, host.ceiling.timeout,
            "the operator's ceiling holds"
        );
        assert_eq!(limits.memory_bytes, MIB, "a caller can lower the default");
        assert_eq!(limits.input_bytes, host.default.input_bytes);
    }

    #[test]
    fn an_unknown_limit_is_refused_with_the_one_that_was_meant() {
        let error = LimitOptions::default().set("log_line", 1).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("there is no limit `log_line`: did you mean `log_lines`?"),
            "{text}"
        );
        let text = LimitOptions::default()
            .set("zzz", 1)
            .unwrap_err()
            .to_string();
        assert!(
            !text.contains("did you mean") && text.contains("kv_calls"),
            "{text}"
        );
    }

    #[test]
    fn no_default_is_above_its_ceiling() {
        for info in Limits::all() {
            assert!(info.default <= info.ceiling, "{}", info.name);
        }
    }

    #[test]
    fn a_task_may_ask_for_more_than_the_default() {
        let task = LimitOptions {
            timeout: Some(Duration::from_secs(600)),
            ..Default::default()
        };
        let limits = Limits::effective(&HostLimits::default(), &task, &LimitOptions::default());
        assert_eq!(limits.timeout, Duration::from_secs(600));
    }
}
