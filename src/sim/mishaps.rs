//! What befalls hosts and players in the storm: drawn tick by tick, at the rates of the plan.

use super::checks::Ban;
use super::plan::Mishaps;
use super::sometimes;
use super::universe::Universe;
use crate::admin::WafRequest;
use crate::metrics::{Counter, DropReason};
use crate::time::Nanos;

/// How long a ban lasts, seconds.
const BAN_S: u32 = 12;

impl Universe {
    /// Strikes as the dice will have it.
    pub(super) fn strike(&mut self) {
        let mishaps = self.plan.mishaps;
        let now = self.clock.now();
        // All dice are thrown in every tick, whatever comes of it: so the beginning of a storm does
        // not depend on its length.
        let mut strikes = |every: u64, most_ms: u64| {
            let (strikes, ms) = (self.fate.once_in(every), self.fate.between(1, most_ms));
            (strikes.then_some(Nanos::from_ms(ms)), self.fate.fork())
        };
        let crash = strikes(mishaps.crash_every, 1);
        let stall = strikes(mishaps.stall_every, 1_000);
        let gate_stall = strikes(mishaps.gate_stall_every, 2_000);
        let freeze = strikes(mishaps.freeze_every, 2_000);
        let restart = strikes(mishaps.restart_every, 3_000);
        let date = strikes(mishaps.date_step_every, 6_000);
        let shift = strikes(mishaps.shift_every, 1);
        let leave = strikes(mishaps.leave_every, 5_000);
        let storm = strikes(mishaps.storm_every, 1_500);
        let address = strikes(mishaps.address_change_every, 1);
        let gate_crash = strikes(mishaps.gate_crash_every, 1);
        let shards = self.plan.shards as u64;
        if let Some(host) = &mut self.host {
            if let (Some(_), mut dice) = crash {
                host.crash(dice.below(shards) as usize);
            }
            if let (Some(duration), mut dice) = stall {
                host.stall(dice.below(shards) as usize, duration);
            }
            if let (Some(_), mut dice) = shift {
                let from = dice.below(shards);
                let to = (from + dice.between(1, shards - 1)) % shards;
                host.shift(from as usize, to as usize, dice.between(1, 4) as usize);
            }
        }
        if let (Some(duration), _) = gate_stall {
            self.gate_stalled_until = now.plus(duration);
        }
        if let (Some(duration), _) = freeze {
            self.frozen_until = now.plus(duration);
        }
        if let (Some(duration), _) = date {
            self.clock.step_date(duration.as_ms() as i64 - 3_000);
        }
        if let (Some(duration), _) = restart
            && self.host.is_some()
        {
            self.shut_down(now.plus(duration));
        }
        if let (Some(_), _) = gate_crash {
            self.lose_gate();
        }
        self.trouble_players(leave, storm, address);
        self.strike_later();
    }

    /// Mishaps that were thought of later have dice of their own.
    fn strike_later(&mut self) {
        let Mishaps { rejoin_every, ban_every, .. } = self.plan.mishaps;
        let players = self.players.len() as u64;
        let mut strikes = |every| (self.whim.once_in(every), self.whim.fork());
        let (rejoin, ban) = (strikes(rejoin_every), strikes(ban_every));
        let now = self.clock.now();
        if let (true, mut dice) = rejoin {
            self.players[dice.below(players) as usize].change_mind(now);
        }
        if let (true, mut dice) = ban {
            let player = self.players[dice.below(players) as usize].number;
            let to = dice.below(self.plan.shards as u64) as usize;
            let at = self.tick + dice.below(4);
            if self.host.as_mut().is_some_and(|host| host.take_to(player, to)) {
                self.sentences.push((player, at));
            }
        }
        let tick = self.tick;
        let due: Vec<_> = self.sentences.extract_if(.., |(_, at)| *at <= tick).collect();
        due.into_iter().for_each(|(player, _)| self.ban(player));
    }

    fn ban(&mut self, player: u64) {
        let (Some(host), Some(truth)) = (&mut self.host, self.truths.last()) else { return };
        host.order(WafRequest::Ban(player, Some(BAN_S)));
        let until = self.clock.now().plus(Nanos::from_ms(1_000 * u64::from(BAN_S)));
        self.bans.begin(Ban { player, since: truth.newest(), until });
        self.sometimes.note(sometimes::BANNED_MOVING, 1);
    }

    /// Everybody may play again.
    pub(super) fn pardon(&mut self) {
        self.sentences.clear();
        for player in self.bans.lift() {
            if let Some(host) = &mut self.host {
                host.order(WafRequest::Lift(player));
            }
        }
    }

    fn lose_gate(&mut self) {
        // What it counted goes with it.
        self.take_stock();
        if let Some(host) = self.host.as_mut().filter(|host| !host.has_lost_gate()) {
            host.lose_gate();
            self.sometimes.note(sometimes::GATE_LOST, 1);
        }
    }

    fn trouble_players(&mut self, leave: Strike, storm: Strike, address: Strike) {
        let now = self.clock.now();
        let players = self.players.len() as u64;
        if let (Some(duration), mut dice) = leave {
            let who = dice.below(players) as usize;
            self.players[who].go(now, now.plus(duration), dice.percent(50));
        }
        if let (Some(duration), mut dice) = storm {
            let politely = dice.percent(50);
            self.players.iter_mut().for_each(|it| it.go(now, now.plus(duration), politely));
        }
        if let (Some(_), mut dice) = address {
            let who = dice.below(players) as usize;
            if self.players[who].is_inside() {
                self.sometimes.note(sometimes::ADDRESS_CHANGED, 1);
            }
            let to = self.new_address(who);
            self.move_player(who, to);
        }
    }

    /// What the server that is about to go has seen; and, in the end, everybody else.
    pub(super) fn take_stock(&mut self) {
        let Some(host) = self.host.as_ref().filter(|host| !host.has_lost_gate()) else { return };
        let (counter, dropped) = (|it| host.count(it), |it| host.dropped(it));
        let seen = [
            (sometimes::SHARD_LOST, counter(Counter::ShardsLost)),
            (sometimes::GHOST, host.ghosts_seen),
            (sometimes::SHIFTED, counter(Counter::ScheduleShifts)),
            (sometimes::REPLAYED, dropped(DropReason::Replay)),
            (sometimes::SPOILT, dropped(DropReason::Open)),
            (sometimes::FOREIGN, dropped(DropReason::Address)),
            (sometimes::FULL, dropped(DropReason::ServerFull)),
            (sometimes::BEFORE_BOOT, dropped(DropReason::TokenBeforeBoot)),
            (sometimes::TOKEN_USED, dropped(DropReason::TokenReplayed)),
            (sometimes::COOKIE, dropped(DropReason::Cookie)),
            (sometimes::LIMITED, dropped(DropReason::SourceLimit)),
            (sometimes::VIOLATION, counter(Counter::Violations)),
            (sometimes::FALSE_ACK, dropped(DropReason::FalseAck)),
            (sometimes::INPUT_RATE, dropped(DropReason::InputRate)),
            (sometimes::PACKET_RATE, dropped(DropReason::PacketRate)),
            (sometimes::FORWARDED, counter(Counter::Forwarded)),
            (sometimes::LINGER_EXPIRED, counter(Counter::LingerExpired)),
            (sometimes::UNDELIVERED, counter(Counter::Undelivered)),
            (sometimes::EPOCH, dropped(DropReason::Epoch)),
            (sometimes::TOKENS_FULL, dropped(DropReason::TokenTableFull)),
        ];
        for (condition, times) in seen {
            self.sometimes.note(condition, times);
        }
    }

    /// What players and network went through.
    pub(super) fn take_stock_outside(&mut self) {
        let deeds = self.network.deeds;
        self.sometimes.note(sometimes::SWALLOWED, deeds.swallowed);
        self.sometimes.note(sometimes::CUT, deeds.cut);
        self.sometimes.note(sometimes::CLOGGED, deeds.clogged);
        self.sometimes.note(sometimes::DELIVERED, self.letters.delivered);
        self.sometimes.note(sometimes::LONGEST, (self.letters.longest > 60 * 1_024).into());
        for hostile in &self.hostile {
            self.sometimes.note(sometimes::TICKET_USED, hostile.tally.refused);
            self.sometimes.note(sometimes::REKEY_REFUSED, hostile.tally.worn_out);
        }
        let refused = self.thief.as_ref().map_or(0, |thief| thief.refused);
        self.sometimes.note(sometimes::STOLEN, refused);
        for player in &self.players {
            let tally = player.tally;
            self.sometimes.note(sometimes::BANNED, tally.banned);
            self.sometimes.note(sometimes::RESUMED, tally.resumed);
            self.sometimes.note(sometimes::FOUND_AGAIN, tally.found_again);
            self.sometimes.note(sometimes::RESUMED_ELSEWHERE, tally.resumed_elsewhere);
            self.sometimes.note(sometimes::REKEYED, tally.rekeyed);
            self.sometimes.note(sometimes::REKEYED_ELSEWHERE, tally.rekeyed_elsewhere);
            self.sometimes.note(sometimes::REKEYED_MOVING, tally.rekeyed_moving);
            self.sometimes.note(sometimes::MOVED, tally.moved);
            self.sometimes.note(sometimes::TIMED_OUT, tally.timed_out);
            self.sometimes.note(sometimes::FAREWELL, tally.shard_lost);
            self.sometimes.note(sometimes::STALE, tally.stale);
            self.sometimes.note(sometimes::REPLACED, tally.logins.saturating_sub(1));
        }
    }
}

/// Whether something strikes, for how long, and dice for the rest.
type Strike = (Option<Nanos>, super::dice::Dice);
