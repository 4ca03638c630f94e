//! `[waf]`: what breaches cost a session, and its account.

use super::{ConfigError, within, wrong};
use crate::connection::{IntegrityPace, MessageBudgets, Scores};
use crate::gate::CoolDownRules;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[waf]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WafConfig {
    /// Seconds of an account's first cool-down after a session that ended for violations; 0 = none.
    pub cool_down_s: u32,
    /// Seconds of the longest one.
    pub cool_down_max_s: u32,
    /// Seconds after one has ended until it is forgotten.
    pub cool_down_memory_s: u32,
    /// Accounts whose cool-downs and bans are remembered at a time.
    pub accounts: usize,
    /// Players that may not play.
    pub banned: Vec<u64>,
    /// What violations add to the score of a session.
    pub scores: ScoresConfig,
    /// Messages of one type that one client may send within a second.
    pub messages_per_s: MessagesConfig,
    /// Whether clients know the keys of their build.
    pub integrity: IntegrityConfig,
}

/// `[waf.integrity]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegrityConfig {
    /// Key tables made by `tidelock keygen --build`, one per build; without any nobody is asked.
    pub tables: Vec<PathBuf>,
    /// Seconds from one question to a session to the next.
    pub interval_s: u32,
    /// Seconds that an answer may take.
    pub patience_s: u32,
}

/// `[waf.scores]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoresConfig {
    /// The score that ends a session.
    pub limit: u32,
    /// What it falls by each second.
    pub decay_per_s: u32,
    /// A message that does not parse, is out of range or not allowed where it stands.
    pub message: u32,
    /// An acknowledgment of a packet that was never sent.
    pub false_ack: u32,
    /// A message beyond the budget of its type.
    pub message_rate: u32,
    /// An integrity check answered wrongly or not at all.
    pub integrity: u32,
    /// Most of the score that integrity checks may be.
    pub integrity_share: u32,
}

/// `[waf.messages_per_s]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessagesConfig {
    /// Ping, and as many Pong.
    pub pings: u16,
    /// Ack.
    pub acks: u16,
    /// EnterToWorld, and as many CryptoTest.
    pub enters: u16,
    /// Messages with inputs, not counted the first of each packet.
    pub inputs: u16,
    /// All others of channel Control.
    pub others: u16,
}

impl Default for WafConfig {
    fn default() -> Self {
        let rules = CoolDownRules::default();
        Self {
            cool_down_s: rules.first_s,
            cool_down_max_s: rules.most_s,
            cool_down_memory_s: rules.memory_s,
            accounts: rules.accounts,
            banned: Vec::new(),
            scores: ScoresConfig::default(),
            messages_per_s: MessagesConfig::default(),
            integrity: IntegrityConfig::default(),
        }
    }
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        let IntegrityPace { interval_s, patience_s } = IntegrityPace::default();
        Self { tables: Vec::new(), interval_s, patience_s }
    }
}

impl Default for ScoresConfig {
    fn default() -> Self {
        let scores = Scores::default();
        Self {
            limit: scores.limit,
            decay_per_s: scores.decay_per_s,
            message: scores.message,
            false_ack: scores.false_ack,
            message_rate: scores.message_rate,
            integrity: scores.integrity,
            integrity_share: scores.integrity_share,
        }
    }
}

impl Default for MessagesConfig {
    fn default() -> Self {
        let MessageBudgets { pings, acks, enters, inputs, others } = MessageBudgets::default();
        Self { pings, acks, enters, inputs, others }
    }
}

/// A month, in seconds.
const MONTH_S: u32 = 30 * 86_400;

impl WafConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        within("waf.cool_down_s", self.cool_down_s, 0, MONTH_S)?;
        within("waf.cool_down_max_s", self.cool_down_max_s, self.cool_down_s, MONTH_S)?;
        within("waf.cool_down_memory_s", self.cool_down_memory_s, 0, 12 * MONTH_S)?;
        within("waf.accounts", self.accounts, 16, 1 << 20)?;
        if self.banned.len() > self.accounts / 2 {
            let allowed = format!("at most {} players, half of waf.accounts", self.accounts / 2);
            return wrong("the length of waf.banned", self.banned.len(), &allowed);
        }
        let scores = &self.scores;
        within("waf.scores.limit", scores.limit, 1, 1_000_000)?;
        within("waf.scores.decay_per_s", scores.decay_per_s, 0, scores.limit)?;
        for (key, score) in [
            ("waf.scores.message", scores.message),
            ("waf.scores.false_ack", scores.false_ack),
            ("waf.scores.message_rate", scores.message_rate),
            ("waf.scores.integrity", scores.integrity),
        ] {
            within(key, score, 0, scores.limit)?;
        }
        // Integrity checks are never the only reason to end a session.
        within("waf.scores.integrity_share", scores.integrity_share, 0, scores.limit - 1)?;
        let IntegrityConfig { interval_s, patience_s, .. } = self.integrity;
        within("waf.integrity.interval_s", interval_s, 5, 86_400)?;
        within("waf.integrity.patience_s", patience_s, 2, interval_s)?;
        // What clients need at least: the protocol lets them ping, acknowledge and repeat.
        let messages = &self.messages_per_s;
        for (key, count, least) in [
            ("waf.messages_per_s.pings", messages.pings, 2),
            ("waf.messages_per_s.acks", messages.acks, 120),
            ("waf.messages_per_s.enters", messages.enters, 20),
            ("waf.messages_per_s.inputs", messages.inputs, 0),
            ("waf.messages_per_s.others", messages.others, 20),
        ] {
            within(key, count, least, 10_000)?;
        }
        Ok(())
    }

    /// How long accounts cool down.
    pub fn cool_down_rules(&self) -> CoolDownRules {
        CoolDownRules {
            first_s: self.cool_down_s,
            most_s: self.cool_down_max_s,
            memory_s: self.cool_down_memory_s,
            accounts: self.accounts,
        }
    }

    /// What violations cost.
    pub fn scores(&self) -> Scores {
        let scores = &self.scores;
        Scores {
            limit: scores.limit,
            decay_per_s: scores.decay_per_s,
            message: scores.message,
            false_ack: scores.false_ack,
            message_rate: scores.message_rate,
            integrity: scores.integrity,
            integrity_share: scores.integrity_share,
        }
    }

    /// When clients are asked for the keys of their build.
    pub fn integrity_pace(&self) -> IntegrityPace {
        let IntegrityConfig { interval_s, patience_s, .. } = self.integrity;
        IntegrityPace { interval_s, patience_s }
    }

    /// How many messages of each type one client may send.
    pub fn message_budgets(&self) -> MessageBudgets {
        let MessagesConfig { pings, acks, enters, inputs, others } = self.messages_per_s;
        MessageBudgets { pings, acks, enters, inputs, others }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn error_of(text: &str) -> String {
        match Config::parse(text).and_then(|config| config.check()) {
            Ok(()) => panic!("accepted: {text}"),
            Err(error) => error.0,
        }
    }

    #[test]
    fn rates_are_bounded_by_what_clients_need_and_the_accounts_can_hold() {
        for (text, parts) in [
            ("[limits]\nclient_packets_per_s = 59", ["client_packets_per_s", "60 to 240"]),
            ("[server]\ntick_rate = 120\n[limits]\nclient_packets_per_s = 119", ["", "120 to 240"]),
            ("[limits]\nclient_packets_burst = 119", ["client_packets_burst", "120 to 1200"]),
            ("[limits]\nclient_bytes_per_s = 100", ["client_bytes_per_s", "8192 to 1048576"]),
            ("[limits]\nclient_inputs_burst = 0", ["client_inputs_burst", "1 to 120"]),
            ("[limits]\nhandshakes_per_s = 0", ["handshakes_per_s", "1 to"]),
            ("[limits]\nhandshake_sources = 3", ["handshake_sources", "4 to"]),
            ("[limits]\nclient_packet_per_s = 59", ["line 2", "did you mean"]),
        ] {
            let error = error_of(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn the_rules_are_checked_each_with_its_key_and_range() {
        for (text, parts) in [
            ("[waf]\ncool_down_max_s = 59", ["waf.cool_down_max_s", "60 to"]),
            ("[waf]\naccounts = 15", ["waf.accounts", "16 to"]),
            ("[waf]\naccounts = 16\nbanned = [1,2,3,4,5,6,7,8,9]", ["waf.banned", "at most 8"]),
            ("[waf]\nbanned = [-1]", ["line 2", "u64"]),
            ("[waf.scores]\nlimit = 0", ["waf.scores.limit", "1 to"]),
            ("[waf.scores]\nlimit = 10", ["waf.scores.false_ack", "0 to 10"]),
            ("[waf.scores]\nintegrity_share = 100", ["integrity_share", "0 to 99"]),
            ("[waf.integrity]\ninterval_s = 4", ["waf.integrity.interval_s", "5 to"]),
            ("[waf.integrity]\npatience_s = 61", ["waf.integrity.patience_s", "2 to 60"]),
            ("[waf.messages_per_s]\nacks = 1", ["waf.messages_per_s.acks", "120 to"]),
            ("[waf.scores]\nmesage = 1", ["line 2", "did you mean `message`"]),
        ] {
            let error = error_of(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn every_setting_arrives_where_it_counts() {
        let text = "[limits]\nclient_packets_per_s = 100\nclient_packets_burst = 200\n\
                    client_bytes_per_s = 10000\nclient_inputs_burst = 9\nhandshakes_per_s = 7\n\
                    handshake_sources = 8\n[waf]\ncool_down_s = 1\ncool_down_max_s = 2\n\
                    cool_down_memory_s = 3\naccounts = 20\nbanned = [7]\n[waf.scores]\n\
                    limit = 90\ndecay_per_s = 4\nmessage = 5\nfalse_ack = 6\nmessage_rate = 7\n\
                    integrity = 8\nintegrity_share = 9\n\
                    [waf.messages_per_s]\npings = 21\nacks = 122\nenters = 23\ninputs = 24\n\
                    others = 25\n[waf.integrity]\ntables = [\"a\"]\ninterval_s = 31\n\
                    patience_s = 30\n";
        let config = Config::parse(text).expect("valid");
        config.check().expect("possible");
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            config.limits.client_rates(),
            config.limits.handshake_rates(),
            config.waf.cool_down_rules(),
            config.waf.scores(),
            config.waf.message_budgets(),
            config.waf.banned,
            config.waf.integrity_pace(),
            config.waf.integrity.tables
        );
        for part in [
            "packets_per_s: 100, packets_burst: 200, bytes_per_s: 10000, inputs_burst: 9",
            "global_per_s: 7, sources: 8",
            "first_s: 1, most_s: 2, memory_s: 3, accounts: 20",
            "limit: 90, decay_per_s: 4, message: 5, false_ack: 6, message_rate: 7, integrity: 8",
            "integrity_share: 9 }",
            "interval_s: 31, patience_s: 30 } [\"a\"]",
            "pings: 21, acks: 122, enters: 23, inputs: 24, others: 25",
            "[7]",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
