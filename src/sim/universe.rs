//! Everything that a seed brings to life, and one tick of it after the other.
//!
//! A tick of the simulation is a sixtieth of a second in four steps: what has arrived is delivered,
//! every thread of the server does what is due, and peers speak. Between two steps nothing happens,
//! so a thread sees the clock stand still while it works. Called by [`super::play`].

use super::Outcome;
use super::checks::Holdings;
use super::checks::{
    Bans, Ledger, Letters, Motion, Nonces, Owners, Verdict, Violation, fingerprint,
};
use super::clock::WorldClock;
use super::dice::Dice;
use super::host::Host;
use super::hostile::Hostile;
use super::network::{Flying, Network, Way};
use super::plan::Plan;
use super::player::Player;
use super::settings;
use super::sometimes::{self, Sometimes};
use super::thief::Thief;
use super::truth::Truth;
use crate::client::{Scratch, Ticket};
use crate::keys::{BackendKeys, ServerKeys, TicketRequest};
use crate::state::QuantizedState;
use crate::time::Nanos;
use crate::units::{EntityId, MAP_XY, TickRate};
use crate::wire::ConnectionId;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Steps of a tick.
const STEPS: u64 = 4;
/// The middle of the map, around which players walk.
pub(super) const CENTRE: f32 = MAP_XY / 2.0;

/// Who gets what is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Player(usize),
    Hostile(usize),
    Thief,
}

/// See the module.
pub(super) struct Universe {
    pub(super) plan: Plan,
    pub(super) clock: WorldClock,
    pub(super) tick: u64,
    /// What survives a restart.
    disk: ServerKeys,
    backend: BackendKeys,
    /// The server, unless it is down until `up_at`.
    pub(super) host: Option<Host>,
    pub(super) up_at: Nanos,
    pub(super) frozen_until: Nanos,
    pub(super) gate_stalled_until: Nanos,
    /// By server, one after the other.
    pub(super) truths: Vec<Truth>,
    owners: Owners,
    motion: Motion,
    ledger: Ledger,
    nonces: Nonces,
    pub(super) letters: Letters,
    /// By entity: whose it is, of the server that runs.
    pub(super) bodies: BTreeMap<EntityId, u64>,
    /// Newest sequence that came for each session.
    newest: BTreeMap<ConnectionId, u64>,
    pub(super) network: Network,
    /// Decides which mishap strikes when.
    pub(super) fate: Dice,
    /// The same for those mishaps that were thought of later.
    pub(super) whim: Dice,
    boots: Dice,
    /// Decides who writes what.
    pub(super) pen: Dice,
    backend_dice: Dice,
    pub(super) players: Vec<Player>,
    pub(super) hostile: Vec<Hostile>,
    pub(super) thief: Option<Thief>,
    pub(super) bans: Bans,
    /// Players who are to be banned at this tick.
    pub(super) sentences: Vec<(u64, u64)>,
    routes: BTreeMap<SocketAddr, Whose>,
    /// Addresses that players had so far.
    addresses: u64,
    scratch: Scratch,
    hash: u64,
    pub(super) sometimes: Sometimes,
    pub(super) is_storm: bool,
    /// Whether anybody still writes messages that must arrive.
    pub(super) writes: bool,
}

impl Universe {
    pub(super) fn new(plan: Plan) -> Self {
        let seed = plan.seed;
        let mut keys = Dice::new(seed, 2);
        let disk = ServerKeys::generate(&mut keys);
        let mut universe = Self {
            clock: WorldClock::default(),
            tick: 0,
            backend: disk.backend.clone(),
            disk,
            host: None,
            up_at: Nanos(0),
            frozen_until: Nanos(0),
            gate_stalled_until: Nanos(0),
            truths: Vec::new(),
            owners: Owners::default(),
            motion: Motion::default(),
            ledger: Ledger::default(),
            nonces: Nonces::default(),
            letters: Letters::default(),
            bodies: BTreeMap::new(),
            newest: BTreeMap::new(),
            network: Network::new(plan.weather, Dice::new(seed, 3)),
            fate: Dice::new(seed, 4),
            whim: Dice::new(seed, 9),
            boots: Dice::new(seed, 5),
            pen: Dice::new(seed, 8),
            backend_dice: Dice::new(seed, 6),
            players: Vec::new(),
            hostile: Vec::new(),
            thief: plan.has_thief.then(|| Thief::new(Dice::new(seed, 10))),
            bans: Bans::default(),
            sentences: Vec::new(),
            routes: BTreeMap::new(),
            addresses: 0,
            scratch: Scratch::default(),
            hash: 0,
            sometimes: Sometimes::default(),
            is_storm: true,
            writes: true,
            plan,
        };
        universe.populate(Dice::new(seed, 7));
        universe
    }

    fn populate(&mut self, mut dice: Dice) {
        let tolerant = self.plan.weather.corrupted_permille > 0;
        for number in 0..self.plan.players {
            let address = self.new_address(number);
            self.routes.insert(address, Whose::Player(number));
            let dice = dice.fork();
            self.players.push(Player::new(1 + number as u64, address, tolerant, dice));
        }
        for (index, &conduct) in self.plan.hostile.clone().iter().enumerate() {
            let address = |n: u8| SocketAddr::from((Ipv4Addr::new(10, 66, index as u8, n), 6_000));
            let addresses: Vec<_> = (1..=4).map(address).collect();
            let number = 10_000 + index as u64;
            self.routes.insert(addresses[0], Whose::Hostile(index));
            let hostile = Hostile::new(conduct, number, addresses, dice.fork());
            self.hostile.push(hostile.with_patience(self.plan.is_patient));
        }
        if let Some(thief) = &self.thief {
            self.routes.insert(thief.address, Whose::Thief);
        }
    }

    /// An address that nobody had so far, for player `number`.
    pub(super) fn new_address(&mut self, number: usize) -> SocketAddr {
        self.addresses += 1;
        let host = if self.plan.share_address { 1 } else { number as u8 + 1 };
        SocketAddr::from((Ipv4Addr::new(10, 1, 0, host), 4_000 + self.addresses as u16))
    }

    /// What is sent to the address of player `number` comes to `to` from now on.
    pub(super) fn move_player(&mut self, number: usize, to: SocketAddr) {
        self.routes.remove(&self.players[number].address);
        self.routes.insert(to, Whose::Player(number));
        self.players[number].change_address(to);
    }

    /// Plays storm and calm; ends with the first violation.
    pub(super) fn play(mut self) -> Outcome {
        let result = self.storm().and_then(|()| self.calm());
        let violation =
            result.err().map(|(check, what)| Violation { check, tick: self.tick, what });
        self.take_stock();
        self.take_stock_outside();
        let digest = self.host.as_ref().map_or(0, Host::digest);
        Outcome {
            violation,
            hash: mix(self.hash, digest),
            ticks: self.tick,
            sometimes: self.sometimes,
            plan: self.plan,
        }
    }

    fn storm(&mut self) -> Verdict {
        while self.tick < self.plan.storm_ticks {
            self.strike();
            self.pass()?;
        }
        Ok(())
    }

    /// One tick.
    pub(super) fn pass(&mut self) -> Verdict {
        self.tick += 1;
        self.keep_running();
        self.admit_players();
        let reach = if self.plan.crowd { 1_500.0 } else { 4_000.0 };
        self.players.iter_mut().for_each(|player| player.walk([CENTRE; 2], reach));
        self.correspond()?;
        let start = TickRate::DEFAULT.start_ns(self.tick);
        for step in 0..STEPS {
            let period = TickRate::DEFAULT.start_ns(1);
            self.clock.set(Nanos(start + step * period / STEPS));
            self.deliver()?;
            self.serve()?;
            self.speak(step == 0)?;
        }
        self.look()
    }

    /// Starts the server if it is down and due.
    fn keep_running(&mut self) {
        let now = self.clock.now();
        if self.host.as_ref().is_some_and(Host::is_over) {
            let pause = Nanos::from_ms(self.fate.between(500, 2_000));
            self.shut_down(now.plus(pause));
        }
        if self.host.is_some() || now < self.up_at {
            return;
        }
        self.bodies.clear();
        self.newest.clear();
        (self.bans, self.sentences) = (Bans::default(), Vec::new());
        let config = settings::config(&self.plan);
        let (radii, factor) = (config.interest.radii(), config.interest.leave_factor);
        let started = Host::start(&self.plan, &self.disk, &self.clock, &mut self.boots);
        self.host = Some(started.expect("every plan is of a server that can be"));
        self.truths.push(Truth::new(radii, factor));
        (self.owners, self.motion) = (Owners::default(), Motion::default());
    }

    /// The server is gone, until then.
    pub(super) fn shut_down(&mut self, up_at: Nanos) {
        self.take_stock();
        self.host = None;
        self.up_at = up_at;
        self.sometimes.note(sometimes::RESTARTED, 1);
    }

    fn ticket(&mut self, player: u64) -> Ticket {
        let reach = if self.plan.crowd { 1_000 } else { 4_000 };
        let axis = |dice: &mut Dice| CENTRE as i32 - reach + dice.below(2 * reach as u64) as i32;
        let dice = &mut self.backend_dice;
        let spawn = Some([axis(dice), axis(dice), 0]);
        // A table that is full is so until tokens expire.
        let ttl_s = if self.plan.tight_tables { 8 } else { 60 };
        let request = TicketRequest { player, spawn, ttl_s };
        self.backend.mint(&request, self.clock.unix_ms(), dice).for_client()
    }

    fn admit_players(&mut self) {
        let now = self.clock.now();
        for number in 0..self.players.len() {
            if self.players[number].wants_ticket(now) {
                // Both are drawn, so that one does not change the other.
                let fresh = self.ticket(self.players[number].number);
                let own = self.players[number].own_ticket(self.plan.resumed_percent);
                self.players[number].join(now, &own.unwrap_or(fresh));
            }
        }
        for index in 0..self.hostile.len() {
            let acts = self.is_storm || self.hostile[index].is_patient();
            if acts && self.hostile[index].wants_ticket(now) {
                let answers = self.hostile[index].answers() as u64;
                self.sometimes.note(sometimes::AUDITED, answers);
                let ticket = self.ticket(self.hostile[index].number);
                self.hostile[index].begin(now, ticket);
            }
        }
    }

    /// What has arrived is taken in.
    fn deliver(&mut self) -> Verdict {
        let now = self.clock.now();
        while let Some(flying) = self.network.arrived(now) {
            let Flying { way, peer, server, proof, mut bytes } = flying;
            if way == Way::Up {
                if let Some(host) = &mut self.host {
                    self.sometimes.look_up(&mut self.newest, &bytes);
                    self.ledger.received(peer, bytes.len(), proof);
                    host.deliver(peer, bytes);
                }
                continue;
            }
            match self.routes.get(&peer) {
                Some(&Whose::Player(number)) => {
                    let (player, truth) = (&mut self.players[number], &self.truths[server]);
                    let heard = player.handle(now, &mut bytes, &mut self.scratch, server, truth);
                    heard.map_err(|(check, what)| (check, format!("player {number}: {what}")))?;
                    self.note_return(number);
                }
                Some(&Whose::Hostile(index)) => {
                    self.hostile[index].handle(now, &mut bytes, server)?;
                }
                Some(Whose::Thief) => {
                    self.thief.as_mut().map_or(Ok(()), |thief| thief.handle(&bytes, server))?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The server does what is due, and what it sends is looked at.
    fn serve(&mut self) -> Verdict {
        let now = self.clock.now();
        let Some(host) = self.host.as_mut().filter(|_| now >= self.frozen_until) else {
            return Ok(());
        };
        let result = host.step(now >= self.gate_stalled_until);
        let reserved = host.take_reserved();
        if self.plan.is_full && !reserved.is_empty() {
            let room = settings::config(&self.plan).world.entities as usize;
            let truth = self.truths.last();
            let is_full = truth.is_some_and(|it| it.scene(it.newest()).len() >= room);
            self.sometimes.note(sometimes::FULL_MOVING, is_full.into());
        }
        reserved.into_iter().for_each(|id| self.nonces.begin(id));
        for admitted in host.take_admitted() {
            self.nonces.begin(admitted.id);
            self.bodies.insert(admitted.entity, admitted.player);
            self.newest.remove(&admitted.id);
            self.hash = mix(self.hash, u64::from(admitted.id.0) ^ admitted.player);
        }
        let server = self.truths.len() - 1;
        for parcel in host.collect() {
            self.hash = mix(self.hash, fingerprint(&parcel.bytes));
            self.nonces.sent(&parcel.bytes)?;
            self.sometimes.look_down(&parcel.bytes);
            self.ledger.sent(parcel.peer, parcel.bytes.len())?;
            let (way, peer, bytes) = (Way::Down, parcel.peer, parcel.bytes);
            self.network.send(now, Flying { way, peer, server, proof: false, bytes });
        }
        self.note_truth()?;
        self.read_letters()?;
        if result.is_err() {
            self.sometimes.note(sometimes::GAVE_UP, 1);
            let pause = Nanos::from_ms(self.fate.between(500, 2_000));
            self.shut_down(now.plus(pause));
        }
        Ok(())
    }

    /// Takes note of what was published, if that is news.
    fn note_truth(&mut self) -> Verdict {
        let Some(host) = &mut self.host else { return Ok(()) };
        let Some(truth) = self.truths.last_mut() else { return Ok(()) };
        if host.newest_tick() <= truth.newest() {
            return Ok(());
        }
        let Some((tick, beings)) = host.published() else { return Ok(()) };
        let ids: Vec<_> = beings.iter().map(|being| being.id).collect();
        let bodies = &self.bodies;
        let lives = |player| ids.iter().any(|id| bodies.get(id) == Some(&player));
        self.bans.look(self.clock.now(), tick, lives)?;
        let exchange = (self.plan.shards, host.take_regrouped());
        self.owners.observe(tick, &ids, host.populations(), exchange)?;
        self.motion.observe(tick, &beings)?;
        for being in &beings {
            let state = print_of(&being.state);
            self.hash = mix(self.hash, u64::from(being.id.0) ^ state);
        }
        truth.note(tick, beings);
        Ok(())
    }

    /// Peers say what they have to say.
    fn speak(&mut self, acts: bool) -> Verdict {
        let now = self.clock.now();
        for number in 0..self.players.len() {
            let player = &mut self.players[number];
            let peer = player.address;
            let sent = player.transmit(now);
            let sent = sent.map_err(|(check, what)| (check, format!("player {number}: {what}")))?;
            let is_back = !sent.is_empty() && player.is_back_already();
            for (bytes, proof) in sent {
                self.network.send(now, Flying { way: Way::Up, peer, server: 0, proof, bytes });
            }
            if is_back {
                let ticket = self.ticket(self.players[number].number);
                self.players[number].join(now, &ticket);
                self.sometimes.note(sometimes::CHANGED_MIND, 1);
            }
        }
        if !acts {
            return Ok(());
        }
        let is_storm = self.is_storm;
        for hostile in self.hostile.iter_mut().filter(|it| is_storm || it.is_patient()) {
            hostile.is_found_out(now)?;
            let home = hostile.addresses[0];
            for (peer, bytes) in hostile.act(now) {
                let proof = peer == home && hostile.has_heard();
                self.network.send(now, Flying { way: Way::Up, peer, server: 0, proof, bytes });
            }
        }
        if let Some(thief) = self.thief.as_mut().filter(|_| is_storm) {
            thief.look_around(now, &self.players);
            if let Some(bytes) = thief.act(now) {
                let (peer, proof) = (thief.address, thief.has_heard);
                self.network.send(now, Flying { way: Way::Up, peer, server: 0, proof, bytes });
            }
        }
        Ok(())
    }

    /// Takes note of a player who has just come back, if one has.
    fn note_return(&mut self, number: usize) {
        let resumed = self.players[number].tally.resumed;
        if resumed > std::mem::replace(&mut self.players[number].resumed_before, resumed) {
            let joining = self.players.iter().filter(|player| player.is_joining()).count();
            self.sometimes.note(sometimes::RESUMED_IN_STORM, (joining >= 4).into());
        }
    }

    /// What is looked at once per tick.
    fn look(&mut self) -> Verdict {
        let Some(host) = &self.host else { return Ok(()) };
        host.holdings().try_for_each(|holding| Holdings.shard(holding))
    }
}

/// Mixes a word into a hash.
fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 32
}

/// A fingerprint of a state.
fn print_of(state: &QuantizedState) -> u64 {
    let [vx, vy, vz] = state.velocity.map(|axis| u64::from(axis as u16));
    let place = u64::from(state.x) << 32 | u64::from(state.y);
    let motion = vx << 32 | vy << 16 | vz | u64::from(state.z) << 48;
    let look = u64::from(state.yaw) << 32 | u64::from(state.health) << 8 | u64::from(state.flags);
    mix(mix(place, motion), look)
}
