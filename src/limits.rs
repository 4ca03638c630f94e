//! Every bound of the server in one place, with the relations between them checked at compile time.
//!
//! A bound that the wire protocol fixes says so; the others are defaults that `config` may lower.
//! Nothing in this file depends on anything else, and every layer may read it.

/// Bytes of the header in front of every packet (fixed by the protocol).
pub const HEADER_LEN: usize = 14;
/// Bytes of the Poly1305 tag behind every sealed packet (fixed by the protocol).
pub const TAG_LEN: usize = 16;
/// Smallest UDP payload that can be a packet: a header and a tag (fixed by the protocol).
pub const DATAGRAM_MIN: usize = HEADER_LEN + TAG_LEN;
/// Largest UDP payload (fixed by the protocol; fits every path with an MTU of 1,280).
pub const DATAGRAM_MAX: usize = 1200;
/// Largest plaintext of a sealed packet, acknowledgment block included.
pub const PLAINTEXT_MAX: usize = DATAGRAM_MAX - HEADER_LEN - TAG_LEN;
/// Bytes of an acknowledgment block (fixed by the protocol).
pub const ACK_BLOCK_LEN: usize = 18;
/// Bytes in front of a message body on an unreliable channel: length and type.
pub const MESSAGE_HEADER_LEN: usize = 3;

/// Socket indices in one port: the gate and up to 255 shards (one byte of the connection id).
pub const SOCKETS_MAX: usize = 256;
/// Connection slots of one shard (12 bits of the connection id).
pub const SLOTS_PER_SHARD: usize = 4096;
/// Sessions of one server that were accepted and have not yet sent a packet that opened.
pub const UNCONFIRMED_MAX: usize = 4096;
/// Milliseconds an accepted session may stay unconfirmed.
pub const UNCONFIRMED_TIMEOUT_MS: u64 = 5_000;

/// Milliseconds for which the entity of a player stays whose connection was lost.
pub const LINGER_MS: u64 = 60_000;

/// Positions of the replay window, client to server (fixed by the protocol).
pub const REPLAY_WINDOW_SERVER: usize = 64;
/// Positions of the replay window, server to client.
pub const REPLAY_WINDOW_CLIENT: usize = 1024;
/// A direction is closed at this sequence, long before the counter could wrap.
pub const SEQUENCE_MAX: u64 = 1 << 62;
/// Packets a client may send each second, sustained.
pub const CLIENT_PACKETS_PER_S: u32 = 120;
/// Packets a client may send in one burst.
pub const CLIENT_PACKETS_BURST: u32 = 240;
/// Payload bytes a client may send each second, and in one burst.
pub const CLIENT_BYTES_PER_S: u32 = 64 * 1024;
/// Datagrams that one pass of admit, open and decode takes at a time.
pub const BATCH_MAX: usize = 64;
/// Packets of one session that may fail to open before it is closed.
pub const FAILED_OPENS_MAX: u64 = 1 << 36;
/// Packets that may fail to open under one key before it is replaced.
pub const FAILED_OPENS_REKEY: u64 = 1 << 20;
/// Bytes, both directions together, after which the keys of a session are replaced.
pub const REKEY_BYTES: u64 = 1_000_000_000;
/// Least number of bytes that can be configured for that.
pub const REKEY_BYTES_MIN: u64 = 65_536;
/// Seconds after which they are replaced.
pub const REKEY_SECONDS: u32 = 3_600;
/// Least number of seconds that can be configured for that.
pub const REKEY_SECONDS_MIN: u32 = 5;
/// Milliseconds from one rekey to the next, at least.
pub const REKEY_SPACING_MS: u64 = 60_000;
/// Milliseconds between two sendings of a RekeyRequest, or of a RekeyResponse.
pub const REKEY_INTERVAL_MS: u64 = 250;
/// Milliseconds for which late packets still open under the key before the current one.
pub const REKEY_HOLD_MS: u64 = 3_000;
/// Milliseconds after which a session whose rekey has not come to its end is closed.
pub const REKEY_TIMEOUT_MS: u64 = 30_000;
/// Bytes, both directions together, after which keys are not used any more (fixed by the protocol).
pub const KEY_BYTES_MAX: u64 = 2_000_000_000;
/// Milliseconds after which keys are not used any more (fixed by the protocol).
pub const KEY_AGE_MAX_MS: u64 = 7_200_000;
/// Rekeys that one shard begins per tick; the others wait. Each costs a public key.
pub const REKEYS_BEGUN_PER_TICK: usize = 2;
/// New keys that one shard derives per tick: more than it begins, so that no answer waits for long.
/// Each costs a key agreement.
pub const REKEYS_DERIVED_PER_TICK: usize = 4;
/// The server leaves out one sequence after at least this many, at a random place ...
pub const SKIP_MIN: u64 = 1 << 10;
/// ... and at most this many. Who acknowledges a sequence left out has not received it.
pub const SKIP_MAX: u64 = 1 << 12;
/// Milliseconds after which a packet that asks for an acknowledgment has got one.
pub const ACK_DELAY_MS: u64 = 25;
/// Packets that ask for an acknowledgment after which one is sent at once.
pub const ACK_ELICITING_MAX: u8 = 2;

/// Input frames one packet may carry: the newest and its repeated predecessors.
pub const INPUT_FRAMES_MAX: usize = 8;
/// Bytes of the body of a Benchmark, at least: what an answer says.
pub const BENCHMARK_MIN: usize = 24;
/// Bytes of the body of a Benchmark, at most.
pub const BENCHMARK_MAX: usize = 1_024;
/// Entities of which a player is told whose snapshots do not arrive, besides itself.
pub const NEIGHBOURS_TOLD: usize = 4;
/// Inputs a client may have ahead of one per tick before the excess is discarded.
pub const INPUT_BUCKET: u32 = 15;

/// Milliseconds of silence after which a Ping is sent.
pub const HEARTBEAT_MS: u64 = 5_000;
/// Milliseconds of silence after which a session is gone.
pub const TIMEOUT_MS: u64 = 15_000;
/// How often a Disconnect is repeated, and the milliseconds between two of them.
pub const DISCONNECT_REPEATS: u8 = 3;
/// Milliseconds between two Disconnects.
pub const DISCONNECT_INTERVAL_MS: u64 = 50;
/// Milliseconds between two announcements of a session's new connection id.
pub const MOVED_INTERVAL_MS: u64 = 250;
/// Packets each second that are opened although they come from an address that is neither the
/// session's nor about to become it ...
pub const STRAY_PACKETS_PER_S: u32 = 20;
/// ... and in one burst.
pub const STRAY_PACKETS_BURST: u32 = 20;
/// Pings to an address that has yet to prove that the client is there.
pub const PATH_PINGS: u8 = 3;
/// Milliseconds between two of them.
pub const PATH_PING_INTERVAL_MS: u64 = 100;
/// Milliseconds after the last of them before that address is tried again.
pub const PATH_RETRY_MS: u64 = 500;
/// Bytes sent to such an address for each byte received from it, at most.
pub const PATH_AMPLIFICATION: u32 = 3;
/// Milliseconds between two changes of a session's address, at least.
pub const PATH_CHANGE_INTERVAL_MS: u64 = 1_000;
/// Changes of a session's address in a minute, at most.
pub const PATH_CHANGES_PER_MINUTE: usize = 10;
/// A session whose violation score reaches this is disconnected.
pub const VIOLATION_LIMIT: u32 = 100;
/// Violation score that a session loses each second.
pub const VIOLATION_DECAY_PER_S: u32 = 1;
/// Violation score of a message that does not parse or is not allowed where it stands.
pub const VIOLATION_MESSAGE: u32 = 5;
/// Violation score of acknowledging a packet that was never sent.
pub const VIOLATION_FALSE_ACK: u32 = 50;
/// Violation score of a message beyond the budget of its type.
pub const VIOLATION_MESSAGE_RATE: u32 = 1;
/// Violation score of an integrity check that was answered wrongly or not at all.
pub const VIOLATION_INTEGRITY: u32 = 10;
/// Most of a violation score that integrity checks may be: they alone never end a session.
pub const VIOLATION_INTEGRITY_SHARE: u32 = 50;
/// Seconds from one integrity check of a session to the next.
pub const INTEGRITY_INTERVAL_S: u32 = 60;
/// Seconds that the answer to an integrity check may take.
pub const INTEGRITY_PATIENCE_S: u32 = 10;
/// Keys in the table of one build, at most.
pub const INTEGRITY_KEYS_MAX: usize = 4_096;
/// Messages Ping, and as many Pong, that a client may send within a second.
pub const PING_MESSAGES_PER_S: u16 = 30;
/// Messages Ack that a client may send within a second.
pub const ACK_MESSAGES_PER_S: u16 = 240;
/// Messages EnterToWorld, and as many CryptoTest, that a client may send within a second.
pub const ENTER_MESSAGES_PER_S: u16 = 60;
/// Messages with inputs within a second, not counted the first of each packet.
pub const INPUT_MESSAGES_PER_S: u16 = 60;
/// Other messages of channel Control that a client may send within a second.
pub const CONTROL_MESSAGES_PER_S: u16 = 60;
/// Seconds for which an account cools down after its first session that ended for violations.
pub const COOL_DOWN_S: u32 = 60;
/// Seconds for which it cools down at most.
pub const COOL_DOWN_MAX_S: u32 = 3_600;
/// Seconds after a cool-down until it is forgotten, and the next one is a first one again.
pub const COOL_DOWN_MEMORY_S: u32 = 86_400;
/// Accounts whose cool-downs and bans are remembered at a time.
pub const COOL_DOWNS_MAX: usize = 16_384;

/// Reliable messages of one direction that are sent and not acknowledged, at most (fixed by the
/// protocol).
pub const RELIABLE_WINDOW: u16 = 256;
/// Bytes of those (fixed by the protocol).
pub const RELIABLE_WINDOW_BYTES: usize = 64 * 1024;
/// Messages that wait until those before them have come; what is further ahead is refused.
pub const REORDER_MAX: u16 = 64;
/// Bytes of those.
pub const REORDER_BYTES: usize = 32 * 1024;
/// Least milliseconds until what is not acknowledged is sent again ...
pub const RELIABLE_RTO_MIN_MS: u64 = 250;
/// ... and most, however often it was sent.
pub const RELIABLE_RTO_MAX_MS: u64 = 2_000;
/// Times that a message is sent, in vain, before its session ends.
pub const RELIABLE_TRIES_MAX: u8 = 10;
/// Packets sent later and acknowledged that tell that a packet is lost.
pub const LOST_AFTER_NEWER: u8 = 3;
/// So often a message is sent again because of that; from then on only after the time above, as a
/// path that reorders would use up all tries.
pub const FAST_TRIES_MAX: u8 = 3;
/// Bytes of a fragment header (fixed by the protocol).
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// Bytes of a fragment, but for the last of a message (fixed by the protocol).
pub const FRAGMENT_LEN: usize = 1_024;
/// Longest message to a server, its length field included (fixed by the protocol).
pub const MESSAGE_MAX_TO_SERVER: usize = 16 * 1024;
/// Longest message to a client, its length field included (fixed by the protocol).
pub const MESSAGE_MAX_TO_CLIENT: usize = 64 * 1024;
/// Messages in fragments that a server puts together at a time (fixed by the protocol).
pub const FRAGMENT_SETS_SERVER: usize = 2;
/// Messages in fragments that a client puts together at a time (fixed by the protocol).
pub const FRAGMENT_SETS_CLIENT: usize = 4;
/// Milliseconds without a new fragment after which messages cannot be put together any more.
pub const FRAGMENT_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds that messages wait for one that is missing; its sender has given up by then.
pub const GAP_TIMEOUT_MS: u64 = 60_000;
/// Bodies to clients are compressed if they are longer and shrink.
pub const COMPRESS_ABOVE: usize = 512;
/// No body is believed to have been more times longer than its LZ4 block.
pub const COMPRESS_RATIO_MAX: usize = 64;
/// Part of the egress budget for messages that are sent for the first time: one in so many.
pub const RELIABLE_SHARE: u32 = 2;
/// Part of the egress budget for what is sent again: one in so many.
pub const RELIABLE_AGAIN_SHARE: u32 = 10;
/// Blocks of 240 bytes for reliable messages per slot of a shard, half of them for what was
/// received and half for what is to be sent.
pub const RELIABLE_BLOCKS_PER_SLOT: usize = 8;
/// Least blocks of a shard.
pub const RELIABLE_BLOCKS_MIN: usize = 16_384;
/// Blocks that a session may have of a half of which less than half is free: a message of the
/// longest that clients send, and some more.
pub const RELIABLE_BLOCKS_CROWDED: usize = 96;
/// Blocks that it may have when less than a quarter is free: some short messages.
pub const RELIABLE_BLOCKS_SHARE: usize = 8;
/// Milliseconds over which the blocks that a session holds are averaged ...
pub const HOARD_MS: u64 = 8_000;
/// ... the mean beyond which it may be ended while others find no room: that of who sends one of
/// the longest messages for four seconds ...
pub const HOARD_BLOCKS: u32 = 32;
/// ... and milliseconds from one search for such a session to the next.
pub const HOARD_SEARCH_MS: u64 = 250;
/// Blocks of one client.
pub const RELIABLE_BLOCKS_CLIENT: usize = 4_096;
/// Bytes of reliable messages that a client sends each second for the first time ...
pub const RELIABLE_CLIENT_BYTES_PER_S: u32 = 16 * 1024;
/// ... and again.
pub const RELIABLE_CLIENT_AGAIN_PER_S: u32 = 4 * 1024;
/// Milliseconds between two packets of a client with reliable messages.
pub const RELIABLE_CLIENT_INTERVAL_MS: u64 = 25;
/// Messages for the game that a client keeps until its program takes them ...
pub const INBOX_MAX: usize = 64;
/// ... and bytes of them. Then nothing more is received.
pub const INBOX_BYTES: usize = 64 * 1024;
/// Bytes of the description of an entity.
pub const DESCRIPTION_MAX: usize = 4_096;
/// Descriptions that a client keeps: of what it sees, and of what it saw and may see again.
pub const DESCRIPTIONS_MAX: usize = 1_024;

/// Entities one viewer can see at a time: K, the number of slots of the slot protocol.
pub const VISIBLE_MAX: usize = 128;
/// Ticks of quantized history that can serve as a baseline; ages 1..=63 fit six bits.
pub const HISTORY_TICKS: usize = 64;
/// Oldest baseline age, in ticks.
pub const AGE_MAX: u32 = HISTORY_TICKS as u32 - 1;
/// Default bytes of plaintext in one snapshot: 256 kbit/s on the wire at 60 Hz.
pub const SNAPSHOT_BUDGET: usize = 475;
/// Viewers whose visible set is recomputed in one tick: one in this many.
pub const SELECT_STAGGER: u32 = 4;

/// Entities in one world, all shards together: 20 bits of the entity id.
pub const ENTITIES_MAX: usize = 1 << 20;
/// Factions that can be at war, the one that stands for no side included (fixed by the protocol).
pub const FACTIONS_MAX: usize = 64;

/// Handshake limiter: packets each second from one IPv4 address or IPv6 /64.
pub const HANDSHAKES_PER_SOURCE_PER_S: u32 = 20;
/// Handshake limiter: burst from one source.
pub const HANDSHAKES_PER_SOURCE_BURST: u32 = 5;
/// Handshake limiter: packets each second from all sources together.
pub const HANDSHAKES_PER_S: u32 = 50_000;
/// Handshake limiter: sources in its fixed table.
pub const HANDSHAKE_SOURCES: usize = 65_536;
/// Diffie-Hellman handshakes each second, all sources together.
pub const HANDSHAKE_DH_PER_S: u32 = 1_000;
/// Slots of a shard that only players get who come back while their session before lives on; fewer
/// where they would be more than 4,096 with the others.
pub const SPARE_SLOTS: usize = 32;
/// Connect tokens remembered at a time. A full table refuses newcomers and never evicts.
pub const TOKENS_MAX: usize = 65_536;
/// Players remembered at a time whose session with resume tickets has ended; beyond, who is unknown
/// needs a login for 305 s. And tickets in use.
pub const TICKETS_MAX: usize = 65_536;
/// Seconds after which a session gets a new resume ticket; one lives 300 s.
pub const TICKET_RENEWAL_S: u64 = 120;

const _: () = assert!(PLAINTEXT_MAX == 1170, "the protocol promises 1,170 bytes of plaintext");
const _: () = assert!(SNAPSHOT_BUDGET <= PLAINTEXT_MAX, "a snapshot is never fragmented");
const _: () = assert!(VISIBLE_MAX <= 128, "a slot is seven bits on the wire and a bit of a u128");
const _: () = assert!(
    ACK_BLOCK_LEN + FRAGMENT_HEADER_LEN + FRAGMENT_LEN <= PLAINTEXT_MAX,
    "a fragment fits a packet"
);
const _: () = assert!(
    RELIABLE_BLOCKS_CROWDED >= MESSAGE_MAX_TO_SERVER / FRAGMENT_LEN * FRAGMENT_LEN.div_ceil(240),
    "a message in parts reserves room for all of them"
);
const _: () = assert!(MESSAGE_MAX_TO_CLIENT <= 64 * FRAGMENT_LEN, "one bit for each fragment");
const _: () = assert!(
    RELIABLE_TRIES_MAX as u64 * RELIABLE_RTO_MAX_MS < GAP_TIMEOUT_MS,
    "who waits for a message waits longer than it is sent"
);
const _: () = assert!(HISTORY_TICKS.is_power_of_two(), "the history ring is indexed by a mask");
const _: () = assert!(REPLAY_WINDOW_SERVER == 64, "the server's window is one u64");
const _: () = assert!(REKEYS_BEGUN_PER_TICK < REKEYS_DERIVED_PER_TICK, "answers do not pile up");
const _: () = assert!(REKEY_BYTES / 8 * 9 < KEY_BYTES_MAX, "jitter stays below the hard stop");
const _: () = assert!(
    REKEY_SECONDS as u64 * 1_125 + REKEY_TIMEOUT_MS < KEY_AGE_MAX_MS,
    "a rekey that is late by its jitter, and slow, comes before the hard stop"
);
const _: () = assert!(
    REKEY_SECONDS_MIN as u64 * 1_000 > REKEY_HOLD_MS,
    "of the keys before the current ones no more than one is held"
);
const _: () = assert!(SKIP_MIN > 128, "at most one omitted sequence is within reach of an ack");
const _: () = assert!(VIOLATION_INTEGRITY_SHARE < VIOLATION_LIMIT, "never the only reason");
const _: () = assert!(CLIENT_PACKETS_BURST >= CLIENT_PACKETS_PER_S, "a burst covers a second");
