//! Bytes ↔ values: everything that travels, and nothing that is done with it.
//!
//! Owns: every layout of protocol version 1 (`docs/PROTOCOL.md` is the normative text). Never
//! allocates, reads a key or keeps state; what a peer sent is parsed once, into a type, by one
//! bounds-checked cursor, and leftover bytes are an error. Called by `gate`, `connection`,
//! `replicate` and `client`.
//!
//! | file | what travels |
//! |---|---|
//! | `header` | the 14 bytes in front of every packet |
//! | `handshake`, `reply`, `status`, `crc` | the four plaintext packets and the payloads in them |
//! | `denial` | the reasons of the fourth |
//! | `ack`, `message` | what every plaintext of a sealed packet is made of |
//! | `fragment`, `lz4` | parts of long messages, and bodies made smaller |
//! | `control`, `ticket` | messages that serve the connection |
//! | `enter`, `input` | game messages to the server |
//! | `describe` | CreateEntity and RemoveEntity |
//! | `snapshot` | the DeltaSync body and the other game messages to the player |
//! | `benchmark` | question and answer of who measures |

mod ack;
mod benchmark;
mod control;
mod crc;
mod cursor;
mod denial;
mod describe;
mod enter;
mod fragment;
mod handshake;
mod header;
mod input;
mod lz4;
mod message;
mod reply;
pub mod snapshot;
mod status;
mod ticket;

pub use ack::AckBlock;
pub use benchmark::{BenchmarkAnswer, BenchmarkRequest};
pub use control::{
    CRYPTO_TEST_LEN, ControlMessage, DisconnectReason, INTEGRITY_LEN, IntegrityRole, RekeyPart,
    ReliableHandshake,
};
pub use crc::{CRC_LEN, packet_crc};
pub use cursor::{Overflow, ReadError, Reader, VARINT_U32_MAX, Writer, unzigzag, zigzag};
pub use denial::Denial;
pub use describe::{
    CREATE_ENTITY_HEAD_LEN, put_create_entity, put_remove_entity, read_create_entity,
    read_remove_entity,
};
pub use enter::{ENTER_TO_WORLD_LEN, put_enter_to_world, read_enter_to_world};
pub use fragment::FragmentHeader;
pub use handshake::{
    CONNECT_LEN, COOKIE_LEN, Connect, ConnectRequest, HandshakeError, NOISE_MESSAGE_1_LEN,
    NOISE_MESSAGE_2_LEN, PROLOGUE_LEN, PublicToken, SEALED_TOKEN_LEN, TOKEN_NONCE_LEN,
    WIRE_VERSION,
};
pub use header::{Channel, ConnectionId, FLAGS_AT, Flags, Header, HeaderError};
pub use input::{
    INPUT_FRAME_LEN, InputError, InputFrame, InputFrames, QUANTIZED_FRAME_LEN, buttons,
    put_input_frames, put_shortest_input_frames,
};
pub use lz4::{CompressTable, compress, compressed_max, compressed_min, decompress, raw_len};
pub use message::{
    Direction, Message, Messages, RELIABLE_HEAD_LEN, Stage, control as control_kind, is_allowed,
    parse_reliable, put_message, reliable_head, to_client, to_server,
};
pub use reply::{
    ACCEPTED_LEN, AcceptedPacket, COOKIE_PACKET_LEN, CookiePacket, DENIED_LEN, DeniedPacket, Reply,
};
pub use status::{ACCEPTED_PAYLOAD_LEN, Accepted, ClientOffer, OFFER_LEN, Status};
pub use ticket::{put_resume_ticket, read_resume_ticket};
