//! The sessions of one shard in columns, their coming and going.
//!
//! Owns: which slot holds whom, the keys, the rows that the phases work on. Never reads a clock, a
//! socket or a random source. Called by the shard; the phases and `liveness` are further `impl`
//! blocks of the same type.
//!
//! A packet names its slot, so nothing is searched or hashed. What every packet touches before it
//! has opened is one cache line per session (`Ingress`), what it touches afterwards and what egress
//! touches are two more (`Flow`); everything rare lies in columns of its own.

use super::acks::{Processed, Sent};
use super::admission::{Admission, AdmissionError};
use super::budgets::Spent;
use super::caps::Caps;
use super::congestion::{BudgetRange, Control, Meter};
use super::delivery::Delivery;
use super::endpoint::Endpoint;
use super::handover::Transfer;
use super::integrity::Watch;
use super::liveness::Pending;
use super::path::Route;
use super::rekey::{Rekey, RekeyPolicy, Supply};
use super::rules::{ClientRates, Rules};
use super::tickets::Outbox;
use super::violations::Violations;
use crate::crypto::aead::PacketKey;
use crate::crypto::replay::ReplayWindow;
use crate::limits::{SLOTS_PER_SHARD, UNCONFIRMED_TIMEOUT_MS};
use crate::time::{Nanos, TokenBucket};
use crate::wire::{ConnectionId, Flags, Stage};
use std::net::{Ipv4Addr, SocketAddr};

/// Index of a session in its shard.
pub type Slot = u16;

/// What distinguishes one table from another.
#[derive(Clone, Copy, Debug)]
pub struct SessionsConfig {
    /// Index of the shard's socket in its port, 1..=255.
    pub socket_index: u8,
    /// Slots, 1..=4,096, fixed for life.
    pub capacity: usize,
    /// Ticks, and therefore inputs, per second.
    pub tick_hz: u16,
    /// Random, secret: decides which sequences are left out.
    pub seed: u64,
    /// Random, secret: makes the nonces that tell whether a client is at another address, and the
    /// ids with which reliable messages begin.
    pub path_secret: [u64; 2],
    /// Between which bounds congestion control moves the bytes of a packet.
    pub budget: BudgetRange,
    /// What clients may do, and what breaches cost.
    pub rules: Rules,
    /// When keys are replaced.
    pub rekey: RekeyPolicy,
}

/// What happens in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing. The slot can be given to an admission.
    Free,
    /// A session.
    Live(Stage),
    /// Disconnects are being repeated to the former session. The slot can be given to an admission.
    Closing,
    /// The session has gone to another table, and packets are forwarded. The slot is not free.
    Moved,
}

/// What the checks before `open` read. One cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Ingress {
    /// The whole id; 0, which no packet of a session has, while there is no session.
    pub(super) id: ConnectionId,
    pub(super) endpoint: Endpoint,
    pub(super) window: ReplayWindow<1>,
    pub(super) caps: Caps,
    /// When the last packet opened.
    pub(super) heard: Nanos,
}

/// What decode and egress work on. Two cache lines.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Flow {
    pub(super) id: ConnectionId,
    pub(super) sent: Sent,
    pub(super) processed: Processed,
    pub(super) input_allowance: TokenBucket,
    /// Sequence of the newest input frame taken, 0 before the first.
    pub(super) newest_input: u32,
    pub(super) meter: Meter,
}

const _: () = assert!(size_of::<Ingress>() == 64, "the checks before open cost one cache line");
const _: () = assert!(size_of::<Flow>() == 128, "decode and egress cost two cache lines");

/// The keys of a session, current epoch. While a rekey is under way, that of what is sealed is one
/// ahead.
pub(super) struct Keys {
    pub(super) open: PacketKey,
    pub(super) seal: PacketKey,
    /// The flag for the parity of the epoch of either key.
    pub(super) opens: Flags,
    pub(super) seals: Flags,
    /// Bytes of the datagrams opened and sealed in this epoch.
    pub(super) carried: u64,
}

impl Keys {
    /// Of epoch 0.
    pub(super) fn new(open: &[u8; 32], seal: &[u8; 32]) -> Self {
        Self {
            open: PacketKey::new(open),
            seal: PacketKey::new(seal),
            opens: Flags::default(),
            seals: Flags::default(),
            carried: 0,
        }
    }

    /// Packets open under the key of the next epoch from now on.
    pub(super) fn open_with(&mut self, key: &[u8; 32]) {
        self.open = PacketKey::new(key);
        self.opens = self.opens.toggled(Flags::REKEY);
    }

    /// Packets are sealed under the key of the next epoch from now on.
    pub(super) fn seal_with(&mut self, key: &[u8; 32]) {
        self.seal = PacketKey::new(key);
        self.seals = self.seals.toggled(Flags::REKEY);
    }
}

/// What is read once in a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) player: u64,
    spawn: Option<[i32; 3]>,
}

/// The sessions of one shard.
pub struct Sessions {
    pub(super) config: SessionsConfig,
    pub(super) live: usize,
    pub(super) ingress: Vec<Ingress>,
    pub(super) flow: Vec<Flow>,
    pub(super) control: Vec<Control>,
    pub(super) keys: Vec<Option<Keys>>,
    pub(super) state: Vec<State>,
    /// Packets that ask for an acknowledgment and have got none, saturating.
    pub(super) unacked: Vec<u8>,
    /// Nothing has to be done for a session before this time; `FAR` for an empty slot.
    pub(super) due: Vec<Nanos>,
    pub(super) pending: Vec<Pending>,
    pub(super) violations: Vec<Violations>,
    /// Messages of the present second.
    pub(super) spent: Vec<Spent>,
    pub(super) watch: Vec<Watch>,
    /// Packets that passed every check before `open` and failed there.
    pub(super) failed_opens: Vec<u64>,
    pub(super) address: Vec<SocketAddr>,
    pub(super) origin: Vec<Origin>,
    pub(super) transfer: Vec<Transfer>,
    pub(super) route: Vec<Route>,
    /// Reliable messages of those who have any.
    pub(super) delivery: Delivery,
    pub(super) outbox: Vec<Outbox>,
    pub(super) rekey: Vec<Rekey>,
    pub(super) supply: Supply,
    pub(super) answers_benchmarks: bool,
    /// Where `poll_control` goes on.
    pub(super) poll_at: usize,
}

/// Later than anything that happens.
pub(super) const FAR: Nanos = Nanos(u64::MAX);

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Sessions {
    /// An empty table. All its memory is allocated here.
    ///
    /// # Panics
    /// When the configuration is outside the ranges its fields document.
    pub fn new(config: SessionsConfig) -> Self {
        assert!((1..=SLOTS_PER_SHARD).contains(&config.capacity), "1..=4,096 slots");
        assert!(config.socket_index > 0, "socket 0 is the gate");
        assert!(config.rules.rates.are_possible(), "rates that the accounts can hold");
        let capacity = config.capacity;
        let origin = Origin { player: 0, spawn: None };
        let mut keys = Vec::with_capacity(capacity);
        keys.resize_with(capacity, || None);
        let mut rekey = Vec::with_capacity(capacity);
        rekey.resize_with(capacity, Rekey::empty);
        Self {
            config,
            live: 0,
            ingress: vec![Ingress::empty(&config.rules.rates); capacity],
            flow: vec![Flow::empty(config.budget); capacity],
            control: vec![Control::new(Nanos(0)); capacity],
            keys,
            state: vec![State::Free; capacity],
            unacked: vec![0; capacity],
            due: vec![FAR; capacity],
            pending: vec![Pending::default(); capacity],
            violations: vec![Violations::default(); capacity],
            spent: vec![Spent::default(); capacity],
            watch: vec![Watch::NONE; capacity],
            failed_opens: vec![0; capacity],
            address: vec![NOWHERE; capacity],
            origin: vec![origin; capacity],
            transfer: vec![Transfer::NONE; capacity],
            route: vec![Route::NONE; capacity],
            delivery: Delivery::new(capacity),
            outbox: vec![Outbox::empty(); capacity],
            rekey,
            supply: Supply::default(),
            answers_benchmarks: false,
            poll_at: 0,
        }
    }

    /// Bytes allocated by `new`.
    pub fn memory_bytes(&self) -> usize {
        let row = size_of::<Ingress>()
            + size_of::<Flow>()
            + size_of::<Control>()
            + size_of::<Option<Keys>>()
            + size_of::<State>()
            + size_of::<u8>()
            + size_of::<Nanos>()
            + size_of::<Pending>()
            + size_of::<Violations>()
            + size_of::<Spent>()
            + size_of::<Watch>()
            + size_of::<u64>()
            + size_of::<SocketAddr>()
            + size_of::<Origin>()
            + size_of::<Transfer>()
            + size_of::<Route>()
            + size_of::<Outbox>()
            + size_of::<Rekey>();
        row * self.config.capacity + self.delivery.memory_bytes()
    }

    /// Takes over a session from the gate. From now on its packets open.
    ///
    /// # Errors
    /// When the id does not name a slot of this table that is without a session.
    pub fn admit_session(&mut self, mut admission: Admission) -> Result<(), AdmissionError> {
        let id = admission.id;
        let slot = usize::from(self.vacancy(id)?);
        let now = admission.accepted_at;
        self.ingress[slot] = Ingress {
            id,
            endpoint: Endpoint::from(admission.address),
            window: ReplayWindow::default(),
            caps: Caps::full(&self.config.rules.rates, now),
            heard: now,
        };
        self.flow[slot] = Flow {
            id,
            sent: Sent::new(self.config.seed ^ u64::from(id.0)),
            processed: Processed::default(),
            input_allowance: TokenBucket::full(self.config.rules.rates.inputs_burst, now),
            newest_input: 0,
            meter: Meter::new(self.config.budget),
        };
        self.control[slot] = Control::new(now);
        self.keys[slot] = Some(Keys::new(&admission.client_to_server, &admission.server_to_client));
        self.state[slot] = State::Live(Stage::Unconfirmed);
        self.unacked[slot] = 0;
        self.due[slot] = now.plus(Nanos::from_ms(UNCONFIRMED_TIMEOUT_MS));
        self.pending[slot] = Pending::new(now);
        self.violations[slot] = Violations::default();
        self.spent[slot] = Spent::default();
        let pace = &self.config.rules.integrity;
        self.watch[slot] = Watch::new(admission.examiner.take(), pace, now);
        self.failed_opens[slot] = 0;
        self.address[slot] = admission.address;
        self.origin[slot] = Origin { player: admission.player, spawn: admission.spawn };
        self.transfer[slot] = Transfer::NONE;
        self.outbox[slot].clear();
        self.route[slot] = Route::new(self.config.path_secret, id, now);
        self.rekey[slot] = Rekey::new(&admission.root, now);
        self.plan_rekey(slot);
        self.live += 1;
        Ok(())
    }

    /// Whether a session named `id` would find its slot in this table, and the slot vacant.
    ///
    /// # Errors
    /// Why not.
    pub fn vacancy(&self, id: ConnectionId) -> Result<Slot, AdmissionError> {
        if id.socket() != self.config.socket_index {
            return Err(AdmissionError::WrongSocket);
        }
        match self.state.get(usize::from(id.slot())) {
            None => Err(AdmissionError::NoSuchSlot),
            Some(State::Live(_) | State::Moved) => Err(AdmissionError::SlotTaken),
            Some(State::Free | State::Closing) => Ok(id.slot()),
        }
    }

    /// Sessions now, those that are being closed not counted.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether there is no session and nobody left to say goodbye to. Forwarding addresses do not
    /// count: a shard that stops has nobody to forward to.
    pub fn is_quiet(&self) -> bool {
        self.state.iter().all(|&state| matches!(state, State::Free | State::Moved))
    }

    /// Slots.
    pub fn capacity(&self) -> usize {
        self.config.capacity
    }

    /// How far the session in `slot` has come; `None` without a session.
    pub fn stage(&self, slot: Slot) -> Option<Stage> {
        match self.state.get(usize::from(slot)) {
            Some(State::Live(stage)) => Some(*stage),
            _ => None,
        }
    }

    /// Whether both sides of the session in `slot` have proved their keys.
    pub fn is_established(&self, slot: Slot) -> bool {
        self.stage(slot) >= Some(Stage::Confirmed)
    }

    /// Whether the player in `slot` has asked for its entity: only then are snapshots sent.
    pub fn has_entered(&self, slot: Slot) -> bool {
        self.stage(slot) == Some(Stage::Entered)
    }

    /// The name of the session in `slot`; `None` without a session.
    pub fn id(&self, slot: Slot) -> Option<ConnectionId> {
        self.stage(slot).map(|_| self.ingress[usize::from(slot)].id)
    }

    /// The slot of the session named `id`; `None` when that session has ended.
    pub fn find(&self, id: ConnectionId) -> Option<Slot> {
        self.id(id.slot()).filter(|&found| found == id).map(|_| id.slot())
    }

    /// Where packets for `slot` go; `None` without a session.
    pub fn address(&self, slot: Slot) -> Option<SocketAddr> {
        self.stage(slot).map(|_| self.address[usize::from(slot)])
    }

    /// Who plays in `slot`; `None` without a session.
    pub fn player(&self, slot: Slot) -> Option<u64> {
        self.stage(slot).map(|_| self.origin[usize::from(slot)].player)
    }

    /// Where the backend wants the player in `slot` to appear: x, y, z in centimetres.
    pub fn spawn_point(&self, slot: Slot) -> Option<[i32; 3]> {
        self.stage(slot).and_then(|_| self.origin[usize::from(slot)].spawn)
    }

    /// Ends the session in `slot` without a word to its client.
    pub(super) fn release(&mut self, slot: usize) {
        debug_assert!(matches!(self.state[slot], State::Live(_)));
        self.live -= 1;
        self.ingress[slot].id = ConnectionId::GATE;
        self.vacate(slot);
    }

    /// Empties a slot that no session lives in. The keys go first: nothing can be sealed or opened.
    pub(super) fn vacate(&mut self, slot: usize) {
        self.keys[slot] = None;
        self.delivery.forget(slot);
        self.state[slot] = State::Free;
        self.unacked[slot] = 0;
        self.due[slot] = FAR;
        self.pending[slot] = Pending::default();
        self.watch[slot] = Watch::NONE;
        self.transfer[slot] = Transfer::NONE;
        self.route[slot] = Route::NONE;
        self.outbox[slot].clear();
        self.rekey[slot].erase();
    }
}

impl Ingress {
    fn empty(rates: &ClientRates) -> Self {
        Self {
            id: ConnectionId::GATE,
            endpoint: Endpoint::from(NOWHERE),
            window: ReplayWindow::default(),
            caps: Caps::full(rates, Nanos(0)),
            heard: Nanos(0),
        }
    }
}

impl Flow {
    fn empty(budget: BudgetRange) -> Self {
        Self {
            id: ConnectionId::GATE,
            sent: Sent::new(0),
            processed: Processed::default(),
            input_allowance: TokenBucket::full(0, Nanos(0)),
            newest_input: 0,
            meter: Meter::new(budget),
        }
    }
}
