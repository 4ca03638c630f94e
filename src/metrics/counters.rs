//! Typed counters. Each has one writing thread; any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All variants in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word used in metrics and documents.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named_enum! {
    /// Why a packet, or a part of it, was not used. Silent towards the peer, counted here.
    DropReason {
        /// Fewer than 30 or more than 1,200 bytes, or truncated by the kernel.
        Size = "size",
        /// A header whose fields contradict each other.
        Header = "header",
        /// An unknown control type, wire version or reserved byte in a handshake packet.
        Handshake = "handshake",
        /// A CRC32C that does not match.
        Crc = "crc",
        /// Another game or build.
        ProtocolId = "protocol_id",
        /// More handshake packets from one source than its limit.
        SourceLimit = "source_limit",
        /// More handshake packets from all sources than the limit.
        GlobalLimit = "global_limit",
        /// A cookie that is neither zero nor valid; answered with a fresh one.
        Cookie = "cookie",
        /// A token past its expiry, too long-lived, or of an unknown key.
        TokenExpired = "token_expired",
        /// A token of an unknown key id or kind.
        TokenKey = "token_key",
        /// A token that does not open, or was made for another server, realm or address.
        Token = "token",
        /// A token issued before this server started.
        TokenBeforeBoot = "token_before_boot",
        /// A token already used, or in use from another address.
        TokenReplayed = "token_replayed",
        /// The token table is full.
        TokenTableFull = "token_table_full",
        /// A newcomer whose player is on its way to another shard; answered with a denial.
        PlayerMoving = "player_moving",
        /// More key agreements than the budget of this second.
        DhBudget = "dh_budget",
        /// A Noise message that does not authenticate.
        Noise = "noise",
        /// No free slot or entity, or too many unconfirmed sessions; answered with a denial.
        ServerFull = "server_full",
        /// A player who may not play; answered with a denial.
        Banned = "banned",
        /// A player whose account cools down; answered with a denial.
        CoolDown = "cool_down",
        /// A client too old for this server; answered with a denial.
        Build = "build",
        /// A handshake while the server takes no players; answered with a denial.
        Maintenance = "maintenance",
        /// A connection id that names no session.
        UnknownConnection = "unknown_connection",
        /// A sealed packet from an address that is not the session's, beyond 20 a second.
        Address = "address",
        /// More packets from one session than its limit.
        PacketRate = "packet_rate",
        /// More bytes from one session than its limit.
        ByteRate = "byte_rate",
        /// A sequence seen before or too old for the window.
        Replay = "replay",
        /// A packet of a key epoch that the session does not hold.
        Epoch = "epoch",
        /// A packet that does not authenticate.
        Open = "open",
        /// A message that does not parse; the rest of its packet is dropped.
        Malformed = "malformed",
        /// A message that is not allowed here: wrong channel, direction or state.
        Unexpected = "unexpected",
        /// An acknowledgment of a packet that was never sent.
        FalseAck = "false_ack",
        /// An input frame out of range.
        InputRange = "input_range",
        /// An input frame beyond one per tick.
        InputRate = "input_rate",
        /// A wrong answer to an integrity check; the rest of its packet is dropped.
        Integrity = "integrity",
        /// A message beyond the budget of its type; the rest of its packet is dropped.
        MessageRate = "message_rate",
        /// A Benchmark while they are off, or one of several in a tick.
        Benchmark = "benchmark",
        /// A datagram that the kernel refused to take.
        SendRefused = "send_refused",
        /// A bounded queue inside the server was full.
        QueueFull = "queue_full",
        /// A sealed packet at the gate, or a handshake packet at a shard.
        WrongSocket = "wrong_socket",
    }
}

named_enum! {
    /// What a server counts besides drops. Monotonic unless the description says otherwise.
    Counter {
        /// Datagrams taken from the socket.
        PacketsIn = "packets_in",
        /// Payload bytes of those.
        BytesIn = "bytes_in",
        /// Datagrams handed to the kernel.
        PacketsOut = "packets_out",
        /// Payload bytes of those.
        BytesOut = "bytes_out",
        /// Packets that opened.
        PacketsOpened = "packets_opened",
        /// Datagrams that the kernel dropped because the socket buffer was full (SO_RXQ_OVFL).
        KernelDrops = "kernel_drops",
        /// Times the provided-buffer ring ran empty and the receive was armed again.
        ReceiveRearmed = "receive_rearmed",
        /// Cookies sent.
        CookiesSent = "cookies_sent",
        /// Denials sent that prove nothing: busy, or a token that is not good any more.
        Denied = "denied",
        /// Handshakes accepted.
        Accepted = "accepted",
        /// Of those, the ones with a resume ticket.
        TicketsUsed = "tickets_used",
        /// Resume tickets made.
        TicketsIssued = "tickets_issued",
        /// Sessions whose first sealed packet opened.
        Confirmed = "confirmed",
        /// Sessions that ended, for whatever reason.
        Closed = "closed",
        /// Sessions that ended by silence.
        TimedOut = "timed_out",
        /// Sessions ended for violations.
        Violations = "violations",
        /// Cool-downs of accounts that followed from those.
        CoolDowns = "cool_downs",
        /// Cool-downs for which there was no room in the table.
        CoolDownsLost = "cool_downs_lost",
        /// Integrity checks: questions put to clients.
        IntegrityAsked = "integrity_asked",
        /// Integrity checks: right answers.
        IntegrityPassed = "integrity_passed",
        /// Integrity checks: questions that were not answered in time.
        IntegrityUnanswered = "integrity_unanswered",
        /// Sessions ended because a newer one of the same player took over.
        Replaced = "replaced",
        /// Entities without a session that a player came back to.
        Resumed = "resumed",
        /// Entities without a session that were removed because nobody came back.
        LingerExpired = "linger_expired",
        /// Entities without a session now (a gauge).
        Lingering = "lingering",
        /// Rekeys begun.
        RekeysStarted = "rekeys_started",
        /// Rekeys that came to their end: the client uses the new keys.
        RekeysCompleted = "rekeys_completed",
        /// Sessions ended because their client did not take part in a rekey.
        RekeysFailed = "rekeys_failed",
        /// Sessions now (a gauge).
        Sessions = "sessions",
        /// Players in the world now (a gauge).
        Players = "players",
        /// Entities in the world now (a gauge).
        Entities = "entities",
        /// Ticks done.
        Ticks = "ticks",
        /// Ticks that ended after the next one should have started.
        Overruns = "overruns",
        /// Times a shard was too far behind to catch up, and its schedule was moved.
        ScheduleShifts = "schedule_shifts",
        /// Rung of the overload ladder now (a gauge), 0 = nothing is shed.
        Rung = "rung",
        /// Ticks in which something was shed.
        ShedTicks = "shed_ticks",
        /// NPCs spawned anew because their shard was lost.
        NpcsRespawned = "npcs_respawned",
        /// Players handed over to another shard.
        HandedOver = "handed_over",
        /// Datagrams that came to the wrong socket and were handed on.
        Forwarded = "forwarded",
        /// Times that packets from another address were taken for a client that has moved.
        PathCandidates = "path_candidates",
        /// Clients that went on from another address, having proved that they are there.
        PathChanges = "path_changes",
        /// Packets that would have led to more changes of address than are allowed.
        PathRefused = "path_refused",
        /// Shards that were lost and replaced.
        ShardsLost = "shards_lost",
        /// Effects of entities on others, sent to be applied in the next tick.
        EffectsSent = "effects_sent",
        /// Effects that a full queue did not take.
        EffectsLost = "effects_lost",
        /// Players summed over ticks: one player for one tick is one player-tick.
        PlayerTicks = "player_ticks",
        /// Thread CPU time of the shard, nanoseconds.
        CpuNs = "cpu_ns",
        /// Snapshots encoded.
        Snapshots = "snapshots",
        /// Players told of themselves outside a snapshot, as they had asked twice.
        UpdatesSent = "updates_sent",
        /// Benchmarks answered.
        BenchmarksAnswered = "benchmarks_answered",
        /// Inputs applied.
        Inputs = "inputs",
        /// Entities visible to a viewer, summed over viewers and ticks.
        VisiblePairs = "visible_pairs",
        /// Entity entries written into snapshots.
        EntriesSent = "entries_sent",
        /// Entity entries that had to be encoded; the others were copied.
        EntriesEncoded = "entries_encoded",
        /// Changed entities that did not fit the byte budget of their viewer this tick.
        EntriesDeferred = "entries_deferred",
        /// Bytes of the entity entries written.
        EntryBytes = "entry_bytes",
        /// Time of the phases select, diff and encode, nanoseconds.
        ReplicationNs = "replication_ns",
        /// Sampled: entities that a viewer saw and that moved, within a third of their radius.
        SampledNear = "sampled_near",
        /// Ticks for which what the viewers were told of those had been out of date, summed.
        SampledNearAge = "sampled_near_age",
        /// Sampled: the same, within two thirds.
        SampledMiddle = "sampled_middle",
        /// Ticks for which what the viewers were told of those had been out of date, summed.
        SampledMiddleAge = "sampled_middle_age",
        /// Sampled: the same, beyond two thirds.
        SampledFar = "sampled_far",
        /// Ticks for which what the viewers were told of those had been out of date, summed.
        SampledFarAge = "sampled_far_age",
        /// Sampled: entities that a viewer saw and that stood still.
        SampledStill = "sampled_still",
        /// Ticks for which what the viewers were told of those had been out of date, summed.
        SampledStillAge = "sampled_still_age",
        /// Times that congestion control cut the byte budget of a session.
        BudgetCuts = "budget_cuts",
        /// Players whose byte budget congestion control holds down now (a gauge).
        HeldDown = "held_down",
        /// Reliable messages, or fragments of them, sent for the first time.
        MessagesOut = "messages_out",
        /// Reliable messages, or fragments of them, sent again.
        MessagesAgain = "messages_again",
        /// Reliable messages delivered.
        MessagesIn = "messages_in",
        /// Packets with reliable messages for which there was no room; they are sent again.
        MessagesRefused = "messages_refused",
        /// Sessions that ended since a reliable message could not be delivered.
        Undelivered = "undelivered",
        /// Of those, sessions that held most of a pool in which others found no room.
        HoardersEnded = "hoarders_ended",
        /// Blocks of 240 bytes that reliable messages take now (a gauge).
        MessageBlocks = "message_blocks",
    }
}

/// The counters of one thread: written by it alone, read by any.
#[derive(Debug)]
pub struct Counters {
    counters: [AtomicU64; Counter::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counters: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            dropped: [const { AtomicU64::new(0) }; DropReason::ALL.len()],
        }
    }
}

/// A plain load and store: one writer per block means no locked instruction is needed.
fn bump(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl Counters {
    /// Adds `amount`. Only the owning thread may call this.
    pub fn add(&self, counter: Counter, amount: u64) {
        bump(&self.counters[counter as usize], amount);
    }

    /// Replaces the value of a gauge. Only the owning thread may call this.
    pub fn set(&self, counter: Counter, value: u64) {
        self.counters[counter as usize].store(value, Ordering::Relaxed);
    }

    /// Counts one drop. Only the owning thread may call this.
    pub fn drop(&self, reason: DropReason) {
        bump(&self.dropped[reason as usize], 1);
    }

    /// Counts `amount` drops. Only the owning thread may call this.
    pub fn drop_many(&self, reason: DropReason, amount: u64) {
        bump(&self.dropped[reason as usize], amount);
    }

    /// The value now.
    pub fn read(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// The drops for `reason` so far.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// The drops for all reasons so far.
    pub fn dropped_total(&self) -> u64 {
        DropReason::ALL.iter().map(|&reason| self.dropped(reason)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_counter_and_reason_has_its_own_name_and_cell() {
        let names: HashSet<_> = Counter::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        let reasons: HashSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(reasons.len(), DropReason::ALL.len());
        let counters = Counters::default();
        for (index, &reason) in DropReason::ALL.iter().enumerate() {
            counters.drop_many(reason, index as u64 + 1);
        }
        for (index, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(counters.dropped(reason), index as u64 + 1);
        }
    }
}
