//! An honest player: the real client, who walks about, leaves and comes back, and whatever is
//! checked about what its client takes in and sends.

use super::checks::{Finding, Holdings, Look, Nonces, Once, Sight, Verdict};
use super::dice::Dice;
use super::truth::Truth;
use crate::client::{Client, ClientError, CloseReason, Event, Scratch, SendError, State, Ticket};
use crate::limits::DATAGRAM_MAX;
use crate::time::{Entropy, Nanos};
use crate::units::{EntityId, Tick};
use crate::wire::{Channel, ConnectionId, Denial, DisconnectReason, Header, InputFrame, buttons};
use std::net::SocketAddr;

const HONEST: &str = "an honest peer breaks no rule";
/// From the end of a session, or of an attempt, to the next.
const PAUSE: Nanos = Nanos::from_ms(500);
/// Longest time without anything new from a server that a player is connected to, in calm weather.
const SILENCE_MAX: Nanos = Nanos::from_ms(1_000);

/// See the module.
pub(crate) struct Player {
    pub(crate) number: u64,
    pub(crate) address: SocketAddr,
    client: Option<Client>,
    /// When it tries to join again.
    pub(crate) back_at: Nanos,
    /// Its clock is so far ahead of the world's.
    offset: Nanos,
    dice: Dice,
    course: InputFrame,
    /// Whether it stands still.
    pub(crate) rests: bool,
    /// Whether it gets another ticket whenever it is told that its own is useless.
    pub(crate) is_sensible: bool,
    /// Whether datagrams may be spoilt on the way.
    tolerant: bool,
    sight: Sight,
    /// The server, of those that were one after the other, that it heard from last.
    server: usize,
    /// When it saw something new last.
    saw_at: Nanos,
    once: Once,
    nonces: Nonces,
    /// Whether it has said goodbye.
    leaves: bool,
    /// Whether it joins anew as soon as its goodbye is under way.
    hurries: bool,
    /// Whether it has got anything at this address.
    heard: bool,
    /// With which it may come back, and where it was when it got lost.
    ticket: Option<(Ticket, SocketAddr)>,
    /// Whether it is coming back, from another address.
    resumes: Option<bool>,
    /// The entity that it had last, and the server.
    body: Option<(usize, EntityId)>,
    /// A rekey that it has taken part in and that has not come to its end, and what happened since.
    rekey: Option<Meanwhile>,
    epoch: u16,
    /// Times it had come back when somebody looked last.
    pub(crate) resumed_before: u64,
    /// How often what happened.
    pub(crate) tally: Tally,
}

/// What happened to a session during a rekey.
#[derive(Clone, Copy, Debug, Default)]
struct Meanwhile {
    readdressed: bool,
    moved: bool,
}

/// What players went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) logins: u64,
    pub(crate) joined: u64,
    pub(crate) stale: u64,
    pub(crate) moved: u64,
    pub(crate) timed_out: u64,
    pub(crate) shard_lost: u64,
    pub(crate) banned: u64,
    pub(crate) resumed: u64,
    pub(crate) resumed_elsewhere: u64,
    pub(crate) found_again: u64,
    pub(crate) rekeyed: u64,
    pub(crate) rekeyed_elsewhere: u64,
    pub(crate) rekeyed_moving: u64,
}

impl Player {
    pub(crate) fn new(number: u64, address: SocketAddr, tolerant: bool, mut dice: Dice) -> Self {
        let offset = Nanos::from_ms(dice.below(1_000_000));
        Self {
            number,
            address,
            client: None,
            back_at: Nanos::from_ms(dice.below(2_000)),
            offset,
            dice,
            course: InputFrame::default(),
            rests: false,
            is_sensible: false,
            tolerant,
            sight: Sight::default(),
            server: 0,
            saw_at: Nanos(0),
            once: Once::default(),
            nonces: Nonces::default(),
            leaves: false,
            hurries: false,
            heard: false,
            ticket: None,
            resumes: None,
            body: None,
            rekey: None,
            epoch: 0,
            resumed_before: 0,
            tally: Tally::default(),
        }
    }

    /// Whether it wants to join now and needs a ticket.
    pub(crate) fn wants_ticket(&mut self, now: Nanos) -> bool {
        if let Some(State::Closed(reason)) = self.client.as_ref().map(Client::state) {
            self.drop_client();
            self.back_at = self.back_at.max(now.plus(PAUSE));
            match reason {
                CloseReason::TimedOut => self.tally.timed_out += 1,
                CloseReason::Disconnected(DisconnectReason::ShardLost) => {
                    self.tally.shard_lost += 1;
                }
                CloseReason::Disconnected(DisconnectReason::Banned) => self.tally.banned += 1,
                CloseReason::Disconnected(_)
                | CloseReason::Refused(_)
                | CloseReason::Left
                | CloseReason::WornOut => {}
            }
        }
        self.client.is_none() && now >= self.back_at
    }

    /// It is gone, and may come back with what it has got.
    fn drop_client(&mut self) {
        let ticket = self.client.take().and_then(|client| client.resume_ticket());
        self.ticket = ticket.map(|ticket| (ticket, self.address));
    }

    /// The ticket of the session that it has lost, in `percent` of all cases.
    pub(crate) fn own_ticket(&mut self, percent: u64) -> Option<Ticket> {
        self.resumes = None;
        let (ticket, lost_at) = self.ticket.take()?;
        self.resumes = self.dice.percent(percent).then_some(lost_at != self.address);
        self.resumes.map(|_| ticket)
    }

    /// Starts to join.
    pub(crate) fn join(&mut self, now: Nanos, ticket: &Ticket) {
        let (nonce, now) = (self.dice.bytes(), now.plus(self.offset));
        self.client = Client::new(ticket, nonce, now, &mut self.dice).ok();
        self.tally.logins += 1;
        (self.leaves, self.hurries) = (false, false);
        (self.rekey, self.epoch) = (None, 0);
        self.sight = Sight::default();
        self.once = Once::default();
        self.nonces = Nonces::default();
    }

    /// Says goodbye, or just falls silent, until `back_at`.
    pub(crate) fn go(&mut self, now: Nanos, back_at: Nanos, politely: bool) {
        self.back_at = back_at;
        match &mut self.client {
            Some(client) if politely => {
                client.leave(now.plus(self.offset));
                self.leaves = true;
            }
            _ => self.drop_client(),
        }
    }

    /// Says goodbye, and joins anew as soon as that is under way.
    pub(crate) fn change_mind(&mut self, now: Nanos) {
        if self.is_inside() {
            self.go(now, now, true);
            self.hurries = true;
        }
    }

    /// Whether it joins anew now, that it has sent something.
    pub(crate) fn is_back_already(&mut self) -> bool {
        let is_back = std::mem::take(&mut self.hurries);
        if is_back {
            (self.client, self.ticket, self.resumes) = (None, None, None);
        }
        is_back
    }

    /// The ticket with which it could come back now, and the server that is good for.
    pub(crate) fn resume_ticket(&self) -> Option<(Ticket, usize)> {
        let client = self.client.as_ref().filter(|_| self.is_inside())?;
        Some((client.resume_ticket()?, self.server))
    }

    /// Its packets come from another address from now on.
    pub(crate) fn change_address(&mut self, to: SocketAddr) {
        (self.address, self.heard) = (to, false);
        if let Some(rekey) = &mut self.rekey {
            rekey.readdressed = true;
        }
    }

    pub(crate) fn state(&self) -> Option<State> {
        self.client.as_ref().map(Client::state)
    }

    /// How often the keys of its session were replaced.
    pub(crate) fn key_epoch(&self) -> u16 {
        self.client.as_ref().map_or(0, Client::key_epoch)
    }

    /// Whether it takes part in a rekey that has not come to its end.
    pub(crate) fn is_rekeying(&self) -> bool {
        self.rekey.is_some()
    }

    /// Its entity, as it was told.
    pub(crate) fn entity(&self) -> Option<EntityId> {
        let client = self.client.as_ref().filter(|_| self.is_inside())?;
        client.world().own().map(|own| own.id)
    }

    /// Gives the server bytes that must arrive.
    pub(crate) fn write(
        &mut self,
        now: Nanos,
        channel: Channel,
        body: &[u8],
    ) -> Result<u16, SendError> {
        let client = self.client.as_mut().filter(|_| !self.leaves).ok_or(SendError::NoSession)?;
        client.send_game_data(now.plus(self.offset), channel, body)
    }

    /// Takes the oldest bytes that the server gave it.
    pub(crate) fn read(&mut self) -> Option<(Channel, Box<[u8]>)> {
        self.client.as_mut()?.take_game_data()
    }

    /// Whether it is on its way in.
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.state(), Some(State::Connecting | State::Confirming))
    }

    pub(crate) fn is_inside(&self) -> bool {
        self.state() == Some(State::InWorld) && !self.leaves
    }

    /// Goes on, in another direction now and then; does not go farther than `reach` centimetres
    /// from `centre`.
    pub(crate) fn walk(&mut self, centre: [f32; 2], reach: f32) {
        let Some(client) = self.client.as_mut().filter(|it| it.state() == State::InWorld) else {
            return;
        };
        let Some(own) = client.world().own() else { return };
        let off = [0, 1].map(|axis| centre[axis] - own.position[axis]);
        let draw = self.dice.word();
        if self.rests {
            self.course = InputFrame::default();
        } else if off.iter().any(|axis| axis.abs() > reach) {
            let [move_x, move_y] = off.map(|axis| axis.clamp(-127.0, 127.0) as i8);
            self.course = InputFrame { move_x, move_y, ..self.course };
        } else if draw.is_multiple_of(24) {
            let [_, x, y, press, yaw_low, yaw_high, stands, _] = draw.to_le_bytes();
            let walk = |byte: u8| if stands < 64 { 0 } else { (byte as i8).max(-127) };
            let pressed = buttons::ATTACK | buttons::JUMP | buttons::SPRINT;
            self.course = InputFrame {
                move_x: walk(x),
                move_y: walk(y),
                yaw: u16::from_le_bytes([yaw_low, yaw_high]),
                buttons: u16::from(press) & pressed,
            };
        }
        client.set_input(self.course);
    }

    /// What it sends now, and whether each of it proves that it hears at its address.
    pub(crate) fn transmit(&mut self, now: Nanos) -> Result<Vec<(Vec<u8>, bool)>, Finding> {
        let Some(client) = &mut self.client else { return Ok(Vec::new()) };
        let (mut out, mut sent) = ([0; DATAGRAM_MAX], Vec::new());
        while let Some(length) = client.poll_transmit(now.plus(self.offset), &mut out) {
            self.nonces.sent(&out[..length])?;
            sent.push((out[..length].to_vec(), self.heard));
        }
        Ok(sent)
    }

    /// Takes in a datagram; `truth` is that of the `server` it came from.
    pub(crate) fn handle(
        &mut self,
        now: Nanos,
        datagram: &mut [u8],
        scratch: &mut Scratch,
        server: usize,
        truth: &Truth,
    ) -> Verdict {
        self.heard = true;
        let Some(client) = &mut self.client else { return Ok(()) };
        let header = Header::read(datagram);
        match client.handle_datagram(now.plus(self.offset), datagram, scratch) {
            Ok(event) => {
                if let Ok(header) = header
                    && header.connection != ConnectionId::GATE
                {
                    self.server = server;
                    self.once.accepted(header.sequence)?;
                }
                if client.is_rekey_requested() {
                    client.answer_rekey(self.dice.bytes(), now.plus(self.offset));
                    self.rekey = Some(Meanwhile::default());
                }
                self.note_epoch();
                self.take_note(now, event, truth)
            }
            Err(reason) => self.excuse(reason),
        }
    }

    fn note_epoch(&mut self) {
        let epoch = self.key_epoch();
        if epoch != self.epoch
            && let Some(Meanwhile { readdressed, moved }) = self.rekey.take()
        {
            self.tally.rekeyed += 1;
            self.tally.rekeyed_elsewhere += u64::from(readdressed);
            self.tally.rekeyed_moving += u64::from(moved);
        }
        self.epoch = epoch;
    }

    /// Nobody has two entities: if the one that it had before lives, it is that.
    fn is_itself(&mut self, tick: Tick, truth: &Truth) -> Verdict {
        let own = self.client.as_ref().and_then(|client| client.world().own());
        let Some(own) = own.map(|own| own.id) else { return Ok(()) };
        let before = self.body.replace((self.server, own));
        if let Some((server, before)) = before.filter(|_| self.sight.is_first())
            && server == self.server
        {
            self.tally.found_again += u64::from(own == before);
            if own != before && truth.at(tick, before).is_some() {
                let what = format!("{own:?} at tick {tick}, and {before:?} lives");
                return Err(("a player has one entity", what));
            }
        }
        Ok(())
    }

    fn take_note(&mut self, now: Nanos, event: Event, truth: &Truth) -> Verdict {
        let Some(client) = &self.client else { return Ok(()) };
        match event {
            Event::Snapshot(applied) => {
                self.saw_at = now;
                let look = Look::of(client.world());
                self.sight.applied((applied.tick, applied.breaches), &look, truth)?;
                Holdings.client(client.memory_bytes())?;
                self.is_itself(applied.tick, truth)
            }
            Event::Stale => {
                self.tally.stale += 1;
                Ok(())
            }
            Event::Confirmed => {
                self.tally.joined += 1;
                let resumes = self.resumes.take();
                self.tally.resumed += u64::from(resumes.is_some());
                self.tally.resumed_elsewhere += u64::from(resumes == Some(true));
                Ok(())
            }
            Event::Moved(_) => {
                self.tally.moved += 1;
                if let Some(rekey) = &mut self.rekey {
                    rekey.moved = true;
                }
                Ok(())
            }
            Event::Advice(denied) => {
                // Most get another ticket at once; some are stubborn, while the storm lasts.
                let is_useless = matches!(denied.reason, Denial::TokenExpired | Denial::TokenUsed);
                if is_useless && (self.dice.percent(60) || self.is_sensible) {
                    (self.client, self.resumes) = (None, None);
                    self.back_at = self.back_at.max(now.plus(PAUSE));
                }
                Ok(())
            }
            Event::Closed => match client.state() {
                State::Closed(CloseReason::Disconnected(
                    reason @ (DisconnectReason::Violation | DisconnectReason::Exhausted),
                )) => Err((HONEST, format!("the server ended it: {}", reason.name()))),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// What the network may be to blame for. The rest is the server's fault.
    fn excuse(&mut self, reason: ClientError) -> Verdict {
        use ClientError::{Attempt, Connection, Crc, Epoch, Handshake, Noise, Open, Replay, Size};
        let is_late = matches!(reason, Replay | Connection | Attempt | Epoch);
        let is_spoilt =
            matches!(reason, Size | ClientError::Header | Handshake | Crc | Noise | Open);
        if is_late || (is_spoilt && self.tolerant) {
            return Ok(());
        }
        Err((HONEST, format!("the server sent what no client takes: {}", reason.name())))
    }

    /// Whether it is inside and hears from the `server`, which is at tick `newest`. Both count, the
    /// tick and the time: that of a server that stands still does not pass.
    pub(crate) fn is_connected(&self, server: usize, newest: Tick, now: Nanos) -> Verdict {
        let (state, tick) = (self.state(), self.sight.tick());
        let is_new = newest.checked_sub(tick).is_some_and(|age| age < 60);
        let silence = now.since(self.saw_at);
        if self.is_inside() && self.server == server && is_new && silence < SILENCE_MAX {
            return Ok(());
        }
        let seen = format!("saw tick {tick} {} ms ago, it is {newest}", silence.as_ms());
        let what = format!("player {}: {state:?}, {seen}", self.number);
        Err(("every honest client connected within 20 s", what))
    }

    /// Whether it sees what there is to see.
    pub(crate) fn is_up_to_date(&self, truth: &Truth, crowd: bool) -> Verdict {
        let Some(client) = &self.client else { return Ok(()) };
        self.sight.up_to_date(&Look::of(client.world()), truth, crowd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Kind;

    fn player(tolerant: bool) -> Player {
        Player::new(1, SocketAddr::from(([10, 1, 0, 1], 9)), tolerant, Dice::new(1, 1))
    }

    #[test]
    fn what_no_honest_server_sends_is_found_and_what_the_network_did_is_not() {
        for &reason in ClientError::ALL {
            let late = matches!(
                reason,
                ClientError::Replay
                    | ClientError::Connection
                    | ClientError::Attempt
                    | ClientError::Epoch
            );
            assert_eq!(player(false).excuse(reason).is_ok(), late, "{}", reason.name());
        }
        assert!(player(true).excuse(ClientError::Open).is_ok(), "spoilt on the way");
        for reason in [ClientError::Message, ClientError::Unexpected, ClientError::FalseAck] {
            assert!(player(true).excuse(reason).is_err(), "it opened, so nobody spoilt it");
        }
    }

    #[test]
    fn who_is_not_connected_is_found() {
        let player = player(false);
        assert!(player.is_connected(0, 100, Nanos(0)).is_err());
        let truth = Truth::new([1.0; Kind::COUNT], 1.1);
        assert!(player.is_up_to_date(&truth, false).is_ok(), "whoever sees nothing yet, sees it");
    }
}
