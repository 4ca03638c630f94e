//! A player: the real client, who decides where to go, and what is checked about every snapshot
//! that it applies.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tidelock::client::{Applied, Breach, Client, ClientError, Event, Scratch, Seen, State, Ticket};
use tidelock::host::entropy::SeededEntropy;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::sim::{DOUBT, Truth};
use tidelock::time::Nanos;
use tidelock::units::{EntityId, Tick};
use tidelock::wire::{InputFrame, buttons};

/// Ticks until the server notices that somebody is gone or out of sight: it looks in every fourth,
/// and in the seventh after the last if the player was handed over in between.
const NOTICE: Tick = 7;

/// What players went through, so that a run in which nothing happened is no proof.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) snapshots: u64,
    /// Snapshots that came after newer ones.
    pub(crate) stale: u64,
    /// Entities of a view compared with the truth.
    pub(crate) compared: u64,
    /// Entities that went out of a view.
    pub(crate) gone: u64,
    /// Slots in which one entity came after another.
    pub(crate) reused: u64,
    /// Entities held beyond the distance at which they would be let in.
    pub(crate) kept: u64,
    pub(crate) joined: u64,
    pub(crate) left: u64,
}

pub(crate) struct Player {
    pub(crate) number: usize,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    /// The name that is in every message of a failed check.
    pub(super) who: String,
    /// Whoever looks on from outside expects that the view is the nearest of a crowd, so that
    /// somebody may go out of it for others who are nearer.
    crowded: bool,
    course: InputFrame,
    /// Whether it stands still from now on.
    pub(crate) rests: bool,
    /// The view of the newest applied snapshot.
    tick: Tick,
    view: BTreeMap<EntityId, Seen>,
    /// The last occupant of each slot.
    slots: BTreeMap<u8, EntityId>,
}

impl Player {
    /// Login `login` of player `number`, from an address of its own.
    pub(crate) fn new(
        (seed, number, login): (u64, usize, u32),
        ticket: &Ticket,
        crowded: bool,
        now: Nanos,
        random: &mut SeededEntropy,
    ) -> Self {
        let nonce = random.next_u64().to_le_bytes();
        let host = Ipv4Addr::new(10, 0, 1, number as u8 + 1);
        Self {
            number,
            client: Client::new(ticket, nonce, now, random).expect("a valid ticket"),
            address: SocketAddr::from((host, 4_000 + login as u16)),
            who: format!("seed {seed}, player {number}, login {login}"),
            crowded,
            course: InputFrame::default(),
            rests: false,
            tick: 0,
            view: BTreeMap::new(),
            slots: BTreeMap::new(),
        }
    }

    pub(crate) fn is_inside(&self) -> bool {
        self.client.state() == State::InWorld
    }

    /// Goes on, in another direction now and then; comes back to `centre` from more than `reach`
    /// centimetres away.
    pub(crate) fn play(&mut self, random: &mut SeededEntropy, centre: [f32; 2], reach: f32) {
        let Some(own) = self.client.world().own().filter(|_| self.is_inside()) else { return };
        let off = [0, 1].map(|axis| centre[axis] - own.position[axis]);
        let draw = random.next_u64();
        if self.rests {
            self.course = InputFrame::default();
        } else if off.iter().any(|axis| axis.abs() > reach) {
            let [move_x, move_y] = off.map(|axis| axis.clamp(-127.0, 127.0) as i8);
            self.course = InputFrame { move_x, move_y, ..self.course };
        } else if draw.is_multiple_of(24) {
            let [_, x, y, press, yaw_low, yaw_high, stands, _] = draw.to_le_bytes();
            let walk = |byte: u8| if stands < 64 { 0 } else { (byte as i8).max(-127) };
            let pressed = u16::from(press) & (buttons::ATTACK | buttons::JUMP | buttons::SPRINT);
            self.course = InputFrame {
                move_x: walk(x),
                move_y: walk(y),
                yaw: u16::from_le_bytes([yaw_low, yaw_high]),
                buttons: pressed,
            };
        }
        self.client.set_input(self.course);
    }

    /// What it sends at `now`.
    pub(crate) fn transmit(&mut self, now: Nanos) -> Vec<Vec<u8>> {
        let mut out = [0; DATAGRAM_MAX];
        let next = || {
            let len = self.client.poll_transmit(now, &mut out)?;
            Some(out[..len].to_vec())
        };
        std::iter::from_fn(next).collect()
    }

    /// Takes in a datagram and checks what it did.
    pub(crate) fn handle(
        &mut self,
        now: Nanos,
        mut datagram: Vec<u8>,
        scratch: &mut Scratch,
        truth: &Truth,
        tally: &mut Tally,
    ) {
        match self.client.handle_datagram(now, &mut datagram, scratch) {
            Ok(Event::Snapshot(applied)) => self.check(&applied, truth, tally),
            Ok(Event::Stale) => tally.stale += 1,
            // Repeated datagrams, and those under the id of two hand-overs ago.
            Ok(_) | Err(ClientError::Replay | ClientError::Connection) => {}
            Err(reason) => panic!("{}: {reason:?}", self.who),
        }
    }

    /// What is held is what was, and nobody is held who has been gone or out of sight for long.
    fn check(&mut self, applied: &Applied, truth: &Truth, tally: &mut Tally) {
        let (who, tick) = (format!("{}, tick {}", self.who, applied.tick), applied.tick);
        assert_eq!(applied.breaches, Breach::default(), "{who}");
        assert!(tick > self.tick && tick <= truth.newest(), "{who} after {}", self.tick);
        let world = self.client.world();
        assert_eq!(world.tick(), tick, "{who}");
        let own = world.own().expect("whoever gets snapshots has an entity");
        // An update outside of snapshots may have been later than this one.
        let being = truth.at(world.own_tick(), own.id);
        let being = being.unwrap_or_else(|| panic!("{who}: never lived"));
        let told = (own.yaw, own.animation, own.flags, own.health, own.mana, own.effects);
        let state = &being.state;
        let lived =
            (state.yaw, state.animation, state.flags, state.health, state.mana, state.effects);
        assert_eq!(told, lived, "{who}: the own state");
        let mut view = BTreeMap::new();
        for seen in world.entities() {
            let who = format!("{who}, slot {}: {:?}", seen.slot, seen.entity);
            assert_ne!(seen.entity, own.id, "{who} sees itself");
            assert!(view.insert(seen.entity, seen).is_none(), "{who} is in two slots");
            let being = truth.at(seen.tick, seen.entity);
            let being = being.unwrap_or_else(|| panic!("{who} never was at {}", seen.tick));
            let held = (seen.kind, seen.state);
            assert_eq!(held, (being.kind, being.state), "{who} was not so at {}", seen.tick);
            let mut lately = tick.saturating_sub(NOTICE)..=tick;
            let in_sight = lately.any(|at| truth.may_see(at, own.id, seen.entity));
            assert!(in_sight, "{who} is a ghost");
            tally.kept += u64::from(!truth.must_see(tick, own.id, seen.entity));
            let before = self.slots.insert(seen.slot, seen.entity);
            tally.reused += u64::from(before.is_some_and(|id| id != seen.entity));
        }
        for &id in self.view.keys().filter(|id| !view.contains_key(id)) {
            // Between two snapshots, or the first of them would have said so.
            let kept = (self.tick + 1..=tick).all(|at| truth.must_keep(at, own.id, id));
            assert!(!kept || self.crowded, "{who} forgets {id:?}, who is near");
            tally.gone += 1;
        }
        tally.snapshots += 1;
        tally.compared += view.len() as u64;
        (self.tick, self.view) = (tick, view);
    }

    /// The view is up to date, and complete: of whom it had to see over the last `within` ticks
    /// nobody is missing, and nobody is held in a state older than that.
    pub(crate) fn check_up_to_date(&self, truth: &Truth, within: Tick, tally: &mut Tally) {
        let now = truth.newest();
        let who = format!("{}, tick {now}", self.who);
        assert!(self.is_inside(), "{who}: {:?}", self.client.state());
        assert!(now - self.tick <= 3, "{who}: the newest snapshot is of {}", self.tick);
        let own = self.client.world().own().expect("it is inside").id;
        let lately = || now + 1 - within..=now;
        for (&id, seen) in &self.view {
            let fresh =
                lately().any(|at| truth.at(at, id).is_some_and(|being| being.state == seen.state));
            assert!(fresh, "{who} holds {id:?} as it was at {}", seen.tick);
            tally.compared += 1;
        }
        for &id in truth.scene(now).keys().filter(|_| !self.crowded) {
            let missing = !self.view.contains_key(&id);
            let due = lately().all(|at| truth.must_see(at, own, id));
            assert!(!(missing && due), "{who} does not see {id:?}");
        }
    }

    /// The view is the `k` nearest; everybody stands still.
    pub(crate) fn check_nearest(&self, truth: &Truth, k: usize) {
        let now = truth.newest();
        let own = self.client.world().own().expect("it is inside").id;
        assert_eq!(self.view.len(), k, "{}", self.who);
        let reach = truth.nearest(now, own, k) + DOUBT;
        let eye = truth.at(now, own).expect("it lives");
        for &id in self.view.keys() {
            let distance = truth.at(now, id).expect("it lives").distance(eye);
            assert!(distance <= reach, "{}: {id:?} at {distance}, {reach} is far", self.who);
        }
    }

    /// How many it sees.
    pub(crate) fn sees(&self) -> usize {
        self.view.len()
    }
}
