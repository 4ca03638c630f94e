//! How many shards: a number, or whatever suits the machine.

use super::ConfigError;
use crate::limits;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Most shards that one port has sockets for.
pub const SHARDS_MAX: u16 = limits::SOCKETS_MAX as u16 - 1;

/// The setting `server.shards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCount {
    /// As many as the machine has physical cores to spare.
    Auto,
    /// So many.
    Count(u16),
}

impl ShardCount {
    /// The most that it can come to.
    pub(super) fn most(self) -> u16 {
        match self {
            Self::Auto => SHARDS_MAX,
            Self::Count(count) => count,
        }
    }
}

impl fmt::Display for ShardCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl FromStr for ShardCount {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let count = text.parse().ok().filter(|count| (1..=SHARDS_MAX).contains(count));
        match (text, count) {
            ("auto", _) => Ok(Self::Auto),
            (_, Some(count)) => Ok(Self::Count(count)),
            _ => Err(ConfigError(format!("expected `auto` or a number from 1 to {SHARDS_MAX}"))),
        }
    }
}

impl Serialize for ShardCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de> Deserialize<'de> for ShardCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrWord)
    }
}

struct NumberOrWord;

impl Visitor<'_> for NumberOrWord {
    type Value = ShardCount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`auto` or a number from 1 to {SHARDS_MAX}")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ShardCount, E> {
        value.to_string().parse().map_err(|error: ConfigError| {
            E::custom(format!("server.shards = {value} is not possible: {error}"))
        })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ShardCount, E> {
        value.parse().map_err(|error: ConfigError| {
            E::custom(format!("server.shards = \"{value}\" is not possible: {error}"))
        })
    }
}
