//! Watches over the shards and replaces one that was lost, while the others go on.
//!
//! A shard is lost when its thread has ended, or when it has not arrived at the meeting of its tick
//! for the time that the configuration allows while others wait. A thread that stands still may
//! wake up at any time and read or write what it shares; so the exchange is closed, and whoever
//! survived goes on in a new one. Called by the gate's thread in each turn of its loop.

use super::shard_thread::{Recipe, Started, Starter, Ties};
use super::{StartError, say};
use crate::exchange::{Keeper, Member};
use crate::metrics::{Counter, Counters};
use crate::shard::{
    self, ForwardRoom, GateEnd, GateLinks, Links, Pace, Page, Regroup, ToShard, Waiters,
};
use crate::time::Nanos;
use crate::units::Tick;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

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
}

/// Watches, and starts the threads of shards.
pub(super) struct Supervisor {
    recipes: Vec<Recipe>,
    starter: Starter,
    pace: Pace,
    /// What a shard publishes before its first tick.
    page: Page,
    keeper: Keeper,
    waiters: Arc<Waiters>,
    /// How long a shard may stand still; zero = for ever.
    patience: Nanos,
    watched: Vec<Watched>,
    looked_at: Nanos,
    losses: VecDeque<Nanos>,
    threads: Vec<JoinHandle<Result<(), StartError>>>,
    /// The gate's part of the links.
    gate_links: GateLinks,
    /// Room for datagrams that came to the wrong socket.
    room: ForwardRoom,
}

/// Starts the shards of `recipes` in a world of `rows` rows. Returns whoever watches over them, the
/// gate's ends of their mail, and the bytes they hold for good.
pub(super) fn start(
    recipes: Vec<Recipe>,
    rows: usize,
    page: Page,
    pace: Pace,
    patience: Nanos,
    room: ForwardRoom,
) -> Result<(Supervisor, Vec<GateEnd>, usize), StartError> {
    let count = recipes.len();
    let (keeper, members) = crate::exchange::exchange(count, rows, 0, &page);
    let mut memory = members[0].memory_bytes() + room.memory_bytes(count);
    let (gate_links, links) = shard::links(count, recipes[0].shard.entities, room);
    let mut supervisor = Supervisor {
        waiters: Arc::new(Waiters::new(count)),
        watched: vec![Watched::default(); count],
        looked_at: pace.origin,
        losses: VecDeque::new(),
        threads: Vec::new(),
        gate_links,
        room,
        recipes,
        starter: Starter::spawn()?,
        pace,
        page,
        keeper,
        patience,
    };
    let mut ends = Vec::new();
    for (place, (member, links)) in members.into_iter().zip(links).enumerate() {
        let (end, bytes) = supervisor.start_shard(place, member, links)?;
        memory += bytes;
        ends.push(end);
    }
    Ok((supervisor, ends, memory))
}

impl Supervisor {
    /// The queues of datagrams that came to the wrong socket.
    pub(super) fn gate_links(&mut self) -> &mut GateLinks {
        &mut self.gate_links
    }

    /// The exchange that is in use.
    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    fn start_shard(
        &mut self,
        place: usize,
        member: Member<Page>,
        links: Links,
    ) -> Result<(GateEnd, usize), StartError> {
        let (end, mail) = shard::pair();
        let ties =
            Ties { member, links, waiters: Arc::clone(&self.waiters), mail, pace: self.pace };
        let Started { memory, thread } = self.starter.start(&self.recipes[place], ties)?;
        self.threads.push(thread);
        Ok((end, memory))
    }

    /// Which shards are lost, by place; `None` if none is.
    pub(super) fn watch(&mut self, now: Nanos, ends: &[GateEnd]) -> Option<Box<[bool]>> {
        let turn = now.since(self.looked_at).min(TURN_MAX);
        self.looked_at = self.looked_at.max(now);
        let count = self.recipes.len();
        let newest = self.keeper.newest();
        let oldest = (0..count).map(|place| self.keeper.arrived(place)).min().unwrap_or_default();
        let mut lost = vec![false; count].into_boxed_slice();
        for (place, watched) in self.watched.iter_mut().enumerate() {
            let arrived = self.keeper.arrived(place);
            let all_are_there = oldest == newest;
            // Who waits for others is not silent.
            let waits = arrived == newest && !all_are_there;
            if arrived != watched.arrived || waits {
                *watched = Watched { arrived, silent: Nanos(0) };
            } else {
                watched.silent = watched.silent.plus(turn);
            }
            let patience = self.patience.0 * if all_are_there { ALONE } else { 1 };
            let is_stalled = patience > 0 && watched.silent.0 >= patience;
            let has_ended = ends[place].from_shard.is_abandoned();
            if is_stalled || has_ended {
                let how = if has_ended { "its thread ended" } else { "its thread stands still" };
                let name = self.recipes[place].name();
                say(&format!("{name} is lost: {how}; its players are disconnected, others go on"));
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
        let (keeper, members) = self.keeper.succeed(&self.page);
        self.waiters.wake();
        self.waiters = Arc::new(Waiters::new(members.len()));
        let next = keeper.base() + 1;
        let start = now.plus(RESTART_DELAY);
        self.pace.origin = Nanos(start.0.saturating_sub(self.pace.rate.start_ns(next.into())));
        self.keeper = keeper;
        let entities = self.recipes[0].shard.entities;
        let (gate_links, links) = shard::links(members.len(), entities, self.room);
        self.gate_links.relink(gate_links, lost);
        for (place, (member, links)) in members.into_iter().zip(links).enumerate() {
            self.watched[place] = Watched { arrived: next - 1, silent: Nanos(0) };
            if lost[place] {
                Counters::add(&self.recipes[place].counters, Counter::ShardsLost, 1);
                ends[place] = self.start_shard(place, member, links)?.0;
                continue;
            }
            let regroup = Regroup {
                member,
                links,
                replaced: lost.into(),
                waiters: Arc::clone(&self.waiters),
                origin: self.pace.origin,
            };
            if ends[place].to_shard.send(ToShard::Regroup(Box::new(regroup))).is_err() {
                // It does not read its mail, so it is about to be lost, too.
                say(&format!("{} does not read its mail", self.recipes[place].name()));
            }
        }
        Ok(())
    }

    /// Waits for the threads of shards that have ended. One that stands still is left alone.
    pub(super) fn join(&mut self) {
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            // How it ended was said when it did.
            let _ = thread.join();
        }
    }
}
