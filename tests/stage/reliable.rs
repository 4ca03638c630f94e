//! Players who say and are told what must arrive. Nothing is lost on a stage, so they never say it
//! again.

use super::Stage;
use super::sink::Sink;
use tidelock::wire::{Channel, ControlMessage, Flags, ReliableHandshake, reliable_head, to_server};

/// One player in so many says something in a tick.
const TURNS: usize = 3;
/// Bytes of what is said.
const LENGTH: usize = 24;

impl Stage {
    /// Every player opens its reliable channels, and acknowledges every packet from now on.
    pub(crate) fn open_reliable(&mut self) {
        self.before = Some(vec![0; self.bots.len()]);
        let hello = ReliableHandshake {
            first_ordered: 0,
            first_unordered: 0,
            max_inflight: 256,
            max_message_kib: 64,
            recv_bytes: 65_536,
        };
        let flags = Flags::SEALED.with(Flags::RELIABLE_HANDSHAKE);
        for player in 0..self.bots.len() {
            self.packet_with(player, Channel::Control, flags, |writer, _| {
                ControlMessage::ReliableHandshake(hello).write(writer);
            });
        }
    }

    /// A third of the players say something in tick `turn`.
    pub(crate) fn prepare_game_data(&mut self, turn: usize) {
        for player in (turn % TURNS..self.bots.len()).step_by(TURNS) {
            self.packet(player, Channel::ReliableOrdered, |writer, bot| {
                let head = reliable_head(to_server::GAME_DATA, bot.said, LENGTH);
                writer.array(head.expect("short"));
                writer.array([bot.said as u8; LENGTH]);
                bot.said = bot.said.wrapping_add(1);
            });
        }
    }
}

/// Players whose newest packet came from `port` name those before it, too.
pub(super) fn note(before: &mut [u64], newest: &[u64], port: &Sink) {
    for (player, before) in before.iter_mut().enumerate() {
        if port.newest[player] == newest[player] {
            *before = port.before[player];
        }
    }
}
