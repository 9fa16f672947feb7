//! A request of the host itself, held against the same rights and addresses as those of guests.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    Network,
    destination::{Destination, Host, allowed},
    dial,
    http::networks_for,
};
use crate::engine::{Denied, Engine, Rights};

/// What is read of an answer: nobody looks at it, and the server shall see it taken.
const ANSWER_BYTES: usize = 64 << 10;

/// A POST that the host makes.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Headers, beside `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Bytes,
    /// How long it may take in all.
    pub timeout: Duration,
}

/// Why a POST has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The URL is none, or the rights do not allow it; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// It did not work out this time.
    #[error("{0}")]
    Failed(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Engine {
    /// Sends a POST within these rights; the status of the answer. Redirections are not followed.
    ///
    /// # Errors
    /// `Refused` for good, `Failed` for now.
    pub async fn post(&self, rights: &Rights, post: Post) -> Result<u16, PostError> {
        let uri: Uri = post
            .url
            .parse()
            .map_err(|error| PostError::Refused(format!("`{}` is not a URL: {error}", post.url)))?;
        let destination = Destination::of(&uri).ok_or_else(|| {
            let text = format!(
                "`{}` names no server, or could be read in two ways",
                post.url
            );
            PostError::Refused(text)
        })?;
        let networks = networks_for(rights, &destination, &Method::POST).map_err(|why| {
            PostError::Refused(rights.deny(&Denied {
                kind: "http",
                what: format!("POST {destination}"),
                why,
            }))
        })?;
        let request = request(&uri, &destination, post.headers, post.body)?;
        let network = self.inner.network.clone();
        let limit = post.timeout;
        let exchange = async move {
            let exchange = exchange(&network, &destination, &networks, request);
            let late = || PostError::Failed(format!("there was no answer within {limit:?}"));
            timeout(limit, exchange)
                .await
                .unwrap_or_else(|_| Err(late()))
        };
        let task = self
            .inner
            .network
            .spawn(exchange)
            .ok_or_else(|| PostError::Failed("the host has no network threads".to_owned()))?;
        match task.await {
            Ok(Err(PostError::Refused(why))) => {
                let what = format!("POST {}", post.url);
                let why = Some(why);
                let kind = "http";
                Err(PostError::Refused(rights.deny(&Denied { kind, what, why })))
            }
            Ok(answer) => answer,
            Err(error) => Err(PostError::Failed(error.to_string())),
        }
    }
}

fn request(
    uri: &Uri,
    destination: &Destination,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, PostError> {
    let invalid = |error: &dyn std::fmt::Display| PostError::Refused(error.to_string());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    let host = HeaderValue::from_str(&destination.authority()).map_err(|error| invalid(&error))?;
    let mut request = Request::post(path)
        .body(Full::new(body))
        .map_err(|error| invalid(&error))?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// Resolves, checks, connects to what was checked, and talks.
async fn exchange(
    network: &Network,
    destination: &Destination,
    networks: &[IpNet],
    request: Request<Full<Bytes>>,
) -> Result<u16, PostError> {
    let failed = |error: &dyn std::fmt::Display| PostError::Failed(error.to_string());
    let addresses = match &destination.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => {
            let answer = network.resolver.addresses(name).await;
            answer.map_err(|error| failed(&error))?
        }
    };
    let networks: Vec<_> = networks.iter().collect();
    let addresses = allowed(&addresses, &networks)
        .map_err(|refused| PostError::Refused(refused.to_string()))?;
    let stream = dial(&addresses, destination.port)
        .await
        .map_err(|error| PostError::Failed(format!("cannot connect to {destination}: {error}")))?;
    let stream: Box<dyn Stream> = match destination.is_tls {
        false => Box::new(stream),
        true => {
            let secured = network.tls.connect(&destination.host, stream).await;
            Box::new(secured.map_err(|error| PostError::Failed(format!("TLS: {error:?}")))?)
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let talk = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| failed(&error))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        let mut seen = 0;
        while seen < ANSWER_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(status)
    };
    tokio::select! {
        answer = talk => answer,
        // The connection ends after the answer, or with an error that the answer reports.
        () = async { let _ = connection.await; std::future::pending().await } => {
            Err(PostError::Failed("the connection ended".to_owned()))
        }
    }
}
