//! What the bots of one thread send: their way into the world, then an input each period.

use super::{Engine, Player};
use crate::client::{Client, State};
use crate::host::clock;
use crate::host::entropy::OsEntropy;
use crate::keys::TicketRequest;
use crate::swarm::addressing::Addressing;
use crate::swarm::profile::Walk;
use crate::time::{Entropy, Nanos};

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
            let nonce = Addressing::nonce(index, u32::from_le_bytes(entropy.bytes()));
            let client = Client::new(&ticket.for_client(), nonce, now, &mut entropy)
                .map_err(|_| "the server's public key in the key file is no key".to_owned())?;
            let walk = Walk::new(self.config.seed, number);
            self.players.push(Player { client, walk, first_round: 0, in_world: false });
            self.joining.push(index);
        }
        Ok(())
    }

    /// Lets the bots that are not in the world yet send what they have to send.
    pub(super) fn tend_joining(&mut self, now: Nanos) -> Result<(), String> {
        let mut at = 0;
        while let Some(&index) = self.joining.get(at) {
            let player = &mut self.players[index as usize];
            match player.client.state() {
                State::InWorld => {
                    player.in_world = true;
                    self.joining.swap_remove(at);
                    continue;
                }
                State::Closed(reason) => {
                    self.closed += 1;
                    self.first_close.get_or_insert(reason);
                    self.joining.swap_remove(at);
                    continue;
                }
                State::Connecting | State::Confirming | State::Entering => {}
            }
            self.transmit(index, now)?;
            at += 1;
        }
        self.flush()
    }

    /// Sends the inputs that are due; true if there are more of them.
    pub(super) fn send_due(&mut self, now: Nanos) -> Result<bool, String> {
        for _ in 0..SENDS_PER_TURN {
            let Some(due) = self.schedule.pop(now) else {
                self.flush()?;
                return Ok(false);
            };
            let profile = self.config.profile;
            let Some(player) = self.players.get_mut(due.client as usize) else { continue };
            if !player.in_world {
                continue;
            }
            let Player { client, walk, .. } = player;
            let frame = walk.step(profile, || client.world().own().map(|own| own.position));
            if client.set_input(frame) == 1 {
                player.first_round = due.round;
            }
            self.totals.inputs += 1;
            self.totals.late_sends += u64::from(now.since(due.at) > LATE);
            self.transmit(due.client, now)?;
        }
        self.flush()?;
        Ok(true)
    }

    /// Queues everything bot `index` has to send.
    pub(super) fn transmit(&mut self, index: u32, now: Nanos) -> Result<(), String> {
        let source = self.addressing.source(index);
        loop {
            let slot = self.used_slots;
            let Some(player) = self.players.get_mut(index as usize) else { return Ok(()) };
            let Some(len) = player.client.poll_transmit(now, self.port.send_buffer(slot)) else {
                return Ok(());
            };
            self.port.send_push(slot, len, source, self.config.server);
            self.used_slots += 1;
            if self.used_slots == SEND_BATCH {
                self.flush()?;
            }
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        if self.used_slots == 0 {
            return Ok(());
        }
        self.used_slots = 0;
        let report = self.port.flush().map_err(|error| format!("cannot send: {error}"))?;
        self.totals.datagrams_out += report.sent;
        self.totals.bytes_out += report.bytes;
        self.totals.refused += report.refused;
        Ok(())
    }
}
