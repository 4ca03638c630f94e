//! A view holds only what was, and nobody who has been out of sight for long; after the storm it is
//! also complete and up to date.
//!
//! The same questions that `tests/replication_model.rs` asks, put to every snapshot that a client
//! applies here.

use super::Verdict;
use crate::client::{Breach, Seen, WorldView};
use crate::sim::truth::{Being, Truth};
use crate::units::Tick;
use crate::wire::snapshot::OwnState;
use std::collections::BTreeSet;

const CHECK: &str = "sent within visible";
const CALM: &str = "views equal the quantized truth";

/// Ticks until the server notices that somebody is gone or out of sight: it looks in every fourth,
/// and in the seventh after the last if the player was handed over in between.
const NOTICE: Tick = 7;
/// Ticks for which a view may lag behind in fair weather: what is told most rarely is told every
/// tenth.
const LAG: Tick = 24;

/// What a client holds.
pub(crate) struct Look<'a> {
    pub(crate) own: Option<&'a OwnState>,
    /// Of which tick that is: an update outside of snapshots may have been later than the snapshot.
    pub(crate) own_tick: Tick,
    pub(crate) seen: Vec<Seen>,
}

impl<'a> Look<'a> {
    pub(crate) fn of(view: &'a WorldView) -> Self {
        Self { own: view.own(), own_tick: view.own_tick(), seen: view.entities().collect() }
    }
}

/// The view of one client, compared with the truth.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Tick of the newest applied snapshot.
    tick: Tick,
    /// Snapshots with an own entity.
    own: u64,
}

impl Sight {
    /// Tick of the newest applied snapshot.
    pub(crate) fn tick(&self) -> Tick {
        self.tick
    }

    /// Whether the player's own entity has been seen in one snapshot so far.
    pub(crate) fn is_first(&self) -> bool {
        self.own == 1
    }

    /// A snapshot was applied.
    pub(crate) fn applied(
        &mut self,
        (tick, breaches): (Tick, Breach),
        look: &Look<'_>,
        truth: &Truth,
    ) -> Verdict {
        let wrong = |what: String| Err((CHECK, format!("at tick {tick}: {what}")));
        if breaches != Breach::default() {
            return wrong(format!("a snapshot breaks rules: {breaches:?}"));
        }
        if tick <= self.tick || tick > truth.newest() {
            return wrong(format!("a snapshot after that of {}", self.tick));
        }
        self.tick = tick;
        let Some(own) = look.own else { return Ok(()) };
        self.own += 1;
        let Some(being) = truth.at(look.own_tick, own.id) else {
            return wrong(format!("{:?}, the player's own entity, does not live", own.id));
        };
        let state = &being.state;
        if (own.yaw, own.health, own.flags) != (state.yaw, state.health, state.flags) {
            return wrong(format!("the own state is {own:?}, and was {state:?}"));
        }
        let mut seen_before = BTreeSet::new();
        for seen in &look.seen {
            let id = seen.entity;
            if id == own.id || !seen_before.insert(id) {
                return wrong(format!("{id:?} in a second slot, or the player himself"));
            }
            let Some(being) = truth.at(seen.tick, id) else {
                return wrong(format!("{id:?} did not live at {}", seen.tick));
            };
            if (seen.kind, seen.state) != (being.kind, being.state) {
                let (told, was) = (seen.state, being.state);
                return wrong(format!("{id:?} was not so at {}: {told:?}, but {was:?}", seen.tick));
            }
            let mut lately = tick.saturating_sub(NOTICE)..=tick;
            if !lately.any(|at| truth.may_see(at, own.id, id)) {
                return wrong(format!("{id:?} has been out of sight for {NOTICE} ticks"));
            }
        }
        Ok(())
    }

    /// Whether the view is complete and up to date; in a `crowd` not everybody has a place in it.
    pub(crate) fn up_to_date(&self, look: &Look<'_>, truth: &Truth, crowd: bool) -> Verdict {
        let now = truth.newest();
        let wrong = |what: String| Err((CALM, format!("at tick {now}: {what}")));
        if now - self.tick > 6 {
            return wrong(format!("the newest snapshot is of {}", self.tick));
        }
        let Some(own) = look.own.map(|own| own.id) else {
            return wrong("no own entity".to_owned());
        };
        let lately = || (now + 1).saturating_sub(LAG)..=now;
        let mut held = BTreeSet::new();
        for seen in &look.seen {
            held.insert(seen.entity);
            let is_fresh =
                |being: Option<&Being>| being.is_some_and(|being| being.state == seen.state);
            if !lately().any(|at| is_fresh(truth.at(at, seen.entity))) {
                return wrong(format!("{:?} is held as it was at {}", seen.entity, seen.tick));
            }
        }
        for id in truth.scene(now).keys().filter(|id| !crowd && !held.contains(id)) {
            if lately().all(|at| truth.must_see(at, own, *id)) {
                return wrong(format!("{id:?} is in sight of {own:?} and missing"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, QuantizedState};
    use crate::units::EntityId;

    const OWN: EntityId = EntityId(1 << 20);
    const OTHER: EntityId = EntityId(1 << 20 | 1);

    fn being(id: EntityId, x: u32) -> Being {
        Being { id, kind: Kind::Player, state: QuantizedState { x, ..QuantizedState::DEFAULT } }
    }

    /// The other one walks away by a step per tick, from next to the player.
    fn truth(ticks: Tick) -> Truth {
        let mut truth = Truth::new([100.0; Kind::COUNT], 1.1);
        for tick in 1..=ticks {
            truth.note(tick, vec![being(OWN, 1_000), being(OTHER, 1_000 + tick)]);
        }
        truth
    }

    fn own() -> OwnState {
        OwnState { id: OWN, health: 255, mana: 255, ..OwnState::default() }
    }

    fn seen(tick: Tick) -> Seen {
        let being = being(OTHER, 1_000 + tick);
        Seen { slot: 3, entity: OTHER, kind: Kind::Player, tick, state: being.state }
    }

    fn check(tick: Tick, breaches: Breach, seen: Vec<Seen>) -> Verdict {
        let (own, truth) = (own(), truth(200));
        let look = Look { own: Some(&own), own_tick: tick, seen };
        Sight::default().applied((tick, breaches), &look, &truth)
    }

    #[test]
    fn who_is_told_what_was_not_or_whom_he_cannot_see_is_found() {
        let fine = Breach::default();
        assert_eq!(check(20, fine, vec![seen(20)]), Ok(()));
        assert_eq!(check(20, fine, vec![seen(11)]), Ok(()), "old news");
        assert!(check(20, Breach::OWN_VISIBLE, vec![]).is_err());
        assert!(check(20, fine, vec![Seen { tick: 19, ..seen(20) }]).is_err(), "was not so");
        assert!(check(20, fine, vec![seen(20), Seen { slot: 4, ..seen(20) }]).is_err(), "twice");
        assert!(check(20, fine, vec![Seen { entity: OWN, ..seen(20) }]).is_err(), "himself");
        let ghost = Seen { entity: EntityId(1 << 20 | 9), ..seen(20) };
        assert!(check(20, fine, vec![ghost]).is_err(), "never lived");
        assert!(check(150, fine, vec![seen(150)]).is_err(), "too far away for a hundred ticks");
        assert!(check(201, fine, vec![]).is_err(), "a tick that has not been");
        let (own, truth) = (own(), truth(9));
        let look = Look { own: Some(&own), own_tick: 5, seen: vec![] };
        let mut sight = Sight::default();
        assert!(sight.applied((5, fine), &look, &truth).is_ok());
        assert!(sight.applied((5, fine), &look, &truth).is_err(), "time goes on");
        let look = |own_tick| Look { own: Some(&own), own_tick, seen: vec![] };
        assert!(sight.applied((6, fine), &look(8), &truth).is_ok(), "an update was later");
        assert!(sight.applied((7, fine), &look(10), &truth).is_err(), "of what has not been");
    }

    #[test]
    fn a_view_that_is_late_or_lacks_somebody_is_found() {
        let (own, truth) = (own(), truth(40));
        let up_to_date = |tick: Tick, seen: Vec<Seen>, crowd: bool| {
            let sight = Sight { tick, own: 0 };
            let look = Look { own: Some(&own), own_tick: tick, seen };
            sight.up_to_date(&look, &truth, crowd)
        };
        assert_eq!(up_to_date(40, vec![seen(39)], false), Ok(()));
        assert!(up_to_date(30, vec![seen(30)], false).is_err(), "no news for ten ticks");
        assert!(up_to_date(40, vec![seen(10)], false).is_err(), "an old state");
        assert!(up_to_date(40, vec![], false).is_err(), "somebody is missing");
        assert_eq!(up_to_date(40, vec![], true), Ok(()), "no place for him");
    }
}
