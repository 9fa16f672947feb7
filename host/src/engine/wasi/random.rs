//! `wasi:random`, counted; real, or made from a seed.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomView as _;

use crate::engine::state::State;

/// Random bytes of one call: the host allocates them before it hands them over. All calls together have a
/// limit of their own.
pub(crate) const RANDOM_CALL_BYTES: u64 = 1 << 20;

/// Makes all randomness of a context from one seed. Each source has a stream of its own, so that what a guest
/// draws from one does not change what it gets from another.
pub(crate) fn seeded(wasi: &mut WasiCtxBuilder, seed: u64) {
    let source = |stream| {
        let mut source = ChaCha20Rng::seed_from_u64(seed);
        source.set_stream(stream);
        source
    };
    let mut first = source(2);
    let insecure_seed = (u128::from(first.next_u64()) << 64) | u128::from(first.next_u64());
    wasi.secure_random(source(0));
    wasi.insecure_random(source(1));
    wasi.insecure_random_seed(insecure_seed);
}

impl State {
    /// Counts a call for `len` random bytes, before any is allocated.
    fn draw(&mut self, len: u64) -> wasmtime::Result<()> {
        self.meter.call()?;
        self.meter.random(len)?;
        if len > RANDOM_CALL_BYTES {
            wasmtime::bail!(
                "{len} random bytes were asked for at once, at most {RANDOM_CALL_BYTES} can be had in one call"
            );
        }
        Ok(())
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(len)?;
        random::Host::get_random_bytes(self.random(), len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw(size_of::<u64>() as u64)?;
        random::Host::get_random_u64(self.random())
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(len)?;
        insecure::Host::get_insecure_random_bytes(self.random(), len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw(size_of::<u64>() as u64)?;
        insecure::Host::get_insecure_random_u64(self.random())
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.draw(size_of::<u128>() as u64)?;
        insecure_seed::Host::insecure_seed(self.random())
    }
}
