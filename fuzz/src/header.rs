//! The 14 bytes in front of every packet against the rules of the document, written down naively.

use tidelock::connection::check_form;
use tidelock::wire::{ConnectionId, Header, Writer};

/// Any datagram.
pub fn run(data: &[u8]) {
    let read = Header::read(data);
    assert_eq!(read.is_ok(), is_header(data), "{read:?}");
    let sized = (30..=1200).contains(&data.len());
    assert_eq!(check_form(data).is_ok(), sized && read.is_ok());
    let Ok(header) = read else { return };
    let mut out = [0xEE; 14];
    let mut writer = Writer::new(&mut out);
    header.put(&mut writer);
    assert_eq!(writer.finish(), Ok(14));
    assert_eq!(out, data[..14], "what was read is written as it was");
    let id = header.connection;
    if id != ConnectionId::GATE {
        assert_eq!(ConnectionId::from_parts(id.socket(), id.slot(), id.generation()), id);
    }
}

/// Chapter 2 of docs/PROTOCOL.md, byte by byte.
fn is_header(data: &[u8]) -> bool {
    if data.len() < 14 || data[4] > 3 {
        return false;
    }
    if data[..4] == [0; 4] {
        return data[4] == 3 && data[5] == 0 && data[6..14] == [0; 8];
    }
    let sequence: u64 = (0..8).map(|i| u64::from(data[6 + i]) << (8 * i)).sum();
    data[0] != 0 && data[5] & 0x83 == 0x03 && sequence > 0 && sequence < 1 << 62
}
