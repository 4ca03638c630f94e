//! Rows of one size that are taken and given back: the memory under [`Pool`](super::Pool).
//!
//! Owns: the rows, and which of them are free; each has a link that is the owner's to use while it
//! is taken. Never grows beyond its room. Called by `pool`.

/// No row.
pub(super) const NONE: u32 = u32::MAX;

/// Rows that are taken and given back, in memory that never grows beyond `room` rows.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pub(super) rows: Vec<(u32, T)>,
    free: u32,
    pub(super) used: usize,
    pub(super) room: usize,
}

impl<T> Slab<T> {
    pub(super) fn new(rows: Vec<(u32, T)>, room: usize) -> Self {
        Self { rows, free: NONE, used: 0, room }
    }

    pub(super) fn take(&mut self, value: T) -> Option<u32> {
        if self.used >= self.room {
            return None;
        }
        self.used += 1;
        let at = self.free;
        if at == NONE {
            self.rows.push((NONE, value));
            return Some(self.rows.len() as u32 - 1);
        }
        self.free = self.rows[at as usize].0;
        self.rows[at as usize] = (NONE, value);
        Some(at)
    }

    pub(super) fn give_back(&mut self, at: u32) {
        self.rows[at as usize].0 = self.free;
        self.free = at;
        self.used -= 1;
    }
}
