//! What anybody can ask about an invocation, and ask of it: status, outcome, cancel.

use bytes::Bytes;
use rusqlite::{Connection, Row};

use super::{
    EmbeddedBroker, ending,
    fault::Fault,
    follow::Note,
    row::{self, Fare},
    switchboard::News,
    times::{self, Times},
    writer::{Tx, Uses, query},
};
use crate::{
    BrokerError, CancelResult, ClientId, Header, HostId, InvocationId, Outcome, OutcomeHead,
    Progress, State, Status, verdict::CANCELLED,
};

/// Clients that are told of one invocation's end.
const MAX_WAITERS: usize = 64;

/// Invocations in one request to the writer.
const CHUNK: usize = 500;

/// An outcome, none while there is none, or why there is no record.
pub(super) type Read = Result<Option<Outcome>, BrokerError>;

/// What is stored about an invocation, before it is parsed.
pub(super) struct Raw {
    header: Vec<u8>,
    pub(super) queue: String,
    digest: Option<Vec<u8>>,
    pub(super) submitted_at: u64,
    pub(super) state: State,
    fare: Fare,
    host: Option<HostId>,
    is_cancel_requested: bool,
    progress: Option<Vec<u8>>,
    head: Option<Vec<u8>>,
    starts_at: Option<u64>,
    times: Times,
    trail: Option<Vec<u8>>,
}

/// Where an invocation stands.
pub(super) async fn status(
    broker: &EmbeddedBroker,
    id: InvocationId,
) -> Result<Status, BrokerError> {
    let now = broker.clock.now();
    let raw = broker
        .reader
        .run(move |db| read_status(db, id, now))
        .await?;
    to_status(id, raw.ok_or_else(|| broker.missing(id))?)
}

/// What is stored, parsed.
pub(super) fn to_status(id: InvocationId, raw: Raw) -> Result<Status, BrokerError> {
    let header: Header = row::parse(id, &raw.header)?;
    Ok(Status {
        id,
        task: header.task,
        parent: header.options.parent,
        retry_of: header.options.retry_of,
        after: header.options.after,
        module: raw
            .digest
            .map(|digest| ending::hex(&digest).parse())
            .transpose()?,
        queue: raw.queue,
        state: raw.state,
        submitted_at_ms: raw.submitted_at,
        due_at_ms: raw.starts_at,
        expires_at_ms: raw.times.start_by,
        deadline_at_ms: raw.times.deadline,
        attempts: raw.fare.attempts(),
        crashes: raw.fare.crashes(),
        host: raw.host,
        trail: row::parse_trail(id, raw.trail.as_deref())?,
        is_cancel_requested: raw.is_cancel_requested,
        progress: raw
            .progress
            .map(|json| row::parse::<Progress>(id, &json))
            .transpose()?,
        outcome: raw
            .head
            .map(|json| row::parse::<OutcomeHead>(id, &json))
            .transpose()?,
    })
}

/// Reads `Raw` and, last, the id; what follows says which.
pub(super) const SELECT_STATUS: &str =
    "SELECT i.header, i.queue, i.digest, i.submitted_at, i.state, i.head, p.data,
       l.host, coalesce(i.cancel, l.cancel, 0),
       coalesce(i.attempts, l.taken, r.taken, s.taken),
       CASE WHEN i.state IS NULL THEN coalesce(l.given_back, r.given_back, s.given_back) ELSE 0 END,
       coalesce(i.crashes, l.crashes, r.crashes, s.crashes),
       s.starts_at, i.start_by, i.deadline, t.data, i.id, i.expires_at IS NULL OR i.expires_at > ?2, b.id IS NOT NULL,
       i.more
     FROM invocations i
     LEFT JOIN leases l ON l.id = i.id
     LEFT JOIN ready r ON r.list = coalesce(i.list, i.queue) AND r.pos = i.pos AND r.id = i.id
     LEFT JOIN scheduled s ON s.id = i.id
     LEFT JOIN blocked b ON b.id = i.id
     LEFT JOIN progress p ON p.id = i.id
     LEFT JOIN trails t ON t.id = i.id";

pub(super) fn read_status(
    db: &Connection,
    id: InvocationId,
    now: u64,
) -> Result<Option<Raw>, Fault> {
    let sql =
        format!("{SELECT_STATUS} WHERE i.id = ?1 AND (i.expires_at IS NULL OR i.expires_at > ?2)");
    query(db, &sql, (id.as_bytes(), now), |found| Ok(read_raw(found)))
}

pub(super) fn read_raw(found: &Row<'_>) -> Raw {
    let host = row::text(found, 7).map(HostId::from);
    let ended = row::text(found, 4).map(|state| ending::ended_state(&state));
    let starts_at = row::number(found, 12).map(|_| row::count(found, 12));
    Raw {
        header: row::bytes(found, 0).unwrap_or_default(),
        queue: row::text(found, 1).unwrap_or_default(),
        digest: row::bytes(found, 2),
        submitted_at: row::count(found, 3),
        state: match (ended, &host) {
            (Some(state), _) => state,
            (None, Some(_)) => State::Running,
            (None, None) if starts_at.is_some() => State::Scheduled,
            (None, None) if row::count(found, 18) > 0 => State::Blocked,
            (None, None) => State::Queued,
        },
        head: row::bytes(found, 5),
        progress: row::bytes(found, 6),
        is_cancel_requested: row::count(found, 8) > 0,
        fare: Fare::read(found, 9),
        host,
        starts_at,
        times: Times::read(found, 13),
        trail: row::bytes(found, 15),
    }
}

/// The outcome of one invocation.
pub(super) async fn outcome(
    broker: &EmbeddedBroker,
    id: InvocationId,
    waiter: Option<&ClientId>,
) -> Read {
    outcomes(broker, &[id], waiter)
        .await?
        .pop()
        .unwrap_or(Ok(None))
}

/// The outcomes of many, in order. Whoever is not yet among the waiters of what has not ended is added.
pub(super) async fn outcomes(
    broker: &EmbeddedBroker,
    ids: &[InvocationId],
    waiter: Option<&ClientId>,
) -> Result<Vec<Read>, BrokerError> {
    let mut answers = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let (asked, client, now) = (chunk.to_vec(), waiter.cloned(), broker.clock.now());
        let found = broker.reader.run(move |db| {
            asked
                .iter()
                .map(|id| find(db, *id, now))
                .collect::<Result<Vec<_>, _>>()
        });
        let mut found = found.await?;
        if let Some(client) = client {
            wait_for(broker, chunk, &mut found, client).await?;
        }
        answers.extend(
            chunk
                .iter()
                .zip(found)
                .map(|(id, found)| found.read(broker, *id)),
        );
    }
    Ok(answers)
}

/// What there is of an outcome.
enum Found {
    Missing,
    /// Not ended; with its waiters.
    Waiting(Option<String>),
    Ended(Vec<u8>, Option<Bytes>),
}

impl Found {
    fn read(self, broker: &EmbeddedBroker, id: InvocationId) -> Read {
        match self {
            Self::Missing => Err(broker.missing(id)),
            Self::Waiting(_) => Ok(None),
            Self::Ended(head, output) => {
                Ok(Some(Outcome::from_parts(row::parse(id, &head)?, output)))
            }
        }
    }

    fn needs(&self, client: &ClientId) -> bool {
        match self {
            Self::Waiting(waiters) => {
                !names(waiters.as_deref()).any(|name| name == client.as_str())
            }
            _ => false,
        }
    }
}

fn names(waiters: Option<&str>) -> impl Iterator<Item = &str> {
    waiters.unwrap_or_default().split_ascii_whitespace()
}

fn find(db: &Connection, id: InvocationId, now: u64) -> Result<Found, Fault> {
    let found = query(
        db,
        "SELECT head, coalesce(output, (SELECT data FROM payloads p WHERE p.id = invocations.id AND kind = 'o')),
           waiters, state
         FROM invocations WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
        (id.as_bytes(), now),
        |found| {
            Ok(match row::text(found, 3) {
                None => Found::Waiting(row::text(found, 2)),
                Some(_) => Found::Ended(row::bytes(found, 0).unwrap_or_default(), row::bytes(found, 1).map(Bytes::from)),
            })
        },
    )?;
    Ok(found.unwrap_or(Found::Missing))
}

async fn wait_for(
    broker: &EmbeddedBroker,
    ids: &[InvocationId],
    found: &mut [Found],
    client: ClientId,
) -> Result<(), BrokerError> {
    let pending = ids.iter().zip(found.iter()).enumerate();
    let pending = pending
        .filter(|(_, (_, found))| found.needs(&client))
        .map(|(index, (id, _))| (index, *id));
    let pending: Vec<(usize, InvocationId)> = pending.collect();
    if pending.is_empty() {
        return Ok(());
    }
    let late = broker.writer.run(move |tx| {
        let mut late = Vec::new();
        for (index, id) in pending {
            // It may have ended meanwhile: then it is told here and nowhere else.
            let mut now_found = find(tx.db, id, tx.now)?;
            if now_found.needs(&client) {
                add_waiter(tx, id, &mut now_found, &client)?;
            }
            late.push((index, now_found));
        }
        Ok(late)
    });
    for (index, now_found) in late.await? {
        if let Some(found) = found.get_mut(index) {
            *found = now_found;
        }
    }
    Ok(())
}

fn add_waiter(
    tx: &Tx<'_>,
    id: InvocationId,
    found: &mut Found,
    client: &ClientId,
) -> Result<(), Fault> {
    let Found::Waiting(waiters) = found else {
        return Ok(());
    };
    if names(waiters.as_deref()).count() >= MAX_WAITERS {
        return Ok(());
    }
    let all = names(waiters.as_deref())
        .chain([client.as_str()])
        .collect::<Vec<_>>()
        .join(" ");
    tx.execute(
        "UPDATE invocations SET waiters = ?2 WHERE id = ?1",
        (id.as_bytes(), all),
    )?;
    Ok(())
}

/// Stops an invocation.
pub(super) async fn cancel(
    broker: &EmbeddedBroker,
    id: InvocationId,
    has_children: bool,
) -> Result<CancelResult, BrokerError> {
    let ttl_ms = broker.result_ttl_ms();
    let cancel = move |tx: &mut Tx<'_>| {
        if has_children {
            let told = None;
            tx.note(Note::Fell { id, told, ttl_ms });
        }
        cancel_in(tx, id, ttl_ms, if has_children { 2 } else { 1 })
    };
    let result = broker.writer.run(cancel).await?;
    result.ok_or_else(|| broker.missing(id))
}

/// Stops one; none when there is no record. `mark` is kept with the request: 2 has what it calls from now on refused.
pub(super) fn cancel_in(
    tx: &mut Tx<'_>,
    id: InvocationId,
    ttl_ms: u64,
    mark: i64,
) -> Result<Option<CancelResult>, Fault> {
    let record = tx.query(
        "SELECT state IS NOT NULL FROM invocations WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
        (id.as_bytes(), tx.now),
        |found| Ok(row::count(found, 0) > 0),
    )?;
    match record {
        None => return Ok(None),
        Some(true) => return Ok(Some(CancelResult::AlreadyEnded)),
        Some(false) => {}
    }
    let host = tx.query(
        "UPDATE leases SET cancel = max(cancel, ?2) WHERE id = ?1 RETURNING host",
        (id.as_bytes(), mark),
        |found| Ok(row::text(found, 0).unwrap_or_default()),
    )?;
    if let Some(host) = host {
        tell_host(tx, HostId::from(host), id)?;
        return Ok(Some(CancelResult::Requested));
    }
    let fare = times::take_out(tx, id)?;
    let mut uses = Uses::default();
    ending::end_by_verdict(
        tx,
        &mut uses,
        ttl_ms,
        (id, fare.unwrap_or_default(), None),
        CANCELLED,
    )?;
    uses.write(tx)?;
    Ok(Some(CancelResult::Cancelled))
}

fn tell_host(tx: &mut Tx<'_>, host: HostId, id: InvocationId) -> Result<(), Fault> {
    if tx.switchboard.has_host(&host) {
        tx.say(News::Cancel(host, id));
        return Ok(());
    }
    let sql = "SELECT bell FROM listeners WHERE topic = ?1";
    if let Some(bell) = tx.query(sql, [format!("h:{host}")], |found| found.get(0))? {
        tx.say(News::Talk(bell));
    }
    Ok(())
}
