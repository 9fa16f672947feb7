//! The one place that decides how wasmtime is configured, for the compiler and for the runtime.
//!
//! Code generation and execution must agree, or every artifact is refused (or worse, is not): so there is
//! one constructor, and [`Purpose`] may only add what plays no part in code generation.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, OperatorCost, OptLevel,
    PoolingAllocationConfig, Strategy, WasmBacktraceDetails, WasmFeatures,
};

/// The exact wasmtime version that this build is pinned to, and our own schema of knobs after it. wasmtime
/// by itself compares the major version only, which would let artifacts outlive a code generation fix.
pub(crate) const MODULE_VERSION: &str = "48.0.8+celeriac.1";

/// Frames of a guest's stack that are reported.
pub(crate) const TRACE_FRAMES: usize = 20;

/// Bytes at the top of a fiber's stack that are cleared by hand after each invocation; the rest is given back
/// to the system, which costs nothing where nothing was touched. A small guest touches some 8 KiB, and clearing
/// 128 KiB instead took a third of a whole invocation.
const STACK_RESIDENT: usize = 16 << 10;

/// What a fiber's stack has beyond the guest's part of it: room for the host's own code under a guest that has used
/// up its part. wasmtime's default; with less, a deep guest that calls its host could end the process.
const HOST_STACK_BYTES: usize = (2 << 20) - (512 << 10);

/// As deep as calls may be nested: a host alone gets to the end of the deepest.
const MIN_WAITING: u32 = 16;

/// Address space for more would be missed elsewhere.
const MAX_WAITING: u32 = 256;

/// Sizes and times of one engine. Every field may be changed without recompiling modules.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Invocations that can be in flight at once: the number of slots in the pool. A slot costs address
    /// space (about 4 GiB per memory), not memory. 1,000 by default.
    pub concurrency: u32,
    /// The largest linear memory that any invocation may have, in bytes; the hard ceiling of
    /// `Limits::memory_bytes`. 256 MiB by default: a single bulk operation over it stays in milliseconds.
    pub memory_max_bytes: usize,
    /// Bytes of linear memory and of table that a slot keeps between invocations: they are
    /// cleared by a memset instead of madvise and page faults. 128 KiB covers a small Rust guest; guests with an
    /// interpreter inside gain from 8 MiB.
    pub keep_resident: usize,
    /// Linear memories of one invocation, summed over the core modules of a composed component.
    pub memories_per_invocation: u32,
    /// Tables of one invocation. Rust needs 2, a component with an interpreter up to 16.
    pub tables_per_invocation: u32,
    /// Elements of one table: large interpreters register some ten thousand functions.
    pub table_elements: usize,
    /// Core instances of one invocation: a Python component has up to 38.
    pub core_instances_per_invocation: u32,
    /// Bytes of the wasm stack: how deep a guest can recurse, besides the stack that its toolchain keeps in its
    /// own memory. 512 KiB by default; a slot has address space for it and for the host's part.
    pub wasm_stack_bytes: usize,
    /// How often a running guest gives way to others, looks at its deadline, and can be cancelled.
    pub tick: Duration,
    /// How long a guest may go on after it was cancelled, to clean up and return by itself.
    pub cancel_grace: Duration,
    /// Below which the scratch directories of executions are made; on one machine the same for each start, so that
    /// what a crash left is found. None: a directory of the user's own below the system's for temporary files.
    pub scratch_dir: Option<PathBuf>,
    /// Bytes of the answers that are kept of one recorded execution.
    pub record_bytes: u64,
    /// The DNS server that guests' names are asked of, instead of the system's.
    pub dns: Option<SocketAddr>,
}

impl EngineConfig {
    /// Invocations that may wait for others that they have called, without standing in the way of those: each has a slot
    /// of the pool beside the `concurrency` ones. So a host with one slot can run a task that calls another.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.concurrency.clamp(MIN_WAITING, MAX_WAITING)
    }

    /// All slots of the pool.
    pub(crate) fn slots(&self) -> u32 {
        self.concurrency.saturating_add(self.waiting())
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            concurrency: 1_000,
            memory_max_bytes: 256 << 20,
            keep_resident: 128 << 10,
            memories_per_invocation: 2,
            tables_per_invocation: 16,
            table_elements: 32_768,
            core_instances_per_invocation: 64,
            wasm_stack_bytes: 512 << 10,
            tick: Duration::from_millis(2),
            cancel_grace: Duration::from_millis(20),
            scratch_dir: None,
            record_bytes: 1 << 20,
            dns: None,
        }
    }
}

/// What a configuration is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Compiling an uploaded module; no pool, so that it fits under a limit of address space.
    Compile,
    /// Running modules.
    Run(&'a EngineConfig),
}

/// The configuration of wasmtime.
///
/// # Errors
/// When wasmtime refuses a knob, which an upgrade could bring.
pub fn config(purpose: Purpose<'_>) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    language(&mut config);
    code_generation(&mut config)?;
    config.wasm_backtrace_max_frames(NonZeroUsize::new(TRACE_FRAMES));
    // Neither an environment variable nor DWARF of an uploaded module has a say in what we parse.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Registering unwind tables for the OS is quadratic in the number of modules, and nobody reads them.
    config.native_unwind_info(false);
    // Async tasks of the component model keep tables in every store; WASI 0.2 has none. Worth 8 µs.
    config.concurrency_support(false);
    // Stacks are reused by other tenants' guests.
    config.async_stack_zeroing(true);
    if let Purpose::Run(engine) = purpose {
        config.max_wasm_stack(engine.wasm_stack_bytes);
        config.async_stack_size(engine.wasm_stack_bytes.saturating_add(HOST_STACK_BYTES));
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(engine)));
    }
    Ok(config)
}

/// Which wasm is accepted: what today's toolchains emit for WASI 0.2. Left out is what nobody needs for it and
/// advisories gather around: threads, 64-bit memories, garbage collection, exceptions, async components.
/// Uploads are validated against the same set.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::COMPONENT_MODEL
}

fn language(config: &mut Config) {
    config.wasm_features(WasmFeatures::all().difference(features()), false);
    config.wasm_features(features(), true);
    config.shared_memory(false);
    config.gc_support(false);
}

fn code_generation(config: &mut Config) -> wasmtime::Result<()> {
    config.strategy(Strategy::Cranelift);
    config.cranelift_opt_level(OptLevel::Speed);
    config.consume_fuel(true);
    // Growing a memory is free by default although the host pays for every page of it.
    let mut cost = OperatorCost::new();
    cost.variable.memory_grow_per_page = 16;
    config.operator_cost(cost);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(64 << 20);
    config.module_version(ModuleVersionStrategy::Custom(MODULE_VERSION.to_owned()))?;
    Ok(())
}

fn pool(engine: &EngineConfig) -> PoolingAllocationConfig {
    let n = engine.slots();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(n);
    pool.total_core_instances(n.saturating_mul(engine.core_instances_per_invocation));
    pool.total_memories(n.saturating_mul(engine.memories_per_invocation));
    pool.total_tables(n.saturating_mul(engine.tables_per_invocation));
    pool.total_stacks(n);
    pool.max_core_instances_per_component(engine.core_instances_per_invocation);
    pool.max_memories_per_component(engine.memories_per_invocation);
    pool.max_tables_per_component(engine.tables_per_invocation);
    pool.max_memories_per_module(1);
    pool.max_tables_per_module(engine.tables_per_invocation);
    pool.table_elements(engine.table_elements);
    pool.max_memory_size(engine.memory_max_bytes);
    pool.linear_memory_keep_resident(engine.keep_resident);
    pool.table_keep_resident(engine.keep_resident);
    pool.async_stack_keep_resident(STACK_RESIDENT);
    // Slots beyond these give their pages back, so that a burst does not stay resident.
    pool.max_unused_warm_slots(n.min(100));
    pool.decommit_batch_size(1);
    // Resets paged-out pages on 48 (fixed in 50 only), and is no faster.
    pool.pagemap_scan(Enabled::No);
    pool
}
