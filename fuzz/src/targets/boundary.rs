//! The WIT boundary: a guest calls its host with any arguments, in any order, and returns anything. The host
//! neither panics nor fails, and keeps to the limits.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use celeriac::engine::{
    CancellationToken, Code, Discard, Execution, Invocation, Limits, Module, Payload, Request,
    Rights, Verdict,
};
use celeriac_broker::Digest;

use super::stage::Stage;

/// The guest, on an engine that serves all inputs.
static GUEST: LazyLock<(Stage, Module)> = LazyLock::new(|| {
    let stage = Stage::new();
    let wasm = wat::parse_str(include_str!("boundary.wat")).expect("a component");
    let digest = Digest::of(&wasm);
    let installed = stage.loader.install(&digest, &wasm);
    let module = stage.runtime.block_on(installed).expect("a module");
    (stage, module)
});

/// Small, so that inputs of a few bytes reach each of them.
fn limits() -> Limits {
    Limits {
        fuel: 500_000,
        timeout: Duration::from_millis(500),
        memory_bytes: 384 << 10,
        input_bytes: 64 << 10,
        output_bytes: 4 << 10,
        log_bytes: 1 << 10,
        log_lines: 16,
        progress_events: 8,
        progress_bytes: 64,
        emit_events: 4,
        emit_bytes: 512,
        host_calls: 64,
        host_call_bytes: 2 << 10,
        random_bytes: 4 << 10,
        handles: 8,
        ..Limits::default()
    }
}

/// Runs the guest on `data`.
pub fn run(data: &[u8]) {
    let (stage, module) = &*GUEST;
    let input = Payload::Bytes {
        content_type: "application/octet-stream".to_owned(),
        data: data.to_vec(),
    };
    let limits = limits();
    let request = Request {
        invocation: Invocation {
            id: "0192".to_owned(),
            task: "fuzz".to_owned(),
            attempt: 1,
        },
        input,
        limits: limits.clone(),
        rights: Rights::none(),
        cancel: CancellationToken::new(),
        sink: Arc::new(Discard),
    };
    let execution = stage
        .runtime
        .block_on(stage.engine.execute(module, request));
    judge(&execution, &limits);
}

fn judge(execution: &Execution, limits: &Limits) {
    let usage = &execution.usage;
    assert!(usage.fuel <= limits.fuel, "fuel: {usage:?}");
    assert!(
        usage.peak_memory_bytes <= limits.memory_bytes,
        "memory: {usage:?}"
    );
    assert!(
        usage.log_bytes <= limits.log_bytes && usage.log_lines <= limits.log_lines,
        "{usage:?}"
    );
    assert!(
        usage.emit_bytes <= limits.emit_bytes && usage.emit_events <= limits.emit_events,
        "{usage:?}"
    );
    assert!(
        usage.progress_bytes <= limits.progress_bytes
            && usage.progress_events <= limits.progress_events,
        "{usage:?}"
    );
    match &execution.verdict {
        Verdict::Success(Payload::Json(text)) => {
            assert!(text.len() as u64 <= limits.output_bytes, "{}", text.len());
            serde_json::from_str::<serde_json::Value>(text).expect("an output is JSON");
        }
        Verdict::Success(Payload::Bytes { data, .. }) => {
            assert!(data.len() as u64 <= limits.output_bytes, "{}", data.len());
        }
        Verdict::Failed(fault) => {
            assert!(
                !matches!(fault.code, Code::HostFault | Code::Overloaded),
                "the guest made the host fail: {fault:?}"
            );
            if let Some(details) = &fault.details {
                serde_json::from_str::<serde_json::Value>(details).expect("details are JSON");
            }
        }
    }
}
