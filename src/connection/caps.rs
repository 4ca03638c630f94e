//! What is left of what one client may send: packets and bytes per second, each with a burst.
//!
//! The check comes before the packet is opened and must change nothing, so that forged packets
//! cannot use up what belongs to the client; the taking comes after. Both levels share one clock
//! and fit 16 bytes of the session's cache line, which two `TokenBucket`s would not. Called by
//! `admit` and `open`.

use super::rules::ClientRates;
use crate::metrics::DropReason;
use crate::time::Nanos;

/// A packet in units of `packets`.
const PACKET: u64 = 1 << 16;
/// A byte in units of `bytes`.
const BYTE: u64 = 1 << 10;

const _: () = assert!(ClientRates::PACKETS_MAX as u64 * PACKET <= u32::MAX as u64);
const _: () = assert!(ClientRates::BYTES_MAX as u64 * BYTE <= u32::MAX as u64);

/// What is left of both allowances, as of `updated`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    updated: Nanos,
    packets: u32,
    bytes: u32,
}

impl Caps {
    /// Full allowances.
    pub(super) fn full(rates: &ClientRates, now: Nanos) -> Self {
        // Both fit: `Sessions::new` has checked the rates, and the assertions above their bounds.
        let (packets, bytes) = full(rates);
        Self { updated: now, packets: packets as u32, bytes: bytes as u32 }
    }

    /// Whether a packet of `length` bytes, at most 1,200, is allowed at `now`.
    #[inline]
    pub(super) fn peek(
        &self,
        length: usize,
        rates: &ClientRates,
        now: Nanos,
    ) -> Result<(), DropReason> {
        let (packets, bytes) = self.refilled(rates, now);
        if packets < PACKET {
            return Err(DropReason::PacketRate);
        }
        if bytes < length as u64 * BYTE { Err(DropReason::ByteRate) } else { Ok(()) }
    }

    /// Takes a packet of `length` bytes. A packet that is not allowed takes nothing.
    #[inline]
    pub(super) fn take(
        &mut self,
        length: usize,
        rates: &ClientRates,
        now: Nanos,
    ) -> Result<(), DropReason> {
        self.peek(length, rates, now)?;
        let (packets, bytes) = self.refilled(rates, now);
        // Both fit: they are below the full levels, which the assertions above bound.
        self.packets = (packets - PACKET) as u32;
        self.bytes = (bytes - length as u64 * BYTE) as u32;
        // Less than a microsecond is lost per packet taken, and few are: 120 a second.
        self.updated = self.updated.max(now);
        Ok(())
    }

    /// Levels at `now`.
    #[inline]
    fn refilled(&self, rates: &ClientRates, now: Nanos) -> (u64, u64) {
        // 2^32 µs, more than an hour, fill both levels from nothing, and the products stay below
        // 2^64.
        let us = now.since(self.updated).as_us().min(1 << 32);
        let packets = us * (u64::from(rates.packets_per_s) * PACKET) / 1_000_000;
        let bytes = us * (u64::from(rates.bytes_per_s) * BYTE) / 1_000_000;
        let (packets_full, bytes_full) = full(rates);
        let packets = (u64::from(self.packets) + packets).min(packets_full);
        (packets, (u64::from(self.bytes) + bytes).min(bytes_full))
    }
}

const _: () = assert!(ClientRates::PACKETS_MAX as u64 * PACKET <= u64::MAX >> 32);
const _: () = assert!(ClientRates::BYTES_MAX as u64 * BYTE <= u64::MAX >> 32);

/// Full levels.
#[inline]
fn full(rates: &ClientRates) -> (u64, u64) {
    (u64::from(rates.packets_burst) * PACKET, u64::from(rates.bytes_per_s) * BYTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CLIENT_BYTES_PER_S, CLIENT_PACKETS_BURST, CLIENT_PACKETS_PER_S};

    const RATES: ClientRates = ClientRates {
        packets_per_s: CLIENT_PACKETS_PER_S,
        packets_burst: CLIENT_PACKETS_BURST,
        bytes_per_s: CLIENT_BYTES_PER_S,
        inputs_burst: 15,
    };

    /// Packets of `length` bytes allowed in `seconds` when one is tried every `step_us`.
    fn allowed(length: usize, seconds: u64, step_us: u64) -> u64 {
        let mut caps = Caps::full(&RATES, Nanos(0));
        let tries = (0..seconds * 1_000_000 / step_us).map(|i| Nanos::from_us(i * step_us));
        tries.filter(|&now| caps.take(length, &RATES, now).is_ok()).count() as u64
    }

    #[test]
    fn a_client_may_send_its_burst_and_then_its_rate() {
        for step_us in [1_000, 333, 7_919] {
            let seconds = 20;
            let expected = (240 + 120 * seconds).min(seconds * 1_000_000 / step_us);
            let got = allowed(40, seconds, step_us);
            assert!(got.abs_diff(expected) <= 6, "{got} of {expected} at {step_us} µs");
        }
    }

    #[test]
    fn bytes_are_limited_on_their_own() {
        let got = allowed(1200, 20, 1_000) * 1200;
        let expected = 65_536 * 21;
        assert!(got.abs_diff(expected) < 2400, "{got} of {expected}");
    }

    #[test]
    fn an_honest_client_at_60_packets_per_second_is_never_refused() {
        assert_eq!(allowed(80, 600, 16_667), 600 * 1_000_000 / 16_667);
    }

    #[test]
    fn looking_changes_nothing_and_a_refusal_takes_nothing() {
        let mut caps = Caps::full(&RATES, Nanos(0));
        for _ in 0..240 {
            assert_eq!(caps.take(30, &RATES, Nanos(0)), Ok(()));
        }
        let before = format!("{caps:?}");
        for length in [30, 1200] {
            assert_eq!(caps.peek(length, &RATES, Nanos(0)), Err(DropReason::PacketRate));
            assert_eq!(caps.take(length, &RATES, Nanos(0)), Err(DropReason::PacketRate));
        }
        assert_eq!(caps.peek(30, &RATES, Nanos(u64::MAX)), Ok(()));
        assert_eq!(format!("{caps:?}"), before);
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing() {
        let mut caps = Caps::full(&RATES, Nanos::from_ms(1_000));
        while caps.take(30, &RATES, Nanos::from_ms(1_000)).is_ok() {}
        assert!(caps.take(30, &RATES, Nanos(0)).is_err());
        assert!(caps.take(30, &RATES, Nanos::from_ms(1_000)).is_err());
        assert!(caps.take(30, &RATES, Nanos::from_ms(1_009)).is_ok());
    }

    #[test]
    fn other_rates_are_kept_as_the_default_ones_are() {
        let rates =
            ClientRates { packets_per_s: 240, packets_burst: 300, bytes_per_s: 1 << 20, ..RATES };
        let mut caps = Caps::full(&rates, Nanos(0));
        let steps = (0..10_000).map(Nanos::from_ms);
        let taken = steps.filter(|&now| caps.take(40, &rates, now).is_ok()).count();
        assert!(taken.abs_diff(300 + 240 * 10) <= 6, "{taken}");
        let most = ClientRates { packets_per_s: 65_535, packets_burst: 65_535, ..rates };
        let mut caps = Caps::full(&most, Nanos(0));
        while caps.take(1200, &most, Nanos(0)).is_ok() {}
        assert_eq!(caps.peek(1200, &most, Nanos(u64::MAX)), Ok(()));
    }
}
