//! What a command reports when it cannot do its work: what is wrong, what to do, and the exit code.

use std::{fmt, io, path::Path};

use celeriac::settings::SettingsError;
use celeriac_broker::{BrokerError, InvocationId};
use celeriac_client::Error as ClientError;

use super::exit::Exit;

/// Why a command ended without doing its work.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What to do; empty when the message says all.
    pub(crate) remedy: String,
    /// The reader of standard output has gone: nothing is wrong and nothing is said.
    pub(crate) is_broken_pipe: bool,
    /// The invocation that holds the unique key that was asked for.
    pub(crate) key_holder: Option<InvocationId>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            remedy: remedy.into(),
            is_broken_pipe: false,
            key_holder: None,
        }
    }

    /// Something wrong with what the user wrote.
    pub(crate) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, remedy)
    }

    /// A file that cannot be read or written: `doing` is `read` or `written`.
    pub(crate) fn file(path: &Path, doing: &str, error: &io::Error) -> Self {
        let exit = match doing {
            "read" => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(
            exit,
            format!("{} cannot be {doing}: {error}", path.display()),
            "check the path and its permissions",
        )
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for CliError {
    /// An error of standard output; files go through `CliError::file`, which names them.
    fn from(error: io::Error) -> Self {
        let is_broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            is_broken_pipe,
            ..Self::new(
                Exit::Failed,
                format!("the output cannot be written: {error}"),
                "",
            )
        }
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        Self::usage(error.to_string(), error.remedy())
    }
}

impl From<BrokerError> for CliError {
    fn from(error: BrokerError) -> Self {
        let key_holder = match &error {
            BrokerError::NotUnique { existing, .. } => Some(*existing),
            _ => None,
        };
        let (exit, message, remedy) = match error {
            BrokerError::Invalid {
                what,
                got,
                expected,
            } => (
                Exit::Usage,
                format!("{what} `{got}` is not valid"),
                format!("expected {expected}"),
            ),
            BrokerError::NotFound(id) => (
                Exit::NotFound,
                format!("invocation {id} is not known here"),
                "check the id, and with `celeriac config` which broker was asked".to_owned(),
            ),
            BrokerError::Expired(id) => (
                Exit::NotFound,
                format!("invocation {id} was accepted here, but its record has expired"),
                "keep results longer: `celeriac call --ttl 7d`, or the setting `result_ttl`"
                    .to_owned(),
            ),
            BrokerError::NoModule(module) => (
                Exit::NotFound,
                format!("there is no module `{module}`"),
                "`celeriac modules` lists what there is, `celeriac push FILE --name NAME` adds one"
                    .to_owned(),
            ),
            BrokerError::NoTask(task) => (
                Exit::NotFound,
                format!("there is no task `{task}`"),
                format!(
                    "`celeriac modules show {}` lists the module's tasks",
                    task.module
                ),
            ),
            BrokerError::IdempotencyConflict { key, existing } => (
                Exit::Declined,
                format!(
                    "idempotency key `{key}` belongs to invocation {existing}, which has another task or input"
                ),
                "use a key for one thing only".to_owned(),
            ),
            BrokerError::NotUnique { key, existing } => (
                Exit::Declined,
                format!("unique key `{key}` is held by invocation {existing}"),
                format!(
                    "`celeriac wait {existing}` awaits that one, `celeriac cancel {existing}` stops it; or say `--on-conflict return-existing` or `replace`"
                ),
            ),
            BrokerError::UnfitParent {
                letter,
                parent,
                came_to,
            } => (
                Exit::Refused,
                format!(
                    "invocation {parent}, to which the input of dead letter {letter} refers, {came_to}; the letter stays"
                ),
                format!("give it edited input: `celeriac dead retry {letter} --input @fixed.json`"),
            ),
            BrokerError::NoSchedule(name) => (
                Exit::NotFound,
                format!("there is no schedule `{name}`"),
                "`celeriac schedules` lists what there is".to_owned(),
            ),
            BrokerError::VersionTaken { name, existing } => (
                Exit::Refused,
                format!("{name} is {existing} already, and a version never moves"),
                "push under a new version".to_owned(),
            ),
            BrokerError::InUse {
                module,
                invocations,
            } => (
                Exit::Declined,
                format!("{module} is in use by {invocations} unfinished invocations"),
                "wait for them or cancel them, then remove it".to_owned(),
            ),
            BrokerError::Overloaded {
                queue,
                depth,
                limit,
            } => (
                Exit::Declined,
                format!(
                    "queue `{queue}` is overloaded: {depth} invocations wait in it and {limit} may"
                ),
                format!(
                    "submit again when some have run, have more hosts serve it, or `celeriac limits set queue:{queue} --max-queue N`"
                ),
            ),
            BrokerError::TooLarge {
                what,
                bytes,
                limit,
                setting,
            } => (
                if what == "module" {
                    Exit::Refused
                } else {
                    Exit::Usage
                },
                format!("the {what} has {bytes} bytes and the limit is {limit}"),
                format!("make it smaller, or raise `{setting}`"),
            ),
            BrokerError::KeyValueLimit {
                module,
                what,
                limit,
                remedy,
            } => (
                Exit::Usage,
                format!("the key-value store of {module} takes at most {limit} {what}"),
                remedy,
            ),
            BrokerError::Unavailable { address, reason } => (
                Exit::NoBroker,
                format!("the broker at {address} does not answer: {reason}"),
                "start it, or name another with --broker URL; `celeriac doctor` looks closer"
                    .to_owned(),
            ),
            BrokerError::Unfit {
                address,
                reason,
                remedy,
            } => (
                Exit::NoBroker,
                format!("the broker at {address} cannot be used: {reason}"),
                remedy,
            ),
            BrokerError::NoParent(_) => (Exit::NotFound, error.to_string(), String::new()),
            BrokerError::TooManySchedules(_) => (Exit::Declined, error.to_string(), String::new()),
            other => (Exit::Failed, other.to_string(), String::new()),
        };
        Self {
            key_holder,
            ..Self::new(exit, message, remedy)
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Broker(error) => error.into(),
            ClientError::TimedOut { id, .. } => Self::new(
                Exit::Waited,
                error.to_string(),
                format!("`celeriac wait {id}` waits on, `celeriac cancel {id}` stops it"),
            ),
            ClientError::Failed(_) => Self::new(Exit::TaskFailed, error.to_string(), ""),
            ClientError::Refused(_) => Self::new(Exit::Refused, error.to_string(), ""),
            ClientError::Encode { .. } => Self::usage(error.to_string(), ""),
            other => Self::new(Exit::Failed, other.to_string(), ""),
        }
    }
}
