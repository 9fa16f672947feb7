//! Invocations that wait for others, handed in together: chains, groups, chords, maps, and any other graph.

use celeriac_broker::{After, InvocationId, Payload, Submission, TaskRef};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Call, Client, Error, Handle};

/// Invocations that wait for others, to be handed in together, in the order in which they were added.
///
/// Each step is a [`Call`] with whatever options it needs; what it waits for are steps that were added before it, or
/// invocations that exist. Nothing is sent before [`Flow::submit`].
///
/// ```no_run
/// # async fn demo(client: celeriac_client::Client) -> Result<(), celeriac_client::Error> {
/// let mut flow = client.flow();
/// let pages = flow.map(&client.task("web/fetch")?, ["https://example.com/a", "https://example.com/b"])?;
/// let index = flow.chord(&pages, &client.task("text/index")?)?;
/// flow.then(index, &client.task("mail/send")?.skip_if_unmet())?;
/// let sent = flow.submit().await?.pop();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Flow {
    client: Client,
    steps: Vec<Submission>,
}

/// What stands for the output of parent number `number`, from 0, anywhere in the input of an invocation that waits.
pub fn output_of(number: usize) -> Value {
    json!({ "$output": number })
}

/// What stands for the outputs of all parents, in order.
pub fn outputs() -> Value {
    json!({ "$outputs": true })
}

/// What stands for all that parent number `number` came to: `id`, `code`, `output` and `failure`.
pub fn outcome_of(number: usize) -> Value {
    json!({ "$outcome": number })
}

/// The call when it waits for the success of `parents` first, and for what it waits for by itself behind them: the numbers
/// in an input that the flow makes count from the first of these.
fn behind(parents: &[InvocationId], call: &Call) -> Call {
    let mut call = call.clone();
    let own = std::mem::take(&mut call.options.after);
    call.with_parents(parents.iter().copied().map(After::success))
        .with_parents(own)
}

impl Flow {
    pub(crate) const fn new(client: Client) -> Self {
        Self {
            client,
            steps: Vec::new(),
        }
    }

    /// Adds one step; the id that it will have.
    ///
    /// # Errors
    /// `Error::Encode`.
    pub fn add(&mut self, call: &Call, input: &impl Serialize) -> Result<InvocationId, Error> {
        let input = Payload::json(input).map_err(|error| Error::Encode {
            task: call.task().to_string(),
            reason: error.to_string(),
        })?;
        Ok(self.add_payload(call, input))
    }

    /// Adds one step with any payload.
    pub fn add_payload(&mut self, call: &Call, input: Payload) -> InvocationId {
        let id = self.client.broker().namespace().issue(0);
        let task: TaskRef = call.task().clone();
        self.steps.push(Submission {
            id,
            task,
            input,
            options: call.all_options().clone(),
            reply_to: None,
        });
        id
    }

    /// Adds a step that gets the output of `parent` as its input.
    ///
    /// # Errors
    /// `Error::Encode`.
    pub fn then(&mut self, parent: InvocationId, call: &Call) -> Result<InvocationId, Error> {
        self.add(&behind(&[parent], call), &output_of(0))
    }

    /// Adds a chain: the first step gets `input`, each other the output of the one before. The id of the last; none when
    /// there is no step.
    ///
    /// # Errors
    /// `Error::Encode`.
    pub fn chain(
        &mut self,
        input: &impl Serialize,
        calls: &[Call],
    ) -> Result<Option<InvocationId>, Error> {
        let mut last = None;
        for call in calls {
            last = Some(match last {
                None => self.add(call, input)?,
                Some(parent) => self.then(parent, call)?,
            });
        }
        Ok(last)
    }

    /// Adds one step for each input.
    ///
    /// # Errors
    /// `Error::Encode`.
    pub fn map<I: Serialize>(
        &mut self,
        call: &Call,
        inputs: impl IntoIterator<Item = I>,
    ) -> Result<Vec<InvocationId>, Error> {
        let inputs = inputs.into_iter();
        inputs.map(|input| self.add(call, &input)).collect()
    }

    /// Adds a step that gets the outputs of all `members`, in order, as one list; of none it is empty. A group is the
    /// members alone.
    ///
    /// # Errors
    /// `Error::Encode`.
    pub fn chord(&mut self, members: &[InvocationId], call: &Call) -> Result<InvocationId, Error> {
        // By their numbers: `outputs()` would add those of what the call waits for besides, and of none is no list.
        let inputs: Vec<Value> = (0..members.len()).map(output_of).collect();
        self.add(&behind(members, call), &inputs)
    }

    /// Hands in all steps; the handles of those that no other step waits for, in order. The others are had from
    /// [`Client::handle`].
    ///
    /// # Errors
    /// The first refusal; steps that were accepted before it run all the same.
    pub async fn submit(self) -> Result<Vec<Handle>, Error> {
        let Self { client, mut steps } = self;
        let parents = steps.iter().flat_map(|step| &step.options.after);
        let parents: std::collections::HashSet<_> = parents.map(|after| after.id).collect();
        let reply_to = client.shared.mailbox.open().await?;
        let mut handles = Vec::new();
        for step in steps.iter_mut().filter(|step| !parents.contains(&step.id)) {
            step.reply_to = Some(reply_to.clone());
            // Registered before it is submitted: the reply may come before the submit returns.
            handles.push(Handle::submitted(client.clone(), step.id));
        }
        let own: Vec<_> = steps.iter().map(|step| step.id).collect();
        let accepted = client.shared.submitter.submit_all(steps).await?;
        // A key may have led to another.
        let others = own
            .into_iter()
            .zip(accepted)
            .filter(|(own, accepted)| own != accepted);
        let others: std::collections::HashMap<_, _> = others.collect();
        for handle in &mut handles {
            match others.get(&handle.id()) {
                Some(other) => *handle = client.handle(*other),
                None => handle.accept(),
            }
        }
        Ok(handles)
    }
}
