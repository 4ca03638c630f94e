//! What must hold after every tick, whatever happens. Each check looks from outside: at datagrams
//! as they pass the port, at what clients were told, at what the shards published; never at what
//! the server counts of itself. Each has a test that feeds it a violation.

mod bans;
mod holdings;
mod ledger;
mod letters;
mod motion;
mod nonces;
mod once;
mod owners;
mod sight;

pub(crate) use bans::{Ban, Bans};
pub(crate) use holdings::Holdings;
pub(crate) use ledger::Ledger;
pub(crate) use letters::{CHECK as LETTERS, HEAD_LEN as LETTER_HEAD_LEN, Letters, To};
pub(crate) use motion::Motion;
pub(crate) use nonces::Nonces;
pub(crate) use once::Once;
pub(crate) use owners::Owners;
pub(crate) use sight::{Look, Sight};

use std::fmt;

/// Something that must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// In which tick of the simulation.
    pub tick: u64,
    /// What it found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}: {}: {}", self.tick, self.check, self.what)
    }
}

/// What a check found, before anybody knows the tick.
pub(crate) type Finding = (&'static str, String);

/// Nothing, or what is wrong.
pub(crate) type Verdict = Result<(), Finding>;

/// A fingerprint of bytes, to tell them apart; FNV-1a over words.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = 0xCBF2_9CE4_8422_2325_u64 ^ bytes.len() as u64;
    let mut mix = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        hash ^= hash >> 29;
    };
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    rest.iter().for_each(|&byte| mix(byte.into()));
    hash
}
