//! Every packet of a session, and the keys under which both ends may seal, derived from what they
//! told each other and from nothing that they say about themselves.
//!
//! Checked of each packet as it leaves: its sequence was never used in its direction, and it opens
//! under the key of the epoch that its header names, which is that of the packet before or the
//! next. So no key meets a nonce twice.

use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::dh;
use tidelock::crypto::schedule::Root;
use tidelock::wire::{
    AckBlock, Channel, ControlMessage, Flags, Header, Message, Messages, Reader, RekeyPart,
};

/// A packet that one end has sealed.
pub(crate) struct Sealed {
    pub(crate) to_server: bool,
    pub(crate) epoch: u16,
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_accepted: bool,
}

/// What has happened to the keys of a session.
pub(crate) struct Ledger {
    pub(crate) packets: Vec<Sealed>,
    /// By epoch, and the keys to the client and to the server.
    roots: Vec<(Root, [PacketKey; 2])>,
    /// What the client was given to take part with.
    secrets: Vec<[u8; 32]>,
    /// The server's part in the rekey to come.
    asked: Option<[u8; 32]>,
    /// The client's part in the newest one.
    answer: Option<[u8; 32]>,
    /// Sequence and epoch of the newest packet, to the client and to the server.
    newest: [(u64, u16); 2],
}

impl Ledger {
    pub(crate) fn new(root: Root) -> Self {
        let mut ledger = Self {
            packets: Vec::new(),
            roots: Vec::new(),
            secrets: Vec::new(),
            asked: None,
            answer: None,
            newest: [(0, 0); 2],
        };
        ledger.begin(root);
        ledger
    }

    fn begin(&mut self, root: Root) {
        let epoch = self.roots.len() as u16;
        let keys = [root.server_to_client(epoch), root.client_to_server(epoch)];
        self.roots.push((root, keys.map(|key| PacketKey::new(&key))));
        self.asked = None;
    }

    /// The client will take part with this.
    pub(crate) fn give(&mut self, secret: [u8; 32]) {
        self.secrets.push(secret);
    }

    /// The newest epoch whose keys both ends can know.
    pub(crate) fn epoch(&self) -> u16 {
        self.roots.len() as u16 - 1
    }

    /// The key to the client in `epoch`.
    pub(crate) fn server_to_client(&self, epoch: u16) -> [u8; 32] {
        self.roots[usize::from(epoch)].0.server_to_client(epoch)
    }

    /// Epoch of the newest packet in a direction.
    pub(crate) fn sealing(&self, to_server: bool) -> u16 {
        self.newest[usize::from(to_server)].1
    }

    /// One end sends this.
    pub(crate) fn leaves(&mut self, to_server: bool, datagram: &[u8]) {
        let header = Header::read(datagram).expect("both write headers");
        let (sequence, before) = self.newest[usize::from(to_server)];
        assert!(header.sequence > sequence, "a sequence is used again: {}", header.sequence);
        let is_odd = header.flags.contains(Flags::REKEY);
        let epoch = if is_odd == (before % 2 == 1) { before } else { before + 1 };
        let (_, keys) = self.roots.get(usize::from(epoch)).expect("an epoch nobody agreed on");
        let mut copy = datagram.to_vec();
        let text = keys[usize::from(to_server)].open(&mut copy).expect("another key");
        self.newest[usize::from(to_server)] = (header.sequence, epoch);
        if header.channel == Channel::Control {
            each_control(header, text, |message| self.hear(to_server, epoch, message));
        }
        self.packets.push(Sealed {
            to_server,
            epoch,
            sequence: header.sequence,
            bytes: datagram.to_vec(),
            is_accepted: false,
        });
    }

    fn hear(&mut self, to_server: bool, epoch: u16, message: ControlMessage) {
        match (to_server, message) {
            (false, ControlMessage::RekeyRequest(part)) => {
                assert_eq!(part.epoch, epoch + 1, "the server asks for the next epoch");
                // Asked again after the answer has left: nothing new.
                if part.epoch == self.epoch() + 1 {
                    let asked = *self.asked.get_or_insert(part.public);
                    assert_eq!(asked, part.public, "one part for one epoch");
                }
            }
            (true, ControlMessage::RekeyResponse(part)) => self.answered(epoch, part),
            _ => {}
        }
    }

    /// The first answer makes the keys of the epoch that it names.
    fn answered(&mut self, epoch: u16, part: RekeyPart) {
        assert_eq!(part.epoch, epoch + 1, "the client answers under the epoch before");
        let is_given = |secret: &&[u8; 32]| dh::public_of(secret) == part.public;
        let secret = self.secrets.iter().rev().find(is_given).expect("a part of its own");
        if part.epoch != self.epoch() + 1 {
            return assert_eq!(self.answer, Some(part.public), "one answer for one epoch");
        }
        self.answer = Some(part.public);
        let asked = self.asked.expect("nobody asked");
        let shared = dh::agree(secret, &asked).expect("a good part");
        let mut root = self.roots.last().expect("there is epoch 0").0.clone();
        root.advance(part.epoch, &asked, &part.public, &shared);
        self.begin(root);
    }
}

fn each_control(header: Header, text: &[u8], mut each: impl FnMut(ControlMessage)) {
    let mut reader = Reader::new(text);
    if header.flags.contains(Flags::ACKNOWLEDGMENT) {
        AckBlock::read(&mut reader).expect("a block");
    }
    let rest = reader.slice(reader.remaining()).expect("what remains");
    for message in Messages::new(rest, header.channel) {
        let Message { kind, id, body } = message.expect("both frame messages");
        each(ControlMessage::read(&Message { kind, id, body }).expect("a control message"));
    }
}
