//! What a gate is told at its start.

use super::cooldown::CoolDownRules;
use super::limiter::HandshakeRates;
use super::source::Network;
use crate::crypto::integrity::KeyTable;
use crate::crypto::noise::StaticKeys;
use crate::limits;
use crate::time::Nanos;
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key under which the backend seals tokens, and its name. Erased on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TokenKey {
    /// What a token's head calls it.
    pub id: u32,
    /// The key itself.
    pub key: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Everything a [`super::Gate`] is told at its start.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// Which game and build this is; other clients are dropped.
    pub protocol_id: u64,
    /// Which world this is; tokens for others are dropped.
    pub realm: u32,
    /// The key pair that clients pin.
    pub keys: StaticKeys,
    /// Keys under which tokens may be sealed; more than one while keys are exchanged. The gate
    /// seals its own tickets under the first.
    pub token_keys: Vec<TokenKey>,
    /// When this server started, unix milliseconds. A connect token from before may have been used
    /// with the server's predecessor, which forgot it.
    pub boot_unix_ms: u64,
    /// Ticks per second, for the client's information.
    pub tick_hz: u16,
    /// Shards, 1..=255.
    pub shards: u8,
    /// Sessions one shard can hold, at most 4,096.
    pub slots_per_shard: u16,
    /// How many of them only a player gets who has an entity there: who comes back before the
    /// session before has ended needs one beside it.
    pub spare_slots: u16,
    /// Entities one shard can have.
    pub entities_per_shard: usize,
    /// Sessions of all shards together; they have more slots than that so that they may be unevenly
    /// full.
    pub sessions: usize,
    /// Smallest client build that may play.
    pub minimum_build: u32,
    /// Players that may not play until the operator says otherwise.
    pub banned: Vec<u64>,
    /// How long accounts cool down.
    pub cool_downs: CoolDownRules,
    /// Sources that skip the limit per source, for load tests from one host.
    pub trusted_sources: Vec<Network>,
    /// Limits before any cryptography.
    pub rates: HandshakeRates,
    /// Key agreements per second.
    pub dh_per_s: u32,
    /// Tokens remembered at a time.
    pub tokens: usize,
    /// Resume tickets that were shown, and players who left some behind, remembered at a time.
    pub tickets: usize,
    /// Accepted sessions that have not proven themselves yet.
    pub unconfirmed: u16,
    /// Keys of builds; clients of these are asked for them.
    pub integrity: Vec<Arc<KeyTable>>,
    /// Packets per second that clients are told they may send.
    pub packets_per_s: u16,
    /// How long the entity of a player whose connection was lost stands in the world.
    pub linger: Nanos,
}

impl GateConfig {
    /// A gate with the default limits, in front of one shard of 4,096 slots, for every build of the
    /// game `protocol_id`.
    pub fn new(protocol_id: u64, realm: u32, keys: StaticKeys, token_keys: Vec<TokenKey>) -> Self {
        Self {
            protocol_id,
            realm,
            keys,
            token_keys,
            boot_unix_ms: 0,
            tick_hz: 60,
            shards: 1,
            slots_per_shard: limits::SLOTS_PER_SHARD as u16,
            spare_slots: 0,
            entities_per_shard: limits::ENTITIES_MAX,
            sessions: limits::SLOTS_PER_SHARD,
            minimum_build: 0,
            banned: Vec::new(),
            cool_downs: CoolDownRules::default(),
            trusted_sources: Vec::new(),
            rates: HandshakeRates::default(),
            dh_per_s: limits::HANDSHAKE_DH_PER_S,
            tokens: limits::TOKENS_MAX,
            tickets: limits::TICKETS_MAX,
            unconfirmed: limits::UNCONFIRMED_MAX as u16,
            integrity: Vec::new(),
            packets_per_s: limits::CLIENT_PACKETS_PER_S as u16,
            linger: Nanos::from_ms(limits::LINGER_MS),
        }
    }

    /// The keys of `build`, if there are any.
    pub(super) fn key_table(&self, build: u32) -> Option<&Arc<KeyTable>> {
        self.integrity.iter().find(|table| table.build() == build)
    }

    /// Slots of all shards together.
    pub(super) fn slots(&self) -> usize {
        usize::from(self.shards) * usize::from(self.slots_per_shard)
    }

    /// Players who have an entity: one per slot, and as many as may linger beside them.
    pub(super) fn bodies(&self) -> usize {
        let slots = self.slots();
        slots + self.sessions.min(slots)
    }

    pub(super) fn token_key(&self, id: u32) -> Option<&[u8; 32]> {
        self.token_keys.iter().find(|key| key.id == id).map(|key| &key.key)
    }
}
