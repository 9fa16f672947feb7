//! The connection of one process to Celeriac.

use std::{sync::Arc, time::Duration};

use celeriac_broker::{Broker, InvocationId, Submission, TaskRef};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Call, Error, Flow, Handle, mailbox::Mailbox, submitter::Submitter};

/// How a client behaves; the defaults suit a web service.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// How long a submit is tried again, with back-off, while the broker does not answer.
    pub submit_timeout: Duration,
    /// How often awaited invocations are checked against the store in case a reply was lost.
    pub sweep: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            submit_timeout: Duration::from_secs(10),
            sweep: Duration::from_secs(30),
        }
    }
}

/// The connection of one process to Celeriac: cheap to clone, made for sharing. All awaits of a
/// client come over one connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) broker: Arc<dyn Broker>,
    /// How long a submit is tried again while the broker does not answer.
    pub(crate) patience: Duration,
    /// Batches submits; ends when the last client goes.
    pub(crate) submitter: Submitter,
    /// Receives replies; ends when the last client and handle go.
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Client {
    /// Connects to `redis://…`, `rediss://…`, or `embedded:DIRECTORY`.
    ///
    /// # Errors
    /// `Error::Broker` when the address is not valid or the broker does not answer.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self::new(
            celeriac_broker::connect(url).await?,
            ConnectOptions::default(),
        ))
    }

    /// A client of a broker that is open already, such as one shared with a host in this process.
    pub fn new(broker: Arc<dyn Broker>, options: ConnectOptions) -> Self {
        let mailbox = Mailbox::new(broker.clone(), options.sweep);
        let submitter = Submitter::start(broker.clone(), options.submit_timeout);
        let shared = Shared {
            broker,
            patience: options.submit_timeout,
            submitter,
            mailbox,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The broker behind this client, for what the client itself does not offer.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.shared.broker
    }

    /// A task to call, with options of its own.
    ///
    /// # Errors
    /// `Error::Broker` when `task` is not `MODULE/TASK`.
    pub fn task(&self, task: &str) -> Result<Call, Error> {
        Ok(Call::new(self.clone(), task.parse::<TaskRef>()?))
    }

    /// Runs a task and awaits its output.
    ///
    /// # Errors
    /// Each kind of `Error`; `Error::Failed` when the task did not succeed.
    pub async fn call<O: DeserializeOwned>(
        &self,
        task: &str,
        input: &impl Serialize,
    ) -> Result<O, Error> {
        self.task(task)?.call(input).await
    }

    /// Hands in an invocation. When this returns it is stored and will run, whatever happens to this process.
    ///
    /// # Errors
    /// `Error::Broker` when it was not accepted.
    pub async fn submit(&self, task: &str, input: &impl Serialize) -> Result<Handle, Error> {
        self.task(task)?.submit(input).await
    }

    /// Hands in a submission as it is, its id included: for programs that pass on what others ask for. With `is_awaited`
    /// its outcome is pushed here, whatever its `reply_to` says.
    ///
    /// # Errors
    /// `Error::Broker` when it was not accepted.
    pub async fn hand_in(
        &self,
        mut submission: Submission,
        is_awaited: bool,
    ) -> Result<Handle, Error> {
        let (shared, id) = (&self.shared, submission.id);
        if is_awaited {
            submission.reply_to = Some(shared.mailbox.open().await?);
        }
        // Registered before it is submitted: the reply may come before the submit returns.
        let awaited = is_awaited.then(|| Handle::submitted(self.clone(), id));
        let accepted = shared.submitter.submit(submission).await?;
        // A key may have led to another: its outcome is asked for.
        let awaited = awaited.filter(|_| accepted == id);
        let handle = awaited.unwrap_or_else(|| Handle::foreign(self.clone(), accepted));
        handle.accept();
        Ok(handle)
    }

    /// Invocations that wait for others, to be handed in together.
    pub fn flow(&self) -> Flow {
        Flow::new(self.clone())
    }

    /// An invocation by its id, from whatever process it was submitted.
    pub fn handle(&self, id: InvocationId) -> Handle {
        Handle::foreign(self.clone(), id)
    }
}
