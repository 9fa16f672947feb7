//! Submitting: what can be checked is checked before the writer is asked; the batch is one transaction.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    EmbeddedBroker, MAX_TTL_MS,
    depth::Depths,
    fault::{Fault, damaged},
    join::{self, Waiting},
    once,
    operations::result_ttls,
    place::{Ends, Place},
    row::Fare,
    times::{self, Times},
    writer::{Tx, Uses},
};
use crate::{
    After, BrokerError, Caps, ClientId, DEFAULT_QUEUE, Header, InvocationId, ModuleRef, Namespace,
    OnUnmet, SYSTEM_QUEUE, Submission, TaskDefaults, TaskRef, When, broker::check_chunk,
    defaults::Rest, invocation::not_running, more::More,
};

/// Payloads above this many bytes are stored apart: SQLite keeps a row of about this size on its page.
pub(super) const INLINE_BYTES: usize = 1024;

/// One answer for each submission.
pub(super) type Answers = Vec<Result<InvocationId, BrokerError>>;

/// A submission that is ready to be written.
pub(super) struct Ready {
    id: InvocationId,
    task: TaskRef,
    queue: Option<String>,
    header: String,
    input: Bytes,
    client: Option<ClientId>,
    result_ttl_ms: Option<u64>,
    start: Option<When>,
    expires: Option<When>,
    deadline: Option<When>,
    after: Vec<After>,
    on_unmet: OnUnmet,
    /// How long results are kept unless the caller said otherwise.
    default_ttl_ms: u64,
    more: More,
    /// `more` as it is stored.
    more_json: Option<String>,
}

impl Ready {
    /// Whether it waits for nothing and has no keys.
    fn is_plain(&self) -> bool {
        self.after.is_empty() && self.more.idem.is_none() && self.more.unique.is_none()
    }
}

impl Ready {
    /// Takes from the task and its queue what the caller does not say. An author asks for no more than the queue keeps.
    fn complete(&mut self, target: &Target, now: u64) -> Result<(), Fault> {
        let defaults = &target.defaults;
        let starts_at = self.start.map_or(now, |start| start.resolve(now).max(now));
        let behind = |ms: &u64| When::AtMs(starts_at.saturating_add(*ms));
        let ttls = [defaults.ttl, target.result_ttl_ms];
        self.result_ttl_ms = self.result_ttl_ms.or(ttls.into_iter().flatten().min());
        self.expires = self.expires.or(defaults.expires.as_ref().map(behind));
        self.deadline = self.deadline.or(defaults.deadline.as_ref().map(behind));
        if let (None, Some(band)) = (self.more.band, defaults.band) {
            self.more.band = Some(band);
            self.more_json = Some(self.more.to_json()?);
        }
        Ok(())
    }
}

/// Where the invocations of one task go.
struct Target {
    digest: Option<Vec<u8>>,
    queue: String,
    /// What the task says where the caller does not.
    defaults: Rest,
    /// How long its queue keeps results, where it says so.
    result_ttl_ms: Option<u64>,
}

/// Accepts a batch, in order.
pub(super) async fn submit(
    broker: &EmbeddedBroker,
    batch: Vec<Submission>,
) -> Result<Answers, BrokerError> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut ready = Vec::with_capacity(batch.len());
    let terms = Terms::of(broker);
    for submission in batch {
        match prepare(&terms, submission) {
            Ok(item) => {
                ready.push(item);
                answers.push(None);
            }
            Err(error) => answers.push(Some(Err(error))),
        }
    }
    let mut written = match ready.is_empty() {
        true => Vec::new(),
        false => broker.writer.run(move |tx| write_all(tx, ready)).await?,
    }
    .into_iter();
    let answer = |early: Option<_>| early.or_else(|| written.next());
    Ok(answers.into_iter().filter_map(answer).collect())
}

/// Accepts all of a batch, or nothing.
pub(super) async fn submit_whole(
    broker: &EmbeddedBroker,
    batch: Vec<Submission>,
) -> Result<(), BrokerError> {
    check_chunk(&batch)?;
    let terms = Terms::of(broker);
    let ready = batch
        .into_iter()
        .map(|submission| prepare(&terms, submission));
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    broker
        .writer
        .run(move |tx| {
            let answers = write_all(tx, ready)?;
            // An error takes back what was written before.
            for answer in answers {
                answer?;
            }
            Ok(())
        })
        .await
}

/// What a store goes by when it accepts.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) namespace: Namespace,
    pub(super) caps: Caps,
    pub(super) result_ttl_ms: u64,
}

impl Terms {
    pub(super) fn of(broker: &EmbeddedBroker) -> Self {
        Self {
            namespace: broker.namespace.clone(),
            caps: broker.options.caps,
            result_ttl_ms: broker.result_ttl_ms(),
        }
    }
}

/// What must hold before anything is written.
pub(super) fn prepare(terms: &Terms, submission: Submission) -> Result<Ready, BrokerError> {
    let namespace = &terms.namespace;
    terms.caps.check_input(submission.input.data.len())?;
    let Submission {
        id,
        task,
        input,
        options,
        reply_to,
    } = submission;
    if !namespace.issued(id) || id.partition() >= namespace.partitions {
        let expected = "an id that this broker's namespace issued";
        return Err(BrokerError::invalid(
            "invocation id",
            &id.to_string(),
            expected,
        ));
    }
    options.check()?;
    let header = Header {
        task,
        content_type: input.content_type,
        options,
    };
    let more = More::of(&header, &input.data);
    Ok(Ready {
        id,
        header: serde_json::to_string(&header).map_err(|error| damaged("a header", error))?,
        input: input.data,
        client: reply_to,
        more_json: Some(more.to_json()?).filter(|json| !json.is_empty()),
        more,
        result_ttl_ms: header.options.result_ttl_ms,
        after: header.options.after,
        on_unmet: header.options.on_unmet,
        default_ttl_ms: terms.result_ttl_ms,
        start: header.options.start,
        expires: header.options.expires,
        deadline: header.options.deadline,
        queue: header.options.queue,
        task: header.task,
    })
}

/// Writes what is ready, in order.
pub(super) fn write_all(tx: &mut Tx<'_>, items: Vec<Ready>) -> Result<Answers, Fault> {
    let mut targets = HashMap::new();
    let mut ends = Ends::default();
    let mut uses = Uses::default();
    let mut depths = Depths::read(tx)?;
    let ttls = result_ttls(tx.db)?;
    let mut answers = Vec::with_capacity(items.len());
    for mut item in items {
        let target = match targets.entry((item.task.clone(), item.queue.clone())) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let target = resolve(tx, &item.task, item.queue.as_deref())?;
                new.insert(target.map(|target| Target {
                    result_ttl_ms: ttls.get(&target.queue).copied(),
                    ..target
                }))
            }
        };
        if let Ok(target) = target {
            item.complete(target, tx.now)?;
        }
        answers.push(match target {
            Err(_) if is_known(tx, item.id)? => Ok(item.id),
            Err(error) => Err(error.clone()),
            Ok(target) => match depths.check(&target.queue) {
                Err(_)
                    if !item.after.is_empty()
                        || is_known(tx, item.id)?
                        || once::clash(tx, &item.more)?.is_some() =>
                {
                    write(tx, &item, target, &mut ends, &mut uses)?
                }
                Err(overloaded) => Err(overloaded),
                Ok(()) => {
                    let written = write(tx, &item, target, &mut ends, &mut uses)?;
                    depths.look_again(tx)?;
                    written
                }
            },
        });
    }
    uses.write(tx)?;
    ends.announce(tx)?;
    Ok(answers)
}

/// False when it is known already.
fn write(
    tx: &mut Tx<'_>,
    item: &Ready,
    target: &Target,
    ends: &mut Ends,
    uses: &mut Uses,
) -> Result<Result<InvocationId, BrokerError>, Fault> {
    let is_known = !item.is_plain() && is_known(tx, item.id)?;
    if let Some(clash) = once::clash(tx, &item.more)?.filter(|_| !is_known) {
        return Ok(clash.answer(item.more.idempotency_key(), item.more.unique_key()));
    }
    let parents = match item.after.is_empty() || is_known {
        true => None,
        false => match join::look(tx, &item.after)? {
            Ok(parents) => Some(parents),
            Err(refused) => return Ok(Err(refused)),
        },
    };
    if let Some(parent) = item.more.parent
        && !is_known
        && !join::call(tx, parent, item.id)?
    {
        return Ok(Err(not_running(parent)));
    }
    if insert(tx, item, target, parents, ends, uses)? {
        // Last: what it replaces may be what it waits for.
        once::claim(tx, uses, item.default_ttl_ms, item.id, &item.more)?;
    }
    Ok(Ok(item.id))
}

/// Writes an invocation and puts it where it waits; false when it is there already.
fn insert(
    tx: &mut Tx<'_>,
    item: &Ready,
    target: &Target,
    parents: Option<join::Parents<'_>>,
    ends: &mut Ends,
    uses: &mut Uses,
) -> Result<bool, Fault> {
    let pos = match Ends::is_plain(&item.more) {
        true => ends.next(tx, &target.queue)?,
        false => 0,
    };
    let is_big = item.input.len() > INLINE_BYTES;
    let now = tx.now;
    let at = |when: Option<When>| when.map(|when| when.resolve(now));
    let times = Times {
        start_by: at(item.expires),
        deadline: at(item.deadline),
    };
    let inserted = tx.execute(
        "INSERT INTO invocations
           (id, header, input, big_input, digest, queue, pos, submitted_at, waiters, result_ttl, start_by, deadline, more,
            chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING",
        (
            item.id.as_bytes(),
            &item.header,
            (!is_big).then_some(item.input.as_ref()),
            is_big,
            &target.digest,
            &target.queue,
            pos,
            tx.now,
            item.client.as_ref().map(ClientId::as_str),
            item.result_ttl_ms.map(|ttl| ttl.clamp(1, MAX_TTL_MS)),
            times.start_by,
            times.deadline,
            &item.more_json,
            parents.as_ref().map(|parents| parents.chain),
        ),
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    if is_big {
        let insert = "INSERT INTO payloads VALUES (?1, 'i', ?2)";
        tx.execute(insert, (item.id.as_bytes(), item.input.as_ref()))?;
    }
    uses.add(target.digest.as_deref(), 1);
    times.note(tx, item.id, Fare::default())?;
    let starts_at = at(item.start).filter(|starts_at| *starts_at > now);
    if starts_at.is_some() || parents.is_some() {
        // Its place is where it stands when it starts.
        let insert = "INSERT OR IGNORE INTO queues VALUES (?1)";
        tx.execute(insert, [&target.queue])?;
    }
    if let Some(parents) = parents {
        let waiting = Waiting {
            id: item.id,
            queue: &target.queue,
            on_unmet: item.on_unmet,
            starts_at,
            ttl_ms: item.default_ttl_ms,
        };
        if parents.join(tx, &waiting)? {
            return Ok(true);
        }
    }
    if let Some(starts_at) = starts_at {
        times::schedule(tx, item.id, &target.queue, starts_at, Fare::default())?;
        return Ok(true);
    }
    let place = Place {
        queue: &target.queue,
        id: item.id,
        fare: Fare::default(),
        since: now,
        more: &item.more,
    };
    ends.put(tx, &place, pos)?;
    Ok(true)
}

fn is_known(tx: &Tx<'_>, id: InvocationId) -> Result<bool, Fault> {
    let found = tx.query(
        "SELECT 1 FROM invocations WHERE id = ?1",
        [id.as_bytes()],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// What the task's name points to now, or why there is no such task.
fn resolve(
    tx: &Tx<'_>,
    task: &TaskRef,
    queue: Option<&str>,
) -> Result<Result<Target, BrokerError>, Fault> {
    if task.is_built_in() {
        return Ok(Ok(Target {
            digest: None,
            queue: SYSTEM_QUEUE.to_owned(),
            defaults: Rest::default(),
            result_ttl_ms: None,
        }));
    }
    let digest = match &task.module {
        ModuleRef::Digest(_, digest) => Some(digest.as_bytes().to_vec()),
        by_name => super::modules::digest_of_name(tx.db, &by_name.to_string())?,
    };
    let is_module = match &digest {
        Some(digest) => tx
            .query("SELECT 1 FROM modules WHERE digest = ?1", [digest], |_| {
                Ok(())
            })?
            .is_some(),
        None => false,
    };
    let Some(digest) = digest.filter(|_| is_module) else {
        return Ok(Err(BrokerError::NoModule(task.module.clone())));
    };
    let found = tx.query(
        "SELECT queue FROM tasks WHERE digest = ?1 AND task = ?2",
        (&digest, &task.task),
        |row| Ok(super::row::text(row, 0)),
    )?;
    let Some(own) = found else {
        return Ok(Err(BrokerError::NoTask(task.clone())));
    };
    let own = TaskDefaults::read(&own.unwrap_or_default());
    let queue = queue.map(str::to_owned).or(own.queue);
    Ok(Ok(Target {
        digest: Some(digest),
        queue: queue.unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        defaults: own.rest,
        result_ttl_ms: None,
    }))
}
