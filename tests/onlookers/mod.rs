//! Who looks on in `sight`: a client as simple as can be, written from the protocol and not from
//! `tidelock::client`; and the truth it is compared with.

use std::collections::{BTreeMap, HashMap};
use tidelock::crypto::aead::PacketKey;
use tidelock::limits::{ACK_BLOCK_LEN, AGE_MAX};
use tidelock::state::{Kind, QuantizedState};
use tidelock::units::{EntityId, Tick};
use tidelock::wire::snapshot::{OwnState, SnapshotReader};
use tidelock::wire::{Channel, Flags, Header, Messages, to_client};
use tidelock::world::World;

/// One entity at one tick.
#[derive(Clone, Copy)]
pub(crate) struct Being {
    pub(crate) kind: Kind,
    /// Centimetres.
    pub(crate) position: [f32; 3],
    pub(crate) state: QuantizedState,
}

/// Everybody at one tick.
pub(crate) struct Scene(HashMap<EntityId, Being>);

impl Scene {
    pub(crate) fn of<'w>(worlds: impl Iterator<Item = &'w World>) -> Self {
        let mut beings = HashMap::new();
        for world in worlds {
            let columns = world.columns();
            for (row, &id) in
                columns.ids.iter().enumerate().filter(|(_, id)| **id != EntityId::NONE)
            {
                let being = Being {
                    kind: columns.kinds[row],
                    position: columns.position.map(|axis| axis[row]),
                    state: columns.quantized[row],
                };
                assert!(beings.insert(id, being).is_none(), "{id:?} lives twice");
            }
        }
        Self(beings)
    }

    pub(crate) fn get(&self, id: EntityId) -> Option<&Being> {
        self.0.get(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = EntityId> + '_ {
        self.0.keys().copied()
    }

    pub(crate) fn hidden(&self) -> impl Iterator<Item = (EntityId, &Being)> {
        let hidden =
            |being: &Being| being.state.flags & 0x10 != 0 || being.state.effects & 0x20 != 0;
        self.0.iter().filter(move |(_, being)| hidden(being)).map(|(id, being)| (*id, being))
    }
}

/// The sequence and the body of the snapshot in `datagram`, if there is one.
pub(crate) fn snapshot(mut datagram: Vec<u8>) -> Option<(u64, Vec<u8>)> {
    let header = Header::read(&datagram).expect("our own server's packet");
    if header.channel != Channel::Unreliable {
        return None;
    }
    let plaintext = PacketKey::new(&[9; 32]).open(&mut datagram).expect("the key of the stage");
    let acks = if header.flags.contains(Flags::ACKNOWLEDGMENT) { ACK_BLOCK_LEN } else { 0 };
    let messages = Messages::new(&plaintext[acks..], header.channel);
    let mut snapshots = messages.filter_map(|message| {
        let message = message.expect("well-formed");
        (message.kind == to_client::DELTA_SYNC).then(|| message.body.to_vec())
    });
    snapshots.next().map(|body| (header.sequence, body))
}

/// One entry as whoever gets it understands it.
pub(crate) struct Entry {
    slot: u8,
    is_full: bool,
    pub(crate) id: EntityId,
    pub(crate) kind: Kind,
    pub(crate) state: QuantizedState,
}

/// A snapshot as whoever gets it understands it.
pub(crate) struct Told {
    pub(crate) tick: Tick,
    pub(crate) own: Option<OwnState>,
    pub(crate) relations: Option<u64>,
    removed: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

/// What one player knows.
#[derive(Default)]
pub(crate) struct Onlooker {
    newest: Tick,
    pub(crate) enemies: u64,
    /// The tick in which it was last handed over.
    pub(crate) moved: Tick,
    slots: HashMap<u8, (EntityId, Kind, BTreeMap<Tick, QuantizedState>)>,
}

impl Onlooker {
    /// What `body` says; nothing changes.
    pub(crate) fn decode(&self, body: &[u8]) -> Told {
        let mut reader = SnapshotReader::parse(body).expect("our own server's bytes");
        let head = *reader.head();
        let removed = reader.removed().to_vec();
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry().expect("well-formed") {
            let (slot, is_full) = (entry.slot, entry.age == 0);
            entries.push(if is_full {
                let full = reader.read_full().expect("well-formed");
                Entry { slot, is_full, id: full.id, kind: full.kind, state: full.state }
            } else {
                let (id, kind, states) = &self.slots[&slot];
                let base = states[&(head.tick - Tick::from(entry.age))];
                let state = reader.read_delta(*kind, &base).expect("well-formed");
                Entry { slot, is_full, id: *id, kind: *kind, state }
            });
        }
        Told { tick: head.tick, own: head.own, relations: head.relations, removed, entries }
    }

    /// Takes in a snapshot that arrived; tells whether it is to be acknowledged.
    pub(crate) fn apply(&mut self, body: &[u8]) -> bool {
        let head = *SnapshotReader::parse(body).expect("our own server's bytes").head();
        if head.tick <= self.newest {
            return false;
        }
        let told = self.decode(body);
        self.newest = told.tick;
        self.enemies = told.relations.unwrap_or(self.enemies);
        for slot in told.removed {
            self.slots.remove(&slot);
        }
        for Entry { slot, is_full, id, kind, state } in told.entries {
            let held = self.slots.entry(slot).or_insert_with(|| (id, kind, BTreeMap::new()));
            if is_full && held.0 != id {
                *held = (id, kind, BTreeMap::new());
            }
            held.2.retain(|&tick, _| tick + AGE_MAX >= told.tick);
            held.2.insert(told.tick, state);
        }
        true
    }

    pub(crate) fn holds(&self, id: EntityId) -> bool {
        self.slots.values().any(|(held, ..)| *held == id)
    }
}
