//! Whether a failed attempt is followed by another, and when. Decided here, once, for both engines;
//! they only move what was decided.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BrokerError, Code, Failure, Options, Outcome, TaskOptions, span};

/// No pause between two attempts is longer: a month. More is a mistake in a unit.
const MAX_PAUSE: Duration = Duration::from_secs(31 * 86_400);

/// Attempts that a trail keeps; beyond that the ones in its middle go.
const TRAIL: usize = 32;

/// Characters of a message that a trail keeps.
const MESSAGE_CHARS: usize = 300;

/// What is done about failures when nobody said more than how often.
const DEFAULT_BACKOFF: Backoff = Backoff::Exponential {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};

/// How long to wait before each retry.
///
/// As text: `5s` waits as long each time, `1s, 10s, 1m` waits these in turn and then as long as the
/// last, `exponential(1s, 60s)` doubles from the first up to the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// As long each time.
    Fixed(Duration),
    /// Doubled from `first` up to `cap`, times a random number between 0 and 1: what failed together
    /// does not come back together.
    Exponential {
        /// The most before the first retry.
        first: Duration,
        /// The most before any.
        cap: Duration,
    },
    /// These in turn; the last one from then on.
    List(Vec<Duration>),
}

impl Backoff {
    /// The pause before retry number `retry`, from 1. `random` is from [0, 1).
    pub fn pause(&self, retry: u32, random: f64) -> Duration {
        let pause = match self {
            Self::Fixed(pause) => *pause,
            Self::Exponential { first, cap } => {
                let doublings = retry.saturating_sub(1).min(31);
                let most = first.saturating_mul(1 << doublings).min(*cap);
                most.min(MAX_PAUSE).mul_f64(random.clamp(0.0, 1.0))
            }
            Self::List(pauses) => {
                let index = usize::try_from(retry.saturating_sub(1)).unwrap_or(usize::MAX);
                let pause = pauses.get(index).or(pauses.last());
                pause.copied().unwrap_or_default()
            }
        };
        pause.min(MAX_PAUSE)
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(pause) => f.write_str(&span::show(*pause)),
            Self::Exponential { first, cap } => {
                write!(
                    f,
                    "exponential({}, {})",
                    span::show(*first),
                    span::show(*cap)
                )
            }
            Self::List(pauses) => {
                let pauses: Vec<_> = pauses.iter().map(|pause| span::show(*pause)).collect();
                f.write_str(&pauses.join(", "))
            }
        }
    }
}

impl FromStr for Backoff {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let expected = "`5s`, `1s, 10s, 1m` or `exponential(1s, 60s)`, none over 31 days";
        let invalid = || BrokerError::invalid("back-off", text, expected);
        let inner = text
            .trim()
            .strip_prefix("exponential(")
            .and_then(|rest| rest.strip_suffix(')'));
        let pauses = inner.unwrap_or(text).split(',').map(span::parse);
        let pauses: Vec<Duration> = pauses.collect::<Option<_>>().ok_or_else(invalid)?;
        if pauses.iter().any(|pause| *pause > MAX_PAUSE) {
            return Err(invalid());
        }
        match (inner, pauses.as_slice()) {
            (Some(_), &[first, cap]) if first <= cap => Ok(Self::Exponential { first, cap }),
            (Some(_), _) => Err(invalid()),
            (None, &[pause]) => Ok(Self::Fixed(pause)),
            (None, _) => Ok(Self::List(pauses)),
        }
    }
}

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is done about the failures of one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first one. Those that a host's death ended do not count.
    pub retries: u32,
    /// How long to wait before each.
    pub backoff: Backoff,
    /// The codes and kinds of failure that are retried; empty: what says of itself that it may help.
    pub retry_on: Vec<String>,
}

impl RetryPolicy {
    /// What the caller says comes before what the author says, each by itself.
    pub fn effective(author: &TaskOptions, caller: &Options) -> Self {
        let retry_on = match caller.retry_on.is_empty() {
            true => &author.retry_on,
            false => &caller.retry_on,
        };
        Self {
            retries: caller.retries.or(author.retries).unwrap_or(0),
            backoff: caller
                .backoff
                .clone()
                .or_else(|| author.backoff.clone())
                .unwrap_or(DEFAULT_BACKOFF),
            retry_on: retry_on.clone(),
        }
    }

    /// How long to wait before the next attempt; none when this outcome is the last word.
    ///
    /// `failed_before` are the attempts that failed before this one, `remaining` is what is left until
    /// the invocation's deadline, `random` is from [0, 1).
    pub fn pause(
        &self,
        outcome: &Outcome,
        failed_before: u32,
        remaining: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let failure = outcome.failure.as_ref()?;
        if failed_before >= self.retries || !self.covers(outcome.code, failure) {
            return None;
        }
        let asked = failure
            .retry_after_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let pause = match asked {
            // The task knows better than the policy.
            Some(pause) => pause.min(MAX_PAUSE),
            None => self.backoff.pause(failed_before.saturating_add(1), random),
        };
        // An attempt that could not begin before the deadline would only hide this failure.
        remaining
            .is_none_or(|remaining| pause < remaining)
            .then_some(pause)
    }

    fn covers(&self, code: Code, failure: &Failure) -> bool {
        match code {
            Code::Ok
            | Code::Cancelled
            | Code::Quarantined
            | Code::Expired
            | Code::DependencyFailed
            | Code::Skipped => false,
            // The task has said that the same input will fail again.
            Code::TaskError if !failure.retryable => false,
            _ if self.retry_on.is_empty() => failure.retryable,
            _ => self
                .retry_on
                .iter()
                .any(|word| word == code.as_str() || *word == failure.kind),
        }
    }
}

/// An attempt that failed and was followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub code: Code,
    /// The failure's word for programs.
    pub kind: String,
    /// The failure's sentence for people, cut to a readable length.
    pub message: String,
    /// The host that ran it.
    pub host: String,
    /// When it was taken, by the broker's clock: milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// When it ended, by the broker's clock.
    pub ended_at_ms: u64,
    /// From started to ended within the host, in milliseconds.
    pub run_ms: f64,
    /// Fuel burnt.
    pub fuel: u64,
    /// How long the next attempt was made to wait, in milliseconds.
    pub retry_in_ms: u64,
}

impl Attempt {
    /// The record of an attempt that came to `outcome`, began at `started_at_ms` and took `took`.
    pub fn record(outcome: &Outcome, started_at_ms: u64, took: Duration, pause: Duration) -> Self {
        let failure = outcome.failure.clone().unwrap_or_default();
        Self {
            attempt: outcome.usage.attempt,
            code: outcome.code,
            kind: failure.kind,
            message: failure.message.chars().take(MESSAGE_CHARS).collect(),
            host: outcome.usage.host.clone(),
            started_at_ms,
            ended_at_ms: started_at_ms.saturating_add(millis(took)),
            run_ms: outcome.usage.run_ms,
            fuel: outcome.usage.fuel,
            retry_in_ms: millis(pause),
        }
    }
}

/// Adds an attempt to a trail. The first ones and the newest are kept; the numbers show the gap.
pub fn follow(mut trail: Vec<Attempt>, attempt: Attempt) -> Vec<Attempt> {
    trail.push(attempt);
    while trail.len() > TRAIL {
        trail.remove(TRAIL / 2);
    }
    trail
}

/// A number from [0, 1) for the pause of one retry.
pub fn random_unit() -> f64 {
    // The last four bytes of a random UUID are all random.
    let [.., a, b, c, d] = uuid::Uuid::new_v4().into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
