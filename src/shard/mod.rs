//! One shard: a slice of the players and entities, and the thread that moves them.
//!
//! Joins what may not know each other: `connection` and `world` (in `players`), phases and clocks,
//! the gate and the tick. [`Shard`] is the whole of it without a socket or a thread: benches and
//! simulations drive it directly. `pacing` drives it on a pinned thread, against the absolute
//! schedule.

mod describe;
mod effects;
mod explain;
mod forward;
mod game;
mod handover;
mod ingress;
mod ladder;
mod laps;
mod lingering;
mod links;
mod mail;
mod meeting;
mod pacing;
mod page;
mod players;
mod post;
mod queue;
mod tick;
mod update;

pub use describe::DescribeError;
pub use explain::{Answer, Question};
pub use forward::{ForwardRoom, Forwarded};
pub use game::Listener;
pub use ladder::rung_name;
pub use laps::Timer;
pub use links::{GateLinks, Links, links};
pub use mail::{Fault, GateEnd, Regroup, ShardEnd, ToGate, ToShard, pair};
pub use meeting::Waiters;
pub use pacing::{Course, Ended, Pace, run};
pub use page::{Page, Report};
pub use players::EntryRules;
pub use queue::{Receiver, Sender};

use crate::connection::{Batch, BudgetRange, RekeyPolicy, Rules, Sessions, SessionsConfig, Slot};
use crate::exchange::Member;
use crate::limits::{self, BATCH_MAX};
use crate::metrics::{Counters, Histograms};
use crate::replicate::{BLOCK, Replicator};
use crate::time::{Entropy, Nanos};
use crate::units::{Tick, TickRate};
use crate::wire::DisconnectReason;
use crate::world::{Nearest, World, WorldConfig};
use describe::Descriptions;
use handover::Move;
use ladder::Ladder;
use laps::Laps;
use players::Players;
use std::sync::Arc;

/// Moves that a shard keeps in mind; the gate asks for fewer.
const MOVES_MAX: usize = 256;

/// How a shard is built.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Index of its socket in the port, 1..=255.
    pub socket_index: u8,
    /// Sessions at a time.
    pub players: usize,
    /// Entities at a time.
    pub entities: usize,
    /// Ticks per second.
    pub rate: TickRate,
    /// Bytes of plaintext in one snapshot packet.
    pub budget: BudgetRange,
    /// What clients may do, and what breaches cost.
    pub rules: Rules,
    /// Where players appear.
    pub entry: EntryRules,
    /// Random, secret: which sequences are left out to catch false acknowledgments.
    pub canary_seed: u64,
    /// Random, secret: makes the nonces that tell whether a client is at another address.
    pub path_secret: [u64; 2],
    /// When the keys of sessions are replaced.
    pub rekey: RekeyPolicy,
    /// Whether clients may measure, see `net.benchmark`.
    pub benchmark: bool,
}

/// A shard without a thread. See the module.
pub struct Shard {
    config: ShardConfig,
    tick: Tick,
    sessions: Sessions,
    world: World,
    member: Member<Page>,
    links: Links,
    /// Sessions that end with the batch under way: a newer one of their player has proven itself.
    ending: Vec<(Slot, DisconnectReason)>,
    /// Moves of players that the gate asked for.
    moves: Vec<Move>,
    /// Scratch of whoever looks for the nearest.
    near: Nearest,
    /// What it says of itself in the tick under way.
    report: Report,
    ladder: Ladder,
    /// What receive to decode took since the last tick.
    intake: Nanos,
    replicator: Replicator,
    descriptions: Descriptions,
    players: Players,
    /// The game, if it wants to know what players send it.
    listener: Option<Listener>,
    batch: Batch,
    gate: ShardEnd,
    counters: Arc<Counters>,
    histograms: Box<Histograms>,
    laps: Laps,
    /// Packets of the current block: slot of the arena is the position, here are viewer and end of
    /// plaintext.
    block: [Pending; BLOCK],
    /// Players of the tick under way whose budget congestion holds down.
    held_down: u64,
    stopping: bool,
    /// Where to go on after another shard was lost.
    regroup: Option<Box<Regroup>>,
    /// What the gate wants to have explained at the end of the tick.
    question: Option<Box<Question>>,
    /// Where the secrets of rekeys come from.
    entropy: Box<dyn Entropy + Send>,
}

/// A packet whose snapshot is encoded and not yet sealed.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    viewer: u16,
    plaintext_end: usize,
}

impl Shard {
    /// Allocates everything the shard will ever need. `member` is its part of the world, `links`
    /// connects it with the other shards, `entropy` is asked for the secrets of new keys and for
    /// nothing else.
    pub fn new(
        config: ShardConfig,
        member: Member<Page>,
        links: Links,
        gate: ShardEnd,
        counters: Arc<Counters>,
        entropy: Box<dyn Entropy + Send>,
    ) -> Self {
        let mut sessions = Sessions::new(SessionsConfig {
            socket_index: config.socket_index,
            capacity: config.players,
            tick_hz: config.rate.hz(),
            seed: config.canary_seed,
            path_secret: config.path_secret,
            budget: config.budget,
            rules: config.rules,
            rekey: config.rekey,
        });
        sessions.answer_benchmarks(config.benchmark);
        let world = WorldConfig { capacity: config.entities, rate: config.rate };
        Self {
            config,
            tick: member.tick(),
            sessions,
            world: World::new(world),
            replicator: Replicator::new(config.players, member.rows(), config.rate),
            descriptions: Descriptions::new(config.players, member.rows()),
            players: Players::new(config.players, config.entities, member.rows(), config.entry),
            member,
            links,
            ending: Vec::with_capacity(BATCH_MAX),
            moves: Vec::with_capacity(MOVES_MAX),
            near: Nearest::new(),
            report: Report::default(),
            ladder: Ladder::new(config.rate),
            intake: Nanos(0),
            listener: None,
            batch: Batch::default(),
            gate,
            counters,
            histograms: Box::default(),
            laps: Laps::default(),
            block: [Pending::default(); BLOCK],
            held_down: 0,
            stopping: false,
            regroup: None,
            question: None,
            entropy,
        }
    }

    /// Bytes held for good, without what all shards share.
    pub fn memory_bytes(&self) -> usize {
        self.sessions.memory_bytes() + self.world.memory_bytes() + self.replicator.memory_bytes()
    }

    /// The last tick done, 0 before the first.
    pub fn tick_number(&self) -> Tick {
        self.tick
    }

    /// The entities.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The entities, for a game to change between ticks: what they are, whose side they are on, who
    /// is whose enemy. The entities of players come and go with their sessions.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// What was recorded since the last window.
    pub fn histograms(&self) -> &Histograms {
        &self.histograms
    }

    /// The counters of this shard.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How all shards fared in the last tick.
    pub fn reports(&self) -> impl Iterator<Item = Report> + '_ {
        (0..self.member.members()).map(|place| self.member.page_of(place).report)
    }

    /// Goes on in the exchange that succeeds the closed one. The tick under way has been simulated
    /// and is published once more; the shard is to arrive at its meeting.
    pub fn rejoin(&mut self, regroup: Regroup, now: Nanos) {
        let Regroup { member, links, replaced, .. } = regroup;
        let old = std::mem::replace(&mut self.member, member);
        self.member.inherit(&old);
        self.links.relink(links, &replaced);
        // The replacement stands on the lowest rung, and all must stand on the same.
        self.ladder = Ladder::new(self.config.rate);
        // Who came in the tick under way was published by his old shard in the old exchange only.
        self.unpack_parcels(now);
        self.publish();
    }

    /// How to go on after another shard was lost, once the gate has said so.
    pub fn take_regroup(&mut self) -> Option<Box<Regroup>> {
        self.regroup.take()
    }

    /// This shard's part of the world, for whoever brings the shards together.
    pub fn member_mut(&mut self) -> &mut Member<Page> {
        &mut self.member
    }

    /// Whether there is no gate any more.
    pub fn is_abandoned(&self) -> bool {
        self.gate.to_gate.is_abandoned()
    }

    /// Whether the gate asked the shard to stop and nobody is left to say goodbye to.
    pub fn is_done(&self) -> bool {
        self.stopping && self.sessions.is_quiet()
    }
}

const _: () = assert!(limits::SNAPSHOT_BUDGET + limits::HEADER_LEN < limits::DATAGRAM_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SpawnRule;
    use crate::exchange::exchange;
    use crate::host::clock::Clock;
    use crate::host::entropy::SeededEntropy;
    use crate::state::Kind;

    #[test]
    fn a_shard_whose_gate_is_gone_ends() {
        let config = ShardConfig {
            socket_index: 1,
            players: 8,
            entities: 8,
            rate: TickRate::DEFAULT,
            budget: BudgetRange::default(),
            rules: Rules::default(),
            entry: EntryRules { seed: 1, spawn: SpawnRule::Uniform },
            canary_seed: 1,
            path_secret: [1, 2],
            rekey: RekeyPolicy::default(),
            benchmark: false,
        };
        let (gate, end) = pair();
        let page = Page::new(8, Kind::ALL.map(Kind::radius), 1.1);
        let (_, mut members) = exchange(1, 8, 0, &page);
        let member = members.remove(0);
        let links = links(1, 8, ForwardRoom::STEERED).1.remove(0);
        let (counters, entropy) = (Arc::new(Counters::default()), Box::new(SeededEntropy(1)));
        let mut shard = Shard::new(config, member, links, end, counters, entropy);
        shard.read_mail(&Clock::start());
        assert!(!shard.is_done());
        drop(gate);
        shard.read_mail(&Clock::start());
        assert!(shard.is_done());
    }
}
