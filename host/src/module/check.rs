//! The check of an upload before anything is compiled: is it a component, is it sound, is it our world?
//!
//! Nothing here runs or compiles the upload; garbage never reaches the compiler.

use wasmparser::Validator;

use super::{UploadCaps, caps, world};
use crate::engine::features;
use celeriac_broker::{Finding, UploadReport};

const BUILD: &str = "build with `cargo build --release --target wasm32-wasip2` (a `cdylib` crate that uses celeriac-guest)";

/// Checks an upload that may consist of no more than `caps` say.
///
/// Takes some milliseconds a MiB: not for an I/O thread.
///
/// # Errors
/// The report, when anything stands in the way.
pub fn check(bytes: &[u8], caps: &UploadCaps) -> Result<(), UploadReport> {
    size(bytes, caps.module)?;
    kind(bytes)?;
    caps::count(bytes, caps)?;
    let types = Validator::new_with_features(features()).validate_all(bytes).map_err(|error| {
        Finding::new(
            format!("offset {:#x} of {} bytes", error.offset(), bytes.len()),
            format!("the component is not valid: {}", error.message()),
            format!("the file may be cut off or damaged, or use a wasm feature that hosts do not run; {BUILD}"),
        )
    })?;
    let report = world::check(bytes, &types);
    if report.is_clean() {
        Ok(())
    } else {
        Err(report)
    }
}

/// The size comes first: everything after it takes time or memory by the byte.
fn size(bytes: &[u8], max_bytes: u64) -> Result<(), Finding> {
    if bytes.len() as u64 <= max_bytes {
        return Ok(());
    }
    Err(caps::too_many("module", bytes.len() as u64, max_bytes, 0))
}

/// What the first bytes say about the file.
fn kind(bytes: &[u8]) -> Result<(), Finding> {
    const MAGIC: &[u8] = b"\0asm";
    const CORE: &[u8] = &[1, 0, 0, 0];
    const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
    let first = bytes.get(..bytes.len().min(8)).unwrap_or_default();
    let at_start = |what: String, remedy: String| Err(Finding::new("offset 0x0", what, remedy));
    if bytes.is_empty() {
        return at_start("the file is empty".to_owned(), BUILD.to_owned());
    }
    if !first.starts_with(MAGIC) {
        let is_text = bytes.trim_ascii_start().starts_with(b"(");
        let what = if is_text {
            "this is WebAssembly text"
        } else {
            "this is not WebAssembly"
        };
        let remedy = if is_text {
            "turn it into a binary with `wasm-tools parse`, or ".to_owned()
        } else {
            String::new()
        };
        return at_start(
            format!("{what}: it starts with `{}`", first.escape_ascii()),
            remedy + BUILD,
        );
    }
    match first.get(4..) {
        Some(CORE) => at_start(
            "this is a core module, not a component".to_owned(),
            format!(
                "{BUILD}; the targets wasm32-unknown-unknown and wasm32-wasip1 make core modules"
            ),
        ),
        Some(COMPONENT) => Ok(()),
        Some(version) if version.len() == 4 => at_start(
            format!("this is WebAssembly of an unknown kind or version (bytes {version:02x?})"),
            BUILD.to_owned(),
        ),
        _ => at_start(
            "the file ends within its first eight bytes".to_owned(),
            BUILD.to_owned(),
        ),
    }
}
