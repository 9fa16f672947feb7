//! The calls of `wasi:http` whose answers depend on the world outside, through the tape: whether an answer is there yet and
//! what its head is, trailers, and what went wrong. All else of `wasi:http` is the same each time.

use std::convert::Infallible;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use serde::{Deserialize, Serialize};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, DnsErrorPayload, ErrorCode, FieldSizePayload, TlsAlertReceivedPayload,
};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse};
use wasmtime_wasi_http::{Error, FieldMap, WasiHttpView as _};

use crate::engine::recording::Answer;
use crate::engine::state::State;

type Store<'a> = StoreContextMut<'a, State>;

/// Nothing yet, something that was taken before, an error, or what was waited for.
type Ready<T> = Option<Result<Result<T, ErrorCode>, ()>>;

/// The same as it is kept.
type Kept<T> = Option<Result<Result<T, KeptCode>, ()>>;

/// Links these calls in the place of wasmtime's.
pub(super) fn link(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[method]future-incoming-response.get",
        |mut store: Store<'_>, (future,): (Resource<HostFutureIncomingResponse>,)| {
            Ok((response(store.data_mut(), future)?,))
        },
    )?;
    types.func_wrap(
        "[method]future-trailers.get",
        |mut store: Store<'_>, (future,): (Resource<HostFutureTrailers>,)| {
            Ok((trailers(store.data_mut(), future)?,))
        },
    )?;
    type Finished = (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>);
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, (body, trailers): Finished| {
            Ok((finish(store.data_mut(), body, trailers)?,))
        },
    )?;
    types.func_wrap(
        "http-error-code",
        |mut store: Store<'_>, (error,): (Resource<wasmtime::Error>,)| {
            Ok((error_code(store.data_mut(), &error)?,))
        },
    )
}

fn response(
    state: &mut State,
    future: Resource<HostFutureIncomingResponse>,
) -> wasmtime::Result<Ready<Resource<HostIncomingResponse>>> {
    if let Some(entry) = state.told("future-incoming-response.get", String::new)? {
        let kept: Kept<Head> = state.read(&entry)?;
        let view = state.http();
        return again(kept, |head| {
            let headers = FieldMap::new_immutable(view.hooks, head.fields.headers());
            // Its bytes come from the tape too.
            let body =
                Empty::<Bytes>::new().map_err(|never: Infallible| -> Error { match never {} });
            Ok(view.table.push(HostIncomingResponse {
                status: head.status,
                headers,
                body: Some(HostIncomingBody::new(body.boxed_unsync())),
            })?)
        });
    }
    let mut view = state.http();
    let ready = types::HostFutureIncomingResponse::get(&mut view, future)?;
    let kept = keep(&ready, |response| {
        let response = view.table.get(response)?;
        Ok(Head {
            status: response.status,
            fields: Fields::of(&response.headers),
        })
    })?;
    state.note(|| Answer::of(&kept));
    Ok(ready)
}

fn trailers(
    state: &mut State,
    future: Resource<HostFutureTrailers>,
) -> wasmtime::Result<Ready<Option<Resource<FieldMap>>>> {
    if let Some(entry) = state.told("future-trailers.get", String::new)? {
        let kept: Kept<Option<Fields>> = state.read(&entry)?;
        let view = state.http();
        return again(kept, |fields| {
            let Some(fields) = fields else {
                return Ok(None);
            };
            let fields = FieldMap::new_immutable(view.hooks, fields.headers());
            Ok(Some(view.table.push(fields)?))
        });
    }
    let mut view = state.http();
    let ready = types::HostFutureTrailers::get(&mut view, future)?;
    let kept = keep(&ready, |fields| {
        let fields = fields.as_ref().map(|fields| view.table.get(fields));
        Ok(fields.transpose()?.map(Fields::of))
    })?;
    state.note(|| Answer::of(&kept));
    Ok(ready)
}

/// Whether a body was as long as it was said to be: a replay sends none of it.
fn finish(
    state: &mut State,
    body: Resource<HostOutgoingBody>,
    trailers: Option<Resource<FieldMap>>,
) -> wasmtime::Result<Result<(), ErrorCode>> {
    let told = state.told("outgoing-body.finish", String::new)?;
    let mut view = state.http();
    let real = match types::HostOutgoingBody::finish(&mut view, body, trailers) {
        Ok(()) => Ok(()),
        Err(error) => Err(error.downcast()?),
    };
    if let Some(entry) = told {
        let kept: Result<(), KeptCode> = state.read(&entry)?;
        return Ok(kept.map_err(|code| code.0));
    }
    let kept = real.clone().map_err(KeptCode);
    state.note(|| Answer::of(&kept));
    Ok(real)
}

fn error_code(
    state: &mut State,
    error: &Resource<wasmtime::Error>,
) -> wasmtime::Result<Option<ErrorCode>> {
    let told = state.told("http-error-code", String::new)?;
    let view = state.http();
    let real = super::error_code::code(view.table.get(error)?);
    if let Some(entry) = told {
        let kept: Option<KeptCode> = state.read(&entry)?;
        return Ok(kept.map(|code| code.0));
    }
    state.note(|| Answer::of(&real.clone().map(KeptCode)));
    Ok(real)
}

/// What is kept of an answer.
fn keep<T, K>(
    ready: &Ready<T>,
    kept: impl FnOnce(&T) -> wasmtime::Result<K>,
) -> wasmtime::Result<Kept<K>> {
    Ok(match ready {
        None => None,
        Some(Err(())) => Some(Err(())),
        Some(Ok(Err(code))) => Some(Ok(Err(KeptCode(code.clone())))),
        Some(Ok(Ok(value))) => Some(Ok(Ok(kept(value)?))),
    })
}

/// An answer from what was kept of it.
fn again<T, K>(
    kept: Kept<K>,
    made: impl FnOnce(K) -> wasmtime::Result<T>,
) -> wasmtime::Result<Ready<T>> {
    Ok(match kept {
        None => None,
        Some(Err(())) => Some(Err(())),
        Some(Ok(Err(code))) => Some(Ok(Err(code.0))),
        Some(Ok(Ok(value))) => Some(Ok(Ok(made(value)?))),
    })
}

/// The head of an answer.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    fields: Fields,
}

/// Header fields. A value that is no text is kept as so many asterisks: nobody could tell a secret in it.
#[derive(Serialize, Deserialize)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(fields: &FieldMap) -> Self {
        let text = |value: &HeaderValue| match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => text.to_owned(),
            Err(_) => "*".repeat(value.len()),
        };
        let fields = fields.iter();
        Self(
            fields
                .map(|(name, value)| (name.as_str().to_owned(), text(value)))
                .collect(),
        )
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.0 {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::from_bytes(value.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                let _ = headers.try_append(name, value);
            }
        }
        headers
    }
}

/// An error code as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct KeptCode(#[serde(with = "Code")] ErrorCode);

#[derive(Serialize, Deserialize)]
#[serde(remote = "DnsErrorPayload")]
struct DnsPayload {
    rcode: Option<String>,
    info_code: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TlsAlertReceivedPayload")]
struct TlsPayload {
    alert_id: Option<u8>,
    alert_message: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FieldSizePayload")]
struct SizePayload {
    field_name: Option<String>,
    field_size: Option<u32>,
}

/// A field of unknown size, or of this one.
mod maybe_size {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{FieldSizePayload, SizePayload};

    #[derive(Serialize, Deserialize)]
    struct Kept(#[serde(with = "SizePayload")] FieldSizePayload);

    pub(super) fn serialize<S: Serializer>(
        size: &Option<FieldSizePayload>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        size.clone().map(Kept).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<FieldSizePayload>, D::Error> {
        Ok(Option::<Kept>::deserialize(from)?.map(|kept| kept.0))
    }
}

/// The error codes of `wasi:http`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ErrorCode")]
enum Code {
    DnsTimeout,
    DnsError(#[serde(with = "DnsPayload")] DnsErrorPayload),
    DestinationNotFound,
    DestinationUnavailable,
    DestinationIpProhibited,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionReadTimeout,
    ConnectionWriteTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    TlsAlertReceived(#[serde(with = "TlsPayload")] TlsAlertReceivedPayload),
    HttpRequestDenied,
    HttpRequestLengthRequired,
    HttpRequestBodySize(Option<u64>),
    HttpRequestMethodInvalid,
    HttpRequestUriInvalid,
    HttpRequestUriTooLong,
    HttpRequestHeaderSectionSize(Option<u32>),
    HttpRequestHeaderSize(#[serde(with = "maybe_size")] Option<FieldSizePayload>),
    HttpRequestTrailerSectionSize(Option<u32>),
    HttpRequestTrailerSize(#[serde(with = "SizePayload")] FieldSizePayload),
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize(Option<u32>),
    HttpResponseHeaderSize(#[serde(with = "SizePayload")] FieldSizePayload),
    HttpResponseBodySize(Option<u64>),
    HttpResponseTrailerSectionSize(Option<u32>),
    HttpResponseTrailerSize(#[serde(with = "SizePayload")] FieldSizePayload),
    HttpResponseTransferCoding(Option<String>),
    HttpResponseContentCoding(Option<String>),
    HttpResponseTimeout,
    HttpUpgradeFailed,
    HttpProtocolError,
    LoopDetected,
    ConfigurationError,
    InternalError(Option<String>),
}
