//! One task with its options, ready to be called.

use std::time::Duration;

use celeriac_broker::{
    After, Backoff, Callback, ClientId, InvocationId, On, OnUnmet, Options, Payload, Priority,
    Submission, Target, TaskRef, Unique, When,
};
use futures_util::future::try_join_all;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, Error, Handle};

/// One task with its options, ready to be called any number of times.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) client: Client,
    pub(crate) task: TaskRef,
    pub(crate) options: Options,
    is_awaited: bool,
}

impl Call {
    pub(crate) fn new(client: Client, task: TaskRef) -> Self {
        Self {
            client,
            task,
            options: Options::default(),
            is_awaited: true,
        }
    }

    /// Uses this queue instead of the task's own.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.queue = Some(queue.into());
        self
    }

    /// Goes before or after others of its queue.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Says whose it is, such as a tenant: within a queue and a priority the keys that wait are served in turn, so that
    /// one with a million invocations does not delay another's only one.
    #[must_use]
    pub fn fairness_key(mut self, key: impl Into<String>) -> Self {
        self.options.fairness_key = Some(key.into());
        self
    }

    /// Says what it shares a limit with, such as an account of some service: `celeriac limits set key:KEY`.
    #[must_use]
    pub fn concurrency_key(mut self, key: impl Into<String>) -> Self {
        self.options.concurrency_key = Some(key.into());
        self
    }

    /// Stops an attempt after this long; lowers the task's own limit, never raises the operator's.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Stops an attempt after this much fuel; about one unit per wasm instruction.
    #[must_use]
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.options.fuel = Some(fuel);
        self
    }

    /// Stops an attempt that wants more memory than this many bytes.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.options.memory_bytes = Some(bytes);
        self
    }

    /// Has the host keep what it answers the task: if it fails for good, `celeriac replay` runs it again with the same
    /// answers.
    #[must_use]
    pub fn record(mut self, is_recorded: bool) -> Self {
        self.options.record = is_recorded;
        self
    }

    /// Lowers the limit `name` to `value`, in bytes, milliseconds or whatever it counts: `log_lines`, `emit_bytes`,
    /// `http_timeout`. A name that hosts do not know fails the invocation. All are in docs/limits.md.
    #[must_use]
    pub fn limit(mut self, name: impl Into<String>, value: u64) -> Self {
        self.options.limits.insert(name.into(), value);
        self
    }

    /// Tries again up to so many times, whatever the task says.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Waits so long before each retry, whatever the task says.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = Some(backoff);
        self
    }

    /// Retries only failures of these kinds and codes, whatever the task says.
    #[must_use]
    pub fn retry_on(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.retry_on = words.into_iter().map(Into::into).collect();
        self
    }

    /// Does not start it before this long after it was accepted.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.at(delay)
    }

    /// Does not start it before this moment: a `SystemTime`, or a text with a zone such as
    /// `"2026-11-21 09:00 Europe/Berlin".parse::<When>()?`.
    #[must_use]
    pub fn at(mut self, start: impl Into<When>) -> Self {
        self.options.start = Some(start.into());
        self
    }

    /// Has it expire unless it was started by then; a `Duration` counts from when it was accepted.
    #[must_use]
    pub fn expires(mut self, expires: impl Into<When>) -> Self {
        self.options.expires = Some(expires.into());
        self
    }

    /// Has it fail unless it has ended by then, retries and all; a `Duration` counts from when it was accepted.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<When>) -> Self {
        self.options.deadline = Some(deadline.into());
        self
    }

    /// Does not start it before `parent` has succeeded. May be said for many, and of each once.
    #[must_use]
    pub fn after(self, parent: InvocationId) -> Self {
        self.with_parents([After::success(parent)])
    }

    /// Does not start it before `parent` has ended, whatever it came to.
    #[must_use]
    pub fn after_any_end(self, parent: InvocationId) -> Self {
        self.with_parents([After::done(parent)])
    }

    /// Does not start it before `parent` has failed or expired.
    #[must_use]
    pub fn after_failure(self, parent: InvocationId) -> Self {
        self.with_parents([After::failure(parent)])
    }

    /// Does not start it before each of these has ended as it says.
    #[must_use]
    pub fn with_parents(mut self, parents: impl IntoIterator<Item = After>) -> Self {
        self.options.after.extend(parents);
        self
    }

    /// Has it skipped, and not fail, when something that it waits for ends otherwise.
    #[must_use]
    pub fn skip_if_unmet(mut self) -> Self {
        self.options.on_unmet = OnUnmet::Skip;
        self
    }

    /// Runs this task on the outcome, or sends it to this URL, when it has succeeded: `"mail/send".parse()?`.
    #[must_use]
    pub fn on_success(self, to: Target) -> Self {
        self.callback(On::Success, to)
    }

    /// Runs this task on the outcome, or sends it to this URL, when it has failed for good or expired.
    #[must_use]
    pub fn on_failure(self, to: Target) -> Self {
        self.callback(On::Failure, to)
    }

    /// Runs this task on the outcome, or sends it to this URL, when it has ended.
    #[must_use]
    pub fn on_done(self, to: Target) -> Self {
        self.callback(On::Done, to)
    }

    fn callback(mut self, on: On, to: Target) -> Self {
        self.options.callbacks.push(Callback { on, to });
        self
    }

    /// Keeps the result this long after the end.
    #[must_use]
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.options.result_ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Makes submitting repeatable, across processes and restarts: the same key with the same task and input is the same
    /// invocation, until its result has expired. With another input it is refused.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// Has it be the only one with its key for a while; `unique` says for how long, and what becomes of another.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.options.unique = Some(unique);
        self
    }

    /// Does not have outcomes pushed to this client: for invocations that nobody here will await.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.is_awaited = false;
        self
    }

    /// All options at once.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    pub(crate) const fn task(&self) -> &TaskRef {
        &self.task
    }

    pub(crate) const fn all_options(&self) -> &Options {
        &self.options
    }

    /// Runs the task on `input` as JSON and awaits its output.
    ///
    /// # Errors
    /// Each kind of `Error`; `Error::Failed` when the task did not succeed.
    pub async fn call<O: DeserializeOwned>(&self, input: &impl Serialize) -> Result<O, Error> {
        self.submit(input).await?.result().await
    }

    /// Hands in one invocation with `input` as JSON.
    ///
    /// # Errors
    /// `Error::Encode`, or `Error::Broker` when it was not accepted.
    pub async fn submit(&self, input: &impl Serialize) -> Result<Handle, Error> {
        self.submit_payload(self.payload(input)?).await
    }

    pub(crate) fn payload(&self, input: &impl Serialize) -> Result<Payload, Error> {
        Payload::json(input).map_err(|error| Error::Encode {
            task: self.task.to_string(),
            reason: error.to_string(),
        })
    }

    /// Where outcomes are pushed.
    pub(crate) async fn reply_to(&self) -> Result<Option<ClientId>, Error> {
        match self.is_awaited {
            true => Ok(Some(self.client.shared.mailbox.open().await?)),
            false => Ok(None),
        }
    }

    /// The handle on an invocation that is about to be submitted.
    pub(crate) fn handle(&self, id: InvocationId) -> Handle {
        match self.is_awaited {
            true => Handle::submitted(self.client.clone(), id),
            false => Handle::foreign(self.client.clone(), id),
        }
    }

    /// Hands in one invocation with any payload, such as raw bytes.
    ///
    /// # Errors
    /// `Error::Broker` when it was not accepted.
    pub async fn submit_payload(&self, input: Payload) -> Result<Handle, Error> {
        let submission = Submission {
            id: self.client.shared.broker.namespace().issue(0),
            task: self.task.clone(),
            input,
            options: self.options.clone(),
            reply_to: None,
        };
        self.client.hand_in(submission, self.is_awaited).await
    }

    /// Hands in many invocations at once, in order. They travel in as few requests as fit, along with what else this
    /// client submits. `submit_batch` says how far it came.
    ///
    /// # Errors
    /// The first error; those that were accepted before it run all the same.
    pub async fn submit_all<I: Serialize>(
        &self,
        inputs: impl IntoIterator<Item = I>,
    ) -> Result<Vec<Handle>, Error> {
        let calls = inputs
            .into_iter()
            .map(|input| async move { self.submit(&input).await });
        try_join_all(calls).await
    }
}
