//! From datagrams to intents: the shard's side of receive, admit, open and decode, and its mail.
//!
//! Nothing here changes the world: inputs wait in its inbox, arrivals and departures in `players`.

use super::forward::{forward, hand_on};
use super::game::Listener;
use super::handover::Move;
use super::laps::Timer;
use super::lingering::Claim;
use super::mail::{Fault, MESSAGES_PER_SESSION, RESERVED, ToGate, ToShard};
use super::players::{Newcomer, Players};
use super::{Sender, Shard};
use crate::connection::{Admission, CloseReason, Sink, Slot};
use crate::crypto::secret::Secret;
use crate::metrics::{Counter, Counters, DropReason, Phase};
use crate::net::{Datagram, Port};
use crate::replicate::Replicator;
use crate::wire::{Channel, ConnectionId, DisconnectReason, InputFrame};
use crate::world::{Input, World};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

impl Shard {
    /// Receives what is there, waiting as [`Port::receive`] says, and takes it in.
    pub fn receive(
        &mut self,
        port: &mut dyn Port,
        min: u32,
        timeout: Duration,
        timer: &impl Timer,
    ) -> io::Result<bool> {
        self.read_mail(timer);
        let (cpu, handled) = (timer.cpu_ns(), self.laps.handled());
        let report = port.receive(min, timeout, &mut |datagrams| self.take_in(datagrams, timer))?;
        // CPU time leaves out the sleep, and what the handlers took has been booked already.
        let own = (timer.cpu_ns() - cpu).saturating_sub(self.laps.handled() - handled);
        self.laps.add(Phase::Receive, own);
        report.record(&self.counters);
        self.take_in_forwarded(timer);
        Ok(report.more)
    }

    /// Phases admit, open and decode for at most 64 datagrams.
    pub fn take_in(&mut self, datagrams: &mut [Datagram<'_>], timer: &impl Timer) {
        self.begin_batch();
        for datagram in datagrams {
            // Where the kernel does not steer, any socket gets any datagram.
            let socket = usize::from(datagram.payload.first().copied().unwrap_or_default());
            let own = usize::from(self.config.socket_index);
            if socket != own && socket <= self.member.members() {
                let queue = |it| self.links.forwards.send(socket, 0, it).is_ok();
                hand_on(datagram, &self.counters, queue);
            } else {
                self.batch.push(datagram.from, datagram.payload);
            }
        }
        self.finish_batch(timer);
    }

    /// The same for datagrams that came to another socket. What is handed on meanwhile waits, so
    /// that no flood keeps the shard from its tick.
    fn take_in_forwarded(&mut self, timer: &impl Timer) {
        let mut start = timer.now();
        self.begin_batch();
        for place in 0..self.links.forwards.places() {
            for _ in 0..self.links.forwards.waiting(place) {
                let Some(it) = self.links.forwards.take(place) else { break };
                match it.to() {
                    ConnectionId::GATE => self.batch.push(it.from(), it.bytes()),
                    session => self.batch.push_forwarded(session, it.from(), it.bytes()),
                }
                if self.batch.is_full() {
                    self.laps.lap(Phase::Receive, start, timer);
                    self.finish_batch(timer);
                    start = timer.now();
                }
            }
        }
        if !self.batch.is_empty() {
            self.laps.lap(Phase::Receive, start, timer);
            self.finish_batch(timer);
        }
    }

    fn remember_move(&mut self, from: ConnectionId, to: ConnectionId) {
        if self.moves.len() < self.moves.capacity() {
            self.moves.push(Move::new(from, to));
        } else {
            self.tell_gate_stayed(to);
        }
    }

    /// The player whose session would have been `to` stays here.
    pub(super) fn tell_gate_stayed(&mut self, to: ConnectionId) {
        self.tell_gate(ToGate::Stayed(to));
    }

    fn begin_batch(&mut self) {
        debug_assert!(self.batch.is_empty(), "decode empties the batch");
    }

    fn finish_batch(&mut self, timer: &impl Timer) {
        // The gate announces a session before it tells the client: what is there of one now has
        // been announced by now, and not when the last mail was read.
        self.read_mail(timer);
        let start = timer.now();
        let (counters, links) = (&*self.counters, &mut self.links);
        self.sessions.admit_batch(start, &mut self.batch, counters, |to, from, datagram| {
            forward(links, to, from, datagram, counters);
        });
        let admitted = self.laps.lap(Phase::Admit, start, timer);
        self.sessions.open_batch(start, &mut self.batch, &self.counters);
        let opened = self.laps.lap(Phase::Open, admitted, timer);
        let mut events = Events {
            players: &mut self.players,
            world: &mut self.world,
            replicator: &mut self.replicator,
            to_gate: &mut self.gate.to_gate,
            ending: &mut self.ending,
            listener: &mut self.listener,
            counters: &self.counters,
        };
        self.sessions.decode_batch(start, &mut self.batch, &self.counters, &mut events);
        while let Some((slot, reason)) = self.ending.pop() {
            self.pass_on_replaced(slot, start);
            self.end(slot, reason);
        }
        self.pass_on_records(start);
        self.laps.lap(Phase::Decode, opened, timer);
    }

    /// Reads what the gate sent, up to the news of a lost shard: what comes after it is of the next
    /// exchange, and is read there.
    pub fn read_mail(&mut self, timer: &impl Timer) {
        if self.gate.to_gate.is_abandoned() && !self.stopping {
            // Without a gate nobody can join, leave a slot free or ask how we are.
            self.stop();
        }
        self.pass_on_records(timer.now());
        let of_sessions = (self.sessions.len() + 1) * MESSAGES_PER_SESSION;
        while self.regroup.is_none()
            && self.gate.to_gate.room() > of_sessions + usize::from(self.question.is_some())
        {
            let Some(mail) = self.gate.from_gate.receive() else { return };
            match mail {
                ToShard::Admit(admission) => self.admit_session(admission),
                ToShard::Disconnect(id, reason) => {
                    if self.sessions.id(id.slot()) == Some(id) {
                        self.end(id.slot(), reason);
                    } else if self.sessions.moved_to(id).is_none() {
                        // It never came here, or is gone already: the gate need not wait for it.
                        // Of one that has moved on the gate tells the shard where it arrives.
                        self.tell_gate(ToGate::Closed(id));
                    }
                }
                ToShard::Window(empty) => {
                    let full = std::mem::replace(&mut self.histograms, empty);
                    self.counters.set(Counter::CpuNs, timer.cpu_ns());
                    self.tell_gate(ToGate::Window(full));
                }
                ToShard::Explain(question) => self.question = Some(question),
                ToShard::Scores(mut sheet) => {
                    self.sessions.worst(timer.now(), &mut sheet);
                    self.tell_gate(ToGate::Scores(sheet));
                }
                // Without the session, nobody needs it.
                ToShard::Ticket(id, token) => _ = self.sessions.offer_ticket(id, token),
                ToShard::Depart(entity) => {
                    let expired = self.players.dismiss(entity);
                    self.counters.add(Counter::LingerExpired, expired.into());
                    self.tell_gate(ToGate::Departed(entity));
                }
                ToShard::Stop => self.stop(),
                ToShard::HandOver(from, to) => self.remember_move(from, to),
                ToShard::Spawn(spawn) => self.players.settle_npc(spawn),
                ToShard::Describe(entity, words) => {
                    let described = self.describe(entity, &words);
                    debug_assert!(described.is_ok(), "few and short: {described:?}");
                }
                ToShard::Regroup(regroup) => self.regroup = Some(regroup),
                ToShard::Fail(fault) => fail(fault),
            }
        }
    }

    /// Ends all sessions; the next ticks say goodbye to their players.
    fn stop(&mut self) {
        self.stopping = true;
        for slot in 0..self.sessions.capacity() as Slot {
            if self.sessions.id(slot).is_some() {
                self.end(slot, DisconnectReason::Maintenance);
            }
        }
    }

    /// Takes over a session. A refusal is the gate's mistake: it gets the slot back and is counted.
    fn admit_session(&mut self, admission: Admission) {
        let id = admission.id;
        let newcomer = Newcomer {
            connection: id,
            player: admission.player,
            spawn: admission.spawn,
            entity: admission.entity,
            seat: admission.seat,
            heir: admission.heir,
        };
        if self.stopping || self.sessions.admit_session(admission).is_err() {
            self.counters.as_ref().drop(DropReason::QueueFull);
            if !newcomer.heir {
                self.member.vacate(newcomer.seat);
            }
            self.tell_gate(ToGate::Closed(id));
            return;
        }
        self.players.admitted(id.slot(), newcomer);
        self.replicator.reset(id.slot());
        self.descriptions.forget(id.slot());
    }

    /// Ends the session in `slot` for a reason of ours.
    pub(super) fn end(&mut self, slot: Slot, reason: DisconnectReason) {
        if self.sessions.disconnect(slot, reason, &self.counters) {
            self.counters.add(Counter::Replaced, u64::from(reason == DisconnectReason::Replaced));
            self.players.depart(slot, false);
            let id = self.players.connection(slot);
            let may_resume = reason.may_resume();
            self.tell_gate(if may_resume { ToGate::Closed(id) } else { ToGate::Left(id) });
        }
    }

    pub(super) fn tell_gate(&mut self, message: ToGate) {
        tell(&mut self.gate.to_gate, message, &self.counters);
    }

    /// Puts what `poll_control` of the sessions wants to say into the port, from `place` on; at the
    /// end of a tick. Snapshots may have left little room in the arena, so it is emptied once if
    /// necessary: then there is a packet for every session. Who needs more gets it in the next
    /// tick.
    pub(super) fn push_control(
        &mut self,
        port: &mut dyn Port,
        mut place: usize,
        timer: &impl Timer,
    ) -> io::Result<()> {
        let now = timer.now();
        self.sessions.supply_secrets(&mut *self.entropy);
        let mut events = Events {
            players: &mut self.players,
            world: &mut self.world,
            replicator: &mut self.replicator,
            to_gate: &mut self.gate.to_gate,
            ending: &mut self.ending,
            listener: &mut self.listener,
            counters: &self.counters,
        };
        let mut emptied = false;
        loop {
            if place == port.send_capacity() {
                if std::mem::replace(&mut emptied, true) {
                    return Ok(());
                }
                port.flush()?.record(&self.counters);
                place = 0;
            }
            let buffer = port.send_buffer(place);
            let packet = self.sessions.poll_control(now, buffer, &self.counters, &mut events);
            let Some(packet) = packet else { return Ok(()) };
            port.send_push(place, packet.length, packet.to);
            place += 1;
        }
    }
}

/// Fails as asked, for drills and tests.
fn fail(fault: Fault) {
    match fault {
        Fault::Panic => panic!("this shard was told to panic"),
        Fault::Stall(duration) => std::thread::sleep(duration),
    }
}

/// Sends to the gate. There is room, see [`Shard::read_mail`]; the counter would show a mistake
/// there.
fn tell(to_gate: &mut Sender<ToGate>, message: ToGate, counters: &Counters) {
    if to_gate.send(message).is_err() {
        counters.drop(DropReason::QueueFull);
    }
}

/// The same for what clients decide how often there is: what must not be lost goes first. `false`
/// if there is no room now; it is told again, so it is none that is lost.
fn tell_last(to_gate: &mut Sender<ToGate>, message: ToGate, counters: &Counters) -> bool {
    let has_room = to_gate.room() > RESERVED;
    if has_room {
        tell(to_gate, message, counters);
    }
    has_room
}

/// What the sessions report goes to the world's inbox, the replication, the players and the gate.
struct Events<'a> {
    players: &'a mut Players,
    world: &'a mut World,
    replicator: &'a mut Replicator,
    to_gate: &'a mut Sender<ToGate>,
    ending: &'a mut Vec<(Slot, DisconnectReason)>,
    listener: &'a mut Option<Listener>,
    counters: &'a Counters,
}

impl Sink for Events<'_> {
    fn confirmed(&mut self, slot: Slot) {
        let id = self.players.connection(slot);
        match self.players.claim(slot) {
            Claim::Fresh => {}
            Claim::Resumed => self.counters.add(Counter::Resumed, 1),
            Claim::Replaces(older) => self.ending.push((older, DisconnectReason::Replaced)),
        }
        tell(self.to_gate, ToGate::Confirmed(id), self.counters);
    }

    fn enter(&mut self, slot: Slot) {
        self.players.arrive(slot);
    }

    fn enter_again(&mut self, slot: Slot) {
        self.players.asking.add(slot);
    }

    fn input(&mut self, slot: Slot, sequence: u32, frame: InputFrame) {
        let Some(row) = self.players.row(slot) else { return };
        let input = Input {
            move_x: frame.move_x,
            move_y: frame.move_y,
            yaw: frame.yaw,
            buttons: frame.buttons,
        };
        if self.world.set_input(row, sequence, input) {
            self.counters.add(Counter::Inputs, 1);
        }
    }

    fn acked(&mut self, slot: Slot, packet_sequence: u64) {
        self.replicator.acknowledge(slot, packet_sequence);
    }

    fn game_data(&mut self, slot: Slot, channel: Channel, body: &[u8]) {
        if let Some(listener) = self.listener {
            listener(self.players.entity(slot), channel, body);
        }
    }

    fn readdressed(&mut self, slot: Slot, address: SocketAddr) -> bool {
        let id = self.players.connection(slot);
        tell_last(self.to_gate, ToGate::Readdressed(id, address), self.counters)
    }

    fn rekeyed(&mut self, slot: Slot, epoch: u16, key: &Secret) -> bool {
        let id = self.players.connection(slot);
        tell_last(self.to_gate, ToGate::Rekeyed(id, epoch, key.clone()), self.counters)
    }

    fn released(&mut self, slot: Slot) {
        // Nobody was given the slot since, so it still has the name of who left.
        let id = self.players.connection(slot);
        tell(self.to_gate, ToGate::Released(id), self.counters);
    }

    fn closed(&mut self, slot: Slot, reason: CloseReason) {
        let id = self.players.connection(slot);
        if reason == CloseReason::Violation {
            tell(self.to_gate, ToGate::Violated(id), self.counters);
        }
        let told = match self.players.depart(slot, reason.lingers()) {
            Some(entity) => ToGate::Lingers(id, entity),
            None if reason.may_resume() => ToGate::Closed(id),
            None => ToGate::Left(id),
        };
        tell(self.to_gate, told, self.counters);
    }
}
