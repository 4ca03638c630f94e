//! What a client sees: its own state and the entities in its slots.

use super::error::ClientError;
use super::history::History;
use super::snapshot::{Applied, Breach, Scratch, apply};
use crate::limits::NEIGHBOURS_TOLD;
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick};
use crate::wire::Stage;
use crate::wire::snapshot::{EntityUpdate, OwnState, OwnUpdate};

/// An entity that the client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The slot it occupies, below 128.
    pub slot: u8,
    /// Who it is.
    pub entity: EntityId,
    /// What it is.
    pub kind: Kind,
    /// The tick whose state the server last told. It has changed since only if the server has not
    /// come to it, or the packet was lost.
    pub tick: Tick,
    /// That state.
    pub state: QuantizedState,
}

/// The world as the newest applied snapshot and those before it tell it.
pub struct WorldView {
    tick: Tick,
    last_processed_input: u32,
    own: Option<OwnState>,
    /// Tick of `own` and of `last_processed_input`; not before `tick`.
    own_tick: Tick,
    /// Told outside a snapshot in `own_tick`, which is later than `tick`.
    neighbours: [Option<EntityUpdate>; NEIGHBOURS_TOLD],
    /// Bit f: faction f is an enemy.
    enemies: u64,
    history: History,
}

impl WorldView {
    pub(super) fn new() -> Self {
        let history = History::new();
        Self {
            tick: 0,
            last_processed_input: 0,
            own: None,
            own_tick: 0,
            neighbours: [None; NEIGHBOURS_TOLD],
            enemies: 0,
            history,
        }
    }

    /// Tick of the newest applied snapshot, 0 before the first.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Newest input that the server had applied.
    pub fn last_processed_input(&self) -> u32 {
        self.last_processed_input
    }

    /// Tick of the own state: that of a snapshot, or of an update outside of one.
    pub fn own_tick(&self) -> Tick {
        self.own_tick
    }

    /// Others of whom the player was told outside a snapshot since the last one, the nearest first.
    pub fn neighbours(&self) -> impl Iterator<Item = &EntityUpdate> {
        self.neighbours.iter().flatten()
    }

    /// Takes in the own state outside a snapshot; `false` if it is not newer than what is known, or
    /// shows inputs that were never sent.
    pub(super) fn update_own(&mut self, update: &OwnUpdate, sent_input: u32) -> bool {
        let known = self.own.as_ref().map(|own| own.id);
        let is_ours = known.is_none_or(|id| id == update.own.id);
        let inputs = self.last_processed_input..=sent_input;
        let is_taken =
            update.tick > self.own_tick && is_ours && inputs.contains(&update.last_processed_input);
        if is_taken {
            (self.own, self.own_tick) = (Some(update.own), update.tick);
            self.last_processed_input = update.last_processed_input;
            self.neighbours = [None; NEIGHBOURS_TOLD];
        }
        is_taken
    }

    /// Takes in another entity outside a snapshot, told together with the own state.
    pub(super) fn update_neighbour(&mut self, update: &EntityUpdate) {
        if update.tick == self.own_tick
            && update.tick > self.tick
            && let Some(place) = self.neighbours.iter_mut().find(|place| place.is_none())
        {
            *place = Some(*update);
        }
    }

    /// The player's own entity in full precision.
    pub fn own(&self) -> Option<&OwnState> {
        self.own.as_ref()
    }

    /// The factions that are enemies of the player: bit f stands for faction f.
    pub fn enemies(&self) -> u64 {
        self.enemies
    }

    /// Whether a faction is an enemy of the player. Who is of the player's own faction, other than
    /// 0, and no enemy, is a friend.
    pub fn is_enemy(&self, faction: u8) -> bool {
        self.enemies.checked_shr(faction.into()).unwrap_or_default() & 1 == 1
    }

    /// How many entities are seen.
    pub fn visible(&self) -> u32 {
        self.history.occupied().count_ones()
    }

    /// The entity in `slot`.
    pub fn seen(&self, slot: u8) -> Option<Seen> {
        let (entity, kind, tick, state) = self.history.newest(slot)?;
        Some(Seen { slot, entity, kind, tick, state })
    }

    /// All entities by slot.
    pub fn entities(&self) -> impl Iterator<Item = Seen> + '_ {
        (0..128).filter_map(|slot| self.seen(slot))
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.history.heap_bytes()
    }

    /// Applies a snapshot; `None` if its tick is not newer. `sent_input` is the newest input sent.
    pub(super) fn apply(
        &mut self,
        body: &[u8],
        sent_input: u32,
        stage: Stage,
        scratch: &mut Scratch,
    ) -> Result<Option<Applied>, ClientError> {
        let Some(told) = apply(&mut self.history, self.tick, body, scratch)? else {
            return Ok(None);
        };
        let mut breaches = told.breaches;
        let (before, after) = (self.last_processed_input, told.last_processed_input);
        // The own state may have been told outside the snapshots, and later ones.
        let is_newest = told.tick >= self.own_tick;
        breaches.note(Breach::INPUT_ORDER, (is_newest && after < before) || after > sent_input);
        breaches.note(Breach::OWN_MISSING, stage == Stage::Entered && told.own.is_none());
        if let Some(own) = &told.own {
            let known = self.own.as_ref().map(|before| before.id);
            breaches.note(Breach::OWN_ID_CHANGED, known.is_some_and(|id| id != own.id));
            if told.full_entries > 0 || known != Some(own.id) {
                let shown = self.history.slots_of(own.id) != 0;
                breaches.note(Breach::OWN_VISIBLE, shown);
            }
            if is_newest {
                (self.own, self.own_tick) = (Some(*own), told.tick);
            }
        }
        if self.neighbours[0].is_some() && is_newest {
            self.neighbours = [None; NEIGHBOURS_TOLD];
        }
        self.enemies = told.relations.unwrap_or(self.enemies);
        let missed = if self.tick == 0 { 0 } else { told.tick - self.tick - 1 };
        self.tick = told.tick;
        if is_newest {
            self.last_processed_input = after;
        }
        Ok(Some(Applied {
            tick: told.tick,
            missed_ticks: missed,
            last_processed_input: after,
            previous_input: before,
            entries: told.entries,
            full_entries: told.full_entries,
            removals: told.removals,
            age_sum: told.age_sum,
            body_len: body.len() as u16,
            breaches,
        }))
    }
}
