//! Reserving: what has run out goes back, then the head of the queues is taken and leased.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    EmbeddedBroker,
    bands::Bands,
    ending,
    fault::Fault,
    lease::{millis, put_first, see},
    limits::{self, Limits},
    once, pause,
    row::{self, Fare},
    ticker::Ticker,
    times::Times,
    writer::{Tx, Uses, query, query_all},
};
use crate::{
    BrokerError, Code, Digest, Header, HostId, InvocationId, Lease, Outcome, Payload, Reserve,
    Reserved, Settlement,
    more::More,
    verdict::{CANCELLED, QUARANTINED, Verdict},
};

/// Leases reaped by one reserve.
const REAPED: i64 = 100;

/// An invocation that has killed this many hosts does not run again.
const MAX_CRASHES: i64 = 3;

/// Bytes of input after which one reserve takes no more.
const BUDGET: usize = 8 << 20;

/// How long after a lease has run out it is looked for.
const REAP_SLACK: Duration = Duration::from_millis(1);

/// What one look at the queues found.
struct Look {
    taken: Vec<Taken>,
    /// When the next lease of any host runs out, in milliseconds from now.
    next_expiry_ms: Option<u64>,
    was_interrupted: bool,
}

/// An invocation as it was taken: its record is read outside the transaction.
pub(super) struct Taken {
    lease: Lease,
    fare: Fare,
    /// Whether it counts against a limit until its lease ends.
    holds: bool,
    record: Option<Record>,
    queued_ms: u64,
    reserved_at: u64,
    deadline: Option<u64>,
    trail: Option<Vec<u8>>,
}

/// What the queues yield in one transaction.
#[derive(Default)]
pub(super) struct Yield {
    pub(super) taken: Vec<Taken>,
    /// Bytes of input.
    bytes: usize,
    /// What has waited too long: ended instead of taken.
    over: Vec<(InvocationId, Fare, Verdict)>,
    pub(super) limits: Limits,
    /// What a limit holds back, with its scope, and whether that one had let it go before.
    pub(super) held_back: Vec<HeldBack>,
    /// The scopes that had let go what has been dealt with.
    pub(super) dealt: Vec<String>,
}

/// An invocation that there is no room for.
pub(super) struct HeldBack {
    pub(super) id: InvocationId,
    pub(super) fare: Fare,
    pub(super) since: u64,
    pub(super) more: More,
    pub(super) scope: String,
    pub(super) was_let_go: bool,
}

impl Yield {
    /// Whether more may be taken.
    pub(super) fn has_room(&self, enough: usize) -> bool {
        self.taken.len() < enough && self.bytes < BUDGET
    }
}

struct Record {
    header: Vec<u8>,
    input: Vec<u8>,
    digest: Option<Vec<u8>>,
}

/// Takes what there is, or waits for it.
pub(super) async fn reserve(
    broker: &EmbeddedBroker,
    request: &Reserve,
) -> Result<Vec<Reserved>, BrokerError> {
    if request.max == 0 {
        return Ok(Vec::new());
    }
    if !crate::simulation::is_simulated() {
        broker.ticker.get_or_init(|| Ticker::start(broker));
    }
    let deadline = Instant::now() + request.wait.min(request.lease);
    let hang = broker.switchboard.hang_work_bell();
    hang.map_err(|error| {
        broker
            .store
            .unavailable(format!("no bell can be hung: {error}"))
    })?;
    let seat = broker.switchboard.seat(&request.host, &request.queues);
    loop {
        let look = look(broker, request).await?;
        let found = open_all(broker, look.taken).await?;
        let is_interrupted = seat.take_interrupt() || look.was_interrupted;
        if !found.is_empty() || is_interrupted || Instant::now() >= deadline {
            return Ok(found);
        }
        let expiry = look
            .next_expiry_ms
            .map(|ms| Instant::now() + Duration::from_millis(ms) + REAP_SLACK);
        let until = expiry.map_or(deadline, |expiry| expiry.min(deadline));
        // A bell that rang since the look is still in the seat.
        let _ = tokio::time::timeout_at(until, seat.bell.notified()).await;
    }
}

async fn look(broker: &EmbeddedBroker, request: &Reserve) -> Result<Look, BrokerError> {
    let (mut request, ttl_ms) = (request.clone(), broker.result_ttl_ms());
    let ageing = broker.options.ageing;
    broker
        .writer
        .run(move |tx| {
            reap(tx, ttl_ms)?;
            close_paused(tx, &mut request)?;
            let taken = take(tx, &request, ageing, ttl_ms)?;
            see(tx, &request.host)?;
            let sql = "SELECT until FROM leases ORDER BY until LIMIT 1";
            let until = tx.query(sql, (), |found| Ok(row::count(found, 0)))?;
            let was_interrupted = taken.is_empty() && take_interrupt(tx, &request.host)?;
            Ok(Look {
                taken,
                next_expiry_ms: until.map(|until| until.saturating_sub(tx.now)),
                was_interrupted,
            })
        })
        .await
}

/// Takes the queues that are paused out of the request, with their quotas; all, when its host is.
fn close_paused(tx: &Tx<'_>, request: &mut Reserve) -> Result<(), Fault> {
    let is_open = pause::open_queues(tx, &request.host, &request.queues)?;
    let mut of_queues = is_open.iter().copied();
    request.queues.retain(|_| of_queues.next().unwrap_or(true));
    let mut of_quotas = is_open.iter().copied();
    request.quotas.retain(|_| of_quotas.next().unwrap_or(true));
    Ok(())
}

/// An interrupt that came from another process.
fn take_interrupt(tx: &Tx<'_>, host: &HostId) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM interrupts WHERE host = ?1";
    if tx.query(sql, [host.as_str()], |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    Ok(tx.execute("DELETE FROM interrupts WHERE host = ?1", [host.as_str()])? > 0)
}

/// Gives leases that have run out back to their queues; ends what shall not run again.
fn reap(tx: &mut Tx<'_>, ttl_ms: u64) -> Result<(), Fault> {
    let due = query_all(
        tx.db,
        "SELECT id, host, taken, given_back, crashes, cancel, holds FROM leases WHERE until <= ?1 ORDER BY until DESC LIMIT ?2",
        (tx.now, REAPED),
        |due| {
            let id = (row::id(due, 0), row::bytes(due, 0).unwrap_or_default());
            Ok((
                id,
                row::text(due, 1),
                Fare::read(due, 2),
                row::count(due, 5) > 0,
                row::count(due, 6) > 0,
            ))
        },
    )?;
    let mut uses = Uses::default();
    for ((id, key), host, mut fare, is_cancelled, holds) in due {
        tx.execute("DELETE FROM leases WHERE id = ?1", [&key])?;
        let Some(id) = id else { continue };
        if holds {
            limits::give_back(tx, id)?;
        }
        fare.crashes += 1;
        let ended = (id, fare, host.as_deref());
        if is_cancelled {
            ending::end_by_verdict(tx, &mut uses, ttl_ms, ended, CANCELLED)?;
        } else if fare.crashes >= MAX_CRASHES {
            ending::end_by_verdict(tx, &mut uses, ttl_ms, ended, QUARANTINED)?;
        } else {
            put_first(tx, id, fare)?;
        }
    }
    uses.write(tx)
}

fn take(
    tx: &mut Tx<'_>,
    request: &Reserve,
    ageing: Duration,
    ttl_ms: u64,
) -> Result<Vec<Taken>, Fault> {
    let mut found = Yield {
        limits: Limits::read(tx)?,
        ..Yield::default()
    };
    // The first round gives each queue its share; the second gives what is left to whoever can use it.
    for has_quotas in [true, false] {
        for (index, queue) in request.queues.iter().enumerate() {
            let quota = request.quotas.get(index).filter(|_| has_quotas);
            let before = found.taken.len();
            let enough = quota.map_or(request.max, |quota| {
                request.max.min(before.saturating_add(*quota))
            });
            let bands = Bands {
                request,
                queue,
                ageing,
            };
            if found.has_room(enough) {
                bands.take(tx, enough, &mut found)?;
            }
            pause::count_taken(tx, queue, found.taken.len() - before)?;
        }
        if request.quotas.is_empty() {
            break;
        }
    }
    let mut uses = Uses::default();
    for (id, fare, verdict) in found.over {
        tx.execute("DELETE FROM ends WHERE id = ?1", [id.as_bytes()])?;
        ending::end_by_verdict(tx, &mut uses, ttl_ms, (id, fare, None), verdict)?;
    }
    uses.write(tx)?;
    found.limits.write(tx)?;
    Ok(found.taken)
}

/// Takes the head of one list, at most so many, up to the next turn of a key; how many places of it. Rows without a
/// record are dropped, and others are looked for in their place.
pub(super) fn take_rows(
    tx: &Tx<'_>,
    request: &Reserve,
    list: &str,
    most: usize,
    found: &mut Yield,
) -> Result<usize, Fault> {
    let (mut places, mut last_pos) = (0, 0);
    let mut statement = tx.db.prepare_cached(
        "SELECT r.pos, r.id, r.taken, r.given_back, r.crashes, i.header, i.input, i.digest, r.since, i.big_input,
           i.start_by, i.deadline, i.submitted_at, r.lane IS NOT NULL, i.more, r.scope, i.queue
         FROM ready r LEFT JOIN invocations i ON i.id = r.id AND i.state IS NULL
         WHERE r.list = ?1 ORDER BY r.pos LIMIT ?2",
    )?;
    let mut rows = statement.query((list, i64::try_from(most).unwrap_or(i64::MAX)))?;
    let first = found.taken.len();
    while let Some(row) = rows.next()? {
        if found.bytes >= BUDGET || row::count(row, 13) > 0 {
            break;
        }
        last_pos = row::number(row, 0).unwrap_or(last_pos);
        places += 1;
        take_row(tx, request, row, found)?;
    }
    drop(rows);
    if places > 0 {
        tx.execute(
            "DELETE FROM ready WHERE list = ?1 AND pos <= ?2",
            (list, last_pos),
        )?;
    }
    let until = tx.now.saturating_add(millis(request.lease));
    for Taken {
        lease, fare, holds, ..
    } in found.taken.iter().skip(first)
    {
        tx.execute(
            "INSERT OR REPLACE INTO leases VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
            (
                lease.id.as_bytes(),
                request.host.as_str(),
                until,
                fare.taken,
                fare.given_back,
                fare.crashes,
                holds,
            ),
        )?;
    }
    Ok(places)
}

/// Takes one invocation, unless it is none, or is over.
fn take_row(
    tx: &Tx<'_>,
    request: &Reserve,
    row: &rusqlite::Row<'_>,
    found: &mut Yield,
) -> Result<(), Fault> {
    let let_go_by = row::text(row, 15);
    let (Some(id), Some(_)) = (row::id(row, 1), row::number(row, 12)) else {
        found.dealt.extend(let_go_by);
        return Ok(());
    };
    let (mut fare, times) = (Fare::read(row, 2), Times::read(row, 10));
    if let Some(verdict) = times.verdict(fare.attempts(), tx.now) {
        found.over.push((id, fare, verdict));
        found.dealt.extend(let_go_by);
        return Ok(());
    }
    let more = row::bytes(row, 14).map(|more| More::read(Some(&more)));
    let holds = match admit(tx, id, row, more.as_ref(), found)? {
        Ok(holds) => holds,
        Err(scope) => {
            let more = more.unwrap_or_default();
            hold_back(row, (id, fare, let_go_by), (scope, more), found);
            return Ok(());
        }
    };
    found.dealt.extend(let_go_by);
    if !times.is_empty() {
        tx.execute("DELETE FROM ends WHERE id = ?1", [id.as_bytes()])?;
    }
    let trail = match fare.taken {
        0 => None,
        _ => tx.query(
            "SELECT data FROM trails WHERE id = ?1",
            [id.as_bytes()],
            |found| Ok(row::bytes(found, 0)),
        )?,
    };
    fare.taken += 1;
    if let Some(more) = &more {
        once::taken(tx, id, more)?;
    }
    let record = read_record(tx, id, row)?;
    found.bytes += record.as_ref().map_or(0, |record| record.input.len());
    found.taken.push(Taken {
        lease: Lease {
            id,
            token: row::token(request.host.as_str(), fare.taken),
        },
        fare,
        holds,
        record,
        queued_ms: tx.now.saturating_sub(row::count(row, 8)),
        reserved_at: tx.now,
        deadline: times.deadline,
        trail: trail.flatten(),
    });
    Ok(())
}

/// Whether there is room for it, and whether it counts then; else the scope that holds it back.
fn admit(
    tx: &Tx<'_>,
    id: InvocationId,
    row: &rusqlite::Row<'_>,
    more: Option<&More>,
    found: &mut Yield,
) -> Result<Result<bool, String>, Fault> {
    if !found.limits.are_any {
        return Ok(Ok(false));
    }
    let (header, queue) = (row::bytes(row, 5).unwrap_or_default(), row::text(row, 16));
    let (queue, none) = (queue.unwrap_or_default(), More::default());
    let what = (header.as_slice(), more.unwrap_or(&none));
    found.limits.admit(tx, id, &queue, what)
}

fn hold_back(
    row: &rusqlite::Row<'_>,
    (id, fare, let_go_by): (InvocationId, Fare, Option<String>),
    (scope, more): (String, More),
    found: &mut Yield,
) {
    let was_let_go = let_go_by.as_ref() == Some(&scope);
    if !was_let_go {
        found.dealt.extend(let_go_by);
    }
    found.held_back.push(HeldBack {
        id,
        fare,
        since: row::count(row, 8),
        more,
        scope,
        was_let_go,
    });
}

/// None when the record is damaged.
fn read_record(
    tx: &Tx<'_>,
    id: InvocationId,
    found: &rusqlite::Row<'_>,
) -> Result<Option<Record>, Fault> {
    let Some(header) = row::bytes(found, 5) else {
        return Ok(None);
    };
    let input = match row::count(found, 9) {
        0 => row::bytes(found, 6),
        _ => query(
            tx.db,
            "SELECT data FROM payloads WHERE id = ?1 AND kind = 'i'",
            [id.as_bytes()],
            |data| Ok(row::bytes(data, 0)),
        )?
        .flatten(),
    };
    Ok(input.map(|input| Record {
        header,
        input,
        digest: row::bytes(found, 7),
    }))
}

/// Reads the records; what is damaged is settled as a failure, so that it stands in nobody's way.
async fn open_all(
    broker: &EmbeddedBroker,
    taken: Vec<Taken>,
) -> Result<Vec<Reserved>, BrokerError> {
    let mut reserved = Vec::with_capacity(taken.len());
    let mut damaged = Vec::new();
    for item in taken {
        match open(item) {
            Ok(item) => reserved.push(item),
            Err(settlement) => damaged.push(*settlement),
        }
    }
    if !damaged.is_empty() {
        super::settle::settle(broker, damaged).await?;
    }
    Ok(reserved)
}

fn open(taken: Taken) -> Result<Reserved, Box<Settlement>> {
    let Taken {
        lease,
        fare,
        record,
        holds: _,
        queued_ms,
        reserved_at,
        deadline,
        trail,
    } = taken;
    let parsed = (|| {
        let record = record.ok_or("its header or input is missing")?;
        let header: Header = serde_json::from_slice(&record.header)
            .map_err(|error| format!("its header: {error}"))?;
        let digest = record
            .digest
            .map(|digest| ending::hex(&digest).parse::<Digest>());
        let digest = digest.transpose().map_err(|error| error.to_string())?;
        let trail = row::parse_trail(lease.id, trail.as_deref());
        let trail = trail.map_err(|error| format!("its trail: {error}"))?;
        Ok::<_, String>((header, digest, record.input, trail))
    })();
    match parsed {
        Ok((header, digest, input, trail)) => Ok(Reserved {
            input: Payload::bytes(header.content_type.clone(), input),
            header,
            digest,
            attempt: fare.attempts(),
            crashes: fare.crashes(),
            reserved_at_ms: reserved_at,
            remaining: deadline
                .map(|deadline| Duration::from_millis(deadline.saturating_sub(reserved_at))),
            trail,
            queued_for: Duration::from_millis(queued_ms),
            is_cancelled: false,
            lease,
        }),
        Err(reason) => {
            let id = lease.id;
            tracing::error!(%id, reason, "a damaged invocation was failed");
            let message =
                format!("the record of invocation {id} is damaged in the store: {reason}");
            let outcome = Outcome::failed(Code::HostFault, message);
            Err(Box::new(Settlement::end(lease, outcome)))
        }
    }
}

/// Makes a reserve that waits return, in whichever process it waits.
pub(super) async fn interrupt(broker: &EmbeddedBroker, host: &HostId) -> Result<(), BrokerError> {
    if broker.switchboard.interrupt(host) {
        return Ok(());
    }
    let host = host.clone();
    broker
        .writer
        .run(move |tx| {
            tx.execute(
                "INSERT OR REPLACE INTO interrupts VALUES (?1, ?2)",
                (host.as_str(), tx.now),
            )?;
            tx.say(super::switchboard::News::Interrupt(host));
            Ok(())
        })
        .await
}
