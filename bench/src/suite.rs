//! The benchmarks, and how they are run.

use std::{io::Write as _, process::ExitCode, time::Instant};

use crate::{
    await_result, cancel, cold, density, engine, figure::Figure, flow, growth, guest_cpu,
    options::Scale, python, schedule, throughput,
};

/// One benchmark.
#[derive(Debug)]
pub(crate) struct Benchmark {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    /// Measures.
    run: fn(Scale) -> anyhow::Result<Vec<Figure>>,
}

/// All of them, in the order in which they run.
pub(crate) const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "engine",
        about: "one isolated invocation against bare wasmtime",
        run: engine::run,
    },
    Benchmark {
        name: "guest-cpu",
        about: "guest code under fuel against the same code native",
        run: guest_cpu::run,
    },
    Benchmark {
        name: "await",
        about: "submit to result against a Redis round trip",
        run: await_result::run,
    },
    Benchmark {
        name: "throughput",
        about: "no-ops against BullMQ and Celery",
        run: throughput::run,
    },
    Benchmark {
        name: "python",
        about: "awaits and no-ops from Python against Celery",
        run: python::run,
    },
    Benchmark {
        name: "density",
        about: "memory of a host with 10,000 invocations asleep",
        run: density::run,
    },
    Benchmark {
        name: "cold",
        about: "first run on a fresh host over a warm run",
        run: cold::run,
    },
    Benchmark {
        name: "growth",
        about: "1,000,000 queued against 1,000",
        run: growth::run,
    },
    Benchmark {
        name: "cancel",
        about: "cancelling spinning tasks, and their neighbours",
        run: cancel::run,
    },
    Benchmark {
        name: "schedule",
        about: "how exactly what is scheduled starts, among 100,000",
        run: schedule::run,
    },
    Benchmark {
        name: "flow",
        about: "chords against as many plain invocations",
        run: flow::run,
    },
];

/// The benchmark with this name.
pub(crate) fn find(name: &str) -> Option<&'static Benchmark> {
    BENCHMARKS.iter().find(|benchmark| benchmark.name == name)
}

/// Runs the named benchmarks, or all, and prints their figures.
pub(crate) fn run(names: &[String], scale: Scale) -> ExitCode {
    let is_wanted = |b: &&Benchmark| names.is_empty() || names.iter().any(|name| name == b.name);
    let mut failed = Vec::new();
    for benchmark in BENCHMARKS.iter().filter(is_wanted) {
        eprintln!("── {}: {}", benchmark.name, benchmark.about);
        let began = Instant::now();
        match (benchmark.run)(scale) {
            Ok(figures) => figures.iter().for_each(print),
            Err(error) => {
                eprintln!("   {} could not run: {error:#}", benchmark.name);
                failed.push(benchmark.name);
            }
        }
        eprintln!("   took {:.1} s", began.elapsed().as_secs_f64());
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("could not run: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// The line for programs, and a note for people when a goal is missed.
fn print(figure: &Figure) {
    if figure.is_missed() {
        eprintln!(
            "   goal missed: {} is {:.4} {}",
            figure.name, figure.value, figure.unit
        );
    }
    match serde_json::to_string(figure) {
        // A reader that has gone away is no reason to stop measuring.
        Ok(line) => drop(writeln!(std::io::stdout(), "{line}")),
        Err(error) => eprintln!("   {}: {error}", figure.name),
    }
}
