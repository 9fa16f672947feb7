//! The bounds of one invocation, each with its default, its ceiling, and the reason for its number.
//!
//! One table defines everything: the field, what an author or caller may ask for, and the minimum of all.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr, ceiling $ceiling:expr;)*) => {
        /// The bounds of one invocation. All of them hold, always.
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits { $($(#[$doc])* pub $name: $ty,)* }

        impl Default for Limits {
            fn default() -> Self { Self { $($name: $default,)* } }
        }

        impl Limits {
            /// The most that a host allows when its operator has not said otherwise.
            #[must_use]
            pub fn ceiling() -> Self { Self { $($name: $ceiling,)* } }

            /// `effective = min(ceiling, task or default, caller)`, field by field.
            #[must_use]
            pub fn effective(host: &HostLimits, task: &LimitOptions, caller: &LimitOptions) -> Self {
                Self { $($name: {
                    let asked = task.$name.unwrap_or(host.default.$name).min(host.ceiling.$name);
                    caller.$name.map_or(asked, |caller| caller.min(asked))
                },)* }
            }
        }

        /// Limits that somebody asks for; what is `None` is left to the others.
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitOptions { $($(#[$doc])* pub $name: Option<$ty>,)* }
    };
}

limits! {
    /// Guest work, about one unit per wasm instruction; some 10^10 a second, so 10^11 is about ten seconds of
    /// pure computing, a sixth of the default timeout. A safety budget: numbers change with wasmtime.
    fuel: u64 = 100_000_000_000, ceiling 100_000_000_000_000;
    /// Wall time of one attempt, sleeping included. A minute, as people await results; an hour at most,
    /// as a host that drains has to wait for it.
    timeout: Duration = Duration::from_secs(60), ceiling Duration::from_secs(3600);
    /// Bytes of all linear memories and tables together. 128 MiB decodes a 12 megapixel image with room.
    memory_bytes: u64 = 128 * MIB, ceiling 256 * MIB;
    /// Elements of all tables together: a Rust guest has hundreds, an interpreter some ten thousand.
    table_elements: u64 = 65_536, ceiling 524_288;
    /// Bytes of the input, equal to what the broker stores at most.
    input_bytes: u64 = 8 * MIB, ceiling 8 * MIB;
    /// Bytes of the output or of a failure, equal to what the broker stores at most.
    output_bytes: u64 = 8 * MIB, ceiling 8 * MIB;
    /// Bytes of all log records, stdout and stderr included: what a person can still read.
    log_bytes: u64 = 256 * KIB, ceiling 4 * MIB;
    /// Log records, stdout and stderr lines included; empty lines must not be free.
    log_lines: u64 = 4_096, ceiling 65_536;
    /// Progress reports; later ones are dropped. Enough for one per permille, ten times over.
    progress_events: u64 = 10_000, ceiling 1_000_000;
    /// Partial results.
    emit_events: u64 = 10_000, ceiling 1_000_000;
    /// Bytes of all partial results together.
    emit_bytes: u64 = 32 * MIB, ceiling 256 * MIB;
    /// Calls of the `context` interface: work of the host that fuel does not see.
    host_calls: u64 = 1_000_000, ceiling 100_000_000;
    /// Random bytes that one call may ask for: a few hundred keys.
    random_bytes: u64 = 64 * KIB, ceiling 64 * KIB;
    /// Live handles (streams, timers): std needs under ten.
    handles: u64 = 256, ceiling 4_096;
    /// Bytes beyond the output that a guest may hand to the host in one call: names, messages, media types.
    host_call_bytes: u64 = 64 * KIB, ceiling 4 * MIB;
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
    fn a_task_may_ask_for_more_than_the_default() {
        let task = LimitOptions {
            timeout: Some(Duration::from_secs(600)),
            ..Default::default()
        };
        let limits = Limits::effective(&HostLimits::default(), &task, &LimitOptions::default());
        assert_eq!(limits.timeout, Duration::from_secs(600));
    }
}
