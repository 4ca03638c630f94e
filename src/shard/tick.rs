//! One tick: apply → move → quantize → index → select → diff → encode → seal → send.
//!
//! The only place where the world changes, and the table of contents of what the server does 60
//! times a second: [`Shard::simulate`] writes own rows, then the shards meet, and
//! [`Shard::replicate`] reads everybody's. Allocates nothing, takes no lock.

use super::ladder::Rung;
use super::laps::Timer;
use super::{Pending, Report, Shard};
use crate::connection::Slot;
use crate::limits::{ACK_BLOCK_LEN, HEADER_LEN, MESSAGE_HEADER_LEN};
use crate::metrics::{Counter, Phase};
use crate::net::Port;
use crate::replicate::{BLOCK, Eye, SNAPSHOT_ROOM_MIN, Survey, ViewerState, is_due, is_surveyed};
use crate::wire::snapshot::OwnState;
use crate::wire::{Channel, DisconnectReason, to_client};
use crate::world::Row;
use std::io;

/// Least plaintext of a snapshot packet that the encoder can work with.
const BUDGET_MIN: usize = SNAPSHOT_ROOM_MIN + ACK_BLOCK_LEN + MESSAGE_HEADER_LEN;

impl Shard {
    /// Second half of a tick: reads what all shards published of it and sends every player its
    /// snapshot. The meeting of the tick has taken place.
    ///
    /// # Errors
    /// If the port is of no use any more.
    pub fn replicate(&mut self, port: &mut dyn Port, timer: &impl Timer) -> io::Result<()> {
        assert_eq!(self.member.tick(), self.tick, "the shards have met");
        self.watch_load();
        self.unpack_parcels(timer.now());
        let start = timer.now();
        self.select();
        self.tell(start);
        let mut now = self.laps.lap(Phase::Select, start, timer);
        let viewers = self.players.inside().len();
        let (mut place, mut first) = (0, 0);
        while first < viewers {
            let count = BLOCK.min(viewers - first);
            if place + count > port.send_capacity() {
                port.flush()?.record(&self.counters);
                now = self.laps.lap(Phase::Send, now, timer);
                place = 0;
            }
            self.diff(first, count);
            now = self.laps.lap(Phase::Diff, now, timer);
            let packets = self.encode(first, count, port, place, timer);
            now = self.laps.lap(Phase::Encode, now, timer);
            self.seal(packets, port, place);
            now = self.laps.lap(Phase::Seal, now, timer);
            place += packets;
            first += count;
        }
        let place = self.push_updates(port, place, timer);
        self.push_control(port, place, timer)?;
        port.flush()?.record(&self.counters);
        self.laps.lap(Phase::Send, now, timer);
        self.answer_question();
        self.survey();
        self.account(viewers as u64);
        Ok(())
    }

    /// First half of a tick, phases apply, move, quantize and index: own rows only. Afterwards the
    /// shard is to arrive at the meeting of the tick.
    pub fn simulate(&mut self, report: Report, timer: &impl Timer) {
        self.tick += 1;
        self.intake = self.laps.intake();
        let start = timer.now();
        let (member, replicator) = (&mut self.member, &mut self.replicator);
        self.players.settle(&mut self.world, member, |slot| replicator.reset(slot));
        while let Some(slot) = self.players.refused.pop() {
            self.end(slot, DisconnectReason::Full);
        }
        self.apply();
        let applied = self.laps.lap(Phase::Apply, start, timer);
        self.world.advance();
        let moved = self.laps.lap(Phase::Move, applied, timer);
        self.world.quantize(self.tick);
        self.world.publish(&mut self.member);
        let quantized = self.laps.lap(Phase::Quantize, moved, timer);
        self.report = report;
        self.publish_page();
        // Who was announced goes, then the next are announced: one tick lies between.
        let indexed = self.laps.lap(Phase::Index, quantized, timer);
        self.send_parcels(indexed);
        self.announce_moves();
    }

    /// Publishes the tick under way, from the columns as they are.
    pub(super) fn publish(&mut self) {
        self.world.publish(&mut self.member);
        self.publish_page();
    }

    fn publish_page(&mut self) {
        let page = self.member.page_mut();
        page.report = self.report;
        self.world.index(&mut page.index);
    }

    /// Phase apply: what others did to our entities in the tick before, then the inputs, then what
    /// our entities do to others.
    fn apply(&mut self) {
        let Self { world, member, links, near, counters, ladder, tick, .. } = self;
        for hit in links.effects.arrived(*tick - 1) {
            world.suffer(hit.target, hit.damage);
        }
        world.apply();
        let shed = ladder.shed();
        world.think(*tick, |index| shed.is_npc_due(index, *tick));
        let published = member.published();
        let indexes = (0..member.members()).map(|place| &member.page_of(place).index);
        world.attack(indexes, published, near, |hit| {
            links.effects.send(published.host(hit.seat), *tick, hit, counters);
        });
    }

    /// Climbs or descends the overload ladder. All shards read the same reports, so all stand on
    /// the same rung.
    fn watch_load(&mut self) {
        let busy = self.reports().map(|report| report.busy).max().unwrap_or_default();
        let idlest = self.reports().map(|report| report.busy).min().unwrap_or_default();
        self.ladder.observe(busy);
        // One shard speaks for all.
        if self.member.place() == 0 {
            self.histograms.skew.saturating_record(busy.since(idlest).0);
            let rung = self.ladder.rung();
            self.counters.set(Counter::Rung, rung.index().into());
            self.counters.add(Counter::ShedTicks, u64::from(rung != Rung::FULL));
        }
    }

    /// Phase select for the quarter of the viewers whose turn it is.
    fn select(&mut self) {
        for &viewer in self.players.inside() {
            if is_due(viewer, self.tick)
                && let Some(row) = self.players.row(viewer)
            {
                let eye = self.eye(row);
                let member = &self.member;
                let indexes = (0..member.members()).map(|place| &member.page_of(place).index);
                self.replicator.select(viewer, eye, indexes, member.published());
            }
        }
    }

    /// The player in `row`, as somebody who looks about.
    pub(super) fn eye(&self, row: Row) -> Eye {
        let (columns, shed) = (self.world.columns(), self.ladder.shed());
        Eye {
            row: columns.seats[row as usize],
            position: columns.position.map(|axis| axis[row as usize]),
            sight_squared: shed.radius_squared_factor(),
            far_every: shed.far_every,
            target: self.world.target(row),
        }
    }

    /// Bytes of plaintext that a snapshot packet to `viewer` may have in this tick.
    pub(super) fn budget(&self, viewer: Slot) -> usize {
        self.ladder.shed().budget(self.sessions.budget(viewer), BUDGET_MIN)
    }

    /// Phase diff for a block of viewers.
    fn diff(&mut self, first: usize, count: usize) {
        let viewers = self.players.inside();
        let next = &viewers[first + count..(first + count + BLOCK).min(viewers.len())];
        next.iter().for_each(|&viewer| self.replicator.anticipate(viewer));
        let published = self.member.published();
        for (place, &viewer) in viewers[first..first + count].iter().enumerate() {
            self.replicator.diff(place, viewer, published);
        }
    }

    /// Phase encode for a block of viewers: packets into the arena from `place` on. Returns how
    /// many.
    fn encode(
        &mut self,
        first: usize,
        count: usize,
        port: &mut dyn Port,
        place: usize,
        timer: &impl Timer,
    ) -> usize {
        let now = timer.now();
        let mut packets = 0;
        for offset in 0..count {
            let viewer = self.players.inside()[first + offset];
            let Some(row) = self.players.row(viewer) else { continue };
            let out = port.send_buffer(place + packets);
            let Some(begun) = self.sessions.begin(viewer, Channel::Unreliable, now, out) else {
                continue;
            };
            let body = begun.body + MESSAGE_HEADER_LEN;
            let state = self.viewer_state(row, begun.sequence);
            self.held_down += u64::from(self.sessions.is_held_down(viewer));
            let budget = self.sessions.snapshot_budget(viewer);
            let end = HEADER_LEN + self.ladder.shed().budget(budget, BUDGET_MIN);
            let room = &mut out[body..end];
            let published = self.member.published();
            let len = self.replicator.encode(offset, viewer, published, &state, room);
            let message_len = (len + 1) as u16;
            out[begun.body..begun.body + 2].copy_from_slice(&message_len.to_le_bytes());
            out[begun.body + 2] = to_client::DELTA_SYNC;
            self.block[packets] = Pending { viewer, plaintext_end: body + len };
            packets += 1;
        }
        packets
    }

    /// Phase seal for the packets of a block; sealed packets are queued for sending.
    fn seal(&mut self, packets: usize, port: &mut dyn Port, place: usize) {
        for (offset, pending) in self.block[..packets].iter().enumerate() {
            let out = port.send_buffer(place + offset);
            let len = self.sessions.seal(pending.viewer, out, pending.plaintext_end);
            if is_surveyed(pending.viewer, self.tick) {
                self.histograms.snapshot_bytes.saturating_record(len as u64);
            }
            if let Some(to) = self.sessions.address(pending.viewer) {
                port.send_push(place + offset, len, to);
            }
        }
    }

    /// What the snapshot says about the player itself.
    pub(super) fn viewer_state(&self, row: Row, sequence: u64) -> ViewerState {
        let columns = self.world.columns();
        let index = row as usize;
        let quantized = &columns.quantized[index];
        let own = OwnState {
            id: columns.ids[index],
            position: columns.position.map(|axis| axis[index]),
            velocity: columns.velocity.map(|axis| axis[index]),
            yaw: quantized.yaw,
            animation: quantized.animation,
            flags: quantized.flags,
            health: quantized.health,
            mana: quantized.mana,
            faction: quantized.faction,
            effects: quantized.effects,
        };
        ViewerState {
            last_processed_input: columns.last_input[index],
            own: Some(own),
            enemies: self.world.factions().enemies_of(quantized.faction),
            sequence,
        }
    }

    /// How old what some viewers were told is.
    fn survey(&mut self) {
        let (mut survey, index) = (Survey::default(), &self.member.page_of(0).index);
        for &viewer in self.players.inside().iter().filter(|&&slot| is_surveyed(slot, self.tick)) {
            if let Some(row) = self.players.row(viewer) {
                let published = self.member.published();
                self.replicator.survey(viewer, &self.eye(row), index, published, &mut survey);
            }
        }
        let classes = [
            [Counter::SampledNear, Counter::SampledNearAge],
            [Counter::SampledMiddle, Counter::SampledMiddleAge],
            [Counter::SampledFar, Counter::SampledFarAge],
            [Counter::SampledStill, Counter::SampledStillAge],
        ];
        let found = survey.samples.into_iter().zip(survey.ages);
        for ([samples, ages], (sampled, age)) in classes.into_iter().zip(found) {
            self.counters.add(samples, sampled);
            self.counters.add(ages, age);
        }
    }

    /// Counts what the tick did.
    fn account(&mut self, viewers: u64) {
        let visible: u64 = self
            .players
            .inside()
            .iter()
            .map(|&viewer: &Slot| u64::from(self.replicator.visible(viewer)))
            .sum();
        let tally = self.replicator.take_tally();
        let counters = &self.counters;
        counters.add(Counter::Ticks, 1);
        counters.add(Counter::PlayerTicks, viewers);
        counters.add(Counter::Snapshots, viewers);
        counters.add(Counter::VisiblePairs, visible);
        counters.add(Counter::EntriesSent, tally.sent);
        counters.add(Counter::EntriesEncoded, tally.encoded);
        counters.add(Counter::EntriesDeferred, tally.deferred);
        counters.add(Counter::EntryBytes, tally.bytes);
        counters.add(Counter::ReplicationNs, self.laps.replication());
        counters.set(Counter::HeldDown, std::mem::take(&mut self.held_down));
        counters.set(Counter::Players, viewers);
        counters.set(Counter::Lingering, self.players.lingering() as u64);
        counters.set(Counter::Sessions, self.sessions.len() as u64);
        counters.set(Counter::Entities, self.world.len() as u64);
        counters.set(Counter::MessageBlocks, self.sessions.message_blocks() as u64);
        self.laps.record(&mut self.histograms);
    }
}
