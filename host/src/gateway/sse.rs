//! Server-sent events: what one invocation reports, and the results that one client waits for.
//!
//! Each stream has a task that writes into a channel of a few events and waits when it is full: a client that does not
//! read holds up its own stream only, until its connection is given up (see [`super::listener`]).

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use celeriac_broker::{ClientId, Event, EventKind, InvocationId, Outcome, Reply};
use celeriac_client::Handle;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use utoipa::IntoParams;

use super::{
    api::Api,
    extract::{Path, Query},
    openapi::Refusals,
    problem::Problem,
    result::{Ended, embed},
};

/// Events that wait for a client to read them.
const WAITING: usize = 16;
/// How often a silent stream says that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// The id of the last event.
const END: &str = "end";
/// Outputs up to this size are pushed with their result.
const PUSHED_BYTES: usize = 256 << 10;

/// Where to begin, and what to send.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Follow {
    /// The id of the last event that was seen; the header `Last-Event-ID` goes before it.
    after: Option<String>,
    /// Which events to send, with commas between: `progress`, `log`, `chunk`, `result`; left out: all. Without `result`
    /// the end is told by an event `end`, which says nothing more.
    #[param(pattern = "^(progress|log|chunk|result)(,(progress|log|chunk|result))*$")]
    kinds: Option<String>,
}

/// What an invocation reports, as it comes
///
/// Events `progress`, `log`, `chunk`, and at the end `result`, or `end` where `kinds` leaves that out. The last one has
/// the id `end`, after which there is nothing: `204`.
#[utoipa::path(
    get, path = "/invocations/{id}/events", tag = "invocations", operation_id = "events",
    params(("id" = InvocationId, Path, description = "The invocation"), Follow), security(("token" = ["read"])),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 204, description = "The event `end` was the last"),
        Refusals,
    )
)]
pub(crate) async fn events(
    State(api): State<Arc<Api>>,
    Path(id): Path<InvocationId>,
    Query(follow): Query<Follow>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kinds = Kinds::read(follow.kinds.as_deref())?;
    let last = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?").to_owned());
    let after = last.or(follow.after).filter(|after| !after.is_empty());
    if after.as_deref() == Some(END) {
        api.broker.outcome(id, None).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let handle = api.client.handle(id);
    open(&api, move |stream| async move {
        tell_events(&handle, after.as_deref(), kinds, stream).await
    })
    .await
}

/// The writing end of a stream.
struct Stream {
    events: mpsc::Sender<Bytes>,
    /// Told once whether there is a stream at all.
    opened: Option<oneshot::Sender<Result<(), Problem>>>,
}

/// The client has gone.
struct Gone;

impl Stream {
    fn begin(&mut self) {
        self.answer(Ok(()));
    }

    fn answer(&mut self, answer: Result<(), Problem>) {
        if let Some(opened) = self.opened.take() {
            // Nobody is there to hear it when the request was given up.
            let _ = opened.send(answer);
        }
    }

    async fn send(&self, text: String) -> Result<(), Gone> {
        self.events.send(text.into()).await.map_err(|_| Gone)
    }

    async fn send_json(&self, name: &str, id: &str, data: &impl Serialize) -> Result<(), Gone> {
        let text = serde_json::to_string(data).unwrap_or_default();
        self.send(event(name, id, &text)).await
    }

    async fn sign_of_life(&self) -> Result<(), Gone> {
        self.send(":\n\n".to_owned()).await
    }
}

/// Starts a stream that `tell` writes; the answer waits until it knows whether there is one.
async fn open<F>(api: &Arc<Api>, tell: impl FnOnce(Stream) -> F) -> Result<Response, Problem>
where
    F: Future<Output = ()> + Send + 'static,
{
    let permit = api.stream()?;
    let (events, mut receiver) = mpsc::channel(WAITING);
    let (opened, is_open) = oneshot::channel();
    let (gone, closing) = (events.clone(), api.closing.clone());
    let told = tell(Stream {
        events,
        opened: Some(opened),
    });
    tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            () = told => {}
            () = gone.closed() => {}
            () = closing.cancelled() => {}
        }
    });
    let failed = || Problem::new("unavailable", "the host is stopping");
    is_open.await.map_err(|_| failed())??;
    let events = stream::poll_fn(move |cx| {
        receiver
            .poll_recv(cx)
            .map(|event| event.map(Ok::<_, std::convert::Infallible>))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// An event as it is written. A line of data ends at each of the line ends that there are; JSON has none within texts.
fn event(name: &str, id: &str, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 64);
    if !id.is_empty() {
        text += &format!("id: {id}\n");
    }
    text += &format!("event: {name}\n");
    for line in data.split(['\n', '\r']) {
        text += &format!("data: {line}\n");
    }
    text.push('\n');
    text
}

/// Writes what an invocation reports, and its result.
async fn tell_events(handle: &Handle, after: Option<&str>, kinds: Kinds, mut stream: Stream) {
    let mut events = match handle.events_after(after).await {
        Ok(events) => events,
        Err(error) => return stream.answer(Err(error.into())),
    };
    stream.begin();
    let mut lives = interval(SIGN_OF_LIFE);
    lives.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            biased;
            event = events.next() => match event {
                Ok(Some(event)) if kinds.has(&event.kind) => {
                    let (name, data) = report(&event);
                    stream.send_json(name, &event.cursor, &data).await
                }
                Ok(Some(_)) => Ok(()),
                Ok(None) => break,
                // The client comes back with the last id that it saw.
                Err(_) => return,
            },
            _ = lives.tick() => stream.sign_of_life().await,
        };
        if sent.is_err() {
            return;
        }
    }
    let Ok(outcome) = handle.outcome().await else {
        return;
    };
    // Its id is what stops a browser from coming back, so there is one whatever was picked.
    let _ = match kinds.result {
        true => {
            let ended = Ended::new(handle.id(), &outcome);
            stream.send_json("result", END, &ended).await
        }
        false => stream.send_json("end", END, &json!({})).await,
    };
}

/// The name of an event and what it says.
fn report(event: &Event) -> (&'static str, Value) {
    let (name, mut data) = match &event.kind {
        EventKind::Progress(progress) => ("progress", json!(progress)),
        EventKind::Log(log) => ("log", json!(log)),
        EventKind::Chunk(payload) => {
            let (data, base64) = embed(payload);
            let chunk = match (data, base64) {
                (Some(data), _) => json!({"content_type": payload.content_type, "data": data}),
                (None, base64) => {
                    json!({"content_type": payload.content_type, "data_base64": base64})
                }
            };
            ("chunk", chunk)
        }
    };
    if let Some(fields) = data.as_object_mut() {
        fields.insert("at_ms".to_owned(), event.at_ms.into());
        fields.insert("attempt".to_owned(), event.attempt.into());
    }
    (name, data)
}

/// Which events a client wants.
#[derive(Clone, Copy)]
struct Kinds {
    progress: bool,
    log: bool,
    chunk: bool,
    result: bool,
}

impl Kinds {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let is_all = text.is_none();
        let mut kinds = Self {
            progress: is_all,
            log: is_all,
            chunk: is_all,
            result: is_all,
        };
        for word in text.into_iter().flat_map(|text| text.split(',')) {
            match word {
                "progress" => kinds.progress = true,
                "log" => kinds.log = true,
                "chunk" => kinds.chunk = true,
                "result" => kinds.result = true,
                _ => {
                    let message =
                        "`kinds` has `progress`, `log`, `chunk` and `result`, with commas between";
                    return Err(Problem::new("malformed", message));
                }
            }
        }
        Ok(kinds)
    }

    fn has(self, kind: &EventKind) -> bool {
        match kind {
            EventKind::Progress(_) => self.progress,
            EventKind::Log(_) => self.log,
            EventKind::Chunk(_) => self.chunk,
        }
    }
}

/// All results that one client waits for
///
/// The first event, `open`, has the stream's name, which submissions give as `reply_to`. Then `result` for each that
/// has ended, `ended` where the output is too large to push, and `check` when something may have been missed.
#[utoipa::path(
    get, path = "/replies", tag = "invocations", operation_id = "replies", security(("token" = ["read"])),
    responses((status = 200, description = "The events", content_type = "text/event-stream", body = String), Refusals)
)]
pub(crate) async fn replies(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let broker = api.broker.clone();
    let tell = move |mut stream: Stream| async move {
        let client = ClientId::random();
        let replies = match broker.replies(&client).await {
            Ok(replies) => replies,
            Err(error) => return stream.answer(Err(error.into())),
        };
        stream.begin();
        // Its end is the client's end; nobody else is to be told.
        let _ = tell_replies(&client, replies, &stream).await;
    };
    open(&api, tell).await
}

async fn tell_replies(
    client: &ClientId,
    mut replies: mpsc::Receiver<Reply>,
    stream: &Stream,
) -> Result<(), Gone> {
    stream
        .send_json("open", "", &json!({ "client": client }))
        .await?;
    let mut lives = interval(SIGN_OF_LIFE);
    lives.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            reply = replies.recv() => match reply {
                Some(reply) => tell_reply(reply, stream).await?,
                None => return Ok(()),
            },
            _ = lives.tick() => stream.sign_of_life().await?,
        }
    }
}

async fn tell_reply(reply: Reply, stream: &Stream) -> Result<(), Gone> {
    let is_small = |outcome: &Outcome| {
        let output = outcome.output.as_ref();
        output.is_none_or(|output| output.data.len() <= PUSHED_BYTES)
    };
    match reply {
        Reply::Ended(id, Some(outcome)) if is_small(&outcome) => {
            stream
                .send_json("result", "", &Ended::new(id, &outcome))
                .await
        }
        Reply::Ended(id, _) => stream.send_json("ended", "", &json!({ "id": id })).await,
        Reply::Reconnected => stream.send_json("check", "", &json!({})).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_with_line_ends_stays_one_event() {
        let text = event("result", "end", "{\n\"a\":\r\n1}");
        assert_eq!(
            text,
            "id: end\nevent: result\ndata: {\ndata: \"a\":\ndata: \ndata: 1}\n\n"
        );
        assert_eq!(event("check", "", "{}"), "event: check\ndata: {}\n\n");
    }

    #[test]
    fn kinds_are_picked_by_their_words() {
        let kinds = Kinds::read(Some("progress,result")).ok().unwrap();
        assert!(kinds.progress && kinds.result && !kinds.log && !kinds.chunk);
        assert!(Kinds::read(None).ok().unwrap().chunk);
        assert!(Kinds::read(Some("all")).is_err() && Kinds::read(Some("")).is_err());
    }
}
