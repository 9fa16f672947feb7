//! The page docs/limits.md, from the tables of limits and of what uploads may consist of.

use std::fmt::Write as _;
use std::time::Duration;

use super::{
    table::{Default, find},
    units,
};
use crate::engine::{LimitInfo, Limits};
use crate::module::UploadCaps;

const INTRODUCTION: &str = "\
# Limits and codes

<!-- Generated from host/src/engine/limits.rs and host/src/module/caps.rs:
`UPDATE_DOCS=1 cargo test --release -p celeriac --test cli_docs` -->

Three bounds hold for each attempt, always all three: **fuel** (work of the guest, counted by
instruction), **wall time**, and **memory** (all linear memories and tables together). More bounds stand
around them, each before whatever it bounds is allocated.

For each limit, `effective = min(task, caller, operator)`:

- the **author** asks for more or less than the default: `#[task(fuel = \"1G\", timeout = \"5m\", memory = \"64MiB\")]`, and any
  limit by its name: `#[task(limits(log_lines = 10, emit_bytes = \"1MiB\"))]`;
- the **caller** lowers it for one call: `celeriac call --limit log_lines=10 --limit http_timeout=5s …`, in Rust
  `client.task(\"…\")?.limit(\"log_lines\", 10)`; never raises it;
- the **operator** sets what a task gets unasked (`defaults.NAME`) and at most (`limits.NAME`), in the
  [settings](configuration.md). A default above its ceiling is refused; one that nobody set follows a lowered ceiling.
  For `memory_bytes` the settings are `defaults.memory` and `limits.memory`; for input and output `caps.input` and
  `caps.output` alone.

`celeriac run FILE TASK` prints each limit with what was used and what is allowed; a limit of a single call has no
running total, and `–` in its place. A name that is no limit is refused, by the command line and by every host.

What follows a failure is told in [retries.md](retries.md). What a dead host ran is run again in any case.

Fuel is a safety budget. Bytes that cross to or from the host cost one unit each: input and output, messages and
partial results, environment, random bytes, and what goes through WASI streams. What an attempt burnt that was stopped
from outside (`deadline`, `cancelled`) is counted up to its last call of the host. The same module with the same input
burns the same fuel on the same version of Celeriac, whatever its id and its deadline are, as long as it looks neither at
clocks nor at randomness (a `HashMap` does), and asks nothing outside the sandbox: what it is told there may send it another
way. Another version of wasmtime may count differently.

With a fixed clock and a seed (`deterministic`), the clocks show the same time whenever the task looks, and move only
while it sleeps: a sleep returns at once and moves them by the time slept, a wait for several timers to the earliest.
Randomness comes from ChaCha20, with a stream of its own for each interface. The same module, input, seed and time then
give the same output and burn the same fuel, as long as the task asks nothing else of the world. The real deadline holds
all the same; `soft_timeout` is counted by the fixed clock, so that a task that only computes is never told of it.

## Limits of one attempt
";

const STACK: &str = "\
### Stack

The wasm stack bounds how deep a task recurses: `engine.stack`, 512 KiB, is the operator's alone and the same for all
attempts, as wasmtime has one size for all that an engine runs: neither author nor caller can lower it. Beyond it the
task ends as `stack_overflow`. The toolchain keeps another stack in the task's own
memory (`-zstack-size`), which counts as memory; running out of that ends the task with the same code.

";

const UPLOAD: &str = "\
## Uploads

What a module may consist of is counted before anything else looks at it. A module that goes beyond is refused with a
report: the place, the count, what is allowed, and what to do. The operator sets each; the author can only make the
module smaller. Types of components and instances nest at most 200 deep, whatever is set.

| setting | default | what it bounds |
|---|---|---|
";

const COMPILE: &str = "
Compiling runs in a process of its own, and `describe` once, in a sandbox like any task:

| bound | default | who sets it | beyond it |
|---|---|---|---|
| `compile.timeout`: wall time of compiling | COMPILE_TIMEOUT | the operator | the upload is refused |
| `compile.memory`: address space of the compiler | COMPILE_MEMORY | the operator | the upload is refused |
| time of `describe` | 1s | fixed | the upload is refused |
| fuel of `describe` | 1G | fixed | the upload is refused |

";

const CODES: &str = "\
## Codes

Every outcome has one of these words. They never change their meaning.

| code | what happened | who can mend it |
|---|---|---|
| `ok` | the task returned an output | |
| `task_error` | the task returned a failure; its `kind` is the task's own word | the task |
| `panicked` | the task panicked; message and guest stack are in the failure | the task |
| `out_of_fuel` | the fuel, the host calls or the random bytes were used up | the task; raise the limit |
| `deadline` | the wall time of the attempt, or of the [whole invocation](scheduling.md), was used up | the task; raise `timeout` or `deadline` |
| `cancelled` | somebody cancelled it | |
| `memory_limit` | it asked for more memory, table elements or handles than allowed | the task; raise the limit |
| `input_too_large` | the input is larger than the task may receive | the caller |
| `output_too_large` | the output is larger than a result may be, or a call handed over too much | the task |
| `stack_overflow` | it recursed deeper than its stack | the task; link with a larger stack |
| `trap` | it did something that wasm forbids | the task |
| `host_fault` | the host failed | the operator |
| `overloaded` | the host had no slot | nobody: try again |
| `quarantined` | three hosts died while it ran | the operator: look at it |
| `expired` | no host started it in time | the caller: later expiry; the operator: more hosts |
| `dependency_failed` | something that it [waited for](dependencies.md) ended otherwise | the caller: look at what it waited for |
| `skipped` | the same, and it was to be skipped then | nobody |

A failure that is the hit of a limit says which one, what was allowed, what was seen, and what to change.
";

/// The groups of limits in the order of the page, with their titles.
const GROUPS: [(&str, &str); 8] = [
    ("work", "Work"),
    ("memory", "Memory"),
    ("data", "Input and output"),
    ("reports", "Logs, progress, partial results"),
    ("files", "Files"),
    ("network", "Network"),
    ("keys", "Key-value store"),
    ("tasks", "Other tasks"),
];

/// The page docs/limits.md.
pub fn limits_page() -> String {
    let mut text = String::from(INTRODUCTION);
    for (group, title) in GROUPS {
        let _ = write!(
            text,
            "\n### {title}\n\n| limit | default | at most | what it bounds | when it is hit |\n|---|---|---|---|---|\n"
        );
        for info in Limits::all().iter().filter(|info| info.group == group) {
            write_limit(&mut text, info);
        }
    }
    text.push('\n');
    text.push_str(STACK);
    text.push_str(UPLOAD);
    for cap in UploadCaps::all() {
        let default = match cap.is_bytes {
            true => units::show_size(cap.default),
            false => cap.default.to_string(),
        };
        let _ = writeln!(text, "| `{}` | {default} | {} |", cap.setting(), cap.doc);
    }
    text.push_str(
        &COMPILE
            .replace("COMPILE_TIMEOUT", default_of("compile.timeout"))
            .replace("COMPILE_MEMORY", default_of("compile.memory")),
    );
    text.push_str(CODES);
    text
}

fn write_limit(text: &mut String, info: &LimitInfo) {
    let (default, ceiling) = (amount(info, info.default), amount(info, info.ceiling));
    let LimitInfo {
        name,
        unit,
        doc,
        on_hit,
        ..
    } = info;
    let unit = match *unit {
        "ms" => "time",
        unit => unit,
    };
    let _ = writeln!(
        text,
        "| `{name}` ({unit}) | {default} | {ceiling} | {doc} | {on_hit} |"
    );
}

fn amount(info: &LimitInfo, number: u64) -> String {
    match info.unit {
        "fuel" => units::show_fuel(number),
        "ms" => units::show_duration(Duration::from_millis(number)),
        "bytes" => units::show_size(number),
        _ => units::show_count(number),
    }
}

fn default_of(key: &str) -> &'static str {
    match find(key).map(|row| row.default) {
        Some(Default::Fixed(text)) => text,
        _ => "",
    }
}
