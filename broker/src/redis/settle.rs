//! Settling: outcomes in, replies out, a whole batch in one call of one script.

use bytes::Bytes;

use super::{CHUNK, CHUNK_BYTES, REPLY_CAP, RedisBroker, reply_ttl_ms, script::SETTLE, value};
use crate::{BrokerError, Code, Ending, LimitHit, Outcome, Settled, Settlement, State};

/// The largest outcome that is pushed whole; a larger one is read from the store by who wants it.
const INLINE_BYTES: usize = 4096;

/// Settlements in one call. Smaller than elsewhere: everybody who waits for Redis waits for this.
const BATCH: usize = CHUNK / 2;

/// A settlement that is ready to be sent.
struct Ready {
    lease: crate::Lease,
    /// As `settle.lua` reads it.
    state: String,
    /// The head, and a small output behind a line feed, which stands in no JSON that is written without layout.
    result: Vec<u8>,
    /// Whether the result is everything there is, and is pushed.
    is_whole: bool,
    /// An output that is not in the result, what a failure can be run again with, or the trail of an invocation that is
    /// tried again.
    output: Bytes,
}

/// Ends attempts, in order.
pub(super) async fn settle(
    broker: &RedisBroker,
    batch: Vec<Settlement>,
) -> Result<Vec<Settled>, BrokerError> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut chunk: Vec<Ready> = Vec::with_capacity(batch.len().min(BATCH));
    let mut bytes = 0;
    for settlement in batch {
        let ready = prepare(broker, settlement)?;
        let size = ready.result.len() + ready.output.len();
        if chunk.len() >= BATCH || (!chunk.is_empty() && bytes + size > CHUNK_BYTES) {
            send(broker, &std::mem::take(&mut chunk), bytes, &mut answers).await?;
            bytes = 0;
        }
        bytes += size;
        chunk.push(ready);
    }
    send(broker, &chunk, bytes, &mut answers).await?;
    Ok(answers)
}

fn prepare(broker: &RedisBroker, settlement: Settlement) -> Result<Ready, BrokerError> {
    let (outcome, retry) = match settlement.ending {
        Ending::Final(outcome) => (within_cap(broker, outcome), None),
        Ending::Retry {
            pause,
            trail,
            outcome,
        } => (outcome, Some((pause, trail))),
    };
    let state = match (&retry, outcome.state()) {
        (Some((pause, _)), _) => format!("w{}", pause.as_millis()),
        (None, State::Succeeded) => "s".to_owned(),
        (None, State::Cancelled) => "c".to_owned(),
        (None, _) => "f".to_owned(),
    };
    let (head, output) = outcome.into_parts();
    let mut result = serde_json::to_vec(&head)
        .map_err(|error| value::damaged("an outcome", error.to_string()))?;
    let is_whole = result.len() + output.as_ref().map_or(0, Bytes::len) <= INLINE_BYTES;
    let mut apart = Bytes::new();
    match output {
        Some(output) if is_whole => {
            result.push(b'\n');
            result.extend_from_slice(&output);
        }
        Some(output) => apart = output,
        None => {}
    }
    if state == "f"
        && let Some(recording) = settlement.recording
    {
        apart = recording;
    }
    if let Some((_, trail)) = retry {
        let trail = serde_json::to_vec(&trail);
        apart = trail
            .map_err(|error| value::damaged("a trail", error.to_string()))?
            .into();
    }
    Ok(Ready {
        lease: settlement.lease,
        state,
        result,
        is_whole,
        output: apart,
    })
}

/// An output over the cap becomes a failure before anything is sent.
fn within_cap(broker: &RedisBroker, outcome: Outcome) -> Outcome {
    let limit = broker.options.caps.output_bytes;
    let seen = outcome
        .output
        .as_ref()
        .map_or(0, |output| output.data.len() as u64);
    if seen <= limit {
        return outcome;
    }
    let mut failed = Outcome::failed(
        Code::OutputTooLarge,
        format!("the output has {seen} bytes and a result may have {limit}"),
    );
    failed.usage = outcome.usage;
    if let Some(failure) = &mut failed.failure {
        failure.limit = Some(LimitHit {
            name: "output_bytes".to_owned(),
            allowed: limit,
            seen,
            remedy: "return less, or raise `output_bytes` on the hosts".to_owned(),
        });
    }
    failed
}

async fn send(
    broker: &RedisBroker,
    chunk: &[Ready],
    bytes: usize,
    answers: &mut Vec<Settled>,
) -> Result<(), BrokerError> {
    if chunk.is_empty() {
        return Ok(());
    }
    let mut call = SETTLE.call(3 + 6 * chunk.len(), bytes + 128 * chunk.len());
    call.arg(broker.retention())
        .arg(reply_ttl_ms())
        .arg(REPLY_CAP);
    for ready in chunk {
        call.arg(ready.lease.id.to_string())
            .arg(ready.lease.token.as_str())
            .arg(ready.state.as_str())
            .arg(ready.result.as_slice())
            .arg(u8::from(ready.is_whole))
            .arg(ready.output.as_ref());
    }
    let first = answers.len();
    answers.resize(first + chunk.len(), Settled::Written);
    for number in value::list(broker.link.call(&call).await?)? {
        let number = usize::try_from(value::count(&number)).unwrap_or(usize::MAX);
        if let Some(answer) = answers.get_mut(first.saturating_add(number).saturating_sub(1)) {
            *answer = Settled::Stale;
        }
    }
    Ok(())
}
