//! After the storm: the faults stop, and everything has to come right again in good time.

use super::checks::{Finding, Verdict};
use super::plan::Plan;
use super::sometimes;
use super::universe::Universe;
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// Ticks within which every honest client is connected.
const CONNECTED_WITHIN: Tick = Plan::ticks(20_000);
/// Of those, the first in which nobody looks yet.
const SETTLES: Tick = Plan::ticks(2_000);
/// Ticks from then on within which every view equals the truth.
const EQUAL_WITHIN: Tick = Plan::ticks(5_000);
/// Ticks for which that must last.
const LASTS: Tick = Plan::ticks(500);

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
        for player in &mut self.players {
            player.rests = !walk_on;
            player.back_at = player.back_at.min(now);
        }
        self.up_at = self.up_at.min(now);
        // What stood still when the storm ended may still be found lost, and replaced.
        (0..SETTLES).try_for_each(|_| self.pass())?;
        self.wait(CONNECTED_WITHIN - SETTLES, 1, |universe| universe.everybody_connected())?;
        self.wait(EQUAL_WITHIN, LASTS, |universe| universe.views_equal())
    }

    /// Lets ticks pass until all has been well for `lasts` of them; a finding if that does not
    /// begin within `ticks`, or does not last.
    fn wait(&mut self, ticks: Tick, lasts: Tick, is_well: impl Fn(&Self) -> Verdict) -> Verdict {
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

    fn everybody_connected(&self) -> Verdict {
        let server = self.truths.len().saturating_sub(1);
        let Some(truth) = self.truths.last().filter(|_| self.host.is_some()) else {
            return Err((
                "every honest client connected within 20 s",
                "the server is down".to_owned(),
            ));
        };
        self.players.iter().try_for_each(|player| player.is_connected(server, truth.newest()))
    }

    fn views_equal(&self) -> Verdict {
        let crowd = self.players.len() + self.plan.npcs as usize > VISIBLE_MAX;
        let server = self.truths.len().saturating_sub(1);
        let Some(truth) = self.truths.last() else { return Ok(()) };
        for (number, player) in self.players.iter().enumerate() {
            player.is_connected(server, truth.newest())?;
            let verdict = player.is_up_to_date(truth, crowd);
            verdict.map_err(|(check, what)| (check, format!("player {number}: {what}")))?;
        }
        Ok(())
    }
}
