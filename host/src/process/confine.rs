//! Takes from the compiling child what compiling does not need.
//!
//! In two steps: [`confine`] first of all, and [`seal`] once the compiler is set up (threads started, its own
//! files read) and before a byte of the upload is read.

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, umask,
};

use super::filter;

/// Threads of the compiler: eight are enough for any module.
const MAX_THREADS: u64 = 8;

/// Address space for each of them: 64 MiB for its heap, as much to align it, and its share of the module.
const BYTES_PER_THREAD: u64 = 256 << 20;

/// What the child may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of address space.
    pub(crate) memory_bytes: u64,
    /// Seconds of processor time, summed over its threads.
    pub(crate) cpu_seconds: u64,
}

/// What the kernel had to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confined {
    /// Whether system calls are filtered.
    pub(crate) has_filter: bool,
}

/// Limits, privileges and traces of this process, for good.
pub(crate) fn confine(bounds: Bounds) -> Result<(), String> {
    for (resource, limit) in [
        (Resource::As, bounds.memory_bytes),
        (Resource::Cpu, bounds.cpu_seconds),
        (Resource::Core, 0),
        // Nothing but the three pipes is written, and little opened.
        (Resource::Fsize, 0),
        (Resource::Nofile, 32),
    ] {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit)
            .map_err(|error| format!("cannot limit {resource:?}: {error}"))?;
    }
    umask(Mode::RWXG | Mode::RWXO);
    let steps = [
        rustix::thread::set_no_new_privs(true),
        // Others of the same user may not look into its memory either.
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
        // Counts for the thread that started this child. Those are runtime threads, which live as long as
        // their process; were one to end early, the module would be compiled again.
        set_parent_process_death_signal(Some(Signal::KILL)),
    ];
    for step in steps {
        step.map_err(|error| format!("cannot give up privileges: {error}"))?;
    }
    // Compiling waits for nobody; invocations do.
    let _ = rustix::process::setpriority_process(None, 10);
    Ok(())
}

/// Starts the compiler's threads and takes all other system calls away.
pub(crate) fn seal(bounds: Bounds) -> Result<Confined, String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (bounds.memory_bytes / BYTES_PER_THREAD)
        .min(processors as u64)
        .clamp(1, MAX_THREADS);
    let mut pool =
        rayon::ThreadPoolBuilder::new().num_threads(usize::try_from(threads).unwrap_or(1));
    if threads == 1 {
        pool = pool.use_current_thread();
    }
    pool.build_global()
        .map_err(|error| format!("cannot start the compiler's threads: {error}"))?;
    // Every thread has answered: none is still starting, which takes more calls than working does.
    rayon::broadcast(|_| ());
    let has_filter = filter::apply()?;
    Ok(Confined { has_filter })
}
