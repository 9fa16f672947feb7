//! Exit codes: stable, documented in docs/cli.md and by `celeriac help exit-codes`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All done.
    Success = 0,
    /// The task ended without success.
    TaskFailed = 1,
    /// The command line, an input or a setting is wrong. Also what clap exits with.
    Usage = 2,
    /// The broker does not answer, or must not be used as it is set up.
    NoBroker = 3,
    /// There is no such invocation, module or task, or no longer.
    NotFound = 4,
    /// The module was refused.
    Refused = 5,
    /// It did not end in the time that was waited.
    Waited = 6,
    /// Something on this machine failed.
    Failed = 7,
    /// The broker refused it as things stand; later, or with another key, it may take it.
    Declined = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table for people.
pub(crate) const EXPLANATION: &str = "\
What the exit code of `celeriac` says:

  0  success
  1  the task did not succeed: it failed, hit a limit, or was cancelled; `replay`: it ended otherwise than before
  2  wrong usage, input or setting; nothing was done
  3  the broker does not answer, or cannot be used as it is set up
  4  there is no such invocation, module or task, or its record has expired
  5  the upload was refused; the report says why
  6  waited long enough; the invocation goes on
  7  something failed on this machine, or a check of `doctor` is bad
  8  not accepted as things stand: the queue is overloaded, another invocation has the key, the module is in use,
     or there are as many as there may be; the same may be accepted later";
