//! What one client counts.

use super::acks::Rtt;
use super::error::ClientError;
use super::snapshot::{Applied, Breach};

/// Counts of one client since it was made. The first fields are touched with every packet and lie
/// together.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Datagrams handed in.
    pub datagrams_in: u32,
    /// Datagrams handed out.
    pub datagrams_out: u32,
    /// Bytes handed in, as UDP payload.
    pub bytes_in: u64,
    /// Bytes handed out.
    pub bytes_out: u64,
    /// Snapshots applied.
    pub snapshots: u32,
    /// Snapshots discarded because a newer one had been applied.
    pub stale_snapshots: u32,
    /// Ticks between two applied snapshots whose own snapshot never came in time. Late ones are
    /// stale, so `missed_ticks − stale_snapshots` were lost.
    pub missed_ticks: u32,
    /// Removed slots named, repetitions included.
    pub removals: u32,
    /// Entries applied.
    pub entries: u64,
    /// Full ones among them.
    pub full_entries: u64,
    /// Ages of the others summed, ticks.
    pub age_sum: u64,
    /// Bytes of snapshot bodies.
    pub body_bytes: u64,
    /// Sealed packets sent of which the server never acknowledged the arrival.
    pub lost_to_server: u32,
    /// Round-trip time, with the server's processing delay taken out.
    pub rtt: Rtt,
    errors: [u32; ClientError::ALL.len()],
    breaches: [u32; Breach::COUNT],
}

impl Statistics {
    /// Datagrams not used for this reason.
    pub fn errors(&self, reason: ClientError) -> u32 {
        self.errors.get(reason as usize).copied().unwrap_or_default()
    }

    /// Datagrams not used for whatever reason.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().map(|&count| u64::from(count)).sum()
    }

    /// Snapshots with this fault of the server (exactly one bit).
    pub fn breaches(&self, breach: Breach) -> u32 {
        self.breaches.get(breach.0.trailing_zeros() as usize).copied().unwrap_or_default()
    }

    pub(super) fn count_error(&mut self, reason: ClientError) {
        self.errors[reason as usize] += 1;
    }

    pub(super) fn count_applied(&mut self, applied: &Applied) {
        self.snapshots += 1;
        self.missed_ticks += applied.missed_ticks;
        self.removals += u32::from(applied.removals);
        self.entries += u64::from(applied.entries);
        self.full_entries += u64::from(applied.full_entries);
        self.age_sum += u64::from(applied.age_sum);
        self.body_bytes += u64::from(applied.body_len);
        if applied.breaches != Breach::default() {
            for (bit, count) in self.breaches.iter_mut().enumerate() {
                *count += u32::from(applied.breaches.0 >> bit & 1);
            }
        }
    }
}
