//! What a running task can ask of its host.

use std::{
    cell::OnceCell,
    time::{Duration, SystemTime},
};

use crate::{
    AccessError, CallError, Failure, FromPayload, IntoPayload, Store, TaskCall, host::Host,
};

/// The invocation that a task runs for.
///
/// A task that wants it takes `&Context` as its first parameter. Natively, in tests, one comes from
/// [`testing::FakeContext`](crate::testing::FakeContext).
#[derive(Debug)]
pub struct Context {
    pub(crate) host: Host,
    /// Asked of the host at the first use: most tasks never do.
    invocation: OnceCell<Invocation>,
}

/// What the host says about an invocation.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) id: String,
    pub(crate) task: String,
    pub(crate) attempt: u32,
    pub(crate) deadline: SystemTime,
}

impl Context {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            invocation: OnceCell::new(),
        }
    }

    fn invocation(&self) -> &Invocation {
        self.invocation.get_or_init(|| self.host.invocation())
    }

    /// The invocation's id, a UUID. It is the same in every attempt.
    pub fn id(&self) -> &str {
        &self.invocation().id
    }

    /// The name of the task that runs.
    pub fn task(&self) -> &str {
        &self.invocation().task
    }

    /// 1 in the first attempt, 2 in the first retry.
    pub fn attempt(&self) -> u32 {
        self.invocation().attempt
    }

    /// When the host stops this attempt; told up to 2 ms early.
    pub fn deadline(&self) -> SystemTime {
        self.invocation().deadline
    }

    /// The time until the host stops this attempt; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline()
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }

    /// Whether somebody asked for this invocation to stop, and the host stops it shortly afterwards; or the limit
    /// `soft_timeout` has passed, and there is time until the `timeout`. This is for leaving in good order: return what
    /// there is, or a failure.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// Says how far the task has come: `done` of `total`, or just `done` where `total` is 0.
    ///
    /// ```
    /// # let ctx = celeriac_guest::Context::fake();
    /// # let rows = [1, 2, 3];
    /// for (done, row) in rows.iter().enumerate() {
    ///     ctx.progress(done, rows.len());
    /// }
    /// ```
    pub fn progress(&self, done: impl Amount, total: impl Amount) {
        self.host.progress(done.amount(), total.amount(), "");
    }

    /// As [`progress`](Self::progress), with a few words for people.
    pub fn progress_note(&self, done: impl Amount, total: impl Amount, note: &str) {
        self.host.progress(done.amount(), total.amount(), note);
    }

    /// Delivers a partial result to whoever watches this invocation.
    ///
    /// # Errors
    /// A failure of kind `invalid-output` when `chunk` has no JSON form.
    pub fn emit(&self, chunk: impl IntoPayload) -> Result<(), Failure> {
        self.host.emit(chunk.into_payload()?);
        Ok(())
    }

    /// A secret that the task declared with `needs(secret = "…")` and the operator granted. Ask for it when
    /// it is used, and keep it out of what the task says: the host takes it out of logs and results, but
    /// cannot know every form that a value can be given.
    ///
    /// ```
    /// use celeriac_guest::{Context, Failure, task, testing::FakeContext};
    ///
    /// /// Makes a header that says who is asking.
    /// #[task(needs(secret = "api-token"))]
    /// fn sign_in(ctx: &Context) -> Result<usize, Failure> {
    ///     let header = format!("Bearer {}", ctx.secret("api-token")?);
    ///     Ok(header.len())
    /// }
    ///
    /// let ctx = FakeContext::new().with_secret("api-token", "hunter22");
    /// assert_eq!(sign_in(&ctx).unwrap(), 15);
    /// assert_eq!(sign_in(&FakeContext::new()).unwrap_err().kind, "access-denied");
    /// ```
    ///
    /// # Errors
    /// `Denied` when it was not declared or not granted.
    pub fn secret(&self, name: &str) -> Result<String, AccessError> {
        self.host.secret(name)
    }

    /// A configuration value that the task declared with `needs(config = "…")` and the operator granted.
    /// It arrives as the environment variable of that name, so that `std::env::var` and code that reads its
    /// environment find it as well. Nothing else is in the environment.
    ///
    /// ```
    /// use celeriac_guest::{Context, task, testing::FakeContext};
    ///
    /// /// Greets in the language of the house.
    /// #[task(needs(config = "GREETING"))]
    /// fn greet(ctx: &Context, name: String) -> String {
    ///     let greeting = ctx.config("GREETING");
    ///     format!("{}, {name}", greeting.as_deref().unwrap_or("Hello"))
    /// }
    ///
    /// let ctx = FakeContext::new().with_config("GREETING", "Moin");
    /// assert_eq!(greet(&ctx, "Ada".into()), "Moin, Ada");
    /// ```
    pub fn config(&self, name: &str) -> Option<String> {
        self.host.config(name)
    }

    /// Another task, `MODULE/TASK`, to be run as an invocation of its own; for tasks that say `needs(tasks = "…")`.
    pub fn task_named(&self, task: &str) -> TaskCall<'_> {
        TaskCall::new(&self.host, task)
    }

    /// Hands in an invocation of another task and returns its id.
    ///
    /// # Errors
    /// As [`TaskCall::submit`].
    pub fn submit(&self, task: &str, input: impl IntoPayload) -> Result<String, CallError> {
        self.task_named(task).submit(input)
    }

    /// Runs another task and waits for its output.
    ///
    /// # Errors
    /// As [`TaskCall::call`].
    pub fn call<T: FromPayload>(
        &self,
        task: &str,
        input: impl IntoPayload,
    ) -> Result<T, CallError> {
        self.task_named(task).call(input)
    }

    /// The key-value store of this module, for tasks that say `needs(kv = "…")`.
    pub fn store(&self) -> Store<'_> {
        Store::new(&self.host)
    }
}

/// A number that counts something, whatever its type.
pub trait Amount: sealed::Sealed {
    /// The number as the host takes it: exact up to 2^53.
    fn amount(self) -> f64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! amounts {
    ($($number:ty)*) => {$(
        impl sealed::Sealed for $number {}
        impl Amount for $number {
            fn amount(self) -> f64 {
                self as f64
            }
        }
    )*};
}

amounts!(u8 u16 u32 u64 usize i32 i64 f32 f64);
