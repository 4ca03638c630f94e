//! Resume tickets: with one, a client comes back without its backend.
//!
//! Owns: what a session leaves to the one that resumes it, and whose ticket is due. A ticket is a
//! token that the gate seals for itself; its secret is derived from the session's own keys and
//! never travels. All tickets of a session bear one id, so that using one uses up all. The first is
//! made when the session has proven itself, the next every [`TICKET_RENEWAL_S`], at most one per
//! millisecond in all: a crowd that joins costs the gate no more than that, and the shards nothing.
//! Called by the gate alone.

use super::Gate;
use super::random;
use crate::crypto::token::{Token, TokenAddress, TokenHead, TokenKind, USER_DATA_LEN, seal_token};
use crate::limits::TICKET_RENEWAL_S;
use crate::metrics::{Counter, Counters};
use crate::time::{Entropy, Nanos};
use crate::wire::{ConnectionId, PublicToken};
use std::collections::VecDeque;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Seconds after which no ticket of a session that has ended can be good any more.
pub(super) const FORGET_S: u64 = TokenKind::ResumeTicket.max_ttl_s() + 5;
/// Tickets that may be made at once after a pause.
const BURST: u32 = 64;

/// What a session leaves to the one that resumes it. Erased on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(super) struct Resumption {
    /// The pre-shared secret of the next handshake.
    secret: [u8; 32],
    /// Of all tickets of the session.
    pub(super) id: [u8; 16],
    /// What the backend allowed goes on: from where, where to, and what.
    #[zeroize(skip)]
    address: TokenAddress,
    spawn: Option<[i32; 3]>,
    auth_level: u8,
}

impl fmt::Debug for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumption").finish_non_exhaustive()
    }
}

impl Resumption {
    /// For a session that `token` has opened.
    pub(super) fn new(secret: [u8; 32], id: [u8; 16], token: &Token) -> Self {
        let Token { address, auth_level, .. } = *token;
        Self { secret, id, address, spawn: token.spawn_point(), auth_level }
    }
}

/// Whose turn it is to get a ticket.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Sessions that have none, the longest waiting first.
    fresh: VecDeque<ConnectionId>,
    /// The others, and when their next one is due, in this order. Some may have ended.
    renewals: VecDeque<(Nanos, ConnectionId)>,
    limit: usize,
    allowance: u32,
}

impl Rounds {
    /// For at most `sessions` sessions at a time.
    pub(super) fn new(sessions: usize) -> Self {
        let limit = 2 * sessions;
        let (fresh, renewals) = (VecDeque::with_capacity(limit), VecDeque::with_capacity(limit));
        Self { fresh, renewals, limit, allowance: BURST }
    }

    pub(super) fn pass_ms(&mut self, elapsed_ms: u64) {
        let elapsed = u32::try_from(elapsed_ms).unwrap_or(BURST);
        self.allowance = self.allowance.saturating_add(elapsed).min(BURST);
    }

    /// `id` is the name of a session that has no ticket, or whose last one may have been lost.
    pub(super) fn add(&mut self, id: ConnectionId, lives: impl Fn(ConnectionId) -> bool) {
        if self.fresh.len() == self.limit {
            self.fresh.retain(|&id| lives(id));
        }
        self.fresh.push_back(id);
    }

    /// The next session whose turn it is, if its shard `has_room`.
    fn next(&mut self, now: Nanos, has_room: &impl Fn(u8) -> bool) -> Option<ConnectionId> {
        let due = self.renewals.front().filter(|(due, _)| *due <= now).map(|(_, id)| *id);
        let id = self.fresh.front().copied().or(due)?;
        if !has_room(id.socket() - 1) {
            return None;
        }
        if self.fresh.pop_front().is_none() {
            self.renewals.pop_front();
        }
        Some(id)
    }

    fn issued(&mut self, now: Nanos, id: ConnectionId, lives: impl Fn(ConnectionId) -> bool) {
        self.allowance -= 1;
        if self.renewals.len() == self.limit {
            self.renewals.retain(|&(_, id)| lives(id));
        }
        self.renewals.push_back((now.plus(Nanos::from_ms(1000 * TICKET_RENEWAL_S)), id));
    }
}

impl Gate {
    /// The next ticket that is due and whose shard `has_room` for the message: the index of the
    /// shard, the session, and the ticket. `None` if none is due or enough were made for now.
    pub fn poll_ticket(
        &mut self,
        now: Nanos,
        has_room: impl Fn(u8) -> bool,
        counters: &Counters,
        entropy: &mut dyn Entropy,
    ) -> Option<(u8, ConnectionId, PublicToken)> {
        while self.rounds.allowance > 0 {
            let id = self.rounds.next(now, &has_room)?;
            // Who has ended or moved on meanwhile is passed over.
            let Some(token) = self.mint(id, entropy) else { continue };
            let sessions = &self.sessions;
            self.rounds.issued(now, id, |id| sessions.lives(id));
            counters.add(Counter::TicketsIssued, 1);
            return Some((id.socket() - 1, id, token));
        }
        None
    }

    /// A ticket for the session `id`, if there is one.
    fn mint(&mut self, id: ConnectionId, entropy: &mut dyn Entropy) -> Option<PublicToken> {
        let player = self.sessions.session_mut(id)?.player;
        let resumption = self.sessions.resumption(id)?;
        let key = self.config.token_keys.first()?;
        let ttl_s = TokenKind::ResumeTicket.max_ttl_s();
        let head = TokenHead {
            kind: TokenKind::ResumeTicket,
            key_id: key.id,
            nonce: random(entropy),
            expiry_s: self.unix_s + ttl_s,
        };
        let token = Token {
            player_id: player,
            issued_at_ms: self.unix_s * 1000,
            token_id: resumption.id,
            psk: resumption.secret,
            realm: self.config.realm,
            address: resumption.address,
            server_public: self.config.keys.public,
            entity_hint: 0,
            auth_level: resumption.auth_level,
            user_data: resumption.spawn.map_or([0; USER_DATA_LEN], Token::spawn_user_data),
        };
        Some(PublicToken {
            kind: head.kind as u8,
            key_id: head.key_id,
            nonce: head.nonce,
            expiry_s: head.expiry_s,
            sealed: seal_token(&key.key, self.config.protocol_id, &head, &token),
        })
    }
}
