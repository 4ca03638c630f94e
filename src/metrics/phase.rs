//! The spine: thirteen phases from a datagram in to a datagram out.

/// One step of the way of a packet through the server, in order.
///
/// The same words name source files, histogram labels, bench groups and the headings of
/// `docs/ARCHITECTURE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Datagrams arrive from the socket in batches.
    Receive,
    /// The checks that need no cryptography: size, slot, address, rate, replay window.
    Admit,
    /// Authenticated decryption; the first point at which state may change.
    Open,
    /// Bytes become messages.
    Decode,
    /// The newest input of each player becomes its intent.
    Apply,
    /// Positions advance by one tick.
    Move,
    /// Positions become integers, and the tick is added to the history.
    Quantize,
    /// The spatial index is rebuilt and published.
    Index,
    /// Who sees whom.
    Select,
    /// Which of the seen entities differ from what the viewer has acknowledged.
    Diff,
    /// Differences become bytes.
    Encode,
    /// Authenticated encryption.
    Seal,
    /// All datagrams of the tick leave in one submission.
    Send,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 13;

    /// All phases in the order of the spine.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Receive,
        Self::Admit,
        Self::Open,
        Self::Decode,
        Self::Apply,
        Self::Move,
        Self::Quantize,
        Self::Index,
        Self::Select,
        Self::Diff,
        Self::Encode,
        Self::Seal,
        Self::Send,
    ];

    /// The word used in metrics, files and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Admit => "admit",
            Self::Open => "open",
            Self::Decode => "decode",
            Self::Apply => "apply",
            Self::Move => "move",
            Self::Quantize => "quantize",
            Self::Index => "index",
            Self::Select => "select",
            Self::Diff => "diff",
            Self::Encode => "encode",
            Self::Seal => "seal",
            Self::Send => "send",
        }
    }
}
