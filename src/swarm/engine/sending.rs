//! What the bots of one thread send: their way into the world, then an input each period.

use super::{Engine, Joining, Place, Player};
use crate::client::{Client, Ticket};
use crate::host::clock;
use crate::host::entropy::OsEntropy;
use crate::keys::TicketRequest;
use crate::net::SourcedPort;
use crate::swarm::addressing::Addressing;
use crate::swarm::profile::Walk;
use crate::swarm::totals::Totals;
use crate::time::{Entropy, Nanos};
use std::sync::Arc;

/// A send is late if it happens this much after its time.
const LATE: Nanos = Nanos::from_ms(5);
/// Datagrams in one system call, and slots of the send arena: few enough to stay in the cache.
pub(super) const SEND_BATCH: usize = 64;
/// Inputs sent in one turn before arrivals are looked at again.
const SENDS_PER_TURN: usize = 8 * SEND_BATCH;

impl Engine {
    /// Starts as many bots as the ramp allows by now.
    pub(super) fn start_bots(&mut self, now: Nanos) -> Result<(), String> {
        let allowed = (now.0 as f64 / 1e9 * self.connects_per_s) as u32 + 1;
        let mut entropy = OsEntropy;
        while (self.players.len() as u32) < allowed.min(self.count) {
            let index = self.players.len() as u32;
            let number = self.first + index;
            let request = TicketRequest {
                player: self.config.first_player + u64::from(number),
                spawn: Some(self.config.profile.spawn(self.config.seed, number)),
                ttl_s: 60,
            };
            let ticket = self.config.keys.mint(&request, clock::unix_ms(), &mut entropy);
            let table = self.config.integrity.as_ref();
            let build = table.map_or(0, |table| table.build());
            let ticket = Ticket { build, ..ticket.for_client() };
            let nonce = Addressing::nonce(index, u32::from_le_bytes(entropy.bytes()));
            let mut client = Client::new(&ticket, nonce, now, &mut entropy)
                .map_err(|_| "the server's public key in the key file is no key".to_owned())?;
            if let Some(table) = table {
                client.set_key_table(Arc::clone(table));
            }
            let walk = Walk::new(self.config.seed, number);
            let (turn, source) = (self.addressing.turn(index), self.addressing.source(index));
            let (place, told_at, former) = (Place::OnTheWay, Nanos(0), source);
            let first_round = 0;
            let player = Player { client, walk, turn, first_round, source, former, place, told_at };
            self.players.push(player);
            self.joining.push(Joining { index, next: now });
        }
        Ok(())
    }

    /// Lets the bots whose time has come on their way into the world send what they have to send,
    /// and strikes off those that have arrived or given up.
    pub(super) fn tend_joining(&mut self, now: Nanos) -> Result<(), String> {
        let mut at = 0;
        while let Some(&Joining { index, next }) = self.joining.get(at) {
            if next > now {
                at += 1;
                continue;
            }
            self.transmit(index, now)?;
            let player = &mut self.players[index as usize];
            self.standing.settle(player);
            if player.place == Place::OnTheWay {
                self.joining[at].next = player.client.next_timeout().unwrap_or(now);
                at += 1;
            } else {
                self.joining.swap_remove(at);
            }
        }
        self.flush()
    }

    /// Lets the bots that have just been sent something on their way into the world go on.
    pub(super) fn answer_nudged(&mut self, now: Nanos) -> Result<(), String> {
        let mut nudged = std::mem::take(&mut self.nudged);
        for index in nudged.drain(..) {
            self.transmit(index, now)?;
        }
        self.nudged = nudged;
        self.flush()
    }

    /// Lets the bots whose turn it is go on from another address: each once in the time that the
    /// configuration says, evenly spread.
    pub(super) fn rebind_due(&mut self, now: Nanos) {
        let (every_s, count) = (u64::from(self.config.rebind_every_s), u64::from(self.count));
        if every_s == 0 || count == 0 {
            return;
        }
        let due = now.as_ms() * count / (every_s * 1_000);
        // After a pause the bots are not to change all at once, and twice.
        self.rebinds = self.rebinds.max(due.saturating_sub(count));
        while self.rebinds < due {
            self.rebind((self.rebinds % count) as u32);
            self.rebinds += 1;
        }
    }

    /// Bot `index`, if it is in the world, speaks from another address from now on; what still
    /// comes to the one that it had is lost.
    pub(super) fn rebind(&mut self, index: u32) {
        let Some(player) = self.players.get_mut(index as usize) else { return };
        let source = self.addressing.elsewhere(player.source);
        if player.place == Place::InWorld && source != player.source {
            (player.former, player.source) = (player.source, source);
            player.client.socket_changed();
            self.totals.rebinds += 1;
        }
    }

    /// Sends the inputs that are due; true if there are more of them.
    pub(super) fn send_due(&mut self, now: Nanos) -> Result<bool, String> {
        for _ in 0..SENDS_PER_TURN {
            let Some(due) = self.schedule.pop(now) else {
                self.flush()?;
                return Ok(false);
            };
            let profile = self.config.profile;
            let index = self.addressing.bot(due.client);
            let Some(player) = self.players.get_mut(index as usize) else { continue };
            if player.place != Place::InWorld {
                continue;
            }
            let Player { client, walk, .. } = player;
            let frame = walk.step(profile, || client.world().own().map(|own| own.position));
            if client.set_input(frame) == 1 {
                player.first_round = due.round;
            }
            self.totals.inputs += 1;
            self.totals.late_sends += u64::from(now.since(due.at) > LATE);
            if self.transmit(index, now)? == 0 {
                // An input that is not sent: the client has noticed that it is alone.
                self.standing.settle(&mut self.players[index as usize]);
            }
        }
        self.flush()?;
        Ok(true)
    }

    /// Queues everything bot `index` has to send; returns how many datagrams that was.
    pub(super) fn transmit(&mut self, index: u32, now: Nanos) -> Result<u32, String> {
        let Some(player) = self.players.get_mut(index as usize) else { return Ok(0) };
        let mut count = 0;
        while let Some(len) =
            player.client.poll_transmit(now, self.port.send_buffer(self.used_slots))
        {
            self.port.send_push(self.used_slots, len, player.source, self.config.server);
            self.used_slots += 1;
            count += 1;
            if self.used_slots == SEND_BATCH {
                flush(&mut self.port, &mut self.used_slots, &mut self.totals)?;
            }
        }
        Ok(count)
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        flush(&mut self.port, &mut self.used_slots, &mut self.totals)
    }
}

/// Hands over what is queued.
fn flush(port: &mut SourcedPort, used: &mut usize, totals: &mut Totals) -> Result<(), String> {
    if *used == 0 {
        return Ok(());
    }
    *used = 0;
    let report = port.flush().map_err(|error| format!("cannot send: {error}"))?;
    totals.datagrams_out += report.sent;
    totals.bytes_out += report.bytes;
    totals.refused += report.refused;
    Ok(())
}
