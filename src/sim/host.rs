//! The server on simulated premises: the reception, the shards and the sockets between them,
//! stepped in turn instead of running on threads. Everything below the port is what production
//! runs.
//!
//! A shard that ends is dropped, as its thread would drop it; one that stands still is not stepped.
//! The supervisor finds out by itself, and its replacements serve the same sockets. Called by
//! `universe`, which passes time between two steps.

use super::clock::{HostClock, WorldClock};
use super::dice::Dice;
use super::plan::Plan;
use super::port::{Parcel, SERVER, SimPort};
use super::settings;
use super::truth::Being;
use crate::admin::WafRequest;
use crate::connection::{Admission, SendError};
use crate::exchange::Meeting;
use crate::keys::ServerKeys;
use crate::metrics::{Counter, Counters, DropReason};
use crate::server::balance::{Balance, Shift};
use crate::server::reception::{Parts, Premises, Reception};
use crate::server::residents::Residents;
use crate::server::supervisor::{self, Ties};
use crate::server::{StartError, shard_config};
use crate::shard::{Course, ForwardRoom, Pace, Page, Shard, ShardConfig, Timer};
use crate::time::{Entropy, Nanos};
use crate::units::{EntityId, Tick};
use crate::wire::{Channel, ConnectionId};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Datagrams that the buffer of a socket holds.
const SOCKET_ROOM: usize = 4_096;
/// Datagrams that the gate sends at a time: more than it ever has to.
const GATE_SLOTS: usize = 1_024;
/// From the start of the server to its first tick.
const START_DELAY: Nanos = Nanos::from_ms(20);
/// How long a shard waits to be told how to go on, as on a thread.
const REGROUP_PATIENCE: Nanos = Nanos::from_ms(5_000);

/// A session that the gate opened, seen from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) id: ConnectionId,
    pub(crate) player: u64,
    pub(crate) entity: EntityId,
}

/// What stands for the machine.
struct Stage {
    clock: HostClock,
    dice: Dice,
    /// Shards to be brought to life.
    launched: Vec<(usize, Ties)>,
    admitted: Vec<Admitted>,
    reserved: Vec<ConnectionId>,
}

impl Stage {
    fn new(clock: HostClock, dice: Dice, launched: Vec<(usize, Ties)>) -> Self {
        Self { clock, dice, launched, admitted: Vec::new(), reserved: Vec::new() }
    }
}

impl Premises for Stage {
    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn unix_s(&self) -> u64 {
        self.clock.world.server_unix_ms() / 1_000
    }

    fn entropy(&mut self) -> &mut dyn Entropy {
        &mut self.dice
    }

    fn launch(&mut self, place: usize, ties: Ties) -> Result<usize, StartError> {
        self.launched.push((place, ties));
        Ok(0)
    }

    fn say(&self, _event: &str) {}

    fn admitted(&mut self, admission: &Admission) {
        self.admitted.push(Admitted {
            id: admission.id,
            player: admission.player,
            entity: admission.entity,
        });
    }

    fn reserved(&mut self, id: ConnectionId) {
        self.reserved.push(id);
    }
}

/// Where a shard is in its tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It takes in datagrams until its next tick is due.
    Receiving,
    /// It has arrived at the meeting.
    Arrived,
    /// The meeting was closed, at this time by its clock.
    Closed(Nanos),
}

/// What stands for the thread of a shard.
struct Desk {
    shard: Shard,
    course: Course,
    place: usize,
    stand: Stand,
    /// Not stepped until then.
    stalled_until: Nanos,
    /// Bytes it held at its start, which is all it may ever hold.
    memory: usize,
}

/// What a player sent the game.
pub(crate) type Letter = (EntityId, Channel, Vec<u8>);

/// A running server.
pub(crate) struct Host {
    /// `None` once the gate's thread has ended.
    reception: Option<Reception<Stage>>,
    /// By place; `None` between the end of a thread and its replacement.
    desks: Vec<Option<Desk>>,
    /// Shards that were replaced while they stood still.
    ghosts: Vec<Desk>,
    /// The gate's, then those of the shards.
    sockets: Vec<SimPort>,
    clock: HostClock,
    configs: Vec<ShardConfig>,
    counters: Vec<Arc<Counters>>,
    is_steered: bool,
    scatter: Dice,
    /// What players sent the game: whose entity it was, on which channel, and what.
    letters: Arc<Mutex<Vec<Letter>>>,
    /// Whether shards were replaced since somebody asked.
    regrouped: bool,
    /// Shards that stood still when they were replaced, so far.
    pub(crate) ghosts_seen: u64,
}

impl Host {
    /// Starts a server with the keys that lie on its disk.
    ///
    /// # Errors
    /// If the plan asks for a server that cannot be.
    pub(crate) fn start(
        plan: &Plan,
        disk: &ServerKeys,
        world: &WorldClock,
        dice: &mut Dice,
    ) -> Result<Self, StartError> {
        let config = settings::config(plan).with_shards(plan.shards)?;
        let clock = world.host();
        let shards = plan.shards;
        let configs: Vec<_> = (0..shards).map(|index| shard_config(&config, index, dice)).collect();
        let counters: Vec<Arc<Counters>> = (0..shards).map(|_| Arc::default()).collect();
        let pace = Pace {
            rate: config.tick_rate(),
            origin: clock.now().plus(START_DELAY),
            spin: Nanos(0),
            meeting_spin: Nanos(0),
        };
        let (radii, factor) = (config.interest.radii(), config.interest.leave_factor);
        let room = match plan.is_steered {
            true => ForwardRoom::STEERED,
            false => ForwardRoom::unsteered(shards, config.players_per_shard()),
        };
        let (mut launched, entities) = (Vec::new(), configs[0].entities);
        let shared = supervisor::World {
            counters: counters.clone(),
            rows: config.world.entities as usize,
            entities,
            page: Page::new(entities, radii, factor),
            pace,
            patience: Nanos::from_ms(u64::from(config.server.watchdog_ms)),
            room,
        };
        let mut launch = |place, ties| {
            launched.push((place, ties));
            Ok(0)
        };
        let (supervisor, ends, _) = supervisor::start(shared, &mut launch)?;
        let premises = Stage::new(clock.clone(), dice.fork(), launched);
        let slots = |socket: usize| match socket {
            0 => GATE_SLOTS,
            _ => config.players_per_shard() + 64,
        };
        let sockets = (0..=shards).map(|it| SimPort::new(SERVER, SOCKET_ROOM, slots(it)));
        let mut host = Self {
            reception: Some(Reception::new(Parts {
                premises,
                gate: settings::gate(plan, disk, &config, world)?,
                supervisor,
                residents: Residents::new(config.world.npcs, config.world.seed, shards),
                balance: Balance::new(shards, config.server.rebalance),
                shards: ends,
                shard_counters: counters.clone(),
                is_steered: plan.is_steered,
            })),
            desks: (0..shards).map(|_| None).collect(),
            ghosts: Vec::new(),
            sockets: sockets.collect(),
            clock,
            configs,
            counters,
            is_steered: plan.is_steered,
            scatter: dice.fork(),
            letters: Arc::default(),
            regrouped: false,
            ghosts_seen: 0,
        };
        host.bring_to_life();
        Ok(host)
    }

    /// A datagram arrives at the port.
    pub(crate) fn deliver(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        let sockets = self.sockets.len();
        // What names no socket is spread by a hash, as everything is where the kernel may not
        // steer.
        let named = usize::from(bytes.first().copied().unwrap_or_default());
        let socket = if self.is_steered && named < sockets {
            named
        } else {
            self.scatter.below(sockets as u64) as usize
        };
        self.sockets[socket].deliver(from, bytes);
    }

    /// Lets every thread that runs do what it has to do at this time.
    ///
    /// # Errors
    /// If the server gives up.
    pub(crate) fn step(&mut self, gate_runs: bool) -> Result<(), StartError> {
        if let Some(reception) = self.reception.as_mut().filter(|_| gate_runs) {
            reception.turn(&mut self.sockets[0])?;
            self.bring_to_life();
        }
        let now = self.clock.now();
        let Self { desks, ghosts, sockets, clock, .. } = self;
        // Everybody arrives before anybody looks whether all have.
        for step in [Desk::arrive, Desk::go_on] {
            for place in desks.iter_mut() {
                if let Some(desk) = place
                    && desk.stalled_until <= now
                    && !step(desk, &mut sockets[desk.place + 1], clock)
                {
                    *place = None;
                }
            }
            ghosts.retain_mut(|desk| {
                desk.stalled_until > now || step(desk, &mut sockets[desk.place + 1], clock)
            });
        }
        Ok(())
    }

    fn bring_to_life(&mut self) {
        let Some(reception) = &mut self.reception else { return };
        let launched = std::mem::take(&mut reception.premises_mut().launched);
        for (place, ties) in launched {
            self.regrouped = true;
            let Ties { member, links, mail, pace, waiters: _ } = ties;
            let counters = Arc::clone(&self.counters[place]);
            let config = self.configs[place];
            // Streams of their own, so that those of others stay as they were.
            let secrets = Box::new(Dice::new(config.canary_seed, self.ghosts_seen));
            let mut shard = Shard::new(config, member, links, mail, counters, secrets);
            let letters = Arc::clone(&self.letters);
            shard.listen(Box::new(move |entity, channel, body| {
                let mut letters = letters.lock().expect("nobody panics with the lock");
                letters.push((entity, channel, body.to_vec()));
            }));
            let desk = Desk {
                memory: shard.memory_bytes(),
                shard,
                course: Course::new(pace.rate, pace.origin),
                place,
                stand: Stand::Receiving,
                stalled_until: Nanos(0),
            };
            // Whoever was there stands still; it will find out when it wakes up.
            let ghost = self.desks[place].replace(desk);
            self.ghosts_seen += u64::from(ghost.is_some());
            self.ghosts.extend(ghost);
        }
    }

    /// The thread of a shard ends.
    pub(crate) fn crash(&mut self, place: usize) {
        self.desks[place] = None;
    }

    /// The thread of the gate ends: its shards find out, say goodbye to everybody and end, too.
    pub(crate) fn lose_gate(&mut self) {
        self.reception = None;
    }

    /// Whether the gate has ended.
    pub(crate) fn has_lost_gate(&self) -> bool {
        self.reception.is_none()
    }

    /// Whether all threads have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.reception.is_none() && self.desks.iter().all(Option::is_none)
    }

    /// The game gives the player with this entity bytes that must arrive; wherever he is.
    pub(crate) fn write(
        &mut self,
        entity: EntityId,
        channel: Channel,
        body: &[u8],
    ) -> Result<u16, SendError> {
        let now = self.clock.now();
        let shards = self.desks.iter_mut().flatten();
        let mut results = shards.map(|it| it.shard.send_game_data(entity, channel, body, now));
        let elsewhere = |result: &Result<u16, SendError>| *result != Err(SendError::NoSession);
        results.find(elsewhere).unwrap_or(Err(SendError::NoSession))
    }

    /// What players have sent the game since the last call, in order.
    pub(crate) fn take_letters(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.letters.lock().expect("nobody panics with the lock"))
    }

    /// The thread of a shard stands still for so long.
    pub(crate) fn stall(&mut self, place: usize, duration: Nanos) {
        if let Some(desk) = &mut self.desks[place] {
            desk.stalled_until = self.clock.now().plus(duration);
        }
    }

    /// Some players go from one shard to another.
    pub(crate) fn shift(&mut self, from: usize, to: usize, players: usize) {
        if let Some(reception) = &mut self.reception {
            reception.shift(Shift { from, to, players });
        }
    }

    /// The player goes to the shard at place `to`. Tells whether he was asked to.
    pub(crate) fn take_to(&mut self, player: u64, to: usize) -> bool {
        self.reception.as_mut().is_some_and(|reception| reception.take_to(player, to))
    }

    /// The operator gives an order.
    pub(crate) fn order(&mut self, order: WafRequest) {
        if let Some(reception) = &mut self.reception {
            reception.order(order);
        }
    }

    /// What was sent since the last call, by socket.
    pub(crate) fn collect(&mut self) -> Vec<Parcel> {
        self.sockets.iter_mut().flat_map(SimPort::collect).collect()
    }

    /// The sessions that the gate opened since the last call.
    pub(crate) fn take_admitted(&mut self) -> Vec<Admitted> {
        let Some(reception) = &mut self.reception else { return Vec::new() };
        std::mem::take(&mut reception.premises_mut().admitted)
    }

    /// The ids that sessions are to have on other shards, since the last call.
    pub(crate) fn take_reserved(&mut self) -> Vec<ConnectionId> {
        let Some(reception) = &mut self.reception else { return Vec::new() };
        std::mem::take(&mut reception.premises_mut().reserved)
    }

    /// Whether shards were replaced since the last call.
    pub(crate) fn take_regrouped(&mut self) -> bool {
        std::mem::take(&mut self.regrouped)
    }

    /// The newest tick that all have met at.
    pub(crate) fn newest_tick(&self) -> Tick {
        let met = |desk: &&Desk| desk.stand == Stand::Receiving;
        let desks = self.desks.iter().flatten().filter(met);
        desks.map(|desk| desk.shard.tick_number()).max().unwrap_or_default()
    }

    /// What was published of the newest tick that all have met at.
    pub(crate) fn published(&mut self) -> Option<(Tick, Vec<Being>)> {
        let met = |desk: &&mut Desk| desk.stand == Stand::Receiving && desk.shard.tick_number() > 0;
        let desks = self.desks.iter_mut().flatten().filter(met);
        let newest = desks.max_by_key(|desk| desk.shard.tick_number())?;
        let published = newest.shard.member_mut().published();
        let rows = (0..published.rows() as u32).filter(|&row| published.id(row) != EntityId::NONE);
        let being = |row| Being {
            id: published.id(row),
            kind: published.kind(row),
            state: *published.state(row, published.tick()),
        };
        Some((published.tick(), rows.map(being).collect()))
    }

    /// The entities that each living shard has, and the tick it is at.
    pub(crate) fn populations(&self) -> impl Iterator<Item = (Tick, Vec<EntityId>)> + '_ {
        self.desks.iter().flatten().map(|desk| {
            let world = desk.shard.world();
            let ids = world.columns().ids.iter().copied().filter(|&id| id != EntityId::NONE);
            // Between the meeting and the end of the tick some are under way.
            let is_over = desk.stand == Stand::Receiving;
            (desk.shard.tick_number() - Tick::from(!is_over), ids.collect())
        })
    }

    /// Fingerprint of all entities there are.
    pub(crate) fn digest(&self) -> u64 {
        let worlds = self.desks.iter().flatten().map(|desk| desk.shard.world().digest());
        worlds.fold(0, u64::wrapping_add)
    }

    /// By shard: bytes held at its start and now, entities, and how many it may have.
    pub(crate) fn holdings(&self) -> impl Iterator<Item = [usize; 4]> + '_ {
        self.desks.iter().flatten().map(|desk| {
            let world = desk.shard.world();
            [desk.memory, desk.shard.memory_bytes(), world.len(), world.capacity()]
        })
    }

    /// Sum over gate and shards.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        let shards = self.counters.iter().map(|counters| counters.read(counter)).sum::<u64>();
        shards + self.reception.as_ref().map_or(0, |it| it.counters().read(counter))
    }

    /// Drops for a reason, of gate and shards.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        let shards = self.counters.iter().map(|counters| counters.dropped(reason)).sum::<u64>();
        shards + self.reception.as_ref().map_or(0, |it| it.counters().dropped(reason))
    }
}

/// Steps of a desk; each tells whether the thread goes on.
impl Desk {
    /// Takes in what is there, and begins the tick if it is due.
    fn arrive(&mut self, port: &mut SimPort, clock: &HostClock) -> bool {
        let Self { shard, course, stand, .. } = self;
        match *stand {
            Stand::Receiving => {
                let nothing = shard.receive(port, 0, Duration::ZERO, clock);
                nothing.expect("this port does not fail");
                if clock.now() >= course.planned(shard) {
                    course.begin(shard, clock);
                    shard.member_mut().arrive();
                    *stand = Stand::Arrived;
                }
            }
            Stand::Arrived => {}
            Stand::Closed(since) => {
                if clock.now().since(since) >= REGROUP_PATIENCE || shard.is_abandoned() {
                    return false;
                }
                shard.read_mail(clock);
                if let Some(regroup) = shard.take_regroup() {
                    course.regroup(shard, *regroup, clock);
                    shard.member_mut().arrive();
                    *stand = Stand::Arrived;
                }
            }
        }
        true
    }

    /// Ends the tick if all have met.
    fn go_on(&mut self, port: &mut SimPort, clock: &HostClock) -> bool {
        let Self { shard, course, stand, .. } = self;
        if *stand != Stand::Arrived {
            return true;
        }
        match shard.member_mut().poll() {
            Meeting::Waiting => true,
            Meeting::Closed => {
                *stand = Stand::Closed(clock.now());
                true
            }
            Meeting::Met => {
                *stand = Stand::Receiving;
                let done = course.finish(shard, port, clock);
                !done.expect("this port does not fail")
            }
        }
    }
}
