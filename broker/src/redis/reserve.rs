//! Reserving: take and lease in one script; wait on markers when there is nothing.
//!
//! A wait is one pipeline, [BZPOPMIN markers, reserve]: the wake-up costs no further round trip, and no
//! state is ever only in a socket. A marker is there whenever a queue holds work that no reserve is
//! about to look at: submit sets it, and reserve sets it again when it leaves work behind.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use ::redis::{RedisError, Value, aio::MultiplexedConnection, cmd, pipe};
use tokio::{sync::Mutex, time::timeout};

use super::{
    REPLY_CAP, RedisBroker,
    connection::{is_lost, is_unknown_script, run_pipeline},
    key,
    outcome::split_header,
    reply_ttl_ms,
    script::{Call, RESERVE},
    ticker::Ticker,
    value,
};
use crate::{
    Attempt, BrokerError, Code, Digest, HostId, Lease, Outcome, Payload, Reserve, Reserved,
    Settlement, Token, priority::AGED_SHARE,
};

/// Hosts that an invocation may take down with it before it is quarantined.
const MAX_CRASHES: u32 = 3;

/// Bytes of input after which a call takes no more invocations.
const BUDGET: usize = 8 << 20;

/// The longest single wait. Each wait refreshes the host's liveness, and shows a dead connection.
const MAX_BLOCK: Duration = Duration::from_secs(10);

/// A wait shorter than this is not worth a round trip.
const MIN_BLOCK: Duration = Duration::from_millis(5);

/// A host that is silent is dead only after its lease; looking this much later finds it at once.
const REAP_SLACK: Duration = Duration::from_millis(300);

/// What an answer may take beyond the wait itself.
const ANSWER_SLACK: Duration = Duration::from_secs(5);

/// The blocking connection of each host.
#[derive(Default)]
pub(super) struct Reservations(std::sync::Mutex<HashMap<HostId, Arc<Mutex<Reservation>>>>);

impl std::fmt::Debug for Reservations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reservations")
    }
}

/// What is known between two reserves of one host.
struct Reservation {
    /// Closed when the broker is dropped, or when it breaks.
    connection: Option<MultiplexedConnection>,
    /// Whether work may remain: then looking comes before waiting.
    may_remain: bool,
    /// When the next lease of any host runs out.
    next_expiry: Option<Instant>,
}

impl Reservations {
    fn of(&self, host: &HostId) -> Arc<Mutex<Reservation>> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            Arc::new(Mutex::new(Reservation {
                connection: None,
                may_remain: true,
                next_expiry: None,
            }))
        };
        Arc::clone(hosts.entry(host.clone()).or_insert_with(fresh))
    }
}

/// Takes what there is, or waits for it.
pub(super) async fn reserve(
    broker: &RedisBroker,
    request: &Reserve,
) -> Result<Vec<Reserved>, BrokerError> {
    if request.max == 0 {
        return Ok(Vec::new());
    }
    if !crate::simulation::is_simulated() {
        broker.ticker.get_or_init(|| Ticker::start(broker));
    }
    let deadline = Instant::now() + request.wait.min(request.lease);
    let reservation = broker.reservations.of(&request.host);
    let mut reservation = reservation.lock().await;
    let call = prepare(broker, request);
    let mut only_look = reservation.may_remain || request.wait.is_zero();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = (!only_look).then(|| reservation.next_wait(left));
        let result = exchange(broker, &mut reservation, &call, request, wait).await;
        if result.is_err() {
            reservation.connection = None;
        }
        let (values, was_woken) = result?;
        let taken = reservation.read(broker, values).await?;
        // A wait may end a moment early: no second wait for the rest.
        let is_over = Instant::now() + MIN_BLOCK >= deadline;
        if !taken.is_empty() || was_woken == Woken::Interrupted || is_over {
            return Ok(taken);
        }
        only_look = reservation.may_remain;
    }
}

/// Makes a reserve that waits return. A marker of its own, because it cannot come too early: a
/// reserve that is just about to wait finds it.
pub(super) async fn interrupt(broker: &RedisBroker, host: &HostId) -> Result<(), BrokerError> {
    let marker = interrupt_marker(host);
    broker
        .link
        .run(cmd("ZADD").arg(&marker).arg(0).arg("0"))
        .await?;
    broker
        .link
        .run(cmd("PEXPIRE").arg(&marker).arg(60_000))
        .await?;
    Ok(())
}

/// `@` stands in no queue's name.
fn interrupt_marker(host: &HostId) -> String {
    key("wake:@", host)
}

#[derive(Clone, Copy, PartialEq)]
enum Woken {
    ByWork,
    ByTime,
    Interrupted,
}

fn prepare(broker: &RedisBroker, request: &Reserve) -> Call {
    let mut call = RESERVE.call(14 + 2 * request.queues.len(), 1024);
    call.arg(request.host.as_str())
        .arg(request.max)
        .arg(u64::try_from(request.lease.as_millis()).unwrap_or(u64::MAX >> 16))
        .arg(BUDGET)
        .arg(MAX_CRASHES)
        .arg(&broker.heads.cancelled)
        .arg(&broker.heads.quarantined)
        .arg(broker.result_ttl_ms())
        .arg(reply_ttl_ms())
        .arg(REPLY_CAP)
        .arg(&broker.heads.expired)
        .arg(&broker.heads.past_deadline)
        .arg(u64::try_from(broker.options.ageing.as_millis()).unwrap_or(u64::MAX >> 16))
        .arg(AGED_SHARE);
    for (index, queue) in request.queues.iter().enumerate() {
        let quota = request.quotas.get(index).copied();
        call.arg(queue.as_str()).arg(quota.unwrap_or(request.max));
    }
    call
}

/// One round trip: the script, after a wait where there is one.
async fn exchange(
    broker: &RedisBroker,
    reservation: &mut Reservation,
    call: &Call,
    request: &Reserve,
    wait: Option<Duration>,
) -> Result<(Vec<Value>, Woken), BrokerError> {
    let connection = match &mut reservation.connection {
        Some(connection) => connection,
        none => none.insert(broker.link.dedicated().await?),
    };
    let limit = wait.unwrap_or_default() + ANSWER_SLACK;
    let sent = timeout(limit, send(connection, call, request, wait)).await;
    let (marker, answer) = match sent {
        Ok(result) => result.map_err(|error| broker.link.error(&error))?,
        Err(_) => {
            return Err(broker
                .link
                .unavailable(format!("no answer within {limit:?}")));
        }
    };
    let woken = match marker {
        Value::Array(parts) => match parts.into_iter().next().and_then(value::text) {
            Some(marker) if marker == interrupt_marker(&request.host) => Woken::Interrupted,
            _ => Woken::ByWork,
        },
        _ => Woken::ByTime,
    };
    let answer = answer.map_err(|error| broker.link.script_error("reserve", &error))?;
    Ok((value::list(answer)?, woken))
}

async fn send(
    connection: &mut MultiplexedConnection,
    call: &Call,
    request: &Reserve,
    wait: Option<Duration>,
) -> Result<(Value, Result<Value, RedisError>), RedisError> {
    let mut pipeline = pipe();
    if let Some(wait) = wait {
        let mut block = cmd("BZPOPMIN");
        block.arg(interrupt_marker(&request.host));
        for queue in &request.queues {
            block.arg(key("wake:", queue));
        }
        // Redis takes 0 for "for ever".
        block.arg(format!("{:.3}", wait.as_secs_f64().max(0.001)));
        pipeline.add_command(block);
    }
    pipeline.add_command(call.command().clone());
    let mut answers = run_pipeline(connection, &mut pipeline).await?;
    let answer = answers.pop().unwrap_or_default().extract_error();
    let marker = answers.pop().unwrap_or_default().extract_error()?;
    match answer {
        Err(error) if is_unknown_script(&error) => {
            let again = connection
                .send_packed_command(&call.command_with_source())
                .await?;
            Ok((marker, again.extract_error()))
        }
        Err(error) if is_lost(&error) => Err(error),
        other => Ok((marker, other)),
    }
}

impl Reservation {
    /// How long to wait at once: no longer than until a lease may have run out.
    fn next_wait(&self, left: Duration) -> Duration {
        let until_expiry = match self.next_expiry {
            Some(expiry) => expiry.saturating_duration_since(Instant::now()) + REAP_SLACK,
            None => MAX_BLOCK,
        };
        left.min(until_expiry).min(MAX_BLOCK)
    }

    async fn read(
        &mut self,
        broker: &RedisBroker,
        values: Vec<Value>,
    ) -> Result<Vec<Reserved>, BrokerError> {
        let mut values = values.into_iter();
        self.may_remain = values.next().is_some_and(|more| value::count(&more) > 0);
        self.next_expiry = values
            .next()
            .and_then(|ms| u64::try_from(value::number(&ms)?).ok())
            .map(|ms| Instant::now() + Duration::from_millis(ms));
        let now = values.next().map_or(0, |now| value::count(&now));
        let mut taken = Vec::new();
        let mut damaged = Vec::new();
        for record in value::records::<6>(values.collect()) {
            match read_record(record, now) {
                Ok(reserved) => taken.push(reserved),
                Err(Some(settlement)) => damaged.push(*settlement),
                Err(None) => {}
            }
        }
        if !damaged.is_empty() {
            super::settle::settle(broker, damaged).await?;
        }
        Ok(taken)
    }
}

/// The invocation; or, when its record is damaged, the failure to settle it with.
fn read_record(record: [Value; 6], now: u64) -> Result<Reserved, Option<Box<Settlement>>> {
    let [id, token, header, digest, input, history] = record;
    let id = value::id(id).map_err(|_| None)?;
    let token = value::text(token).ok_or(None)?;
    let attempt = token
        .rsplit_once('.')
        .and_then(|(_, attempt)| attempt.parse().ok());
    let lease = Lease {
        id,
        token: Token::from(token),
    };
    let parsed = (|| {
        let header = value::text(header).ok_or("its header is missing")?;
        let (submitted_at, _, header) = split_header(&header)?;
        let digest = match value::text(digest).filter(|hex| !hex.is_empty()) {
            Some(hex) => Some(hex.parse::<Digest>().map_err(|error| error.to_string())?),
            None => None,
        };
        let input = value::bytes(input).ok_or("its input is missing")?;
        let history = History::read(&value::text(history).unwrap_or_default())?;
        Ok::<_, String>((header, digest, input, submitted_at, history))
    })();
    match parsed {
        Ok((header, digest, input, submitted_at, history)) => Ok(Reserved {
            lease,
            digest,
            input: Payload {
                content_type: header.content_type.clone(),
                data: input.into(),
            },
            header,
            attempt: attempt.unwrap_or(1),
            crashes: history.crashes,
            queued_for: Duration::from_millis(
                now.saturating_sub(submitted_at.max(history.started_at)),
            ),
            reserved_at_ms: now,
            remaining: history
                .deadline
                .map(|deadline| Duration::from_millis(deadline.saturating_sub(now))),
            trail: history.trail,
            is_cancelled: false,
        }),
        Err(reason) => {
            let message =
                format!("the record of invocation {id} is damaged in the store: {reason}");
            tracing::error!(%id, reason, "a damaged invocation was failed");
            let outcome = Outcome::failed(Code::HostFault, message);
            Err(Some(Box::new(Settlement::end(lease, outcome))))
        }
    }
}

/// What `reserve.lua` says of an invocation that was taken before or has times.
#[derive(Default)]
struct History {
    crashes: u32,
    deadline: Option<u64>,
    /// When it might start; 0: at once.
    started_at: u64,
    trail: Vec<Attempt>,
}

impl History {
    fn read(text: &str) -> Result<Self, String> {
        let Some((numbers, trail)) = text.split_once('\n') else {
            return Ok(Self::default());
        };
        let mut numbers = numbers.split(' ').map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Ok(Self {
            crashes: u32::try_from(next()).unwrap_or(u32::MAX),
            deadline: Some(next()).filter(|deadline| *deadline > 0),
            started_at: next(),
            trail: read_trail(trail.as_bytes()).map_err(|error| format!("its trail: {error}"))?,
        })
    }
}

/// Field a: the attempts that failed; none when there is nothing.
pub(super) fn read_trail(field: &[u8]) -> Result<Vec<Attempt>, serde_json::Error> {
    match field {
        [] => Ok(Vec::new()),
        json => serde_json::from_slice(json),
    }
}
