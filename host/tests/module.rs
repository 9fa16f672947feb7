//! Uploads that are refused with a report, modules that are admitted, and artifacts that are not believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use celeriac::engine::{Executor, Limits};
use celeriac::module::{
    AdmitError, Admitter, CHILD_COMMAND, CompileError, CompileLimits, Compiler, LoadError,
    SourceError, UploadCaps, check,
};
use celeriac_broker::{Digest, UploadReport};
use support::{Bench, fixture, json, loader, sample};

fn admitter(bench: &Bench) -> Admitter {
    Admitter::new(bench.loader.clone(), Arc::new(Executor::new(1).unwrap()))
}

fn refused(bytes: &[u8]) -> UploadReport {
    check(bytes, &UploadCaps::default()).expect_err("refused")
}

#[track_caller]
fn assert_says(report: &UploadReport, words: &[&str]) {
    let text = report.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
}

#[test]
fn takes_a_component_of_the_contract() {
    check(&sample("basics"), &UploadCaps::default()).unwrap();
    check(&fixture("", ""), &UploadCaps::default()).unwrap();
}

#[test]
fn refuses_what_is_not_wasm_at_all() {
    assert_says(&refused(b""), &["the file is empty"]);
    assert_says(
        &refused(b"\x7fELF\x02\x01\x01\0garbage"),
        &["not WebAssembly", "\\x7fELF", "wasm32-wasip2"],
    );
    assert_says(
        &refused(b"\n (module)"),
        &["WebAssembly text", "wasm-tools parse"],
    );
    assert_says(&refused(b"\0asm"), &["ends within"]);
    assert_says(&refused(b"\0asm\x07\0\0\0"), &["unknown kind or version"]);
}

#[test]
fn refuses_a_core_module_and_says_how_to_build() {
    let core = wat::parse_str("(module (func (export \"run\")))").unwrap();
    assert_says(&refused(&core), &["core module", "wasm32-wasip2"]);
}

#[test]
fn refuses_a_file_that_is_cut_off_and_says_where() {
    let wasm = sample("basics");
    assert_says(
        &refused(&wasm[..wasm.len() / 2]),
        &["not valid", "offset 0x"],
    );
}

#[test]
fn refuses_100_mib_before_anything_else() {
    let mut bytes = vec![0; 100 << 20];
    bytes[..8].copy_from_slice(b"\0asm\x0d\0\x01\0");
    assert_says(
        &refused(&bytes),
        &["104857600 bytes", "33554432 are allowed", "strip"],
    );
}

#[test]
fn names_every_export_that_is_missing_or_too_much() {
    let empty = wat::parse_str("(component)").unwrap();
    assert_says(
        &refused(&empty),
        &[
            "`describe` is missing",
            "`run` is missing",
            "exports nothing",
        ],
    );
    let command =
        "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\"))) (instance $r (export \"run\" (func $f)))
        (export \"wasi:cli/run@0.2.0\" (instance $r)))";
    let report = refused(&wat::parse_str(command).unwrap());
    assert_says(
        &report,
        &[
            "`run` is missing; the component exports wasi:cli/run@0.2.0",
            "this is a command",
        ],
    );
    assert_eq!(report.findings.len(), 3);
}

#[test]
fn names_an_export_of_the_wrong_type() {
    let wrong = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\"))) (export \"run\" (func $f)) (export \"describe\" (func $f)))";
    assert_says(
        &refused(&wat::parse_str(wrong).unwrap()),
        &[
            "wrong type",
            "it is `func()`",
            "task: string, input: variant",
        ],
    );
}

#[test]
fn names_imports_that_hosts_do_not_have() {
    let with = |import: &str| {
        wat::parse_str(format!("(component (import \"{import}\" (instance)))")).unwrap()
    };
    assert_says(
        &refused(&with("wasi:http/incoming-handler@0.2.3")),
        &["do not serve any", "wasi:http/incoming-handler@0.2.3"],
    );
    for served in ["wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.3"] {
        let report = refused(&with(served)).to_string();
        assert!(!report.contains(served), "{report}");
    }
    assert_says(
        &refused(&with("acme:db/sql@1.0.0")),
        &["do not have this interface", "wasi:io/streams"],
    );
    assert_says(
        &refused(&with("celeriac:task/context@2.0.0")),
        &["`2.0.0`", "hosts have 1.x"],
    );
    assert_says(
        &refused(&with("wasi:io/poll@0.3.0")),
        &["`0.3.0`", "hosts have 0.2.x"],
    );
    let served = refused(&with("wasi:io/poll@0.2.9"));
    assert!(
        !served.to_string().contains("wasi:io/poll"),
        "any patch of 0.2 is served: {served}"
    );
}

#[test]
fn refuses_wasm_features_that_hosts_do_not_run() {
    let threads = "(component (core module (memory 1 1 shared)))";
    assert_says(
        &refused(&wat::parse_str(threads).unwrap()),
        &["not valid", "threads"],
    );
}

#[tokio::test]
async fn admits_a_module_with_its_manifest() {
    let bench = Bench::new();
    let wasm: Arc<[u8]> = sample("basics").into();
    let manifest = admitter(&bench).admit(Arc::clone(&wasm)).await.unwrap();
    assert_eq!(
        (manifest.digest, manifest.bytes),
        (Digest::of(&wasm), wasm.len() as u64)
    );
    let add = manifest
        .tasks
        .iter()
        .find(|task| task.name == "add")
        .expect("a task `add`");
    assert!(
        add.doc.contains("Adds two numbers")
            && add.input_schema.as_ref().unwrap()["properties"]["a"].is_object()
    );
    let bytes = manifest
        .tasks
        .iter()
        .find(|task| task.name == "echo-bytes")
        .unwrap();
    assert_eq!(bytes.input_schema, None);
    assert!(
        manifest
            .imports
            .iter()
            .any(|import| import.starts_with("celeriac:task/context@"))
    );
    let again = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
    assert_eq!(manifest, again);
    bench
        .loader
        .load(&manifest.digest)
        .await
        .expect("an admitted module is ready to run");
}

async fn refused_at_admission(wasm: Vec<u8>, limits: Limits) -> UploadReport {
    let bench = Bench::new();
    let admitter = admitter(&bench).with_describe_limits(limits);
    match admitter.admit(wasm.into()).await {
        Err(AdmitError::Refused(report)) => report,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn refuses_a_module_without_tasks() {
    assert_says(
        &refused_at_admission(fixture("", ""), Limits::default()).await,
        &["describes 0 tasks", "#[task]"],
    );
}

#[tokio::test]
async fn refuses_a_module_whose_describe_does_not_end() {
    let limits = Limits {
        fuel: 1_000,
        ..Limits::default()
    };
    assert_says(
        &refused_at_admission(sample("basics"), limits).await,
        &["`describe` ended with", "out_of_fuel"],
    );
}

#[tokio::test]
async fn refuses_a_module_that_does_not_fit_an_instance() {
    let huge = fixture("(table 1000000 funcref)", "");
    assert_says(
        &refused_at_admission(huge, Limits::default()).await,
        &["1000000", "32768", "smaller"],
    );
}

/// The file of a module's artifact.
fn artifact(bench: &Bench, digest: &Digest) -> PathBuf {
    bench.directory.path().join("artifacts").join(digest.hex())
}

/// Loads with nothing in memory, and says whether the bytes had to be fetched.
async fn fetches(bench: &Bench, digest: &Digest) -> bool {
    let before = *bench.shelf.fetches.lock().unwrap();
    let fresh = loader(&bench.engine, bench.directory.path(), &bench.shelf);
    let module = fresh.load(digest).await.unwrap();
    assert_eq!(
        json(&bench.run(&module, "x", "1", Limits::default()).await),
        "null"
    );
    *bench.shelf.fetches.lock().unwrap() > before
}

#[tokio::test]
async fn believes_no_artifact_but_its_own() {
    let bench = Bench::new();
    let wasm = fixture("", "");
    let digest = Digest::of(&wasm);
    bench.load(wasm).await;
    assert!(!fetches(&bench, &digest).await, "a sound artifact is used");

    let path = artifact(&bench, &digest);
    let sound = std::fs::read(&path).unwrap();
    // Layout, compilation key, MAC, and code at the start, in the middle and at the end.
    for place in [0, 7, 8, 39, 40, 71, 72, sound.len() / 2, sound.len() - 1] {
        let mut flipped = sound.clone();
        flipped[place] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(
            fetches(&bench, &digest).await,
            "a flipped bit at {place} was believed"
        );
        assert_eq!(
            std::fs::read(&path).unwrap().len(),
            sound.len(),
            "it is compiled again"
        );
    }
    for length in [0, 5, 71, 72, sound.len() - 1] {
        std::fs::write(&path, &sound[..length]).unwrap();
        assert!(
            fetches(&bench, &digest).await,
            "a file cut to {length} was believed"
        );
    }
    let key = bench.directory.path().join("artifacts/mac.key");
    std::fs::write(&key, [7; 64]).unwrap();
    assert!(
        fetches(&bench, &digest).await,
        "another host's artifact was believed"
    );
    assert!(!fetches(&bench, &digest).await, "and the new one is used");
}

#[tokio::test]
async fn does_not_take_one_modules_artifact_for_anothers() {
    let bench = Bench::new();
    let (one, other) = (fixture("", ""), fixture("", "(nop)"));
    let (first, second) = (Digest::of(&one), Digest::of(&other));
    bench.load(one).await;
    bench.load(other).await;
    std::fs::copy(artifact(&bench, &first), artifact(&bench, &second)).unwrap();
    assert!(fetches(&bench, &second).await);
}

#[test]
fn refuses_an_artifact_directory_that_others_can_enter() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let error = celeriac::module::ArtifactCache::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn many_at_once_load_a_module_once() {
    let bench = Bench::new();
    let wasm = fixture("", "");
    let digest = Digest::of(&wasm);
    bench.shelf.modules.lock().unwrap().push(wasm);
    let loads: Vec<_> = (0..50)
        .map(|_| {
            let loader = bench.loader.clone();
            tokio::spawn(async move { loader.load(&digest).await.map(|_| ()) })
        })
        .collect();
    for load in loads {
        load.await.unwrap().unwrap();
    }
    assert_eq!(*bench.shelf.fetches.lock().unwrap(), 1);
}

#[tokio::test]
async fn says_when_bytes_are_missing() {
    let bench = Bench::new();
    let digest = Digest::of(b"nobody");
    let error = bench.loader.load(&digest).await.unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::Source {
                cause: SourceError::NotFound,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_compiler_over_its_limits_is_the_authors_concern() {
    let too_little = [
        CompileLimits {
            // So little that the child may not even get to say so; then its time ends it.
            memory_bytes: 16 << 20,
            timeout: Duration::from_secs(5),
            ..CompileLimits::default()
        },
        CompileLimits {
            timeout: Duration::from_millis(1),
            ..CompileLimits::default()
        },
        CompileLimits {
            artifact_bytes: 1_000,
            ..CompileLimits::default()
        },
    ];
    for limits in too_little {
        let bench = Bench::new();
        let compiler = Compiler::with_binary(env!("CARGO_BIN_EXE_celeriac").into(), limits);
        let artifacts =
            celeriac::module::ArtifactCache::open(&bench.directory.path().join("other")).unwrap();
        let source: Arc<support::Shelf> = Arc::clone(&bench.shelf);
        let config = celeriac::module::LoaderConfig::default();
        let loader = celeriac::module::Loader::new(
            bench.engine.clone(),
            artifacts,
            compiler,
            source,
            &config,
        );
        let wasm = sample("basics");
        let error = loader.install(&Digest::of(&wasm), &wasm).await.unwrap_err();
        assert!(
            matches!(
                error,
                LoadError::Compile {
                    cause: CompileError::Exceeded(_),
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn the_compiling_child_is_not_for_people() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .arg(CHILD_COMMAND)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by the host only"));
}
