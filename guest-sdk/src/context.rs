//! What a running task can ask of its host.

use std::{
    cell::OnceCell,
    time::{Duration, SystemTime},
};

use crate::{AccessError, Failure, IntoPayload, host::Host};

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

    /// When the host stops this attempt.
    pub fn deadline(&self) -> SystemTime {
        self.invocation().deadline
    }

    /// The time until the host stops this attempt; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline()
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }

    /// Whether somebody asked for this invocation to stop. The host stops it shortly afterwards, so
    /// this is for leaving in good order: return what there is, or a failure.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// A secret that the task declared (`needs(secret = "name")`) and an operator granted.
    ///
    /// # Errors
    /// When it is not declared, or not granted.
    pub fn secret(&self, name: &str) -> Result<String, AccessError> {
        self.host.secret(name)
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
