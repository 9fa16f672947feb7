//! Counts what a guest asks of its host: calls, and bytes that cross to or from it.
//!
//! wasm's fuel sees neither. Each call counts against `host_calls`; each byte costs one fuel. Most imports have no
//! access to the store, so that the fuel is owed first and settled at the next import that has, and at the end:
//! what an invocation used, and whether that was too much, does not depend on when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Owed for bytes that cross while the guest does something else: those of sockets.
    owed_elsewhere: Option<Arc<AtomicU64>>,
    /// Whether those count only once they are taken: with an answer that is taped, so that a replay counts them there too.
    is_taped: bool,
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
            owed_elsewhere: None,
            is_taped: false,
            fuel: limits.fuel,
        }
    }

    /// Counts one call of the host.
    pub(crate) fn call(&mut self) -> Result<(), HostLimit> {
        self.count();
        self.check()
    }

    /// Counts one call of an import that cannot fail for it; [`Self::check`] tells when it was too much.
    pub(crate) fn count(&mut self) {
        self.calls += 1;
    }

    /// Fails once there were more calls than allowed.
    pub(crate) fn check(&self) -> Result<(), HostLimit> {
        if self.calls > self.allowed_calls {
            return Err(HostLimit(LimitHit::new(
                "host_calls",
                self.allowed_calls,
                self.calls,
            )));
        }
        Ok(())
    }

    /// A count of bytes that others add to, at any time.
    pub(crate) fn elsewhere(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.owed_elsewhere.get_or_insert_default())
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

    /// Has bytes that are charged elsewhere count when they are taken.
    pub(crate) fn tape(&mut self) {
        self.is_taped = true;
    }

    /// Takes the bytes that were charged elsewhere.
    pub(crate) fn take_elsewhere(&mut self) -> u64 {
        let elsewhere = self.owed_elsewhere.as_ref();
        let bytes = elsewhere.map_or(0, |bytes| bytes.swap(0, Ordering::Relaxed));
        self.owe(bytes);
        bytes
    }

    /// Charges bytes that were charged elsewhere.
    pub(crate) fn owe(&mut self, bytes: u64) {
        let fuel = bytes.saturating_mul(FUEL_PER_BYTE);
        self.owed = self.owed.saturating_add(fuel);
    }

    /// Fuel owed and not yet settled.
    pub(crate) fn owed(&self) -> u64 {
        let elsewhere = self
            .owed_elsewhere
            .as_ref()
            .filter(|_| !self.is_taped)
            .map_or(0, |bytes| bytes.load(Ordering::Relaxed));
        self.owed
            .saturating_add(elsewhere.saturating_mul(FUEL_PER_BYTE))
    }

    /// Takes the fuel owed, to settle it.
    pub(crate) fn settle(&mut self) -> u64 {
        let elsewhere = self
            .owed_elsewhere
            .as_ref()
            .filter(|_| !self.is_taped)
            .map_or(0, |bytes| bytes.swap(0, Ordering::Relaxed));
        std::mem::take(&mut self.owed).saturating_add(elsewhere.saturating_mul(FUEL_PER_BYTE))
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    pub(crate) fn random_bytes(&self) -> u64 {
        self.random_bytes
    }
}
