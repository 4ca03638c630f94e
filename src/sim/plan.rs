//! What a seed has in store: how many shards and players, which faults are on, and how strong.
//!
//! About half of all faults are on in each seed, so that every pair of them meets in some, and some
//! seeds have hardly any: faults that always come together hide what each of them does. Drawn once,
//! before the first tick; when which fault strikes is drawn tick by tick in `universe`.

use super::dice::Dice;
use super::hostile::Conduct;
use crate::units::Tick;

/// How the network treats datagrams during the storm. Percentages are of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Weather {
    /// Lost.
    pub lost_percent: u64,
    /// Delivered twice.
    pub doubled_percent: u64,
    /// Followed by an earlier one, which comes again up to three seconds late.
    pub replayed_percent: u64,
    /// Changed or cut on the way, in thousandths.
    pub corrupted_permille: u64,
    /// Copied from an address that is not the sender's; the copy may come first.
    pub spoofed_percent: u64,
    /// Milliseconds that every datagram takes at least.
    pub delay_ms: u64,
    /// Milliseconds that it may take longer, which reorders.
    pub jitter_ms: u64,
    /// One datagram in so many clogs its path: what follows queues up.
    pub clog_every: u64,
    /// One datagram in so many cuts its path for a while, up to twenty seconds.
    pub partition_every: u64,
    /// One datagram in so many makes its path lose whatever is large for a while.
    pub black_hole_every: u64,
}

impl Weather {
    /// Nothing is lost, and everything arrives within two ticks.
    pub const FAIR: Self = Self {
        lost_percent: 0,
        doubled_percent: 0,
        replayed_percent: 0,
        corrupted_permille: 0,
        spoofed_percent: 0,
        delay_ms: 4,
        jitter_ms: 16,
        clog_every: 0,
        partition_every: 0,
        black_hole_every: 0,
    };
}

/// One in so many ticks each; 0 = never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mishaps {
    /// A shard's thread ends.
    pub crash_every: u64,
    /// A shard's thread stands still for up to a second.
    pub stall_every: u64,
    /// The gate's thread stands still for up to two seconds.
    pub gate_stall_every: u64,
    /// The whole host stands still for up to two seconds.
    pub freeze_every: u64,
    /// The server ends and starts anew within three seconds.
    pub restart_every: u64,
    /// The date of the server's host is wrong from then on, by up to three seconds. By more, tokens
    /// would still be refused after the storm for as long as a patient client waits.
    pub date_step_every: u64,
    /// Players are moved from shard to shard.
    pub shift_every: u64,
    /// A player leaves, or just falls silent, and comes back later.
    pub leave_every: u64,
    /// All players leave and come back at once.
    pub storm_every: u64,
    /// A player's address changes.
    pub address_change_every: u64,
    /// The gate's thread ends; its shards say goodbye, and the server starts anew.
    pub gate_crash_every: u64,
    /// A player says goodbye and joins anew within 5 ms.
    pub rejoin_every: u64,
    /// A player is handed over, and banned for a while before he can have arrived.
    pub ban_every: u64,
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Which faults there may be: those up to this one of the lists in `Plan::draw_of`.
    pub faults: u32,
    /// Ticks until the faults stop.
    pub storm_ticks: u64,
    /// Shards, 1..=4.
    pub shards: usize,
    /// Whether the kernel brings every datagram to its socket.
    pub is_steered: bool,
    /// Honest players.
    pub players: usize,
    /// Whether they share one address, behind which they differ by port.
    pub share_address: bool,
    /// Whether they stand in a crowd, everybody in sight of everybody.
    pub crowd: bool,
    /// Whether they walk on after the storm.
    pub walk_on: bool,
    /// Characters that no player controls.
    pub npcs: u32,
    /// Hostile peers.
    pub hostile: Vec<Conduct>,
    /// Whether the tables of the gate are small enough to be full at times.
    pub tight_tables: bool,
    /// The network.
    pub weather: Weather,
    /// What befalls hosts and players.
    pub mishaps: Mishaps,
    /// One in so many ticks each player gives the game something that must arrive, and the game
    /// him; 0 = never.
    pub letter_every: u64,
    /// Whether sessions get new keys every five seconds.
    pub rekeys: bool,
    /// Players who lost their session come back with its ticket in so many of all cases.
    pub resumed_percent: u64,
    /// Seconds for which the entity of somebody who was lost stays.
    pub linger_s: u32,
    /// Whether the calm lasts until the last hostile peer was found out.
    pub is_patient: bool,
    /// Whether somebody steals resume tickets.
    pub has_thief: bool,
    /// Whether there is no room for a third of the players, who give up when the storm is over.
    pub is_full: bool,
}

/// All faults there are; kept seeds say which there were.
pub const FAULTS: u32 = 2;
/// Ticks of storm unless asked for others: 15 s, as long as a session lives without a word.
pub const STORM_TICKS: u64 = 900;

impl Plan {
    /// Draws the plan of `seed`.
    pub fn draw(seed: u64, storm_ticks: Option<u64>) -> Self {
        Self::draw_of(FAULTS, seed, storm_ticks)
    }

    /// The same as it was when there were only these `faults`. 1: all that are not named here. 2:
    /// hasty rejoins, bans, thieves, full worlds.
    pub fn draw_of(faults: u32, seed: u64, storm_ticks: Option<u64>) -> Self {
        let mut dice = Dice::new(seed, 1);
        let shards = dice.between(1, 4) as usize;
        let crowd = dice.percent(20);
        let share_address = dice.percent(10);
        let most = if crowd { 40 } else { 16 };
        let most = if share_address { 12 } else { most };
        let mut hostile = Vec::new();
        if dice.percent(60) {
            let count = dice.between(1, 6);
            hostile.extend((0..count).map(|_| dice.pick(&Conduct::ALL)));
        }
        let plan = Self {
            seed,
            faults,
            storm_ticks: storm_ticks.unwrap_or(STORM_TICKS),
            shards,
            is_steered: !dice.percent(25),
            players: dice.between(2, most) as usize,
            share_address,
            crowd,
            walk_on: dice.percent(50),
            npcs: if dice.percent(50) { dice.between(1, 60) as u32 } else { 0 },
            hostile,
            tight_tables: dice.percent(20),
            weather: weather(&mut dice),
            mishaps: mishaps(&mut dice, shards),
            letter_every: 0,
            rekeys: false,
            resumed_percent: 0,
            linger_s: 60,
            is_patient: false,
            has_thief: false,
            is_full: false,
        };
        plan.later(&mut dice)
    }

    /// What was thought of later is drawn after the rest, which stays as it was.
    fn later(mut self, dice: &mut Dice) -> Self {
        let mut on = |percent: u64, least: u64, most: u64| {
            let (is_on, strength) = (dice.percent(percent), dice.between(least, most));
            if is_on { strength } else { 0 }
        };
        self.letter_every = on(50, 6, 90);
        self.resumed_percent = on(70, 30, 100);
        self.mishaps.gate_crash_every = on(15, 300, 1_200);
        self.linger_s = if on(50, 1, 1) > 0 { on(100, 2, 20) as u32 } else { 60 };
        self.rekeys = on(30, 1, 1) > 0;
        self.is_patient = on(5, 1, 1) > 0;
        if self.faults < 2 {
            return self;
        }
        self.mishaps.rejoin_every = on(15, 60, 600);
        self.mishaps.ban_every = on(if self.shards > 1 { 20 } else { 0 }, 100, 600);
        self.has_thief = on(15, 1, 1) > 0;
        self.is_full = on(15, 1, 1) > 0;
        if self.is_full {
            self.linger_s = self.linger_s.min(4);
        }
        self
    }

    /// Players for whom there is room, whatever hostile peers do: the first ones, who stay.
    pub(crate) fn staying(&self) -> usize {
        if self.is_full { (self.players * 2 / 3).max(1) } else { self.players }
    }

    /// Ticks that `ms` milliseconds last.
    pub(crate) const fn ticks(ms: u64) -> Tick {
        (ms * 60 / 1000) as Tick
    }
}

fn weather(dice: &mut Dice) -> Weather {
    let mut on = |percent: u64, least: u64, most: u64| {
        let (is_on, strength) = (dice.percent(percent), dice.between(least, most));
        if is_on { strength } else { 0 }
    };
    Weather {
        lost_percent: on(60, 1, 30),
        doubled_percent: on(50, 1, 50),
        replayed_percent: on(40, 1, 50),
        corrupted_permille: on(40, 1, 50),
        spoofed_percent: on(40, 1, 20),
        delay_ms: on(60, 1, 400),
        jitter_ms: on(60, 1, 200),
        clog_every: on(40, 200, 4_000),
        partition_every: on(40, 1_000, 20_000),
        black_hole_every: on(40, 1_000, 10_000),
    }
}

fn mishaps(dice: &mut Dice, shards: usize) -> Mishaps {
    let mut on = |percent: u64, least: u64, most: u64| {
        let (is_on, every) = (dice.percent(percent), dice.between(least, most));
        if is_on { every } else { 0 }
    };
    Mishaps {
        crash_every: on(35, 200, 900),
        stall_every: on(35, 60, 600),
        gate_stall_every: on(30, 100, 900),
        freeze_every: on(25, 200, 900),
        restart_every: on(20, 300, 1_200),
        date_step_every: on(30, 100, 600),
        shift_every: if shards > 1 { on(70, 5, 200) } else { 0 },
        leave_every: on(60, 20, 300),
        storm_every: on(25, 200, 900),
        address_change_every: on(40, 60, 400),
        gate_crash_every: 0,
        rejoin_every: 0,
        ban_every: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_plan_each_time_and_each_fault_is_off_in_some_seeds_and_on_in_others() {
        let plans: Vec<_> = (0..200).map(|seed| Plan::draw(seed, None)).collect();
        assert_eq!(plans[7], Plan::draw(7, None));
        let switches: [fn(&Plan) -> u64; 29] = [
            |plan| plan.weather.lost_percent,
            |plan| plan.weather.doubled_percent,
            |plan| plan.weather.replayed_percent,
            |plan| plan.weather.corrupted_permille,
            |plan| plan.weather.spoofed_percent,
            |plan| plan.weather.delay_ms,
            |plan| plan.weather.jitter_ms,
            |plan| plan.weather.clog_every,
            |plan| plan.weather.partition_every,
            |plan| plan.weather.black_hole_every,
            |plan| plan.mishaps.crash_every,
            |plan| plan.mishaps.stall_every,
            |plan| plan.mishaps.gate_stall_every,
            |plan| plan.mishaps.freeze_every,
            |plan| plan.mishaps.restart_every,
            |plan| plan.mishaps.date_step_every,
            |plan| plan.mishaps.shift_every,
            |plan| plan.mishaps.leave_every,
            |plan| plan.mishaps.storm_every,
            |plan| plan.mishaps.address_change_every,
            |plan| plan.mishaps.gate_crash_every,
            |plan| plan.letter_every,
            |plan| plan.resumed_percent,
            |plan| u64::from(plan.rekeys),
            |plan| u64::from(60 - plan.linger_s),
            |plan| plan.mishaps.rejoin_every,
            |plan| plan.mishaps.ban_every,
            |plan| u64::from(plan.has_thief),
            |plan| u64::from(plan.is_full),
        ];
        for (index, switch) in switches.iter().enumerate() {
            let on = plans.iter().filter(|plan| switch(plan) > 0).count();
            assert!((15..180).contains(&on), "switch {index} is on in {on} of 200 seeds");
        }
    }

    #[test]
    fn every_number_of_shards_and_every_conduct_is_drawn() {
        let plans: Vec<_> = (0..300).map(|seed| Plan::draw(seed, None)).collect();
        assert!((1..=4).all(|shards| plans.iter().any(|plan| plan.shards == shards)));
        for conduct in Conduct::ALL {
            assert!(plans.iter().any(|plan| plan.hostile.contains(&conduct)), "{conduct:?}");
        }
    }
}
