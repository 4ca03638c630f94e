//! A hash map of fixed capacity: all its memory is taken at construction, it never grows and never
//! evicts, and strangers who choose the keys cannot aim at one cell.
//!
//! Linear probing at half load, deletion by moving back what follows. Called by the other files of
//! this module.

use crate::crypto::siphash::siphash;

/// No room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<const W: usize, V> {
    key: [u64; W],
    value: V,
}

/// At most `limit` values under keys of `W` words.
///
/// Invariant: between the home cell of a key and the cell that holds it, no cell is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FixedMap<const W: usize, V> {
    seed: [u64; 2],
    cells: Vec<Option<Entry<W, V>>>,
    len: usize,
    limit: usize,
    swept: usize,
}

impl<const W: usize, V: Copy> FixedMap<W, V> {
    pub(super) fn new(limit: usize, seed: [u64; 2]) -> Self {
        let cells = vec![None; (limit.max(1) * 2).next_power_of_two()];
        Self { seed, cells, len: 0, limit, swept: 0 }
    }

    fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    pub(super) fn get(&self, key: &[u64; W]) -> Option<V> {
        self.cells[self.find(key)].map(|entry| entry.value)
    }

    /// Everything in it, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = ([u64; W], V)> + '_ {
        self.cells.iter().flatten().map(|entry| (entry.key, entry.value))
    }

    /// Adds or replaces the value of `key`. Only adding can fail.
    pub(super) fn insert(&mut self, key: [u64; W], value: V) -> Result<(), Full> {
        let cell = self.find(&key);
        if self.cells[cell].is_none() {
            if self.is_full() {
                return Err(Full);
            }
            self.len += 1;
        }
        self.cells[cell] = Some(Entry { key, value });
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &[u64; W]) -> Option<V> {
        let cell = self.find(key);
        let value = self.cells[cell]?.value;
        self.empty(cell);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cells in all.
    pub(super) fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Looks at the next `cells` cells of an endless round and removes the values that are not to
    /// be kept.
    pub(super) fn sweep(&mut self, cells: usize, mut keep: impl FnMut(&V) -> bool) {
        for _ in 0..cells.min(self.cells.len()) {
            // Emptying a cell may move another value into it, so it is looked at again.
            while self.cells[self.swept].is_some_and(|entry| !keep(&entry.value)) {
                self.empty(self.swept);
            }
            self.swept = self.next(self.swept);
        }
    }

    /// The cell that holds `key`, or the empty one where it belongs.
    fn find(&self, key: &[u64; W]) -> usize {
        let mut cell = self.home(key);
        while self.cells[cell].is_some_and(|entry| entry.key != *key) {
            cell = self.next(cell);
        }
        cell
    }

    /// Empties `hole` and closes the gap: a later value of the same run moves in if that does not
    /// put it in front of its home.
    fn empty(&mut self, mut hole: usize) {
        self.len -= 1;
        let mut cell = hole;
        loop {
            self.cells[hole] = None;
            let home = loop {
                cell = self.next(cell);
                let Some(entry) = self.cells[cell] else { return };
                let home = self.home(&entry.key);
                if self.distance(home, cell) >= self.distance(hole, cell) {
                    break home;
                }
            };
            debug_assert!(self.distance(home, hole) < self.cells.len() / 2 + 1);
            self.cells[hole] = self.cells[cell];
            hole = cell;
        }
    }

    fn home(&self, key: &[u64; W]) -> usize {
        siphash(self.seed, key) as usize & (self.cells.len() - 1)
    }

    fn next(&self, cell: usize) -> usize {
        (cell + 1) & (self.cells.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.cells.len() - 1)
    }
}

/// The words of a key that is bytes.
pub(super) fn words<const W: usize, const N: usize>(bytes: &[u8; N]) -> [u64; W] {
    const { assert!(W * 8 == N, "whole words") };
    let (chunks, _) = bytes.as_chunks::<8>();
    core::array::from_fn(|i| u64::from_le_bytes(chunks[i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_map_agrees_with_an_ordered_one(
            seed in any::<[u64; 2]>(),
            limit in 1..20usize,
            steps in prop::collection::vec((0..4u8, 0..24u64, any::<u16>()), 0..300),
        ) {
            let mut map = FixedMap::<1, u16>::new(limit, seed);
            let mut model = BTreeMap::new();
            for (step, key, value) in steps {
                match step {
                    0 | 1 => {
                        let room = model.len() < limit || model.contains_key(&key);
                        prop_assert_eq!(map.insert([key], value).is_ok(), room);
                        if room {
                            model.insert(key, value);
                        }
                    }
                    2 => prop_assert_eq!(map.remove(&[key]), model.remove(&key)),
                    _ => {
                        map.sweep(usize::MAX, |value| value % 3 != 0);
                        map.sweep(usize::MAX, |value| value % 3 != 0);
                        model.retain(|_, value| *value % 3 != 0);
                    }
                }
                prop_assert_eq!(map.len, model.len());
                for key in 0..24 {
                    prop_assert_eq!(map.get(&[key]), model.get(&key).copied());
                }
            }
        }
    }
}
