//! The two payloads inside the Noise handshake: what the client offers, what the server answers.
//!
//! Owns: their layouts and the answer's status numbers. Never decides an answer. Called by `gate`
//! and `client`.

use super::cursor::{ReadError, Reader, Writer};
use super::denial::Denial;
use super::header::ConnectionId;
use crate::limits;
use crate::units::Tick;

/// Bytes of the payload of the first Noise message.
pub const OFFER_LEN: usize = 16;
/// Bytes of the payload of the second Noise message.
pub const ACCEPTED_PAYLOAD_LEN: usize = 64;

/// Outcome of a handshake. Anything but `Ok` is a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The session exists.
    Ok,
    /// No free slot.
    Full,
    /// The account may not play.
    Banned,
    /// The client's build does not fit this server.
    Build,
    /// A newer session of the same player exists.
    Replaced,
    /// The server takes no players now.
    Maintenance,
}

impl Status {
    /// All of them in the order of their wire numbers.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Full, Self::Banned, Self::Build, Self::Replaced, Self::Maintenance];

    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => Denial::Full.name(),
            Self::Banned => Denial::Banned.name(),
            Self::Build => Denial::Build.name(),
            Self::Replaced => Denial::Replaced.name(),
            Self::Maintenance => Denial::Maintenance.name(),
        }
    }

    /// A sentence for the player.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "Welcome.",
            Self::Full => Denial::Full.text(),
            Self::Banned => Denial::Banned.text(),
            Self::Build => Denial::Build.text(),
            Self::Replaced => Denial::Replaced.text(),
            Self::Maintenance => Denial::Maintenance.text(),
        }
    }

    /// The status with this wire number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What the client tells about itself in the first Noise message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOffer {
    /// Number of the client's build.
    pub build: u32,
    /// Optional abilities, a bit each. None is defined yet: 0.
    pub features: u32,
    /// Largest UDP payload the client takes, in bytes.
    pub max_datagram: u16,
}

impl ClientOffer {
    /// Reads the payload.
    ///
    /// # Errors
    /// `Value` when a reserved byte is not zero.
    pub fn read(bytes: &[u8; OFFER_LEN]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let offer =
            Self { build: reader.u32()?, features: reader.u32()?, max_datagram: reader.u16()? };
        reader.zeros(6)?;
        reader.finish().map(|()| offer)
    }

    /// The payload.
    pub fn write(&self) -> [u8; OFFER_LEN] {
        let mut out = [0; OFFER_LEN];
        let mut writer = Writer::new(&mut out);
        writer.u32(self.build);
        writer.u32(self.features);
        writer.u16(self.max_datagram);
        debug_assert_eq!(writer.position(), OFFER_LEN - 6);
        out
    }
}

/// The server's answer, authenticated by the second Noise message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whether there is a session. If not, only `retry_s` means something.
    pub status: Status,
    /// Seconds after which a new attempt may succeed, only if there is no session; 0 = not told,
    /// 65,535 = that or more.
    pub retry_s: u16,
    /// The session's name, in every header from now on.
    pub connection: ConnectionId,
    /// The server's tick now.
    pub tick: Tick,
    /// Microseconds on the server's monotonic clock now.
    pub server_time_us: u64,
    /// Who the token says the client is.
    pub player: u64,
    /// Ticks per second.
    pub tick_hz: u16,
    /// Largest UDP payload in either direction, in bytes.
    pub max_datagram: u16,
    /// Milliseconds of silence after which a side sends a Ping.
    pub heartbeat_ms: u16,
    /// Milliseconds of silence after which a side takes the other for gone.
    pub timeout_ms: u16,
    /// Positions of the server's replay window.
    pub window: u16,
    /// Packets per second the client may send.
    pub packets_per_s: u16,
}

impl Accepted {
    /// An answer with the protocol's own limits.
    pub fn new(status: Status, connection: ConnectionId, player: u64, tick_hz: u16) -> Self {
        Self {
            status,
            retry_s: 0,
            connection,
            tick: 0,
            server_time_us: 0,
            player,
            tick_hz,
            max_datagram: limits::DATAGRAM_MAX as u16,
            heartbeat_ms: limits::HEARTBEAT_MS as u16,
            timeout_ms: limits::TIMEOUT_MS as u16,
            window: limits::REPLAY_WINDOW_SERVER as u16,
            packets_per_s: limits::CLIENT_PACKETS_PER_S as u16,
        }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// `Value` for an unknown status or version, or a reserved byte that is not zero.
    pub fn read(bytes: &[u8; ACCEPTED_PAYLOAD_LEN]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let status = Status::from_wire(reader.u8()?).ok_or(ReadError::Value)?;
        if reader.u8()? != super::WIRE_VERSION {
            return Err(ReadError::Value);
        }
        let retry_s = reader.u16()?;
        if status == Status::Ok && retry_s != 0 {
            return Err(ReadError::Value);
        }
        let accepted = Self {
            status,
            retry_s,
            connection: ConnectionId(reader.u32()?),
            tick: reader.u32()?,
            server_time_us: reader.u64()?,
            player: reader.u64()?,
            tick_hz: reader.u16()?,
            max_datagram: reader.u16()?,
            heartbeat_ms: reader.u16()?,
            timeout_ms: reader.u16()?,
            window: reader.u16()?,
            packets_per_s: reader.u16()?,
        };
        reader.zeros(24)?;
        reader.finish().map(|()| accepted)
    }

    /// The payload.
    pub fn write(&self) -> [u8; ACCEPTED_PAYLOAD_LEN] {
        let mut out = [0; ACCEPTED_PAYLOAD_LEN];
        let mut writer = Writer::new(&mut out);
        writer.u8(self.status as u8);
        writer.u8(super::WIRE_VERSION);
        writer.u16(self.retry_s);
        writer.u32(self.connection.0);
        writer.u32(self.tick);
        writer.u64(self.server_time_us);
        writer.u64(self.player);
        writer.u16(self.tick_hz);
        writer.u16(self.max_datagram);
        writer.u16(self.heartbeat_ms);
        writer.u16(self.timeout_ms);
        writer.u16(self.window);
        writer.u16(self.packets_per_s);
        writer.zeros(24);
        debug_assert_eq!(writer.finish(), Ok(ACCEPTED_PAYLOAD_LEN));
        out
    }
}

const _: () = assert!(limits::TIMEOUT_MS <= u16::MAX as u64, "the field has 16 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_numbers_round_trip() {
        for (number, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, number);
            assert_eq!(Status::from_wire(number as u8), Some(status));
        }
        assert_eq!(Status::from_wire(6), None);
    }

    #[test]
    fn an_offer_round_trips_and_its_reserved_bytes_are_checked() {
        let offer = ClientOffer { build: 0x0102_0304, features: 5, max_datagram: 1200 };
        let bytes = offer.write();
        assert_eq!(bytes[..4], [4, 3, 2, 1]);
        assert_eq!(ClientOffer::read(&bytes), Ok(offer));
        for at in 10..OFFER_LEN {
            let mut changed = bytes;
            changed[at] = 1;
            assert_eq!(ClientOffer::read(&changed), Err(ReadError::Value), "byte {at}");
        }
    }

    #[test]
    fn an_answer_round_trips_and_its_reserved_bytes_are_checked() {
        let mut accepted = Accepted::new(Status::Ok, ConnectionId(0x00ab_c103), 42, 60);
        (accepted.tick, accepted.server_time_us) = (77, 0x0102_0304_0506);
        let bytes = accepted.write();
        assert_eq!(Accepted::read(&bytes), Ok(accepted));
        assert_eq!(bytes[28..40], [60, 0, 0xB0, 4, 0x88, 0x13, 0x98, 0x3A, 64, 0, 120, 0]);
        for at in (1..4).chain(40..64) {
            let mut changed = bytes;
            changed[at] ^= 0x80;
            assert_eq!(Accepted::read(&changed), Err(ReadError::Value), "byte {at}");
        }
        assert_eq!(Accepted::read(&[9; 64]), Err(ReadError::Value));
    }

    #[test]
    fn a_refusal_says_when_to_come_back_where_an_acceptance_has_zeros() {
        for status in &Status::ALL[1..] {
            let refusal =
                Accepted { retry_s: 0x0201, ..Accepted::new(*status, ConnectionId::GATE, 42, 60) };
            let bytes = refusal.write();
            assert_eq!(bytes[..4], [*status as u8, 1, 1, 2]);
            assert_eq!(Accepted::read(&bytes), Ok(refusal));
        }
        let wrong = Accepted { retry_s: 1, ..Accepted::new(Status::Ok, ConnectionId(7), 42, 60) };
        assert_eq!(Accepted::read(&wrong.write()), Err(ReadError::Value));
    }
}
