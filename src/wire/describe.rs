//! Bodies of CreateEntity and RemoveEntity: what an entity in sight is called, or whatever else of
//! it the game wants to be known and that does not change from tick to tick.
//!
//! Owns: their layouts. Never says who may know: that is `shard`. Called by `shard` and `client`.

use super::cursor::{ReadError, Reader, Writer};
use crate::limits::DESCRIPTION_MAX;
use crate::units::EntityId;

/// Bytes in front of a description.
pub const CREATE_ENTITY_HEAD_LEN: usize = 4;

/// Writes the body of CreateEntity: the entity, then its description.
pub fn put_create_entity(writer: &mut Writer<'_>, entity: EntityId, description: &[u8]) {
    writer.u32(entity.0);
    writer.slice(description);
}

/// Entity and description in the body of CreateEntity.
///
/// # Errors
/// `Truncated`; `Value` for entity 0, and for a description that is empty or longer than 4,096
/// bytes.
pub fn read_create_entity(body: &[u8]) -> Result<(EntityId, &[u8]), ReadError> {
    let mut reader = Reader::new(body);
    let entity = read_entity(&mut reader)?;
    let description = reader.slice(reader.remaining())?;
    let is_legal = (1..=DESCRIPTION_MAX).contains(&description.len());
    if is_legal { Ok((entity, description)) } else { Err(ReadError::Value) }
}

/// Writes the body of RemoveEntity.
pub fn put_remove_entity(writer: &mut Writer<'_>, entity: EntityId) {
    writer.u32(entity.0);
}

/// The entity in the body of RemoveEntity.
///
/// # Errors
/// `Truncated`, `Trailing`; `Value` for entity 0.
pub fn read_remove_entity(body: &[u8]) -> Result<EntityId, ReadError> {
    let mut reader = Reader::new(body);
    let entity = read_entity(&mut reader)?;
    reader.finish().map(|()| entity)
}

fn read_entity(reader: &mut Reader<'_>) -> Result<EntityId, ReadError> {
    let entity = EntityId(reader.u32()?);
    if entity.generation() == 0 { Err(ReadError::Value) } else { Ok(entity) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bodies_round_trip_and_nothing_else_is_one() {
        let entity = EntityId::from_parts(5, 1);
        let mut out = [0; 16];
        let mut writer = Writer::new(&mut out);
        put_create_entity(&mut writer, entity, b"Ada");
        assert_eq!(writer.finish(), Ok(7));
        assert_eq!(out[..7], [5, 0, 0x10, 0, b'A', b'd', b'a']);
        assert_eq!(read_create_entity(&out[..7]), Ok((entity, &b"Ada"[..])));
        let mut writer = Writer::new(&mut out);
        put_remove_entity(&mut writer, entity);
        assert_eq!(writer.finish(), Ok(4));
        assert_eq!(read_remove_entity(&out[..4]), Ok(entity));
        assert_eq!(read_remove_entity(&out[..5]), Err(ReadError::Trailing));
        assert_eq!(read_create_entity(&out[..4]), Err(ReadError::Value), "nothing is said");
        let long = [&out[..4], &[1; DESCRIPTION_MAX + 1]].concat();
        assert_eq!(read_create_entity(&long), Err(ReadError::Value));
        assert!(read_create_entity(&long[..long.len() - 1]).is_ok());
        for cut in 0..4 {
            assert_eq!(read_create_entity(&out[..cut]), Err(ReadError::Truncated));
            assert_eq!(read_remove_entity(&out[..cut]), Err(ReadError::Truncated));
        }
        assert_eq!(read_remove_entity(&[0, 0, 0, 0]), Err(ReadError::Value));
    }
}
