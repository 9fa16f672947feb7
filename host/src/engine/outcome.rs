//! What an execution came to: one verdict with a stable code, and what it used of each limit.

use std::time::Duration;

use super::{LimitInfo, Limits, Payload, Recording};

/// The stable word for how an execution ended. Part of the public contract: never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The task returned an output.
    Ok,
    /// The task returned a failure.
    TaskError,
    /// The task panicked.
    Panicked,
    /// A budget of work was used up: fuel, or host calls.
    OutOfFuel,
    /// The wall time was used up.
    Deadline,
    /// Somebody cancelled it.
    Cancelled,
    /// It asked for more memory, table elements or handles than allowed.
    MemoryLimit,
    /// The input is larger than allowed; the guest never ran.
    InputTooLarge,
    /// The output, or something else handed to the host, is larger than allowed.
    OutputTooLarge,
    /// The guest's stack overflowed.
    StackOverflow,
    /// Any other trap.
    Trap,
    /// The host failed; not the task's doing.
    HostFault,
    /// The host had no slot free.
    Overloaded,
}

impl Code {
    /// The code as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TaskError => "task_error",
            Self::Panicked => "panicked",
            Self::OutOfFuel => "out_of_fuel",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::MemoryLimit => "memory_limit",
            Self::InputTooLarge => "input_too_large",
            Self::OutputTooLarge => "output_too_large",
            Self::StackOverflow => "stack_overflow",
            Self::Trap => "trap",
            Self::HostFault => "host_fault",
            Self::Overloaded => "overloaded",
        }
    }

    /// Whether the same input may succeed another time, where the task itself did not say: time and the
    /// host's state change, budgets and bugs do not.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Deadline | Self::HostFault | Self::Overloaded)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LimitHit {
    /// The field of [`Limits`].
    pub name: String,
    /// Its value, in the unit of the limit (the timeout in milliseconds).
    pub allowed: u64,
    /// What was asked for or used.
    pub seen: u64,
    /// What to do about it.
    pub how_to_raise: String,
}

impl LimitHit {
    /// A hit of the limit `name`.
    pub(crate) fn new(name: &str, allowed: u64, seen: u64) -> Self {
        let how_to_raise = match name {
            "fuel" | "timeout" => option(name, name),
            "memory_bytes" => option("memory", "memory"),
            "input_bytes" => "the operator raises the setting `caps.input`".to_owned(),
            "output_bytes" => "the operator raises the setting `caps.output`".to_owned(),
            _ if Limits::default().get(name).is_some() => {
                option(&format!("limits({name} = …)"), name)
            }
            _ => "let the task do less of it: this bound is fixed".to_owned(),
        };
        Self {
            name: name.to_owned(),
            allowed,
            seen,
            how_to_raise,
        }
    }
}

/// How a bound that the author sets is raised.
fn option(option: &str, setting: &str) -> String {
    format!("set `{option}` in `#[task(…)]`, up to the operator's setting `limits.{setting}`")
}

impl std::fmt::Display for LimitHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            allowed,
            seen,
            ..
        } = self;
        write!(f, "{name}: {allowed} allowed, {seen} seen")
    }
}

/// Why an execution did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The stable code.
    pub code: Code,
    /// A short word for programs: the task's own for `task_error`, else the code.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same input may succeed another time.
    pub retryable: bool,
    /// How long the task advises to wait before that.
    pub retry_after: Option<Duration>,
    /// A JSON document as text, from the task.
    pub details: Option<String>,
    /// The guest's stack, innermost frame first.
    pub trace: Option<String>,
    /// The last of what the guest wrote to stderr, where it did not end in an orderly way.
    pub stderr: Option<String>,
    /// The limit that was hit, where one was.
    pub limit: Option<LimitHit>,
}

impl Fault {
    /// A fault with nothing but a code and a sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: code.as_str().to_owned(),
            message: message.into(),
            retryable: code.is_retryable(),
            retry_after: None,
            details: None,
            trace: None,
            stderr: None,
            limit: None,
        }
    }

    /// A fault that is the hit of a limit.
    pub(crate) fn limit(code: Code, what: &str, hit: LimitHit) -> Self {
        let mut fault = Self::new(code, format!("{what} ({hit})"));
        fault.limit = Some(hit);
        fault
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With an output.
    Success(Payload),
    /// Without one. Boxed, as success is the common case.
    Failed(Box<Fault>),
}

impl Verdict {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Success(_) => Code::Ok,
            Self::Failed(fault) => fault.code,
        }
    }
}

/// An execution that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// How it ended.
    pub verdict: Verdict,
    /// What it used on the way.
    pub usage: Usage,
    /// Of one that failed: what it can be run again with.
    pub recording: Option<Box<Recording>>,
}

/// What an execution used.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Fuel burnt.
    pub fuel: u64,
    /// From the first step of the instance to the last.
    pub run_time: Duration,
    /// The most that memories and tables had together, in bytes.
    pub peak_memory_bytes: u64,
    /// The most table elements at once.
    pub table_elements: u64,
    /// Bytes of the input.
    pub input_bytes: u64,
    /// Bytes of the output; 0 for a failure.
    pub output_bytes: u64,
    /// Bytes of log records kept.
    pub log_bytes: u64,
    /// Log records kept.
    pub log_lines: u64,
    /// Progress reports kept.
    pub progress_events: u64,
    /// Partial results.
    pub emit_events: u64,
    /// Bytes of partial results.
    pub emit_bytes: u64,
    /// Calls of the host.
    pub host_calls: u64,
    /// Bytes of notes of progress reports.
    pub progress_bytes: u64,
    /// Random bytes.
    pub random_bytes: u64,
    /// The most files and directories open at once.
    pub open_files: u64,
    /// Bytes read from and written to files.
    pub file_bytes: u64,
    /// Bytes by which files grew.
    pub scratch_bytes: u64,
    /// Files and directories created.
    pub scratch_files: u64,
    /// HTTP requests sent.
    pub http_requests: u64,
    /// The most HTTP requests under way at once.
    pub http_concurrent: u64,
    /// TCP connections opened.
    pub tcp_connections: u64,
    /// Bytes sent and received over TCP.
    pub tcp_bytes: u64,
    /// Calls of the key-value store.
    pub kv_calls: u64,
    /// Other tasks handed in or called.
    pub task_calls: u64,
}

/// One line of the limits contract.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LimitRow {
    /// The field of [`Limits`], or `stack`, which the operator alone sets.
    pub name: &'static str,
    /// What it belongs to.
    pub group: &'static str,
    /// What was used of it; none for a limit of a single call, which has no running total.
    pub used: Option<u64>,
    /// What was allowed.
    pub allowed: u64,
    /// `fuel`, `ms`, `bytes` or `count`.
    pub unit: &'static str,
}

impl LimitRow {
    /// The wasm stack: the operator alone sets it, for all attempts alike.
    #[must_use]
    pub fn stack(bytes: u64) -> Self {
        Self {
            name: "stack",
            group: "memory",
            used: None,
            allowed: bytes,
            unit: "bytes",
        }
    }
}

impl Usage {
    /// Used and allowed, for every limit.
    #[must_use]
    pub fn against(&self, limits: &Limits) -> Vec<LimitRow> {
        let row = |info: LimitInfo| {
            Some(LimitRow {
                name: info.name,
                group: info.group,
                used: self.get(info.name),
                allowed: limits.get(info.name)?,
                unit: info.unit,
            })
        };
        Limits::all().into_iter().filter_map(row).collect()
    }

    /// What was used of the limit `name`; none for a limit of a single call.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        Some(match name {
            "fuel" => self.fuel,
            "timeout" => millis(self.run_time),
            "memory_bytes" => self.peak_memory_bytes,
            "table_elements" => self.table_elements,
            "input_bytes" => self.input_bytes,
            "output_bytes" => self.output_bytes,
            "log_bytes" => self.log_bytes,
            "log_lines" => self.log_lines,
            "progress_events" => self.progress_events,
            "progress_bytes" => self.progress_bytes,
            "emit_events" => self.emit_events,
            "emit_bytes" => self.emit_bytes,
            "host_calls" => self.host_calls,
            "random_bytes" => self.random_bytes,
            "open_files" => self.open_files,
            "file_bytes" => self.file_bytes,
            "scratch_bytes" => self.scratch_bytes,
            "scratch_files" => self.scratch_files,
            "http_requests" => self.http_requests,
            "http_concurrent" => self.http_concurrent,
            "tcp_connections" => self.tcp_connections,
            "tcp_bytes" => self.tcp_bytes,
            "kv_calls" => self.kv_calls,
            "task_calls" => self.task_calls,
            _ => return None,
        })
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
