//! `wasi:http`, and what went wrong while a body was read.

use wasmtime::component::Linker;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::add_only_http_to_linker_async;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::engine::state::State;

/// Links `wasi:http/types` and `wasi:http/outgoing-handler`.
pub(crate) fn link(l: &mut Linker<State>) -> wasmtime::Result<()> {
    add_only_http_to_linker_async(l)?;
    // wasmtime's own function knows errors of one type, and those of bodies are of another: guests would
    // never learn that a body was too large or too slow.
    l.allow_shadowing(true);
    let shadowed = super::taped::link(&mut l.instance("wasi:http/types@0.2.12")?);
    l.allow_shadowing(false);
    shadowed
}

/// What an error says, in the words of `wasi:http`.
pub(super) fn code(error: &wasmtime::Error) -> Option<ErrorCode> {
    if let Some(code) = error.downcast_ref::<ErrorCode>() {
        return Some(code.clone());
    }
    Some(match error.downcast_ref::<Error>()? {
        Error::HttpResponseBodySize(bytes) => ErrorCode::HttpResponseBodySize(*bytes),
        Error::HttpResponseTrailerSectionSize(bytes) => {
            ErrorCode::HttpResponseTrailerSectionSize(*bytes)
        }
        Error::HttpResponseHeaderSectionSize(bytes) => {
            ErrorCode::HttpResponseHeaderSectionSize(*bytes)
        }
        Error::HttpRequestBodySize(bytes) => ErrorCode::HttpRequestBodySize(*bytes),
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        _ => ErrorCode::HttpProtocolError,
    })
}
