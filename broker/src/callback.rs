//! What follows the end of an invocation: a task that is run, or a server that is told.
//!
//! A callback is an invocation like any other, that waits for the end that it is about. So the step that ends an invocation
//! also queues what follows, and what follows has its own id, retries, trail and outcome.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::{
    After, BUILT_IN_MODULE, Backoff, Broker, BrokerError, InvocationId, Manifest, On, OnUnmet,
    Options, Payload, Submission, TaskRef,
};

/// The most callbacks of one invocation.
const MAX_CALLBACKS: usize = 16;

/// The longest URL.
const MAX_URL: usize = 2_048;

/// The built-in task that tells a server.
pub const WEBHOOK_TASK: &str = "webhook";

/// How often a server that does not take a delivery is tried again: with the pauses between, most of a day.
const WEBHOOK_RETRIES: u32 = 16;

/// The pauses between deliveries of the same.
const WEBHOOK_BACKOFF: Backoff = Backoff::Exponential {
    first: Duration::from_secs(2),
    cap: Duration::from_secs(2 * 3600),
};

/// What follows an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// Which end it follows.
    pub on: On,
    /// What is run, or told.
    pub to: Target,
}

/// Where a callback goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A task: run on `{"id", "code", "output", "failure"}` of what ended.
    Task(TaskRef),
    /// A server: sent the same, signed.
    Url(String),
}

/// The input of the built-in task `celeriac/webhook`, with what it refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is sent.
    pub url: String,
    /// What is sent: the outcome of what ended.
    pub outcome: serde_json::Value,
}

impl FromStr for Target {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        if !text.contains("://") {
            return text.parse().map(Self::Task);
        }
        let rest = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let is_http = rest.is_some_and(names_a_host);
        let is_plain = text.chars().all(|c| c.is_ascii_graphic());
        if is_http && is_plain && text.len() <= MAX_URL {
            return Ok(Self::Url(text.to_owned()));
        }
        let expected = format!(
            "MODULE/TASK, or `https://HOST…` or `http://HOST…` of at most {MAX_URL} ASCII characters without spaces"
        );
        Err(BrokerError::invalid("callback", text, expected))
    }
}

/// Whether what follows the scheme of a URL begins with a host, behind a user's name and before a port.
fn names_a_host(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    !host.is_empty() && !host.starts_with(':')
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => task.fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What must hold of callbacks before an engine is asked.
pub(crate) fn check(callbacks: &[Callback]) -> Result<(), BrokerError> {
    if callbacks.len() <= MAX_CALLBACKS {
        return Ok(());
    }
    let got = format!("{} callbacks", callbacks.len());
    let expected = format!("at most {MAX_CALLBACKS}");
    Err(BrokerError::invalid("callbacks", &got, expected))
}

/// A batch with its callbacks.
pub(crate) struct Expanded {
    /// Each submission, and behind it what follows it.
    pub(crate) batch: Vec<Submission>,
    /// Of each submission that was handed in: how many stand for it, or why it is refused.
    parts: Vec<Result<(InvocationId, usize), BrokerError>>,
}

/// Adds the callbacks of a batch to it; none when there are none, which is the common case.
///
/// # Errors
/// `Unavailable`. A callback that cannot be run refuses its own submission alone.
pub(crate) async fn expand(
    broker: &dyn Broker,
    batch: &mut Vec<Submission>,
) -> Result<Option<Expanded>, BrokerError> {
    if batch.iter().all(|item| item.options.callbacks.is_empty()) {
        return Ok(None);
    }
    let mut expanded = Expanded {
        batch: Vec::with_capacity(batch.len() * 2),
        parts: Vec::with_capacity(batch.len()),
    };
    for submission in std::mem::take(batch) {
        let refused = match check(&submission.options.callbacks) {
            Ok(()) => look(broker, &submission.options.callbacks).await?,
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            expanded.parts.push(Err(error));
            continue;
        }
        let followers = followers(broker, &submission);
        expanded
            .parts
            .push(Ok((submission.id, 1 + followers.len())));
        expanded.batch.push(submission);
        expanded.batch.extend(followers);
    }
    Ok(Some(expanded))
}

impl Expanded {
    /// One answer for each submission that was handed in: its own, or that of the first of its callbacks that was refused.
    pub(crate) fn collapse(
        self,
        answers: Vec<Result<InvocationId, BrokerError>>,
    ) -> Vec<Result<InvocationId, BrokerError>> {
        let mut answers = answers.into_iter();
        let own = |part: Result<(InvocationId, usize), BrokerError>| {
            let (id, count) = part?;
            let mut own: Vec<_> = answers.by_ref().take(count).collect();
            if let Some(Ok(existing)) = own
                .first()
                .filter(|first| !matches!(first, Ok(own) if *own == id))
            {
                // Another stands for it, and its callbacks, which wait for what is not there, were refused.
                return Ok(*existing);
            }
            match own.iter().position(Result::is_err) {
                Some(refused) => own.swap_remove(refused),
                None => Ok(id),
            }
        };
        self.parts.into_iter().map(own).collect()
    }
}

/// Why one of these cannot be run.
async fn look(
    broker: &dyn Broker,
    callbacks: &[Callback],
) -> Result<Option<BrokerError>, BrokerError> {
    for callback in callbacks {
        let Target::Task(task) = &callback.to else {
            continue;
        };
        if task.is_built_in() {
            let expected = "a task of a module, or a URL";
            let error = BrokerError::invalid("callback", &task.to_string(), expected);
            return Ok(Some(error));
        }
        let record = match broker.module(&task.module).await {
            Ok(record) => record,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Ok(Some(error)),
        };
        // What stands in a manifest is the host's; the engine has the last word on which tasks there are.
        let manifest = serde_json::from_str::<Manifest>(&record.manifest);
        if manifest.is_ok_and(|manifest| !manifest.tasks.iter().any(|info| info.name == task.task))
        {
            return Ok(Some(BrokerError::NoTask(task.clone())));
        }
    }
    Ok(None)
}

/// The invocations that wait for the end of this one.
fn followers(broker: &dyn Broker, submission: &Submission) -> Vec<Submission> {
    let callbacks = submission.options.callbacks.iter().enumerate();
    callbacks
        .map(|(number, callback)| {
            let (task, input, options) = match &callback.to {
                Target::Task(task) => (task.clone(), json!({ "$outcome": 0 }), Options::default()),
                Target::Url(url) => webhook(url),
            };
            Submission {
                // The same each time, so that submitting twice is submitting once.
                id: broker.namespace().derive(submission.id, number),
                task,
                input: Payload::json_text(input.to_string()),
                options: Options {
                    after: vec![After {
                        id: submission.id,
                        on: callback.on,
                    }],
                    on_unmet: OnUnmet::Skip,
                    result_ttl_ms: submission.options.result_ttl_ms,
                    ..options
                },
                reply_to: None,
            }
        })
        .collect()
}

fn webhook(url: &str) -> (TaskRef, serde_json::Value, Options) {
    let task = TaskRef {
        module: crate::ModuleRef::Name(BUILT_IN_MODULE.to_owned()),
        task: WEBHOOK_TASK.to_owned(),
    };
    let options = Options {
        retries: Some(WEBHOOK_RETRIES),
        backoff: Some(WEBHOOK_BACKOFF),
        ..Options::default()
    };
    let input = json!({ "url": url, "outcome": { "$outcome": 0 } });
    (task, input, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_task_or_a_plain_url() {
        for text in [
            "mail/send",
            "mail@1.0.0/send",
            "https://example.com/x?y=1",
            "http://user@[::1]:8080",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in [
            "mail",
            "ftp://example.com/",
            "https://a b/",
            "http://x/\u{e9}",
            "http://",
            "https:///path",
            "http://:8080/",
            "http://user@/",
            "https://?x=1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn answers_are_those_of_a_submission_and_what_follows_it() {
        let no = || BrokerError::invalid("x", "y", "z");
        let namespace = crate::Namespace::generate();
        let [a, b, c, d, other] = std::array::from_fn(|_| namespace.issue(0));
        let parts = vec![Ok((a, 1)), Err(no()), Ok((b, 3)), Ok((c, 2)), Ok((d, 2))];
        // Another has the key of the last: what was to follow it was refused.
        let answers = [
            vec![Ok(a)],
            vec![Ok(b), Ok(other), Err(no())],
            vec![Ok(c), Ok(other)],
            vec![Ok(other), Err(no())],
        ];
        let batch = Vec::new();
        let collapsed = Expanded { batch, parts }.collapse(answers.concat());
        let ids: Vec<_> = collapsed.into_iter().map(Result::ok).collect();
        assert_eq!(ids, [Some(a), None, None, Some(c), Some(other)]);
    }
}
