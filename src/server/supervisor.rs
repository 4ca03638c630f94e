//! Watches over the shards and replaces one that was lost, while the others go on.
//!
//! A shard is lost when its thread has ended, or when it has not arrived at the meeting of its tick
//! for the time that the configuration allows while others wait. A thread that stands still may
//! wake up at any time and read or write what it shares; so the exchange is closed, and whoever
//! survived goes on in a new one. Starts no thread itself: the premises do. Called by `reception`
//! in each turn of its loop.

use super::StartError;
use super::reception::Premises;
use crate::exchange::{Keeper, Member};
use crate::metrics::{Counter, Counters};
use crate::shard::{
    self, ForwardRoom, GateEnd, GateLinks, Links, Pace, Page, Regroup, ShardEnd, ToShard, Waiters,
};
use crate::time::Nanos;
use crate::units::Tick;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most time that one turn of the loop counts as silence: if the whole process did not run, it is
/// not the shards that stood still.
const TURN_MAX: Nanos = Nanos::from_ms(10);
/// How many times longer a shard may stand still if nobody waits for it: it may just be slow, and
/// giving it up would help nobody.
const ALONE: u64 = 40;
/// From the start of replacements to the next tick.
const RESTART_DELAY: Nanos = Nanos::from_ms(2);
/// Shards lost within a minute after which the server gives up.
const LOSSES_MAX: usize = 3;
const MINUTE: Nanos = Nanos::from_ms(60_000);

/// What is known of one shard.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    arrived: Tick,
    /// How long it has been behind the others without moving.
    silent: Nanos,
    /// Whether its mail was full when it was to be told of the exchange in use, so that it will
    /// never come there.
    is_left_out: bool,
}

/// What ties a shard to the others and to the gate.
pub(crate) struct Ties {
    pub(crate) member: Member<Page>,
    pub(crate) links: Links,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) mail: ShardEnd,
    pub(crate) pace: Pace,
}

/// What the shards of a server have in common.
pub(crate) struct World {
    /// By shard: its counters, which its replacements go on with.
    pub(crate) counters: Vec<Arc<Counters>>,
    /// Published rows of all shards together.
    pub(crate) rows: usize,
    /// Entities of one shard.
    pub(crate) entities: usize,
    /// What a shard publishes before its first tick.
    pub(crate) page: Page,
    pub(crate) pace: Pace,
    /// How long a shard may stand still; zero = for ever.
    pub(crate) patience: Nanos,
    /// Room for datagrams that came to the wrong socket.
    pub(crate) room: ForwardRoom,
}

/// Watches, and replaces.
pub(crate) struct Supervisor {
    world: World,
    keeper: Keeper,
    waiters: Arc<Waiters>,
    watched: Vec<Watched>,
    looked_at: Nanos,
    losses: VecDeque<Nanos>,
    /// The gate's part of the links.
    gate_links: GateLinks,
}

/// How to bring the shard at a place to life; see [`Premises::launch`].
pub(crate) type Launch<'a> = &'a mut dyn FnMut(usize, Ties) -> Result<usize, StartError>;

/// Starts the shards of `world` with `launch`. Returns whoever watches over them, the gate's ends
/// of their mail, and the bytes they hold for good.
pub(crate) fn start(
    world: World,
    launch: Launch<'_>,
) -> Result<(Supervisor, Vec<GateEnd>, usize), StartError> {
    let count = world.counters.len();
    let (keeper, members) = crate::exchange::exchange(count, world.rows, 0, &world.page);
    let mut memory = members[0].memory_bytes() + world.room.memory_bytes(count);
    let (gate_links, links) = shard::links(count, world.entities, world.room);
    let supervisor = Supervisor {
        waiters: Arc::new(Waiters::new(count)),
        watched: vec![Watched::default(); count],
        looked_at: world.pace.origin,
        losses: VecDeque::new(),
        gate_links,
        world,
        keeper,
    };
    let mut ends = Vec::new();
    for (place, (member, links)) in members.into_iter().zip(links).enumerate() {
        let (end, ties) = supervisor.tie(member, links);
        memory += launch(place, ties)?;
        ends.push(end);
    }
    Ok((supervisor, ends, memory))
}

impl Supervisor {
    /// The queues of datagrams that came to the wrong socket.
    pub(crate) fn gate_links(&mut self) -> &mut GateLinks {
        &mut self.gate_links
    }

    /// The exchange that is in use.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// What ties a new shard to the others, and the gate's end of its mail.
    fn tie(&self, member: Member<Page>, links: Links) -> (GateEnd, Ties) {
        let (end, mail) = shard::pair();
        let waiters = Arc::clone(&self.waiters);
        (end, Ties { member, links, waiters, mail, pace: self.world.pace })
    }

    /// Which shards are lost, by place; `None` if none is.
    pub(super) fn watch(
        &mut self,
        now: Nanos,
        ends: &[GateEnd],
        premises: &impl Premises,
    ) -> Option<Box<[bool]>> {
        let turn = now.since(self.looked_at).min(TURN_MAX);
        self.looked_at = self.looked_at.max(now);
        let count = ends.len();
        let newest = self.keeper.newest();
        let oldest = (0..count).map(|place| self.keeper.arrived(place)).min().unwrap_or_default();
        let mut lost = vec![false; count].into_boxed_slice();
        for (place, watched) in self.watched.iter_mut().enumerate() {
            let arrived = self.keeper.arrived(place);
            let all_are_there = oldest == newest;
            // Who waits for others is not silent.
            let waits = arrived == newest && !all_are_there;
            if arrived != watched.arrived || waits {
                *watched = Watched { arrived, silent: Nanos(0), ..*watched };
            } else {
                watched.silent = watched.silent.plus(turn);
            }
            let patience = self.world.patience.0 * if all_are_there { ALONE } else { 1 };
            let is_stalled = patience > 0 && watched.silent.0 >= patience;
            let has_ended = ends[place].from_shard.is_abandoned();
            if is_stalled || has_ended || watched.is_left_out {
                let how = match (has_ended, watched.is_left_out) {
                    (true, _) => "its thread ended",
                    (_, true) => "it does not read its mail",
                    _ => "its thread stands still",
                };
                let name = name_of(place);
                let event = "its players are disconnected, others go on";
                premises.say(&format!("{name} is lost: {how}; {event}"));
                lost[place] = true;
            }
        }
        lost.contains(&true).then_some(lost)
    }

    /// Starts new threads for the shards in `lost` and tells the others how to go on. Replaces the
    /// gate's ends of the lost ones.
    ///
    /// # Errors
    /// If shards are lost again and again, or a thread cannot be started: the server has to end.
    pub(super) fn replace(
        &mut self,
        now: Nanos,
        lost: &[bool],
        ends: &mut [GateEnd],
        premises: &mut impl Premises,
    ) -> Result<(), StartError> {
        let count = lost.iter().filter(|lost| **lost).count();
        self.losses.extend(std::iter::repeat_n(now, count));
        self.losses.retain(|&at| now.since(at) < MINUTE);
        if self.losses.len() > LOSSES_MAX {
            return Err(StartError(format!(
                "{} shards were lost within a minute; see the messages above",
                self.losses.len()
            )));
        }
        let (keeper, members) = self.keeper.succeed(&self.world.page);
        self.waiters.wake();
        self.waiters = Arc::new(Waiters::new(members.len()));
        let next = keeper.base() + 1;
        let start = now.plus(RESTART_DELAY);
        let pace = &mut self.world.pace;
        pace.origin = Nanos(start.0.saturating_sub(pace.rate.start_ns(next.into())));
        self.keeper = keeper;
        let World { entities, room, .. } = self.world;
        let (gate_links, links) = shard::links(members.len(), entities, room);
        self.gate_links.relink(gate_links, lost);
        for (place, (member, links)) in members.into_iter().zip(links).enumerate() {
            self.watched[place] = Watched { arrived: next - 1, ..Watched::default() };
            if lost[place] {
                Counters::add(&self.world.counters[place], Counter::ShardsLost, 1);
                let (end, ties) = self.tie(member, links);
                premises.launch(place, ties)?;
                ends[place] = end;
                continue;
            }
            let regroup = Regroup {
                member,
                links,
                replaced: lost.into(),
                waiters: Arc::clone(&self.waiters),
                origin: self.world.pace.origin,
            };
            let told = ends[place].to_shard.send(ToShard::Regroup(Box::new(regroup)));
            self.watched[place].is_left_out = told.is_err();
        }
        Ok(())
    }
}

/// What the shard at `place` is called in messages, and its thread.
pub(super) fn name_of(place: usize) -> String {
    format!("shard-{}", place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::entropy::SeededEntropy;
    use crate::state::Kind;
    use crate::time::Entropy;
    use crate::units::TickRate;
    use std::cell::RefCell;

    /// Launches shards that nobody steps.
    struct Still {
        ties: Vec<Option<Ties>>,
        said: RefCell<Vec<String>>,
        entropy: SeededEntropy,
    }

    impl Premises for Still {
        fn now(&self) -> Nanos {
            Nanos(0)
        }

        fn unix_s(&self) -> u64 {
            0
        }

        fn entropy(&mut self) -> &mut dyn Entropy {
            &mut self.entropy
        }

        fn launch(&mut self, place: usize, ties: Ties) -> Result<usize, StartError> {
            self.ties[place] = Some(ties);
            Ok(0)
        }

        fn say(&self, event: &str) {
            self.said.borrow_mut().push(event.to_owned());
        }
    }

    #[test]
    fn who_could_not_be_told_of_a_loss_is_lost_itself() {
        let page = Page::new(8, Kind::ALL.map(Kind::radius), 1.1);
        let pace = Pace {
            rate: TickRate::DEFAULT,
            origin: Nanos(0),
            spin: Nanos(0),
            meeting_spin: Nanos(0),
        };
        let world = World {
            counters: (0..3).map(|_| Arc::default()).collect(),
            rows: 8,
            entities: 8,
            page,
            pace,
            patience: Nanos::from_ms(250),
            room: ForwardRoom::STEERED,
        };
        let mut premises = Still {
            ties: (0..3).map(|_| None).collect(),
            said: RefCell::default(),
            entropy: SeededEntropy(1),
        };
        let (mut supervisor, mut ends, _) =
            start(world, &mut |place, ties| premises.launch(place, ties)).expect("they start");
        assert!(supervisor.watch(Nanos(0), &ends, &premises).is_none());
        // The mail of the third is full when the first one ends.
        while ends[2].to_shard.send(ToShard::Stop).is_ok() {}
        premises.ties[0] = None;
        let lost =
            supervisor.watch(Nanos(1), &ends, &premises).expect("its end of the mail is gone");
        assert_eq!(*lost, [true, false, false]);
        supervisor.replace(Nanos(1), &lost, &mut ends, &mut premises).expect("it can be replaced");
        let lost = supervisor.watch(Nanos(2), &ends, &premises).expect("it will never come");
        assert_eq!(*lost, [false, false, true]);
        assert!(premises.said.borrow()[1].contains("shard-3 is lost: it does not read its mail"));
        supervisor.replace(Nanos(2), &lost, &mut ends, &mut premises).expect("it can be replaced");
        assert!(supervisor.watch(Nanos(3), &ends, &premises).is_none());
    }
}
