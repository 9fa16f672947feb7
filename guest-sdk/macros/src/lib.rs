//! The `#[task]` attribute of `celeriac-guest`: reads a function's signature and the attribute's
//! options, complains in words that say what to write, and registers the function.

mod expand;
mod options;
mod signature;
mod units;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

/// Makes a function a task.
///
/// ```text
/// /// What it does, for the people who call it.
/// #[task(retries = 3, timeout = "30s")]
/// fn resize(ctx: &Context, input: Resize) -> Result<Resized, Failure> { … }
/// ```
///
/// Both parameters are optional. The function stays what it is and can be called in tests. A return
/// type whose name ends in `Result` is one; anything else is the output itself.
///
/// | option | meaning |
/// |---|---|
/// | `name = "…"` | the task's name, if not the function's |
/// | `queue = "…"` | the queue that its invocations go to |
/// | `priority = "low"` | what goes first within the queue: `high`, `normal` or `low` |
/// | `expires = "10m"` | has an invocation expire that was not started so long after it might have been |
/// | `deadline = "1h"` | has an invocation fail that has not ended so long after it might have started, retries and all |
/// | `result_ttl = "7d"` | how long a result is kept |
/// | `retries = 3` | attempts after the first one |
/// | `backoff = "exponential(1s, 60s)"` | how long to wait before each: this, with full jitter, unless said; `"5s"`; `"1s, 10s, 1m"` |
/// | `retry_on("io", "out_of_fuel")` | the kinds of failure and codes that are retried, instead of all that may help |
/// | `timeout = "30s"` | wall time of one attempt: `ms`, `s`, `m`, `h`, or a number of seconds |
/// | `soft_timeout = "25s"` | after this long `ctx.is_cancelled()` says so, and there is time until the timeout; written as that is |
/// | `fuel = "10G"` | fuel of one attempt, about one unit per instruction: `k`, `M`, `G`, `T`, or a number |
/// | `memory = "64MiB"` | linear memory of one attempt: `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`, or a number of bytes |
/// | `limits(log_lines = 10, http_timeout = "5s")` | any other limit of one attempt by its name in `docs/limits.md`: a number, or one with a unit of time or size |
/// | `needs(http = "api.example.com", …)` | what it asks for outside the sandbox: `http`, `tcp`, `directory`, `scratch`, `secret`, `config`, `kv`, `tasks` |
///
/// `docs/options.md` says what callers and operators say besides, and whose word holds.
#[proc_macro_attribute]
pub fn task(options: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    let options = options::Options::parse(options.into());
    expand::expand(&function, options).into()
}
