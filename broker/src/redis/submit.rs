//! Submitting: caps first, then the whole batch in as few calls as its size allows.

use std::collections::HashMap;

use super::{
    CHUNK, CHUNK_BYTES, REPLY_CAP, RedisBroker, reply_ttl_ms,
    script::{Call, SUBMIT},
    ttl_ms, value,
};
use crate::{
    After, BrokerError, DEFAULT_QUEUE, Header, InvocationId, ModuleRef, OnUnmet, Options,
    SYSTEM_QUEUE, Submission, TaskRef, When, broker::check_chunk, dependency::Refused,
    invocation::not_running, more::More, once::Clash,
};

/// Parents in one call, unless a single invocation has more.
const EDGES: usize = 2_000;

/// One answer for each submission.
type Answers = Vec<Result<InvocationId, BrokerError>>;

/// A submission that is ready to be sent.
struct Ready {
    /// Its place in the batch.
    index: usize,
    id: InvocationId,
    /// Its target's number in the chunk, from 1.
    target: usize,
    header: String,
    input: bytes::Bytes,
    client: Option<String>,
    result_ttl_ms: Option<u64>,
    /// When it may start, when it expires, its deadline; empty for none of them.
    times: String,
    /// The features that it uses, JSON; empty for none.
    more: String,
    /// What it waits for, as `submit.lua` reads it; empty for nothing.
    after: String,
    parents: Vec<After>,
    /// For refusals.
    idempotency_key: Option<String>,
    unique_key: Option<String>,
    called_by: Option<InvocationId>,
}

/// What tells targets apart: the task and the queue that the caller asked for.
type Target = (TaskRef, String);

/// Submissions that travel in one call.
#[derive(Default)]
pub(super) struct Chunk {
    targets: Vec<Target>,
    numbers: HashMap<Target, usize>,
    items: Vec<Ready>,
    bytes: usize,
    /// Parents that are waited for.
    edges: usize,
    /// Whether nothing of it is accepted when something is refused.
    is_whole: bool,
}

/// Accepts a batch, in order.
pub(super) async fn submit(
    broker: &RedisBroker,
    batch: Vec<Submission>,
) -> Result<Answers, BrokerError> {
    let mut answers: Answers = Vec::with_capacity(batch.len());
    let mut chunk = Chunk::default();
    for (index, submission) in batch.into_iter().enumerate() {
        if let Err(error) = admit(broker, &submission) {
            answers.push(Err(error));
            continue;
        }
        answers.push(Ok(submission.id));
        if chunk.is_full(submission.input.data.len()) {
            send(broker, std::mem::take(&mut chunk), &mut answers).await?;
        }
        chunk.add(index, submission)?;
    }
    send(broker, chunk, &mut answers).await?;
    Ok(answers)
}

/// Accepts all of a batch, or nothing.
pub(super) async fn submit_whole(
    broker: &RedisBroker,
    batch: Vec<Submission>,
) -> Result<(), BrokerError> {
    check_chunk(&batch)?;
    let mut answers: Answers = Vec::with_capacity(batch.len());
    let mut chunk = Chunk {
        is_whole: true,
        ..Chunk::default()
    };
    for (index, submission) in batch.into_iter().enumerate() {
        admit(broker, &submission)?;
        answers.push(Ok(submission.id));
        chunk.add(index, submission)?;
    }
    send(broker, chunk, &mut answers).await?;
    for answer in answers {
        answer?;
    }
    Ok(())
}

/// What must hold before anything is sent.
fn admit(broker: &RedisBroker, submission: &Submission) -> Result<(), BrokerError> {
    broker
        .options
        .caps
        .check_input(submission.input.data.len())?;
    let id = submission.id;
    if !broker.namespace.issued(id) || id.partition() >= broker.namespace.partitions {
        let expected = "an id that this broker's namespace issued";
        return Err(BrokerError::invalid(
            "invocation id",
            &id.to_string(),
            expected,
        ));
    }
    submission.options.check()
}

impl Chunk {
    fn is_full(&self, next: usize) -> bool {
        self.items.len() >= CHUNK
            || self.edges >= EDGES
            || (!self.items.is_empty() && self.bytes + next > CHUNK_BYTES)
    }

    /// Adds a submission that has been checked, the one with this place in the batch.
    pub(super) fn add(&mut self, index: usize, submission: Submission) -> Result<(), BrokerError> {
        let Submission {
            id,
            task,
            input,
            options,
            reply_to,
        } = submission;
        let (result_ttl_ms, times) = (options.result_ttl_ms, times(&options));
        let after = after(&options);
        let parents = options.after.clone();
        let called_by = options.parent.map(|parent| parent.id);
        let target = self.target(&task, options.queue.as_deref());
        let header = Header {
            task,
            content_type: input.content_type,
            options,
        };
        let idempotency_key = header.options.idempotency_key.clone();
        let unique_key = header.options.unique.as_ref();
        let unique_key = unique_key.map(|unique| unique.key.clone());
        let more = More::of(&header, &input.data).to_json()?;
        let header = serde_json::to_string(&header)
            .map_err(|error| value::damaged("a header", error.to_string()))?;
        self.bytes += header.len() + input.data.len() + more.len() + after.len();
        self.edges += parents.len();
        self.items.push(Ready {
            index,
            id,
            target,
            header,
            input: input.data,
            client: reply_to.map(|client| client.to_string()),
            result_ttl_ms,
            times,
            more,
            after,
            parents,
            idempotency_key,
            unique_key,
            called_by,
        });
        Ok(())
    }

    /// How many arguments it makes.
    pub(super) fn arguments(&self) -> usize {
        1 + 4 * self.targets.len() + 9 * self.items.len()
    }

    /// How many bytes they have, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + 80 * self.items.len()
    }

    /// Adds the arguments that `submit.lua` takes.
    pub(super) fn write(&self, call: &mut Call) {
        call.arg(match self.is_whole {
            true => format!("{} whole", self.targets.len()),
            false => self.targets.len().to_string(),
        });
        for (task, queue) in &self.targets {
            add_target(call, task, queue);
        }
        for item in &self.items {
            call.arg(item.id.to_string())
                .arg(item.target)
                .arg(item.header.as_str())
                .arg(item.input.as_ref())
                .arg(item.client.as_deref().unwrap_or_default());
            match item.result_ttl_ms {
                Some(ttl) => call.arg(ttl_ms(ttl)),
                None => call.arg(""),
            };
            call.arg(item.times.as_str())
                .arg(item.more.as_str())
                .arg(item.after.as_str());
        }
    }

    /// Why something of it was refused, from what `submit.lua` returns: the first refusal.
    pub(super) fn refusal(&self, refused: Vec<::redis::Value>) -> Option<BrokerError> {
        let mut answers: Answers = self.items.iter().map(|item| Ok(item.id)).collect();
        for [number, reason] in value::records::<2>(refused) {
            refuse(self, &number, &reason, &mut answers);
        }
        answers.into_iter().find_map(Result::err)
    }

    fn target(&mut self, task: &TaskRef, queue: Option<&str>) -> usize {
        // Most batches have one target: it is looked at before anything is allocated.
        if let Some((last, last_queue)) = self.targets.last()
            && last == task
            && last_queue == queue.unwrap_or_default()
        {
            return self.targets.len();
        }
        let target = (task.clone(), queue.unwrap_or_default().to_owned());
        let targets = &mut self.targets;
        *self.numbers.entry(target).or_insert_with_key(|target| {
            targets.push(target.clone());
            targets.len()
        })
    }
}

/// The moments as `submit.lua` reads them.
fn times(options: &Options) -> String {
    let moment = |when| match when {
        None => "-".to_owned(),
        Some(When::InMs(ms)) => format!("+{ms}"),
        // 0 stands for none.
        Some(When::AtMs(ms)) => ms.max(1).to_string(),
    };
    match options.has_times() {
        true => [options.start, options.expires, options.deadline]
            .map(moment)
            .join(" "),
        false => String::new(),
    }
}

async fn send(
    broker: &RedisBroker,
    chunk: Chunk,
    answers: &mut Answers,
) -> Result<(), BrokerError> {
    if chunk.items.is_empty() {
        return Ok(());
    }
    let mut call = SUBMIT.call(4 + chunk.arguments(), chunk.bytes());
    call.arg(broker.retention())
        .arg(reply_ttl_ms())
        .arg(REPLY_CAP);
    chunk.write(&mut call);
    let refused = value::list(broker.link.call(&call).await?)?;
    for [number, reason] in value::records::<2>(refused) {
        refuse(&chunk, &number, &reason, answers);
    }
    Ok(())
}

fn add_target(call: &mut Call, task: &TaskRef, queue: &str) {
    let (name, digest, queue) = match &task.module {
        _ if task.is_built_in() => (String::new(), String::new(), SYSTEM_QUEUE),
        ModuleRef::Digest(_, digest) => (String::new(), digest.hex(), queue),
        by_name => (by_name.to_string(), String::new(), queue),
    };
    call.arg(name)
        .arg(digest)
        .arg(task.task.as_str())
        .arg(queue);
}

/// Why a queue takes no more, as `submit.lua` says it.
fn overloaded(reason: &str) -> Option<BrokerError> {
    let mut parts = reason.splitn(3, ' ');
    let (depth, limit) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let queue = parts.next()?.to_owned();
    Some(BrokerError::Overloaded {
        queue,
        depth,
        limit,
    })
}

fn refuse(chunk: &Chunk, number: &::redis::Value, reason: &::redis::Value, answers: &mut Answers) {
    let item = usize::try_from(value::count(number))
        .ok()
        .and_then(|n| chunk.items.get(n.checked_sub(1)?));
    let Some(item) = item else { return };
    let Some((task, _)) = chunk.targets.get(item.target.wrapping_sub(1)) else {
        return;
    };
    if let Some(clash) = clash(reason) {
        if let Some(answer) = answers.get_mut(item.index) {
            *answer = clash.answer(item.idempotency_key.as_deref(), item.unique_key.as_deref());
        }
        return;
    }
    if let Some(overloaded) = value::text(reason.clone()).as_deref().and_then(overloaded) {
        if let Some(answer) = answers.get_mut(item.index) {
            *answer = Err(overloaded);
        }
        return;
    }
    let reason = value::count(reason);
    let error = match reason % 100 {
        1 => BrokerError::NoModule(task.module.clone()),
        2 => BrokerError::NoTask(task.clone()),
        14 => not_running(item.called_by.unwrap_or(item.id)),
        kind => refused_parent(item, kind, reason / 100),
    };
    if let Some(answer) = answers.get_mut(item.index) {
        *answer = Err(error);
    }
}

/// A letter and the id of another invocation, as `once.lua` has them; none for another reason.
fn clash(reason: &::redis::Value) -> Option<Clash> {
    let text = match reason {
        ::redis::Value::BulkString(text) => std::str::from_utf8(text).ok()?,
        _ => return None,
    };
    let (letter, id) = text.split_at_checked(1)?;
    let id = id.parse().ok()?;
    match letter {
        "e" => Some(Clash::Existing(id)),
        "i" => Some(Clash::OtherInput(id)),
        "u" => Some(Clash::NotUnique(id)),
        _ => None,
    }
}

/// Why an invocation cannot wait for its parent number `number`, from 1.
fn refused_parent(item: &Ready, kind: u64, number: u64) -> BrokerError {
    let index = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
    let parent = item.parents.get(index).map_or(item.id, |after| after.id);
    match kind {
        11 => Refused::Unknown,
        12 => Refused::Crowded,
        _ => Refused::TooLong,
    }
    .error(parent)
}

/// What it waits for as `submit.lua` reads it.
fn after(options: &Options) -> String {
    if options.after.is_empty() {
        return String::new();
    }
    let policy = match options.on_unmet {
        OnUnmet::Fail => "f",
        OnUnmet::Skip => "k",
    };
    let edges = options.after.iter();
    policy.to_owned()
        + &edges
            .map(|after| format!("{}{}", after.id, after.on.letter()))
            .collect::<String>()
}

// The script falls back to the same queue.
const _: () = assert!(matches!(DEFAULT_QUEUE.as_bytes(), b"default"));
