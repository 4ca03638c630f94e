//! From Connect to Accepted: the checks, in the protocol's order, and what each failure leads to.
//!
//! Owns the order and nothing else: the tables are the other files'. Called by
//! [`Gate::handle_datagram`].
//!
//! The order of the checks is the protocol's, cheap ones first. A drop is silent, counted under its
//! own reason, and leaves every table as it was; only allowances are used
//! up. A Denied is the same, and says why to whoever can receive it.
//!
//! | step | check | a failure |
//! |---|---|---|
//! | 1 | size, type, version, zero rules | drop |
//! | 2 | CRC32C | drop |
//! | 3 | protocol id | drop |
//! | 4 | limiter per source, then global | drop |
//! | 5 | cookie | one Cookie, 76 bytes |
//! | 6 | this handshake was accepted before | not a failure: the same 140 bytes again |
//! | 7 | token kind, expiry, key id | Denied, 36 bytes |
//! | 8 | something is left of the budget of key agreements | Denied |
//! | 9 | the token opens; realm, server, address | drop |
//! | 9 | its lifetime; a connect token was issued since this server started | Denied |
//! | 10 | token table; the player's older session neither moves nor takes the last slot | Denied |
//! | 10 | one key agreement is taken from the budget | |
//! | 11 | Noise message 1 | drop |
//! | 12 | maintenance, ban or cool-down, build, room | an authenticated denial, 140 bytes |
//! | 13 | slot, Noise message 2 | |

use super::answers::Answer;
use super::cooldown::{Cause, CoolDown};
use super::farewell::Farewell;
use super::sessions::Session;
use super::tickets::{FORGET_S, Resumption};
use super::tokens::TokenTable;
use super::{Gate, GateAction, Moment, dh_burst, map, random};
use crate::connection::Admission;
use crate::crypto::cookie::{Attempt, Origin};
use crate::crypto::integrity::Examiner;
use crate::crypto::noise::Responder;
use crate::crypto::schedule::Root;
use crate::crypto::siphash::siphash;
use crate::crypto::token::{Token, TokenHead, TokenKind, open_token};
use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::{Entropy, Nanos};
use crate::units::EntityId;
use crate::wire::{
    ACCEPTED_LEN, Accepted, AcceptedPacket, COOKIE_PACKET_LEN, ClientOffer, Connect, ConnectionId,
    CookiePacket, Header, NOISE_MESSAGE_1_LEN, PROLOGUE_LEN, Status,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// Seconds the backend's clock may be ahead of ours.
const CLOCK_SKEW_S: u64 = 5;

/// A Connect that kept the rules of its layout, and where it came from.
struct Arrival<'a> {
    at: Moment,
    from: SocketAddr,
    connect: Connect<'a>,
    attempt: Attempt<'a>,
    prologue: [u8; PROLOGUE_LEN],
    fingerprint: u64,
}

/// Why there will be no session.
#[derive(Clone, Copy)]
struct Denial {
    status: Status,
    reason: DropReason,
    /// Seconds after which a new attempt may succeed, 0 = not told.
    retry_s: u16,
}

impl From<CoolDown> for Denial {
    fn from(cool_down: CoolDown) -> Self {
        let reason = match cool_down.cause {
            Cause::Violations => DropReason::CoolDown,
            Cause::Banned => DropReason::Banned,
        };
        // Rounded up, so that who waits as long as told does not come too early.
        let whole = |left: Nanos| left.as_ms().div_ceil(1_000).clamp(1, u16::MAX.into()) as u16;
        Self { status: Status::Banned, reason, retry_s: cool_down.left.map_or(0, whole) }
    }
}

impl Gate {
    /// Steps 1 to 13. `Err` is a drop.
    pub(super) fn handshake(
        &mut self,
        at: Moment,
        from: SocketAddr,
        datagram: &[u8],
        counters: &Counters,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> Result<GateAction, DropReason> {
        let connect = self.read(datagram)?;
        let origin = Origin::from(from);
        self.limiter.admit(&origin.ip, at.now)?;
        let attempt = Attempt {
            origin,
            client_nonce: connect.client_nonce(),
            client_ephemeral: connect.client_ephemeral(),
        };
        if !self.cookies.verify(at.now, connect.cookie(), &attempt) {
            if !connect.is_first_flight() {
                counters.drop(DropReason::Cookie);
            }
            counters.add(Counter::CookiesSent, 1);
            return Ok(self.reply_cookie(at.now, &attempt, entropy, out));
        }
        let prologue = connect.prologue();
        let fingerprint = self.fingerprint(&prologue, connect.noise_message());
        if let Some(answer) = self.answers.find(attempt.client_ephemeral) {
            // One ephemeral key with two texts: not a resend, and not a client of ours.
            if answer.fingerprint != fingerprint {
                return Err(DropReason::Noise);
            }
            put(out, &answer.packet);
            return Ok(GateAction::Reply(ACCEPTED_LEN));
        }
        let arrival = Arrival { at, from, connect, attempt, prologue, fingerprint };
        let token = match self.admit_token(&arrival) {
            Ok(token) => token,
            Err(reason) => return self.deny(&arrival.attempt, reason, counters, entropy, out),
        };
        self.admit_client(&arrival, &token, counters, entropy, out)
    }

    /// Steps 1 to 3.
    fn read<'a>(&self, datagram: &'a [u8]) -> Result<Connect<'a>, DropReason> {
        let connect = Connect::read(datagram).map_err(|error| match Header::read(datagram) {
            Ok(header) if header.connection != ConnectionId::GATE => DropReason::WrongSocket,
            _ => error.reason(),
        })?;
        if !connect.crc_matches() {
            return Err(DropReason::Crc);
        }
        if connect.protocol_id() != self.config.protocol_id {
            return Err(DropReason::ProtocolId);
        }
        Ok(connect)
    }

    /// Step 5, the failure.
    fn reply_cookie(
        &self,
        now: Nanos,
        attempt: &Attempt<'_>,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> GateAction {
        let cookie = self.cookies.mint(now, random(entropy), attempt);
        let mut packet = [0; COOKIE_PACKET_LEN];
        CookiePacket { client_nonce: *attempt.client_nonce, cookie }
            .write(self.config.protocol_id, &mut packet);
        put(out, &packet);
        GateAction::Reply(COOKIE_PACKET_LEN)
    }

    /// Steps 7 to 10.
    fn admit_token(&mut self, arrival: &Arrival<'_>) -> Result<Token, DropReason> {
        let Arrival { at, connect, attempt, .. } = arrival;
        let kind = TokenKind::from_byte(connect.token_kind()).ok_or(DropReason::TokenKey)?;
        let expiry_s = connect.token_expiry_s();
        let latest_s = at.unix_s.saturating_add(kind.max_ttl_s() + CLOCK_SKEW_S);
        if !(at.unix_s..=latest_s).contains(&expiry_s) {
            return Err(DropReason::TokenExpired);
        }
        let key_id = connect.token_key_id();
        let key = self.config.token_key(key_id).ok_or(DropReason::TokenKey)?;
        let dh_per_s = self.config.dh_per_s;
        if !self.dh_budget.has(1, dh_per_s, dh_burst(dh_per_s), at.now) {
            return Err(DropReason::DhBudget);
        }
        let head = TokenHead { kind, key_id, nonce: *connect.token_nonce(), expiry_s };
        let token = open_token(key, self.config.protocol_id, &head, connect.sealed_token())
            .map_err(|_| DropReason::Token)?;
        if token.realm != self.config.realm
            || token.server_public != self.config.keys.public
            || !token.address.allows(&attempt.origin.ip)
        {
            return Err(DropReason::Token);
        }
        let lifetime_ms = expiry_s.saturating_mul(1000).checked_sub(token.issued_at_ms);
        if lifetime_ms.is_none_or(|lifetime_ms| lifetime_ms > kind.max_ttl_s() * 1000) {
            return Err(DropReason::TokenExpired);
        }
        if kind == TokenKind::ConnectToken && token.issued_at_ms < self.config.boot_unix_ms {
            return Err(DropReason::TokenBeforeBoot);
        }
        self.table(kind).check(&token.token_id, attempt.origin)?;
        if kind == TokenKind::ResumeTicket {
            self.valid.check(token.player_id, &token.token_id, at.unix_s)?;
        }
        if let Some(body) = self.bodies.of(token.player_id)
            && self.sessions.candidate_in(body.shard.into(), 0).is_none()
        {
            // There is room where its entity is as soon as an older session has ended.
            return Err(DropReason::ServerFull);
        }
        if self.sessions.is_leaving(token.player_id) {
            // Where the newcomer finds its entity will be known in a moment.
            return Err(DropReason::PlayerMoving);
        }
        // Only now: whoever has no token must not use up what those need who have one.
        let taken = self.dh_budget.take(1, dh_per_s, dh_burst(dh_per_s), at.now);
        debug_assert!(taken, "step 8 has looked");
        Ok(token)
    }

    fn table(&self, kind: TokenKind) -> &TokenTable {
        match kind {
            TokenKind::ConnectToken => &self.tokens,
            TokenKind::ResumeTicket => &self.tickets,
        }
    }

    /// Steps 11 to 13.
    fn admit_client(
        &mut self,
        arrival: &Arrival<'_>,
        token: &Token,
        counters: &Counters,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> Result<GateAction, DropReason> {
        let Arrival { at, connect, attempt, .. } = arrival;
        let noise_message = connect.noise_message();
        let (responder, offer) =
            Responder::read(&arrival.prologue, &self.config.keys, &token.psk, noise_message)
                .map_err(|_| DropReason::Noise)?;
        let offer = ClientOffer::read(&offer).map_err(|_| DropReason::Handshake)?;
        let verdict = self.judge(at.now, token, &offer, u16::from_le_bytes(random(entropy)));
        let (status, id, retry_s) = match verdict {
            Ok(id) => (Status::Ok, id, 0),
            Err(Denial { status, retry_s, .. }) => (status, ConnectionId::GATE, retry_s),
        };
        let accepted = Accepted {
            tick: at.tick,
            server_time_us: at.now.as_us(),
            retry_s,
            packets_per_s: self.config.packets_per_s,
            ..Accepted::new(status, id, token.player_id, self.config.tick_hz)
        };
        let (keys, noise_message) =
            responder.reply(random(entropy), &accepted.write()).map_err(|_| DropReason::Noise)?;
        let mut packet = [0; ACCEPTED_LEN];
        AcceptedPacket { client_nonce: *attempt.client_nonce, noise_message }
            .write(self.config.protocol_id, &mut packet);
        // Nothing can fail any more, so nothing has to be taken back.
        put(out, &packet);
        let is_ticket = self.begin_token(arrival, token);
        if let Err(denial) = verdict {
            counters.drop(denial.reason);
            return Ok(GateAction::Reply(ACCEPTED_LEN));
        }
        let shard = id.socket() - 1;
        // The client tries again if a shard has just taken the last seat into a new exchange.
        let (entity, seat, heir) =
            self.embody(token.player_id, shard).ok_or(DropReason::ServerFull)?;
        counters.add(Counter::Accepted, 1);
        let session = Session { player: token.player_id, answer: None };
        let root = Root::from_handshake(&keys);
        let key = root.server_to_client(0);
        let farewell = Farewell { address: arrival.from, key, epoch: 0, former: None };
        let resumption = Resumption::new(root.resume(), random(entropy), token);
        counters.add(Counter::TicketsUsed, is_ticket.into());
        let replaces = self.open_session(arrival, token, (id, session, farewell), packet);
        self.sessions.set_resumption(id, resumption);
        let table = self.config.key_table(offer.build).map(Arc::clone);
        let examiner = table.map(|table| Examiner::new(table, root.exporter(), random(entropy)));
        let admission = Admission {
            examiner,
            id,
            address: arrival.from,
            player: token.player_id,
            client_to_server: root.client_to_server(0),
            server_to_client: root.server_to_client(0),
            root,
            spawn: token.spawn_point(),
            entity,
            seat,
            heir,
            accepted_at: at.now,
        };
        Ok(GateAction::Accept { reply_len: ACCEPTED_LEN, shard, admission, replaces })
    }

    /// Binds a token that step 10 let pass to whoever proved to know its secret. Tells whether it
    /// is a ticket.
    fn begin_token(&mut self, arrival: &Arrival<'_>, token: &Token) -> bool {
        let Arrival { at, connect, attempt, .. } = arrival;
        let is_ticket = connect.token_kind() == TokenKind::ResumeTicket as u8;
        if is_ticket {
            // The session may have got later ones, with the same id.
            self.tickets.begin(&token.token_id, attempt.origin, at.unix_s + FORGET_S);
        } else {
            self.tokens.begin(&token.token_id, attempt.origin, connect.token_expiry_s());
        }
        is_ticket
    }

    /// The entity of a new session of `player` on `shard`, its seat, and whether the player has it
    /// already.
    fn embody(&mut self, player: u64, shard: u8) -> Option<(EntityId, u32, bool)> {
        let body = self.bodies.of(player);
        let (entity, seat) = match body {
            Some(body) => (body.entity, body.seat),
            None => self.population.allocate(shard.into())?,
        };
        self.bodies.hold(player, (entity, seat), shard);
        Some((entity, seat, body.is_some()))
    }

    /// Step 12: the id of the session to be, or why there will be none.
    fn judge(
        &self,
        now: Nanos,
        token: &Token,
        offer: &ClientOffer,
        random: u16,
    ) -> Result<ConnectionId, Denial> {
        let denial = |status, reason| Denial { status, reason, retry_s: 0 };
        if self.maintenance {
            return Err(denial(Status::Maintenance, DropReason::Maintenance));
        }
        if let Some(cool_down) = self.cool_downs.left(token.player_id, now) {
            return Err(Denial::from(cool_down));
        }
        // Snapshots are never fragmented, so a client must take whole datagrams.
        if offer.build < self.config.minimum_build || usize::from(offer.max_datagram) < DATAGRAM_MAX
        {
            return Err(denial(Status::Build, DropReason::Build));
        }
        let full = denial(Status::Full, DropReason::ServerFull);
        if self.answers.is_full() {
            return Err(full);
        }
        if let Some(body) = self.bodies.of(token.player_id) {
            return self.sessions.candidate_in(body.shard.into(), random).ok_or(full);
        }
        let rows = |shard| self.population.room_in(shard);
        let id = self.sessions.candidate(self.bodies.lingering(), rows, random).ok_or(full)?;
        if !self.population.has_room(usize::from(id.socket()) - 1) {
            return Err(full);
        }
        Ok(id)
    }

    /// Step 13: the entries of a session that step 12 found room for.
    fn open_session(
        &mut self,
        arrival: &Arrival<'_>,
        token: &Token,
        (id, session, farewell): (ConnectionId, Session, Farewell),
        packet: [u8; ACCEPTED_LEN],
    ) -> Option<ConnectionId> {
        let answer = self.answers.insert(Answer {
            client_ephemeral: *arrival.attempt.client_ephemeral,
            fingerprint: arrival.fingerprint,
            token_id: token.token_id,
            packet,
        });
        let replaces = self.sessions.open(id, Session { answer, ..session }, farewell);
        // The attempt that was given up keeps its slot until its shard closes it, not its answer.
        let given_up = replaces.and_then(|id| self.sessions.session_mut(id)?.answer.take());
        if let Some(place) = given_up {
            self.answers.remove(place);
        }
        replaces
    }

    /// Tells apart what two Connects under one ephemeral key bind.
    fn fingerprint(
        &self,
        prologue: &[u8; PROLOGUE_LEN],
        noise_message: &[u8; NOISE_MESSAGE_1_LEN],
    ) -> u64 {
        let mut all = [0; (PROLOGUE_LEN + NOISE_MESSAGE_1_LEN) / 8];
        let (head, tail) = all.split_at_mut(PROLOGUE_LEN / 8);
        head.copy_from_slice(&map::words::<{ PROLOGUE_LEN / 8 }, PROLOGUE_LEN>(prologue));
        tail.copy_from_slice(&map::words::<8, NOISE_MESSAGE_1_LEN>(noise_message));
        siphash(self.seed, &all)
    }
}

pub(super) fn put<const N: usize>(out: &mut [u8; DATAGRAM_MAX], packet: &[u8; N]) {
    const { assert!(N <= DATAGRAM_MAX) };
    out[..N].copy_from_slice(packet);
}
