//! `wasi:random`, counted; all of it made from one seed, which is random itself unless somebody fixed it.
//!
//! The seed of an execution is drawn when the guest first asks for randomness: 32 bytes that nobody outside this process
//! can foresee. It is told to nobody, except with a failure, so that the failure can be replayed.

use std::cell::RefCell;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rustix::rand::{GetRandomFlags, getrandom};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::engine::Seed;
use crate::engine::state::State;

/// Random bytes of one call: the host allocates them before it hands them over. All calls together have a
/// limit of their own.
pub(crate) const RANDOM_CALL_BYTES: u64 = 1 << 20;

/// The randomness of one execution. Each source has a stream of its own, so that what a guest draws from one does not
/// change what it gets from another.
#[derive(Default)]
pub(crate) struct Chance {
    seed: Option<Seed>,
    secure: Option<Box<ChaCha20Rng>>,
    insecure: Option<Box<ChaCha20Rng>>,
}

impl Chance {
    /// With this seed, or with one that nobody knows.
    pub(crate) fn new(seed: Option<Seed>) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The seed, if anything was made from it.
    pub(crate) fn used(&self) -> Option<&Seed> {
        self.seed.as_ref()
    }

    fn source(&mut self, stream: u64) -> wasmtime::Result<ChaCha20Rng> {
        let seed = match &self.seed {
            Some(seed) => seed,
            None => self.seed.insert(Seed::Bytes(fresh()?)),
        };
        let mut source = match seed {
            Seed::Number(number) => ChaCha20Rng::seed_from_u64(*number),
            Seed::Bytes(bytes) => ChaCha20Rng::from_seed(*bytes),
        };
        source.set_stream(stream);
        Ok(source)
    }

    fn secure(&mut self) -> wasmtime::Result<&mut ChaCha20Rng> {
        if self.secure.is_none() {
            self.secure = Some(Box::new(self.source(0)?));
        }
        self.secure.as_deref_mut().ok_or_else(no_randomness)
    }

    fn insecure(&mut self) -> wasmtime::Result<&mut ChaCha20Rng> {
        if self.insecure.is_none() {
            self.insecure = Some(Box::new(self.source(1)?));
        }
        self.insecure.as_deref_mut().ok_or_else(no_randomness)
    }
}

fn no_randomness() -> wasmtime::Error {
    wasmtime::format_err!("the host has no randomness")
}

/// A new seed, from a generator of this thread that the system has seeded: asking the system each time would cost more
/// than the rest of a call.
fn fresh() -> wasmtime::Result<[u8; 32]> {
    thread_local! {
        static SEEDS: RefCell<Option<ChaCha20Rng>> = const { RefCell::new(None) };
    }
    SEEDS.with_borrow_mut(|seeds| {
        let seeds = match seeds {
            Some(seeds) => seeds,
            None => seeds.insert(ChaCha20Rng::from_seed(from_the_system()?)),
        };
        let mut seed = [0; 32];
        seeds.fill_bytes(&mut seed);
        Ok(seed)
    })
}

fn from_the_system() -> wasmtime::Result<[u8; 32]> {
    let mut seed = [0; 32];
    let mut filled = 0;
    while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => wasmtime::bail!("the host has no randomness: {error}"),
        }
    }
    Ok(seed)
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

/// So many bytes, of which there were checked to be few enough.
fn bytes(source: &mut ChaCha20Rng, len: u64) -> wasmtime::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len)?];
    source.fill_bytes(&mut bytes);
    Ok(bytes)
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(len)?;
        bytes(self.chance.secure()?, len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw(size_of::<u64>() as u64)?;
        Ok(self.chance.secure()?.next_u64())
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(len)?;
        bytes(self.chance.insecure()?, len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw(size_of::<u64>() as u64)?;
        Ok(self.chance.insecure()?.next_u64())
    }
}

impl insecure_seed::Host for State {
    /// The same one each time: it belongs to the instance.
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.draw(size_of::<u128>() as u64)?;
        let mut source = self.chance.source(2)?;
        let (first, second) = (source.next_u64(), source.next_u64());
        Ok((second, first))
    }
}
