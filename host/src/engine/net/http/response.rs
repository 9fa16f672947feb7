//! The guest's end of a request: its answer, piece by piece as the guest takes them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, WasiBody};

use super::Running;
use super::Slot;

/// What wasmtime wants for a request: the answer, and a future that has nothing to do here.
pub(super) type Response = (
    ::http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// A piece of a body; none at its end.
pub(super) type Piece = Result<Option<Frame<Bytes>>, Error>;

/// Waits for the head of the answer.
pub(super) async fn answer(running: Running) -> Result<Response, Error> {
    let Running { head, body } = running;
    let head = head.await.unwrap_or_else(|_| {
        Err(Error::InternalError(Some(
            "the host dropped the request".to_owned(),
        )))
    })?;
    let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
    Ok((head.map(|()| body.boxed_unsync()), done))
}

/// The body of an answer. It holds the connection: dropping it ends that.
pub(super) struct Body {
    pieces: mpsc::Receiver<Piece>,
    _connection: AbortOnDropHandle<()>,
    /// Given back as soon as the body has ended, also when the guest keeps it.
    slot: Option<Slot>,
}

impl Body {
    pub(super) fn new(
        pieces: mpsc::Receiver<Piece>,
        connection: AbortOnDropHandle<()>,
        slot: Slot,
    ) -> Self {
        Self {
            pieces,
            _connection: connection,
            slot: Some(slot),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.slot.is_none() {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Ok(Some(frame))) => Some(Ok(frame)),
            Some(Ok(None)) => {
                self.slot = None;
                None
            }
            // Without a word at the end it is not complete.
            error => {
                self.slot = None;
                let error = error.and_then(Result::err);
                Some(Err(error.unwrap_or(Error::HttpResponseIncomplete)))
            }
        })
    }
}
