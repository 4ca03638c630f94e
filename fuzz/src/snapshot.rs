//! A DeltaSync body: refused, or states that are inside the map and can be written again.

use super::bytes::Bytes;
use tidelock::state::{Kind, QuantizedState};
use tidelock::units::{STEPS_XY, STEPS_Z};
use tidelock::wire::snapshot::{EntryBody, SnapshotReader, write_entry_head};

/// A baseline of 16 bytes, and a body.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = Kind::ALL[usize::from(bytes.u8()) % Kind::COUNT];
    let base = QuantizedState {
        x: bytes.u32() % STEPS_XY,
        y: bytes.u32() % STEPS_XY,
        z: bytes.u16() % STEPS_Z as u16,
        yaw: bytes.u16(),
        velocity: [bytes.u16() as i16; 3],
        ..QuantizedState::DEFAULT
    };
    let Ok(mut reader) = SnapshotReader::parse(bytes.0) else { return };
    let head = *reader.head();
    let mut out = [0; 60];
    let length = head.write(&mut out);
    assert_eq!(out[..length], bytes.0[..length], "what was read is written as it was");
    assert!(reader.removed().windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(reader.removed().len(), usize::from(head.removals));
    let mut entries = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        entries += 1;
        assert!(entry.slot < 128 && entry.age < 64);
        if entry.age == 0 {
            let Ok(full) = reader.read_full() else { return };
            inside(&full.state);
            again(full.kind, &EntryBody::full(full.id, full.kind, &full.state), &full.state, None);
        } else {
            let Ok(state) = reader.read_delta(kind, &base) else { return };
            inside(&state);
            // A body may say in words that nothing has changed; nobody writes that.
            if let Some(body) = EntryBody::delta(&state, &base) {
                again(kind, &body, &state, Some(&base));
            }
        }
        assert!(entries <= head.entries, "as many as the head says");
    }
}

fn inside(state: &QuantizedState) {
    assert!(state.x < STEPS_XY && state.y < STEPS_XY && u32::from(state.z) < STEPS_Z);
}

/// What was read comes back from our own encoding of it.
fn again(kind: Kind, body: &EntryBody, state: &QuantizedState, base: Option<&QuantizedState>) {
    let age = u8::from(base.is_some());
    let mut snapshot = vec![0; 80];
    snapshot[..12].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, age, 0, 1]);
    let at = 12 + write_entry_head(5, age, age, &mut snapshot[12..]);
    snapshot[at..][..body.as_slice().len()].copy_from_slice(body.as_slice());
    snapshot.truncate(at + body.as_slice().len());
    let mut reader = SnapshotReader::parse(&snapshot).expect("an own head");
    let entry = reader.next_entry().expect("an own entry").expect("one entry");
    assert_eq!((entry.slot, entry.age), (5, age));
    let read = match base {
        Some(base) => reader.read_delta(kind, base).expect("an own delta"),
        None => reader.read_full().expect("an own entry").state,
    };
    assert_eq!(read, *state);
    assert_eq!(reader.next_entry(), Ok(None), "nothing is left over");
}
