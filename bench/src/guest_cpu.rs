//! Computing inside the sandbox, under fuel and epoch, against the same Rust code as a native program.
//!
//! `native/` is built from the crates of the sample tasks with the profile that the components have, for the
//! baseline processor as wasmtime's guests are. The crate `sha2` picks instructions of the processor at run
//! time where it finds any, which is other code than the guest's: the ratio is taken against its portable
//! code, and the one against the processor's instructions is reported beside it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use celeriac::engine::{EngineConfig, Limits, Payload};

use crate::{
    artifacts,
    figure::{Figure, Goal},
    options::Scale,
    process::{self, Conversation},
    sandbox::{self, Sandbox},
    stats::{Paired, geometric_mean},
};

/// Compiles `sha2` without the processor's SHA instructions.
const PORTABLE: &str = r#"--cfg sha2_backend="soft""#;

/// What is computed.
struct Kernel {
    name: &'static str,
    module: &'static str,
    task: &'static str,
    /// `json`, or the media type of raw bytes.
    content_type: &'static str,
    input: Vec<u8>,
}

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    let rounds = scale.pick(31, 2);
    let mut native = native("portable", PORTABLE)?;
    let mut ratios = Vec::new();
    let mut figures = Vec::new();
    for kernel in kernels(scale)? {
        let paired = measure(&kernel, &mut native, rounds)?;
        ratios.push(paired.ratio);
        figures.extend(described(&kernel, paired));
    }
    let geomean = geometric_mean(&ratios);
    let against = "native time / guest time over the kernels, same Rust, same profile";
    figures
        .push(Figure::new("guest_cpu.geomean", geomean, "ratio", against).goal(Goal::AtLeast(0.7)));
    if scale == Scale::Full {
        figures.push(against_instructions(rounds)?);
    }
    Ok(figures)
}

fn described(kernel: &Kernel, paired: Paired) -> [Figure; 3] {
    let Kernel {
        name, module, task, ..
    } = kernel;
    let against = format!("native time / guest time of {module}/{task}");
    [
        Figure::new(format!("guest_cpu.{name}"), paired.ratio, "ratio", against),
        Figure::new(
            format!("guest_cpu.{name}_native_ms"),
            paired.a,
            "ms",
            "native",
        ),
        Figure::new(
            format!("guest_cpu.{name}_guest_ms"),
            paired.b,
            "ms",
            "in the guest, fuel and epoch on",
        ),
    ]
}

/// How SHA-256 in a guest does against the processor's own instructions.
fn against_instructions(rounds: usize) -> Result<Figure> {
    let mut native = native("instructions", "")?;
    let kernel = kernels(Scale::Full)?
        .into_iter()
        .next()
        .context("there is no first kernel")?;
    let paired = measure(&kernel, &mut native, rounds)?;
    let against = "native with SHA instructions where the processor has them; not part of the mean";
    Ok(Figure::new(
        "guest_cpu.sha256_instructions",
        paired.ratio,
        "ratio",
        against,
    ))
}

fn kernels(scale: Scale) -> Result<Vec<Kernel>> {
    let bytes = scale.pick(4 << 20, 64 << 10);
    let up_to = scale.pick(20_000_000, 100_000);
    let compute = |name, content_type, input| Kernel {
        name,
        module: "compute",
        task: name,
        content_type,
        input,
    };
    Ok(vec![
        compute("sha256", "application/octet-stream", noise(bytes)),
        compute(
            "primes",
            "json",
            format!(r#"{{"up_to":{up_to}}}"#).into_bytes(),
        ),
        compute("json", "application/json", document(bytes / 2)),
        Kernel {
            name: "image",
            module: "images",
            task: "thumbnail",
            content_type: "image/jpeg",
            input: artifacts::input(scale.pick("retina.jpg", "rocket.jpg"))?,
        },
    ])
}

/// Bytes without a pattern, the same on each run.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(next).collect()
}

/// A JSON document of records, of about this size.
fn document(bytes: usize) -> Vec<u8> {
    let record = |id: usize| {
        let score = id as f64 / 7.0;
        format!(
            r#"{{"id": {id}, "name": "record {id}", "score": {score}, "tags": ["a", "b\n"], "ok": true}}"#
        )
    };
    let records: Vec<_> = (0..bytes / 80).map(record).collect();
    format!("[{}]", records.join(",\n ")).into_bytes()
}

/// ms in turn: native, guest. Both must return the same bytes.
fn measure(kernel: &Kernel, native: &mut Conversation, rounds: usize) -> Result<Paired> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &kernel.input)?;
    let wasm = artifacts::component(kernel.module)?;
    let config = EngineConfig {
        concurrency: 4,
        ..EngineConfig::default()
    };
    sandbox::runtime()?.block_on(async {
        let limits = Limits {
            memory_bytes: 256 << 20,
            ..Limits::default()
        };
        let guest = Sandbox::new(&wasm, config, limits).await?;
        let mut pairs = Vec::with_capacity(rounds);
        for round in 0..=rounds {
            let (native_ms, expected) = natively(kernel, native, file.path())?;
            let (guest_ms, found) = sandboxed(kernel, &guest).await?;
            ensure!(
                expected == found,
                "{}: native returned {expected}, the guest {found}",
                kernel.name
            );
            // The first round warms both sides.
            if round > 0 {
                pairs.push((native_ms, guest_ms));
            }
        }
        Ok(Paired::of(&pairs))
    })
}

fn natively(kernel: &Kernel, native: &mut Conversation, file: &Path) -> Result<(f64, String)> {
    let answer = native.ask(&format!(
        "{}\t{}\t{}",
        kernel.task,
        kernel.content_type,
        file.display()
    ))?;
    let (nanoseconds, output) = answer
        .trim_end()
        .split_once('\t')
        .with_context(|| format!("native said {answer}"))?;
    Ok((nanoseconds.parse::<f64>()? / 1e6, output.to_owned()))
}

async fn sandboxed(kernel: &Kernel, guest: &Sandbox) -> Result<(f64, String)> {
    let input = match kernel.content_type {
        "json" => Payload::Json(String::from_utf8(kernel.input.clone())?),
        content_type => Payload::Bytes {
            content_type: content_type.to_owned(),
            data: kernel.input.clone(),
        },
    };
    let done = guest.execute(guest.request(kernel.task, input)).await?;
    let bytes = match &done.output {
        Payload::Json(text) => text.as_bytes(),
        Payload::Bytes { data, .. } => data,
    };
    Ok((
        done.run_time.as_secs_f64() * 1e3,
        format!("{}\t{:016x}", bytes.len(), hash(bytes)),
    ))
}

/// FNV-1a, as in `native/`.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Builds the native program and starts it.
fn native(variant: &str, flags: &str) -> Result<Conversation> {
    let target: PathBuf = artifacts::workspace("bench-native")?.join(variant);
    let mut cargo = artifacts::cargo(&artifacts::root().join("bench/native"));
    cargo
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", flags);
    process::run(
        &format!("building the kernels natively ({variant})"),
        &mut cargo,
    )?;
    Conversation::start("native", &mut Command::new(target.join("release/native")))
}
