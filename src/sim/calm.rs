//! After the storm: the faults stop, and everything has to come right again in good time.

use super::checks::{Finding, Verdict};
use super::hostile::Hostile;
use super::plan::Plan;
use super::player::Player;
use super::sometimes;
use super::universe::Universe;
use crate::limits::VISIBLE_MAX;
use crate::time::Nanos;
use crate::units::Tick;

/// When those come back for whom there is no room.
const NEVER: Nanos = Nanos(u64::MAX);
/// Ticks that pass before the calm begins, if there was no room for all.
const MADE_ROOM_AFTER: Tick = Plan::ticks(10_000);
/// Ticks within which every honest client is connected.
const CONNECTED_WITHIN: Tick = Plan::ticks(20_000);
/// Of those, the first in which nobody looks yet.
const SETTLES: Tick = Plan::ticks(2_000);
/// Ticks from then on within which every view equals the truth.
const EQUAL_WITHIN: Tick = Plan::ticks(5_000);
/// Ticks for which that must last.
const LASTS: Tick = Plan::ticks(500);
/// Ticks within which everything has arrived that must.
const DELIVERED_WITHIN: Tick = Plan::ticks(20_000);
/// Ticks within which every session has new keys: the next rekey is due after 5 s and an eighth.
const REKEYED_WITHIN: Tick = Plan::ticks(8_000);
/// Ticks after which whoever promised nothing is found out.
const PATIENCE: Tick = Plan::ticks(45_000);

impl Universe {
    /// Fair weather until all is well; a finding if that takes too long, or does not last.
    pub(super) fn calm(&mut self) -> Verdict {
        let joined = self.players.iter().map(|player| player.tally.joined).sum();
        self.sometimes.note(sometimes::JOINED_IN_STORM, joined);
        self.is_storm = false;
        self.network.clear_up();
        self.clock.step_date(0);
        let walk_on = self.plan.walk_on;
        let now = self.clock.now();
        let (staying, others) = self.players.split_at_mut(self.plan.staying());
        for player in staying {
            player.rests = !walk_on;
            player.is_sensible = true;
            player.back_at = player.back_at.min(now);
        }
        others.iter_mut().for_each(|player| player.go(now, NEVER, true));
        self.up_at = self.up_at.min(now);
        self.pardon();
        if self.plan.is_full {
            // Those who gave up are missed only after 15 s, and their entities wait for them.
            (0..MADE_ROOM_AFTER).try_for_each(|_| self.pass())?;
        }
        // What stood still when the storm ended may still be found lost, and replaced.
        (0..SETTLES).try_for_each(|_| self.pass())?;
        self.wait(CONNECTED_WITHIN - SETTLES, 1, Self::everybody_connected)?;
        // From now on no message may be missing; it does not matter how many are.
        _ = self.letters_there();
        self.wait(EQUAL_WITHIN, LASTS, Self::views_equal)?;
        self.writes = false;
        self.wait(DELIVERED_WITHIN, 1, Self::letters_there)?;
        if self.plan.rekeys {
            let keys = |player: &Player| (player.tally.logins, player.key_epoch());
            let begun: Vec<_> = self.staying().iter().map(keys).collect();
            self.wait(REKEYED_WITHIN, 1, |universe| universe.everybody_rekeyed(&begun))?;
        }
        if self.plan.is_patient && self.hostile.iter().any(Hostile::is_patient) {
            (0..PATIENCE).try_for_each(|_| self.pass())?;
            self.views_equal()?;
        }
        Ok(())
    }

    /// Players who have not given up.
    pub(super) fn staying(&self) -> &[Player] {
        &self.players[..self.plan.staying()]
    }

    /// Whether everybody has turned to later keys than those of `begun`, in the same session: that
    /// of so many logins.
    fn everybody_rekeyed(&mut self, begun: &[(u64, u16)]) -> Verdict {
        for (player, &(logins, epoch)) in self.staying().iter().zip(begun) {
            let now = (player.tally.logins, player.key_epoch());
            if now.0 != logins || now.1 <= epoch || player.is_rekeying() {
                let what = format!("logins and epoch {now:?}, and {:?} before", (logins, epoch));
                return Err(("rekeys complete", format!("player {}: {what}", player.number)));
            }
        }
        Ok(())
    }

    /// Lets ticks pass until all has been well for `lasts` of them; a finding if that does not
    /// begin within `ticks`, or does not last.
    fn wait(
        &mut self,
        ticks: Tick,
        lasts: Tick,
        is_well: impl Fn(&mut Self) -> Verdict,
    ) -> Verdict {
        let (mut finding, mut well): (Option<Finding>, _) = (None, 0);
        for _ in 0..ticks + lasts {
            self.pass()?;
            match is_well(self) {
                Ok(()) => well += 1,
                Err(found) => (finding, well) = (Some(found), 0),
            }
            if well == lasts {
                return Ok(());
            }
        }
        finding.map_or(Ok(()), Err)
    }

    fn everybody_connected(&mut self) -> Verdict {
        let server = self.truths.len().saturating_sub(1);
        let Some(truth) = self.truths.last().filter(|_| self.host.is_some()) else {
            return Err((
                "every honest client connected within 20 s",
                "the server is down".to_owned(),
            ));
        };
        let (newest, now) = (truth.newest(), self.clock.now());
        self.staying().iter().try_for_each(|player| player.is_connected(server, newest, now))
    }

    fn views_equal(&mut self) -> Verdict {
        let crowd = self.players.len() + self.plan.npcs as usize > VISIBLE_MAX;
        let server = self.truths.len().saturating_sub(1);
        let Some(truth) = self.truths.last() else { return Ok(()) };
        for (number, player) in self.staying().iter().enumerate() {
            player.is_connected(server, truth.newest(), self.clock.now())?;
            let verdict = player.is_up_to_date(truth, crowd);
            verdict.map_err(|(check, what)| (check, format!("player {number}: {what}")))?;
        }
        Ok(())
    }
}
