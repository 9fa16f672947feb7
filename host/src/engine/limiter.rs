//! Bounds memory over all memories and tables of an invocation, and remembers what it refused.
//!
//! A refused growth reaches the guest as -1, after which most guests end in a bare `unreachable`: only the
//! limiter knows that it was memory. wasmtime's own limiter counts each memory for itself.

use wasmtime::ResourceLimiter;

use super::{LimitHit, Limits};

/// A table element is a pointer.
const ELEMENT_BYTES: u64 = size_of::<usize>() as u64;
/// Core instances, tables and memories of one store. The pool bounds them much lower.
const ITEMS: usize = 1_000;

/// The memory of one invocation.
pub(crate) struct Limiter {
    allowed_bytes: u64,
    allowed_elements: u64,
    /// Elements that one table can have, whatever the limits say.
    slot_elements: u64,
    bytes: u64,
    elements: u64,
    peak_bytes: u64,
    /// The growth that was allowed last, to be taken back if the pool cannot grant it.
    pending_bytes: u64,
    refused: Option<LimitHit>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            allowed_bytes: limits.memory_bytes,
            allowed_elements: limits.table_elements,
            slot_elements: u64::MAX,
            bytes: 0,
            elements: 0,
            peak_bytes: 0,
            pending_bytes: 0,
            refused: None,
        }
    }

    /// Tells it how many elements a table of the pool has at most.
    pub(crate) fn set_slot_elements(&mut self, elements: usize) {
        self.slot_elements = elements as u64;
    }

    /// The most bytes at once.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Elements of all tables; they never shrink.
    pub(crate) fn elements(&self) -> u64 {
        self.elements
    }

    /// The last growth that was refused.
    pub(crate) fn refused(&self) -> Option<&LimitHit> {
        self.refused.as_ref()
    }

    fn grow(&mut self, delta: u64) -> bool {
        let wanted = self.bytes.saturating_add(delta);
        if wanted > self.allowed_bytes {
            self.refused = Some(LimitHit::new("memory_bytes", self.allowed_bytes, wanted));
            return false;
        }
        self.bytes = wanted;
        self.pending_bytes = delta;
        self.peak_bytes = self.peak_bytes.max(wanted);
        true
    }

    fn take_back(&mut self) {
        self.bytes -= std::mem::take(&mut self.pending_bytes);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.pending_bytes = 0;
        // Beyond what the module itself declares: its own bound, not ours.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow((desired - current) as u64))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        if self.pending_bytes > 0 {
            self.refused = Some(LimitHit::new(
                "memory_bytes",
                self.allowed_bytes,
                self.bytes,
            ));
            self.take_back();
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.pending_bytes = 0;
        if let Some(maximum) = maximum.filter(|maximum| desired > *maximum) {
            // The module's own bound is its own concern; that of the pool's slot is ours.
            if maximum as u64 >= self.slot_elements {
                self.refused = Some(LimitHit::new(
                    "table_elements",
                    maximum as u64,
                    desired as u64,
                ));
            }
            return Ok(false);
        }
        let delta = (desired - current) as u64;
        let elements = self.elements.saturating_add(delta);
        if elements > self.allowed_elements {
            self.refused = Some(LimitHit::new(
                "table_elements",
                self.allowed_elements,
                elements,
            ));
            return Ok(false);
        }
        if !self.grow(delta.saturating_mul(ELEMENT_BYTES)) {
            return Ok(false);
        }
        self.elements = elements;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        if self.pending_bytes > 0 {
            self.elements -= self.pending_bytes / ELEMENT_BYTES;
            self.refused = Some(LimitHit::new(
                "table_elements",
                self.allowed_elements,
                self.elements,
            ));
            self.take_back();
        }
        Ok(())
    }

    fn instances(&self) -> usize {
        ITEMS
    }

    fn tables(&self) -> usize {
        ITEMS
    }

    fn memories(&self) -> usize {
        ITEMS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(memory_bytes: u64) -> Limiter {
        Limiter::new(&Limits {
            memory_bytes,
            ..Limits::default()
        })
    }

    #[test]
    fn sums_memories_and_tables() {
        let mut limiter = limiter(1_000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(
            limiter.memory_growing(0, 400, None).unwrap(),
            "a second memory"
        );
        assert!(
            !limiter.table_growing(0, 26, None).unwrap(),
            "26 pointers are 208 bytes"
        );
        let hit = limiter.refused().unwrap();
        assert_eq!(
            (hit.name.as_str(), hit.allowed, hit.seen),
            ("memory_bytes", 1_000, 1_008)
        );
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert_eq!(limiter.peak_bytes(), 1_000);
    }

    #[test]
    fn takes_back_what_the_pool_could_not_grant() {
        let mut limiter = limiter(1_000);
        assert!(limiter.memory_growing(0, 900, None).unwrap());
        limiter
            .memory_grow_failed(wasmtime::Error::msg("full"))
            .unwrap();
        assert!(limiter.memory_growing(0, 900, None).unwrap());
    }

    #[test]
    fn the_slots_maximum_is_a_limit_of_the_host() {
        let mut limiter = limiter(1_000_000);
        limiter.set_slot_elements(64);
        assert!(!limiter.table_growing(1, 33, Some(32)).unwrap());
        assert!(limiter.refused().is_none(), "the module's own maximum");
        assert!(!limiter.table_growing(1, 65, Some(64)).unwrap());
        let hit = limiter.refused().unwrap();
        assert_eq!(
            (hit.name.as_str(), hit.allowed, hit.seen),
            ("table_elements", 64, 65)
        );
    }

    #[test]
    fn the_modules_own_maximum_is_not_our_limit() {
        let mut limiter = limiter(1_000);
        assert!(!limiter.memory_growing(0, 900, Some(100)).unwrap());
        assert!(limiter.refused().is_none());
    }
}
