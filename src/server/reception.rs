//! What the gate's thread does in each turn of its loop: handshakes, the mail of the shards,
//! watching over them, farewells.
//!
//! Has no thread, socket or clock of its own: what it needs of the machine is [`Premises`], and the
//! port is an argument. Called by `housekeeping` on real premises, and by the simulator.

use super::StartError;
use super::balance::{Balance, Shift};
use super::explainer::Explainer;
use super::residents::Residents;
use super::supervisor::{Supervisor, Ties};
use super::warden::{self, Warden};
use crate::admin::{AdminListener, WafRequest};
use crate::connection::Admission;
use crate::gate::{Gate, GateAction, GateConfig, Moment};
use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counters, DropReason, Histograms};
use crate::net::{Datagram, Port};
use crate::shard::{GateEnd, ToGate, ToShard};
use crate::time::{Entropy, Nanos};
use crate::wire::{ConnectionId, DisconnectReason};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest sleep: how late mail and the admin socket are looked at.
const NAP: Duration = Duration::from_millis(5);
/// The same where players wait for what comes here, and datagrams for which it ends early.
const NAP_UNSTEERED: Duration = Duration::from_millis(1);
const WAKE_AT_UNSTEERED: u32 = 64;
/// Replies to the datagrams of one receive.
const REPLIES_MAX: usize = 512;
/// Room that is left in a shard's queue for newcomers by what can wait.
const QUEUE_RESERVE: usize = 1024;

/// The machine that the gate's loop runs on, or what stands for it.
pub(crate) trait Premises {
    /// Time since the start of the server.
    fn now(&self) -> Nanos;

    /// Seconds since 1970.
    fn unix_s(&self) -> u64;

    /// Where random bytes come from.
    fn entropy(&mut self) -> &mut dyn Entropy;

    /// Brings the shard at `place` to life and waits until it is ready. Returns the bytes that it
    /// holds for good.
    fn launch(&mut self, place: usize, ties: Ties) -> Result<usize, StartError>;

    /// Tells the operator what happened; rare events of our own, never what a peer does.
    fn say(&self, event: &str);

    /// The gate opened a session; for whoever looks on from outside.
    fn admitted(&mut self, _admission: &Admission) {}

    /// A session is to have this id from its arrival at another shard on; for the same.
    fn reserved(&mut self, _id: ConnectionId) {}
}

/// What the loop works on besides the port.
pub(crate) struct Reception<P: Premises> {
    pub(super) premises: P,
    pub(super) gate: Gate,
    pub(super) counters: Counters,
    supervisor: Supervisor,
    residents: Residents,
    balance: Balance,
    explainer: Explainer,
    warden: Warden,
    pub(super) shards: Vec<GateEnd>,
    /// By shard. A shard and its replacements count on.
    pub(super) shard_counters: Vec<Arc<Counters>>,
    pub(super) is_steered: bool,
    /// Recorded since the last mark.
    pub(super) window: Histograms,
    /// Boxes that no shard has: one per shard.
    #[expect(clippy::vec_box, reason = "the boxes themselves travel through the queues")]
    pub(super) spare: Vec<Box<Histograms>>,
    replies: Vec<([u8; DATAGRAM_MAX], usize, SocketAddr)>,
    /// Shards that are still to be told to stop.
    running: Vec<u8>,
}

/// What a reception is made of.
pub(crate) struct Parts<P: Premises> {
    pub(crate) premises: P,
    pub(crate) gate: GateConfig,
    pub(crate) supervisor: Supervisor,
    pub(crate) residents: Residents,
    pub(crate) balance: Balance,
    /// The gate's ends of the mail of the shards.
    pub(crate) shards: Vec<GateEnd>,
    /// By shard.
    pub(crate) shard_counters: Vec<Arc<Counters>>,
    /// Whether the kernel brings every datagram to the socket that it is for.
    pub(crate) is_steered: bool,
}

impl<P: Premises> Reception<P> {
    /// Opens: from now on strangers are received.
    pub(crate) fn new(parts: Parts<P>) -> Self {
        let Parts { mut premises, gate, supervisor, shards, .. } = parts;
        let explainer = Explainer::new(shards.len(), gate.tick_hz);
        let (now, keeper) = (premises.now(), supervisor.keeper().clone());
        Self {
            gate: Gate::new(gate, keeper, now, premises.entropy()),
            premises,
            counters: Counters::default(),
            supervisor,
            residents: parts.residents,
            balance: parts.balance,
            explainer,
            warden: Warden::new(shards.len()),
            spare: shards.iter().map(|_| Box::default()).collect(),
            shards,
            shard_counters: parts.shard_counters,
            is_steered: parts.is_steered,
            window: Histograms::default(),
            replies: Vec::with_capacity(REPLIES_MAX),
            running: Vec::new(),
        }
    }

    /// One turn: takes in what has arrived, waiting briefly if nothing has, and does what is due.
    ///
    /// # Errors
    /// If the port is of no use any more, or shards are lost again and again.
    pub(crate) fn turn(&mut self, port: &mut dyn Port) -> Result<(), StartError> {
        self.receive(port).map_err(|error| super::port_failed(&error))?;
        self.read_mail();
        self.watch()?;
        self.send_endings();
        self.dismiss();
        self.issue_tickets();
        self.residents.settle(&mut self.gate, &mut self.shards);
        self.even_out();
        Ok(())
    }

    fn moment(&self) -> Moment {
        let tick = self.supervisor.keeper().newest();
        Moment { now: self.premises.now(), unix_s: self.premises.unix_s(), tick }
    }

    fn receive(&mut self, port: &mut dyn Port) -> io::Result<()> {
        let (wake_at, nap) =
            if self.is_steered { (1, NAP) } else { (WAKE_AT_UNSTEERED, NAP_UNSTEERED) };
        let report = port.receive(wake_at, nap, &mut |datagrams| self.handle(datagrams))?;
        report.record(&self.counters);
        self.take_in_forwarded();
        for (place, (bytes, len, to)) in self.replies.drain(..).enumerate() {
            port.send_buffer(place)[..len].copy_from_slice(&bytes[..len]);
            port.send_push(place, len, to);
        }
        port.flush()?.record(&self.counters);
        self.send_farewells(port)?;
        let moment = self.moment();
        self.gate.tick(moment, self.premises.entropy());
        Ok(())
    }

    /// Tells the players of lost shards why they hear nothing more.
    fn send_farewells(&mut self, port: &mut dyn Port) -> io::Result<()> {
        let now = self.premises.now();
        let mut place = 0;
        while place < port.send_capacity() {
            let out = port.send_buffer(place);
            let Some((len, to)) = self.gate.poll_farewell(now, out) else { break };
            port.send_push(place, len, to);
            place += 1;
        }
        if place > 0 {
            port.flush()?.record(&self.counters);
        }
        Ok(())
    }

    /// Tells shards whose players have been waited for long enough.
    fn dismiss(&mut self) {
        loop {
            let shards = &self.shards;
            let has_room = |shard: u8| shards[usize::from(shard)].to_shard.room() > QUEUE_RESERVE;
            let Some((shard, entity)) = self.gate.poll_departure(has_room) else { return };
            let told = self.tell(shard, ToShard::Depart(entity));
            debug_assert!(told, "there was room");
        }
    }

    /// Sends shards the tickets with which their players may come back.
    fn issue_tickets(&mut self) {
        let now = self.premises.now();
        loop {
            let shards = &self.shards;
            let has_room = |shard: u8| shards[usize::from(shard)].to_shard.room() > QUEUE_RESERVE;
            let (counters, entropy) = (&self.counters, self.premises.entropy());
            let ticket = self.gate.poll_ticket(now, has_room, counters, entropy);
            let Some((shard, id, token)) = ticket else { return };
            let told = self.tell(shard, ToShard::Ticket(id, token));
            debug_assert!(told, "there was room");
        }
    }

    /// Moves players when shards are not equally busy.
    fn even_out(&mut self) {
        if let Some(shift) = self.balance.look(self.premises.now(), &self.shard_counters) {
            self.shift(shift);
        }
    }

    /// Asks for players to move from shard to shard.
    pub(crate) fn shift(&mut self, shift: Shift) {
        for from in self.gate.some_of(shift.from, shift.players) {
            self.hand_over(from, shift.to);
        }
    }

    /// Asks for the session `from` to go to the shard with index `shard`. Tells whether it may.
    fn hand_over(&mut self, from: ConnectionId, shard: usize) -> bool {
        let Some(to) = self.gate.hand_over(from, shard, self.premises.entropy()) else {
            return false;
        };
        self.premises.reserved(to);
        let is_told = self.tell(from.socket() - 1, ToShard::HandOver(from, to));
        if !is_told {
            self.gate.released(to);
        }
        is_told
    }

    /// Asks for `player` to go to the shard with index `shard`. Tells whether he may.
    pub(crate) fn take_to(&mut self, player: u64, shard: usize) -> bool {
        self.gate.session_of(player).is_some_and(|from| self.hand_over(from, shard))
    }

    /// Replaces the shards that were lost since the last look.
    fn watch(&mut self) -> Result<(), StartError> {
        let now = self.premises.now();
        let Some(lost) = self.supervisor.watch(now, &self.shards, &self.premises) else {
            return Ok(());
        };
        if let Err(error) =
            self.supervisor.replace(now, &lost, &mut self.shards, &mut self.premises)
        {
            self.premises.say(&format!("the server ends: {error}"));
            return Err(error);
        }
        // What lost shards were to be told, and were to tell, is of no interest any more.
        let keeper = self.supervisor.keeper().clone();
        for stray in self.gate.lose_shards(&lost, keeper, now) {
            self.disconnect(Some(stray), DisconnectReason::ShardLost);
        }
        self.explainer.lose(&lost);
        self.warden.lose(&lost);
        self.residents.lose(&lost, &mut self.gate, &self.counters);
        Ok(())
    }

    fn handle(&mut self, datagrams: &mut [Datagram<'_>]) {
        let moment = self.moment();
        for datagram in datagrams {
            // Where the kernel does not steer, any socket gets any datagram.
            if self.supervisor.gate_links().hand_on(datagram, &self.counters) {
                continue;
            }
            let mut out = [0; DATAGRAM_MAX];
            let action = self.gate.handle_datagram(
                moment,
                datagram.from,
                datagram.payload,
                &self.counters,
                self.premises.entropy(),
                &mut out,
            );
            let len = match action {
                GateAction::Drop(_) => continue,
                GateAction::Reply(len) => len,
                GateAction::Accept { reply_len, shard, admission, replaces } => {
                    let id = admission.id;
                    self.premises.admitted(&admission);
                    let is_told = self.tell(shard, ToShard::Admit(admission));
                    self.disconnect(replaces, DisconnectReason::Replaced);
                    if is_told {
                        reply_len
                    } else {
                        // The client tries again; by then the shard has caught up.
                        let (counters, entropy) = (&self.counters, self.premises.entropy());
                        self.gate.undelivered(id, counters, entropy, &mut out)
                    }
                }
            };
            if self.replies.len() < REPLIES_MAX {
                self.replies.push((out, len, datagram.from));
            } else {
                // The client sends again.
                self.counters.drop(DropReason::QueueFull);
            }
        }
    }

    /// Handles what shards have handed on to the gate.
    fn take_in_forwarded(&mut self) {
        for place in 0..self.supervisor.gate_links().places() {
            // What they hand on meanwhile waits, so that no flood keeps the gate here.
            for _ in 0..self.supervisor.gate_links().waiting(place) {
                let Some(mut it) = self.supervisor.gate_links().take(place) else { break };
                self.handle(&mut [it.datagram()]);
            }
        }
    }

    /// Tells whether the shard will get the message.
    pub(crate) fn tell(&mut self, shard: u8, message: ToShard) -> bool {
        let shard = self.shards.get_mut(usize::from(shard));
        shard.is_some_and(|end| end.to_shard.send(message).is_ok())
    }

    fn disconnect(&mut self, session: Option<ConnectionId>, reason: DisconnectReason) {
        if let Some(id) = session {
            self.gate.end(id, reason);
            self.send_endings();
        }
    }

    /// Tells shards which sessions are to end, as far as their queues have room.
    fn send_endings(&mut self) {
        loop {
            let shards = &self.shards;
            let has_room = |shard: u8| shards[usize::from(shard)].to_shard.room() > 0;
            let Some((shard, id, reason)) = self.gate.poll_ending(has_room) else { return };
            let told = self.tell(shard, ToShard::Disconnect(id, reason));
            debug_assert!(told, "there was room");
        }
    }

    pub(super) fn read_mail(&mut self) {
        for index in 0..self.shards.len() {
            while let Some(mail) = self.shards[index].from_shard.receive() {
                match mail {
                    ToGate::Confirmed(id) => {
                        let older = self.gate.confirmed(id);
                        self.disconnect(older, DisconnectReason::Replaced);
                    }
                    ToGate::Violated(id) => self.punish(id),
                    ToGate::Closed(id) => self.gate.closed(id),
                    ToGate::Left(id) => self.gate.left(id),
                    ToGate::Lingers(id, entity) => {
                        self.gate.lingers(id, entity, self.premises.now())
                    }
                    ToGate::Departed(entity) => self.gate.departed(entity),
                    ToGate::Rekeyed(id, epoch, key) => self.gate.rekeyed(id, epoch, key.bytes()),
                    ToGate::Moved(id) => _ = self.gate.moved(id),
                    ToGate::Readdressed(id, address) => self.gate.readdressed(id, address),
                    ToGate::Stayed(id) | ToGate::Released(id) => self.gate.released(id),
                    ToGate::Explained(question) => self.explainer.answered(index, question),
                    ToGate::Scores(sheet) => self.warden.collected(index, sheet),
                    ToGate::Window(mut full) => {
                        self.window.merge(&full);
                        full.clear();
                        self.spare.push(full);
                    }
                }
            }
        }
    }

    /// What it runs on.
    pub(crate) fn premises_mut(&mut self) -> &mut P {
        &mut self.premises
    }

    /// The gate's own.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tells all shards to say goodbye and end; newcomers are denied from now on. Who has no room
    /// for the message is told by [`Self::stop_others`].
    pub(crate) fn stop(&mut self) {
        self.gate.set_maintenance(true);
        self.running = (0..self.shards.len() as u8).collect();
        self.stop_others();
    }

    /// Tells the shards whose queues were full until now.
    pub(crate) fn stop_others(&mut self) {
        tell_to_stop(&mut self.shards, &mut self.running);
    }

    /// Whether all shards have ended.
    pub(crate) fn is_deserted(&self) -> bool {
        self.shards.iter().all(|end| end.to_shard.is_abandoned())
    }

    /// Passes on questions of the admin socket, and answers; carries out its orders.
    pub(super) fn serve_admin(&mut self, admin: &mut AdminListener) {
        let now = self.premises.now();
        self.explainer.serve(now, admin, &self.gate, &mut self.shards);
        for (id, reason) in self.warden.serve(now, admin, &mut self.gate, &mut self.shards) {
            self.disconnect(Some(id), reason);
        }
    }

    /// Carries out an order that asks for no list.
    pub(crate) fn order(&mut self, order: WafRequest) {
        let now = self.premises.now();
        let Some(Ok((_, endings))) = warden::carry_out(order, &mut self.gate, now) else { return };
        for (id, reason) in endings {
            self.disconnect(Some(id), reason);
        }
    }

    /// A shard has ended `id` for violations: the account cools down, and its other sessions end.
    fn punish(&mut self, id: ConnectionId) {
        let now = self.premises.now();
        for other in self.gate.violated(id, now, &self.counters) {
            self.disconnect(other, DisconnectReason::Banned);
        }
    }
}

/// Tells those `running` to stop whose queues have room.
fn tell_to_stop(shards: &mut [GateEnd], running: &mut Vec<u8>) {
    running.retain(|&shard| shards[usize::from(shard)].to_shard.send(ToShard::Stop).is_err());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::pair;
    use crate::units::EntityId;

    #[test]
    fn a_shard_whose_queue_is_full_is_told_to_stop_when_it_has_read_some_of_it() {
        let pairs = [pair(), pair()];
        let (mut ends, mut shards): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        while ends[1].to_shard.send(ToShard::Depart(EntityId::NONE)).is_ok() {}
        let mut running = vec![0, 1];
        tell_to_stop(&mut ends, &mut running);
        assert_eq!(running, [1]);
        assert!(matches!(shards[0].from_gate.receive(), Some(ToShard::Stop)));
        assert!(matches!(shards[1].from_gate.receive(), Some(ToShard::Depart(_))));
        tell_to_stop(&mut ends, &mut running);
        tell_to_stop(&mut ends, &mut running);
        let mail = std::iter::from_fn(|| shards[1].from_gate.receive());
        let stops = mail.filter(|mail| matches!(mail, ToShard::Stop)).count();
        assert_eq!((stops, running.len()), (1, 0), "and once");
    }
}
