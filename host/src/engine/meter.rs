//! Counts what a guest asks of its host: calls, and bytes that cross to or from it.
//!
//! wasm's fuel sees neither. Each call counts against `host_calls`; each byte costs one fuel. Most imports have no
//! access to the store, so that the fuel is owed first and settled at the next import that has, and at the end:
//! what an invocation used, and whether that was too much, does not depend on when.

use super::state::HostLimit;
use super::{LimitHit, Limits};

/// The fuel that one byte costs which crosses the boundary.
pub(crate) const FUEL_PER_BYTE: u64 = 1;

/// What one invocation has asked of its host.
pub(crate) struct Meter {
    calls: u64,
    allowed_calls: u64,
    random_bytes: u64,
    allowed_random_bytes: u64,
    owed: u64,
    fuel: u64,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: 0,
            allowed_calls: limits.host_calls,
            random_bytes: 0,
            allowed_random_bytes: limits.random_bytes,
            owed: 0,
            fuel: limits.fuel,
        }
    }

    /// Counts one call of the host.
    pub(crate) fn call(&mut self) -> Result<(), HostLimit> {
        self.calls += 1;
        if self.calls > self.allowed_calls {
            return Err(HostLimit(LimitHit::new(
                "host_calls",
                self.allowed_calls,
                self.calls,
            )));
        }
        Ok(())
    }

    /// Charges bytes that cross the boundary. Fails once they alone cost more than there is.
    pub(crate) fn bytes(&mut self, bytes: u64) -> Result<(), HostLimit> {
        self.owed = self
            .owed
            .saturating_add(bytes.saturating_mul(FUEL_PER_BYTE));
        if self.owed > self.fuel {
            return Err(HostLimit(LimitHit::new("fuel", self.fuel, self.owed)));
        }
        Ok(())
    }

    /// Counts random bytes, which also cross the boundary.
    pub(crate) fn random(&mut self, bytes: u64) -> Result<(), HostLimit> {
        let wanted = self.random_bytes.saturating_add(bytes);
        if wanted > self.allowed_random_bytes {
            return Err(HostLimit(LimitHit::new(
                "random_bytes",
                self.allowed_random_bytes,
                wanted,
            )));
        }
        self.random_bytes = wanted;
        self.bytes(bytes)
    }

    /// Fuel owed and not yet settled.
    pub(crate) fn owed(&self) -> u64 {
        self.owed
    }

    /// Takes the fuel owed, to settle it.
    pub(crate) fn settle(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    pub(crate) fn random_bytes(&self) -> u64 {
        self.random_bytes
    }
}
