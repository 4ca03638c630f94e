//! Both ends of a session after a handshake, the real sessions and the real client: what they say
//! when, and what they make of what they hear. The network between them belongs to a target.
//!
//! Checked all the time: neither end takes the other for broken.

use super::server::handshake;
use std::net::SocketAddr;
use tidelock::client::{Client, ClientError, Scratch, State};
use tidelock::connection::{
    Admission, BudgetRange, CloseReason, RekeyPolicy, Rules, Sessions, SessionsConfig, Sink, Slot,
};
use tidelock::crypto::schedule::Root;
use tidelock::crypto::secret::Secret;
use tidelock::limits::{DATAGRAM_MAX, TAG_LEN};
use tidelock::metrics::{Counter, Counters, DropReason};
use tidelock::time::Nanos;
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{OwnState, SnapshotHead};
use tidelock::wire::{Channel, ConnectionId, InputFrame, Writer, put_message, to_client};

/// Ticks of the server per second, and the time from one to the next.
pub(crate) const TICK_HZ: u16 = 60;
pub(crate) const TICK_MS: u64 = 17;

/// What the sessions told their owner.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) has_entered: bool,
    pub(crate) closed: Option<CloseReason>,
    /// Bytes for the game.
    pub(crate) data: Vec<(Channel, Vec<u8>)>,
    /// Epochs, and the keys to the client that belong to them.
    pub(crate) keys: Vec<(u16, [u8; 32])>,
}

impl Sink for Told {
    fn confirmed(&mut self, _: Slot) {}
    fn enter(&mut self, _: Slot) {
        self.has_entered = true;
    }
    fn input(&mut self, _: Slot, _: u32, _: InputFrame) {}
    fn acked(&mut self, _: Slot, _: u64) {}
    fn closed(&mut self, _: Slot, reason: CloseReason) {
        self.closed = Some(reason);
    }
    fn game_data(&mut self, _: Slot, channel: Channel, body: &[u8]) {
        self.data.push((channel, body.to_vec()));
    }
    fn rekeyed(&mut self, _: Slot, epoch: u16, key: &Secret) -> bool {
        self.keys.push((epoch, *key.bytes()));
        true
    }
}

/// See the module.
pub(crate) struct Ends {
    pub(crate) sessions: Sessions,
    counters: Counters,
    pub(crate) told: Told,
    pub(crate) client: Client,
    scratch: Scratch,
    id: ConnectionId,
    address: SocketAddr,
    pub(crate) now: Nanos,
    tick: u32,
}

impl Ends {
    /// After a handshake, with the root of its keys.
    pub(crate) fn new(rekey: RekeyPolicy) -> (Self, Root) {
        let (client, root, id, now) = handshake();
        let config = SessionsConfig {
            socket_index: id.socket(),
            capacity: usize::from(id.slot()) + 1,
            tick_hz: TICK_HZ,
            seed: 9,
            path_secret: [1, 2],
            budget: BudgetRange::default(),
            rules: Rules::default(),
            rekey,
        };
        let address = SocketAddr::from(([203, 0, 113, 7], 40_000));
        let mut sessions = Sessions::new(config);
        let admission = Admission {
            id,
            address,
            player: 42,
            client_to_server: root.client_to_server(0),
            server_to_client: root.server_to_client(0),
            root: root.clone(),
            examiner: None,
            spawn: None,
            entity: EntityId::from_parts(1, 1),
            seat: 0,
            heir: false,
            accepted_at: now,
        };
        sessions.admit_session(admission).expect("the slot is free");
        let ends = Self {
            sessions,
            counters: Counters::default(),
            told: Told::default(),
            client,
            scratch: Scratch::default(),
            id,
            address,
            now,
            tick: 0,
        };
        (ends, root)
    }

    /// The place of the session.
    pub(crate) fn slot(&self) -> Slot {
        self.id.slot()
    }

    /// Whether the session has ended at either end.
    pub(crate) fn has_ended(&self) -> bool {
        self.told.closed.is_some() || matches!(self.client.state(), State::Closed(_))
    }

    /// The server plays a tick: what it says in it.
    pub(crate) fn serve(&mut self) -> Vec<Vec<u8>> {
        self.tick += 1;
        let (now, slot) = (self.now, self.slot());
        let (mut out, mut said) = ([0; DATAGRAM_MAX], Vec::new());
        if self.told.has_entered
            && let Some(begun) = self.sessions.begin(slot, Channel::Unreliable, now, &mut out)
        {
            let mut writer = Writer::new(&mut out[begun.body..DATAGRAM_MAX - TAG_LEN]);
            let mut body = [0; 60];
            let length = snapshot(self.tick).write(&mut body);
            put_message(&mut writer, to_client::DELTA_SYNC, |it| it.slice(&body[..length]));
            let end = begun.body + writer.position();
            let length = self.sessions.seal(slot, &mut out, end);
            said.push(out[..length].to_vec());
        }
        let Self { sessions, counters, told, .. } = self;
        while let Some(packet) = sessions.poll_control(now, &mut out, counters, told) {
            said.push(out[..packet.length].to_vec());
        }
        said
    }

    /// The client plays on.
    pub(crate) fn play(&mut self) {
        if self.client.state() == State::InWorld {
            self.client.set_input(InputFrame { yaw: self.tick as u16, ..InputFrame::default() });
        }
    }

    /// The next packet that the client has to send now.
    pub(crate) fn client_says(&mut self) -> Option<Vec<u8>> {
        let mut out = [0; DATAGRAM_MAX];
        let length = self.client.poll_transmit(self.now, &mut out)?;
        Some(out[..length].to_vec())
    }

    /// Hands a datagram to one end. `Err` says whether its key is why it was refused.
    pub(crate) fn hand_over(&mut self, to_server: bool, datagram: &mut [u8]) -> Result<(), bool> {
        if !to_server {
            let heard = self.client.handle_datagram(self.now, datagram, &mut self.scratch);
            let Err(error) = heard else { return Ok(()) };
            assert!(!error.is_after_open(), "the server is honest: {error:?}");
            return Err(matches!(error, ClientError::Epoch | ClientError::Open));
        }
        let Self { sessions, counters, told, now, address, .. } = self;
        let opened = counters.read(Counter::PacketsOpened);
        let by_key = |it: &Counters| it.dropped(DropReason::Epoch) + it.dropped(DropReason::Open);
        let refused = by_key(counters);
        sessions.handle_datagram(*now, *address, datagram, counters, told);
        for reason in [DropReason::Malformed, DropReason::Unexpected, DropReason::FalseAck] {
            assert_eq!(counters.dropped(reason), 0, "{reason:?}: the client is honest");
        }
        let is_opened = counters.read(Counter::PacketsOpened) > opened;
        if is_opened { Ok(()) } else { Err(by_key(counters) > refused) }
    }
}

fn snapshot(tick: u32) -> SnapshotHead {
    let id = EntityId::from_parts(1, 1);
    let own = OwnState { id, position: [1.0; 3], flags: 1, health: 255, ..OwnState::default() };
    SnapshotHead { tick, own: Some(own), ..SnapshotHead::default() }
}
