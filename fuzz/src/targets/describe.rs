//! Admission: what `describe` returns is whatever the input is, pointers and lengths included. The module is taken
//! with a sound manifest, or refused with a report; the host does not fail.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use celeriac::engine::Executor;
use celeriac::module::{AdmitError, Admitter};

use super::stage::Stage;

/// Bytes of the guest's memory that the input fills, from the place on that `describe` points to.
pub const BYTES: usize = 1 << 10;

/// Admissions after which the cache starts anew: each leaves an artifact.
const PER_STAGE: u32 = 200;

/// The module, and where its data starts.
static MODULE: LazyLock<(Vec<u8>, usize)> = LazyLock::new(|| {
    let world = include_str!("../../../host/tests/fixtures/world.wat");
    let (_, code) = world.split_once("(component").expect("a component");
    let filler = "\\a5".repeat(BYTES);
    let data = format!("(data (i32.const 256) \"{filler}\")");
    let text = format!(
        "(component{}",
        code.replace("$FIELDS", &data).replace("$RUN", "")
    );
    let wasm = wat::parse_str(text).expect("a component");
    let start = wasm
        .windows(BYTES)
        .position(|bytes| bytes.iter().all(|byte| *byte == 0xa5));
    (wasm, start.expect("the data"))
});

static ADMITTER: Mutex<Option<(Stage, Admitter, u32)>> = Mutex::new(None);

/// Admits the module with this data.
pub fn run(data: &[u8]) {
    let (wasm, start) = &*MODULE;
    let mut wasm = wasm.clone();
    wasm[*start..*start + BYTES].fill(0);
    let data = &data[..data.len().min(BYTES)];
    wasm[*start..*start + data.len()].copy_from_slice(data);

    let mut slot = ADMITTER.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.as_ref().is_none_or(|(_, _, used)| *used >= PER_STAGE) {
        let stage = Stage::new();
        let executor = Arc::new(Executor::new(1).expect("threads"));
        let admitter = Admitter::new(stage.loader.clone(), executor);
        *slot = Some((stage, admitter, 0));
    }
    let (stage, admitter, used) = slot.as_mut().expect("just set");
    *used += 1;
    match stage.runtime.block_on(admitter.admit(wasm.into())) {
        Ok(manifest) => {
            assert!(!manifest.tasks.is_empty());
            for task in &manifest.tasks {
                celeriac_broker::check_name("task", &task.name).expect("a task has a sound name");
            }
            let text = serde_json::to_string(&manifest).expect("a manifest is JSON");
            serde_json::from_str::<celeriac_broker::Manifest>(&text).expect("and reads back");
        }
        Err(AdmitError::Refused(report)) => assert!(!report.is_clean()),
        Err(error) => panic!("the module made the host fail: {error}"),
    }
}
