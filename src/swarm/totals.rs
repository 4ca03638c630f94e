//! What one thread of bots counts. Plain numbers: a window of time is the difference of two copies.

use crate::client::{Applied, Breach, ClientError};

/// Ticks without a snapshot that a player notices.
const LONG_GAP_TICKS: u32 = 30;

/// Counts of one thread, or their sum over threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Payload bytes of those.
    pub bytes_in: u64,
    /// Datagrams the kernel took for sending.
    pub datagrams_out: u64,
    /// Payload bytes of those.
    pub bytes_out: u64,
    /// Datagrams the kernel refused to take.
    pub refused: u64,
    /// Datagrams the kernel dropped because the socket's buffer was full.
    pub kernel_drops: u64,
    /// Datagrams for an address that is no player's.
    pub strays: u64,
    /// Changes of a player's address.
    pub rebinds: u64,
    /// Datagrams for an address that the player has left; lost, as they would be anywhere.
    pub left_behind: u64,
    /// Inputs sent.
    pub inputs: u64,
    /// Of those, the ones sent more than 5 ms after their time.
    pub late_sends: u64,
    /// Snapshots applied.
    pub snapshots: u64,
    /// Snapshots discarded because a newer one had been applied.
    pub stale_snapshots: u64,
    /// Ticks skipped between two applied snapshots.
    pub missed_ticks: u64,
    /// Snapshots before which more than 30 ticks were skipped: half a second at 60 Hz.
    pub long_gaps: u64,
    /// Entries applied.
    pub entries: u64,
    /// Full ones among them.
    pub full_entries: u64,
    /// Ages of the others summed, ticks.
    pub age_sum: u64,
    /// Bytes of snapshot bodies.
    pub body_bytes: u64,
    /// Snapshots larger than the server's own budget.
    pub over_budget: u64,
    /// Datagrams not used, by `ClientError`.
    pub errors: [u64; ClientError::ALL.len()],
    /// Snapshots with a fault of the server, by `Breach` bit.
    pub breaches: [u64; Breach::COUNT],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            datagrams_in: 0,
            bytes_in: 0,
            datagrams_out: 0,
            bytes_out: 0,
            refused: 0,
            kernel_drops: 0,
            strays: 0,
            rebinds: 0,
            left_behind: 0,
            inputs: 0,
            late_sends: 0,
            snapshots: 0,
            stale_snapshots: 0,
            missed_ticks: 0,
            long_gaps: 0,
            entries: 0,
            full_entries: 0,
            age_sum: 0,
            body_bytes: 0,
            over_budget: 0,
            errors: [0; ClientError::ALL.len()],
            breaches: [0; Breach::COUNT],
        }
    }
}

impl Totals {
    /// Counts an applied snapshot that came in `plaintext` bytes, of which the server allows
    /// `budget`.
    pub(super) fn count_applied(&mut self, applied: &Applied, plaintext: usize, budget: usize) {
        self.snapshots += 1;
        self.missed_ticks += u64::from(applied.missed_ticks);
        self.long_gaps += u64::from(applied.missed_ticks > LONG_GAP_TICKS);
        self.entries += u64::from(applied.entries);
        self.full_entries += u64::from(applied.full_entries);
        self.age_sum += u64::from(applied.age_sum);
        self.body_bytes += u64::from(applied.body_len);
        self.over_budget += u64::from(plaintext > budget);
        if applied.breaches != Breach::default() {
            for (bit, count) in self.breaches.iter_mut().enumerate() {
                *count += u64::from(applied.breaches.0 >> bit & 1);
            }
        }
    }

    /// What was counted since `earlier`, an older copy of the same counts.
    pub fn since(&self, earlier: &Self) -> Self {
        self.combine(earlier, u64::wrapping_sub)
    }

    /// The sum with the counts of another thread.
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, u64::wrapping_add)
    }

    /// Packets that opened and broke the rules of the protocol, and snapshots with a server's
    /// fault.
    pub fn decode_errors(&self) -> u64 {
        let opened = ClientError::ALL.iter().filter(|reason| reason.is_after_open());
        let broken: u64 = opened.map(|&reason| self.errors[reason as usize]).sum();
        broken + self.breaches.iter().sum::<u64>() + self.over_budget
    }

    /// Snapshots that never came.
    pub fn lost_snapshots(&self) -> u64 {
        self.missed_ticks.saturating_sub(self.stale_snapshots)
    }

    /// Everything that went wrong, by name; only what occurred.
    pub fn faults(&self) -> Vec<(&'static str, u64)> {
        let errors = ClientError::ALL.iter().map(|&why| (why.name(), self.errors[why as usize]));
        let breaches = Breach::NAMES.into_iter().zip(self.breaches);
        let rest = [
            ("over_budget", self.over_budget),
            ("stray", self.strays),
            ("send_refused", self.refused),
            ("kernel_drop", self.kernel_drops),
        ];
        errors.chain(breaches).chain(rest).filter(|&(_, count)| count > 0).collect()
    }

    fn combine(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            datagrams_in: with(self.datagrams_in, other.datagrams_in),
            bytes_in: with(self.bytes_in, other.bytes_in),
            datagrams_out: with(self.datagrams_out, other.datagrams_out),
            bytes_out: with(self.bytes_out, other.bytes_out),
            refused: with(self.refused, other.refused),
            kernel_drops: with(self.kernel_drops, other.kernel_drops),
            strays: with(self.strays, other.strays),
            rebinds: with(self.rebinds, other.rebinds),
            left_behind: with(self.left_behind, other.left_behind),
            inputs: with(self.inputs, other.inputs),
            late_sends: with(self.late_sends, other.late_sends),
            snapshots: with(self.snapshots, other.snapshots),
            stale_snapshots: with(self.stale_snapshots, other.stale_snapshots),
            missed_ticks: with(self.missed_ticks, other.missed_ticks),
            long_gaps: with(self.long_gaps, other.long_gaps),
            entries: with(self.entries, other.entries),
            full_entries: with(self.full_entries, other.full_entries),
            age_sum: with(self.age_sum, other.age_sum),
            body_bytes: with(self.body_bytes, other.body_bytes),
            over_budget: with(self.over_budget, other.over_budget),
            errors: std::array::from_fn(|i| with(self.errors[i], other.errors[i])),
            breaches: std::array::from_fn(|i| with(self.breaches[i], other.breaches[i])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_what_was_counted_after_its_start() {
        let mut totals = Totals { inputs: 10, ..Totals::default() };
        totals.errors[ClientError::NoBaseline as usize] = 1;
        let start = totals.clone();
        totals.inputs += 5;
        totals.errors[ClientError::NoBaseline as usize] += 2;
        totals.errors[ClientError::Connection as usize] += 7;
        totals.breaches[0] += 1;
        let window = totals.since(&start);
        assert_eq!((window.inputs, window.decode_errors()), (5, 3));
        let faults = [("connection", 7), ("no_baseline", 2), ("duplicate_entity", 1)];
        assert_eq!(window.faults(), faults);
        assert_eq!(window.plus(&start), totals);
    }
}
