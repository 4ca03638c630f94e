//! `[limits]`: what anybody may send, before it costs any cryptography, and one client afterwards.

use super::{ConfigError, within};
use crate::connection::ClientRates;
use crate::gate::HandshakeRates;
use crate::limits;
use serde::{Deserialize, Serialize};

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Handshake packets per second from one IPv4 address or IPv6 /64.
    pub handshakes_per_source_per_s: u32,
    /// Handshake packets from one source in a burst.
    pub handshakes_per_source_burst: u32,
    /// Handshake packets per second from all sources together.
    pub handshakes_per_s: u32,
    /// Sources remembered at a time.
    pub handshake_sources: usize,
    /// Key agreements per second, all sources together.
    pub key_agreements_per_s: u32,
    /// Networks (such as `10.0.0.0/8`) to which the limit per source does not apply: load
    /// generators.
    pub trusted_sources: Vec<String>,
    /// Packets per second from one client.
    pub client_packets_per_s: u32,
    /// Packets from one client in a burst.
    pub client_packets_burst: u32,
    /// Bytes per second from one client, and in a burst.
    pub client_bytes_per_s: u32,
    /// Inputs of one client ahead of one per tick.
    pub client_inputs_burst: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let handshakes = HandshakeRates::default();
        let client = ClientRates::default();
        Self {
            handshakes_per_source_per_s: handshakes.source_per_s,
            handshakes_per_source_burst: handshakes.source_burst,
            handshakes_per_s: handshakes.global_per_s,
            handshake_sources: handshakes.sources,
            key_agreements_per_s: limits::HANDSHAKE_DH_PER_S,
            trusted_sources: Vec::new(),
            client_packets_per_s: client.packets_per_s,
            client_packets_burst: client.packets_burst,
            client_bytes_per_s: client.bytes_per_s,
            client_inputs_burst: client.inputs_burst,
        }
    }
}

impl LimitsConfig {
    /// Checks the ranges; clients must be able to send one packet per tick.
    pub(super) fn check(&self, tick_rate: u16) -> Result<(), ConfigError> {
        for (key, rate) in [
            ("limits.handshakes_per_source_per_s", self.handshakes_per_source_per_s),
            ("limits.handshakes_per_source_burst", self.handshakes_per_source_burst),
            ("limits.handshakes_per_s", self.handshakes_per_s),
            ("limits.key_agreements_per_s", self.key_agreements_per_s),
        ] {
            within(key, rate, 1, 1 << 20)?;
        }
        within("limits.handshake_sources", self.handshake_sources, 4, 1 << 20)?;
        let packets = self.client_packets_per_s;
        // More than two packets per tick fall out of the replay window when they come out of order.
        within("limits.client_packets_per_s", packets, tick_rate.into(), 240)?;
        let burst = self.client_packets_burst;
        within("limits.client_packets_burst", burst, packets, 10 * packets)?;
        let bytes = self.client_bytes_per_s;
        within("limits.client_bytes_per_s", bytes, 8 << 10, ClientRates::BYTES_MAX)?;
        within("limits.client_inputs_burst", self.client_inputs_burst, 1, 120)
    }

    /// What one source, and all of them, may send before any cryptography.
    pub fn handshake_rates(&self) -> HandshakeRates {
        HandshakeRates {
            source_per_s: self.handshakes_per_source_per_s,
            source_burst: self.handshakes_per_source_burst,
            global_per_s: self.handshakes_per_s,
            sources: self.handshake_sources,
        }
    }

    /// What one client may send.
    pub fn client_rates(&self) -> ClientRates {
        ClientRates {
            packets_per_s: self.client_packets_per_s,
            packets_burst: self.client_packets_burst,
            bytes_per_s: self.client_bytes_per_s,
            inputs_burst: self.client_inputs_burst,
        }
    }
}
