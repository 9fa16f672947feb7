//! A bounded memory of what was used last.

use std::collections::HashMap;
use std::hash::Hash;

/// Keeps values up to a count and a weight; the one that was used longest ago goes first.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    max_count: usize,
    max_weight: u64,
    weight: u64,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: u64,
    used: u64,
}

impl<K: Hash + Eq + Copy, V: Clone> Lru<K, V> {
    pub(crate) fn new(max_count: usize, max_weight: u64) -> Self {
        Self {
            entries: HashMap::new(),
            max_count: max_count.max(1),
            max_weight,
            weight: 0,
            clock: 0,
        }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Keeps a value. It stays even when it alone is over the weight: it is about to be used.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: u64) {
        self.remove(&key);
        self.clock += 1;
        self.weight += weight;
        self.entries.insert(
            key,
            Entry {
                value,
                weight,
                used: self.clock,
            },
        );
        while self.entries.len() > 1
            && (self.entries.len() > self.max_count || self.weight > self.max_weight)
        {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.remove(&oldest);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.weight -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was_used_longest_ago() {
        let mut lru = Lru::new(2, 100);
        lru.insert(1, 'a', 1);
        lru.insert(2, 'b', 1);
        assert_eq!(lru.get(&1), Some('a'));
        lru.insert(3, 'c', 1);
        assert_eq!(
            (lru.get(&1), lru.get(&2), lru.get(&3)),
            (Some('a'), None, Some('c'))
        );
    }

    #[test]
    fn stays_within_its_weight() {
        let mut lru = Lru::new(10, 100);
        lru.insert(1, 'a', 60);
        lru.insert(2, 'b', 60);
        assert_eq!((lru.get(&1), lru.get(&2)), (None, Some('b')));
    }
}
