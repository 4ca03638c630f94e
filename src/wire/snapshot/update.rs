//! UpdateEntity and UpdateEntityQuantized: an entity as it is, without a slot and without a
//! baseline. A player whose snapshots do not arrive is told of itself and its neighbours this way.
//!
//! Owns the two bodies. Never decides who is told: that is `shard`. Called by `shard` and `client`.

use super::{EntryBody, FullEntry, OWN_STATE_LEN, OwnState, SnapshotError, SnapshotReader};
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick};
use crate::wire::{Reader, Writer, put_message, to_client};

/// Bytes of the body of UpdateEntity.
pub const OWN_UPDATE_LEN: usize = 8 + OWN_STATE_LEN;

/// The player's own entity in full precision, outside a snapshot: body of UpdateEntity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnUpdate {
    /// The tick that this shows, not 0.
    pub tick: Tick,
    /// Newest input that this tick had applied; 0 = none yet.
    pub last_processed_input: u32,
    /// The player's own entity.
    pub own: OwnState,
}

impl OwnUpdate {
    /// Appends the message, length and type included.
    pub fn put(&self, writer: &mut Writer<'_>) {
        put_message(writer, to_client::UPDATE_ENTITY, |writer| {
            writer.u32(self.tick);
            writer.u32(self.last_processed_input);
            let mut own = [0; OWN_STATE_LEN];
            self.own.write(&mut own);
            writer.slice(&own);
        });
    }

    /// Reads a message body.
    ///
    /// # Errors
    /// For a wrong length, tick or entity 0, a set reserved byte, a number that is not finite.
    pub fn read(body: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new(body);
        let (tick, last_processed_input) = (reader.u32()?, reader.u32()?);
        let own = OwnState::read(&mut reader)?;
        reader.finish()?;
        if tick == 0 {
            return Err(SnapshotError::Range);
        }
        Ok(Self { tick, last_processed_input, own })
    }
}

/// Another entity, complete and quantized: body of UpdateEntityQuantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityUpdate {
    /// The tick that this shows, not 0.
    pub tick: Tick,
    /// Who, and how it is.
    pub entity: FullEntry,
}

impl EntityUpdate {
    /// The state `state` of the entity `id` in `tick`.
    pub fn new(tick: Tick, id: EntityId, kind: Kind, state: &QuantizedState) -> Self {
        Self { tick, entity: FullEntry { id, kind, state: *state } }
    }

    /// Appends the message, length and type included.
    pub fn put(&self, writer: &mut Writer<'_>) {
        let FullEntry { id, kind, state } = &self.entity;
        put_message(writer, to_client::UPDATE_ENTITY_QUANTIZED, |writer| {
            writer.u32(self.tick);
            writer.slice(EntryBody::full(*id, *kind, state).as_slice());
        });
    }

    /// Reads a message body.
    ///
    /// # Errors
    /// For tick 0, bytes left over, and whatever a full entry of a snapshot may not say.
    pub fn read(body: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new(body);
        let tick = reader.u32()?;
        if tick == 0 {
            return Err(SnapshotError::Range);
        }
        let mut rest = SnapshotReader::of_one_entry(tick, reader);
        let entity = rest.read_full()?;
        rest.next_entry()?;
        Ok(Self { tick, entity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Channel, Messages};

    fn written(put: impl Fn(&mut Writer<'_>)) -> (u8, Vec<u8>) {
        let mut out = [0; 200];
        let mut writer = Writer::new(&mut out);
        put(&mut writer);
        let length = writer.finish().expect("small");
        let mut messages = Messages::new(&out[..length], Channel::Unreliable);
        let message = messages.next().expect("one").expect("well framed");
        assert!(messages.next().is_none());
        (message.kind, message.body.to_vec())
    }

    fn own() -> OwnUpdate {
        let own = OwnState {
            id: EntityId(7),
            position: [1.5, 2.0, 0.0],
            velocity: [-3.0, 0.25, 9.0],
            yaw: 65_535,
            animation: 4,
            flags: 5,
            health: 6,
            mana: 7,
            faction: 8,
            effects: 9,
        };
        OwnUpdate { tick: 77, last_processed_input: 55, own }
    }

    fn others() -> [EntityUpdate; 2] {
        let corner = QuantizedState { x: 524_287, y: 65_536, z: 16_383, ..QuantizedState::DEFAULT };
        let busy = QuantizedState {
            yaw: 9,
            velocity: [-1, 2, -3],
            health: 0,
            effects: 5,
            pitch: -7,
            ..corner
        };
        [(Kind::Player, corner), (Kind::Vehicle, busy)]
            .map(|(kind, state)| EntityUpdate::new(9, EntityId(3), kind, &state))
    }

    #[test]
    fn updates_round_trip_and_no_other_length_is_read() {
        let (kind, body) = written(|writer| own().put(writer));
        assert_eq!((kind, body.len()), (to_client::UPDATE_ENTITY, OWN_UPDATE_LEN));
        assert_eq!(OwnUpdate::read(&body), Ok(own()));
        for cut in 0..body.len() {
            assert!(OwnUpdate::read(&body[..cut]).is_err(), "{cut}");
        }
        assert!(OwnUpdate::read(&[&body[..], &[0]].concat()).is_err());
        for other in others() {
            let (kind, body) = written(|writer| other.put(writer));
            assert_eq!(kind, to_client::UPDATE_ENTITY_QUANTIZED);
            assert_eq!(EntityUpdate::read(&body), Ok(other));
            for cut in 0..body.len() {
                assert!(EntityUpdate::read(&body[..cut]).is_err(), "{cut}");
            }
            assert!(EntityUpdate::read(&[&body[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_a_snapshot_may_not_say_an_update_may_not_say_either() {
        let (_, body) = written(|writer| own().put(writer));
        let with = |at: usize, bytes: &[u8]| {
            let mut body = body.clone();
            body[at..at + bytes.len()].copy_from_slice(bytes);
            OwnUpdate::read(&body)
        };
        assert_eq!(with(0, &[0; 4]), Err(SnapshotError::Range), "tick 0");
        assert_eq!(with(8, &[0; 4]), Err(SnapshotError::Range), "entity 0");
        assert!(with(12, &f32::NAN.to_le_bytes()).is_err());
        assert_eq!(with(43, &[1]), Err(SnapshotError::Reserved));
        let (_, body) = written(|writer| others()[0].put(writer));
        let with = |at: usize, bytes: &[u8]| {
            let mut body = body.clone();
            body[at..at + bytes.len()].copy_from_slice(bytes);
            EntityUpdate::read(&body)
        };
        assert_eq!(with(0, &[0; 4]), Err(SnapshotError::Range), "tick 0");
        assert_eq!(with(4, &[0; 4]), Err(SnapshotError::Range), "entity 0");
        assert_eq!(with(8, &[8]), Err(SnapshotError::Range), "kind");
        assert_eq!(with(9, &[0x88]), Err(SnapshotError::Range), "outside the map");
        assert_eq!(with(16, &[1]), Err(SnapshotError::Reserved), "a difference of nothing");
    }
}
