//! Players who go from shard to shard while they play: who goes and where to is drawn from a seed,
//! and each client hears of its new id a while after it has arrived.

use super::Stage;
use tidelock::host::entropy::SeededEntropy;
use tidelock::shard::ToGate;
use tidelock::wire::ConnectionId;

/// A player under way.
struct Traveller {
    player: usize,
    to: ConnectionId,
    has_arrived: bool,
    /// Ticks between arrival and the first packet under the new id.
    hears_in: u64,
}

/// Everybody who is under way.
pub(crate) struct Travel {
    dice: SeededEntropy,
    latest: u64,
    under_way: Vec<Traveller>,
    /// Players sent off.
    pub(crate) departed: u64,
}

impl Travel {
    /// Nobody is under way. Clients hear of a new id one to `latest` ticks after they have arrived;
    /// until then packets are forwarded.
    pub(crate) fn new(seed: u64, latest: u64) -> Self {
        let under_way = Vec::with_capacity(256);
        Self { dice: SeededEntropy(seed), latest, under_way, departed: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.dice.next_u64() % bound as u64) as usize
    }

    /// Sends one player off, from the shard at place `from` if one is named: to any other.
    pub(crate) fn depart(&mut self, stage: &mut Stage, from: Option<usize>) {
        let shards = stage.desks.len();
        let (player, here) = loop {
            let player = self.below(stage.bots.len());
            let here = stage.bots[player].shard;
            let under_way = self.under_way.iter().any(|traveller| traveller.player == player);
            if !under_way && from.is_none_or(|from| from == here) {
                break (player, here);
            }
        };
        let to = (here + 1 + self.below(shards - 1)) % shards;
        let to = stage.hand_over(player, to);
        let hears_in = 1 + self.below(self.latest as usize) as u64;
        self.under_way.push(Traveller { player, to, has_arrived: false, hears_in });
        self.departed += 1;
    }

    /// A tick has passed: reads what the shards tell the gate, and lets the clients whose time has
    /// come use their new ids.
    pub(crate) fn pass_tick(&mut self, stage: &mut Stage) {
        for told in stage.exchange_mail() {
            match told {
                ToGate::Moved(id) => {
                    let traveller = self.under_way.iter_mut().find(|it| it.to == id);
                    traveller.expect("somebody was sent there").has_arrived = true;
                }
                ToGate::Closed(_) | ToGate::Left(_) | ToGate::Stayed(_) => panic!("{told:?}"),
                _ => (),
            }
        }
        self.under_way.retain_mut(|traveller| {
            if !traveller.has_arrived {
                return true;
            }
            if traveller.hears_in == 0 {
                let bot = &mut stage.bots[traveller.player];
                bot.id = traveller.to;
                bot.shard = usize::from(traveller.to.socket()) - 1;
                return false;
            }
            traveller.hears_in -= 1;
            true
        });
    }

    /// Whether nobody is under way.
    pub(crate) fn is_over(&self) -> bool {
        self.under_way.is_empty()
    }
}
