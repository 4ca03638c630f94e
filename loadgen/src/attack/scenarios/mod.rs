//! The attacks by name.

mod members;
mod strangers;

use super::field::Scenario;
use members::Members;
use strangers::{BadTokens, ConnectFlood, CookieReplay, Garbage, GuessedIds, HalfOpen};
use tidelock::keys::BackendKeys;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Datagrams per second, all attackers together, unless chosen.
    pub(super) rate: u32,
}

/// All of them, in the order of the documents.
pub(super) const ALL: [Entry; 12] = [
    Entry {
        name: "garbage",
        what: "random bytes, half-right headers, Connects with a wrong byte",
        rate: 20_000,
    },
    Entry {
        name: "connect-flood",
        what: "Connects without a cookie from 65,536 addresses",
        rate: 20_000,
    },
    Entry {
        name: "cookie-replay",
        what: "a genuine cookie from other addresses and in other attempts",
        rate: 10_000,
    },
    Entry { name: "guessed-ids", what: "sealed packets under guessed ids", rate: 20_000 },
    Entry {
        name: "overspeed",
        what: "16 players who send ten times as much as they may",
        rate: 9_600,
    },
    Entry {
        name: "half-open",
        what: "whole handshakes with good tokens, and then nothing",
        rate: 1_600,
    },
    Entry {
        name: "fragments",
        what: "16 players with large messages of which parts are missing for ever",
        rate: 800,
    },
    Entry {
        name: "reliables",
        what: "16 players whose first reliable message never comes",
        rate: 800,
    },
    Entry {
        name: "bombs",
        what: "16 players with packets that claim to be more than they are",
        rate: 800,
    },
    Entry {
        name: "spoofed-migration",
        what: "16 players whose packets come from other addresses, copied and forged",
        rate: 1_000,
    },
    Entry {
        name: "bad-tokens",
        what: "handshakes with damaged, old and foreign tokens",
        rate: 4_000,
    },
    Entry {
        name: "wrong-secret",
        what: "handshakes with good tokens and the wrong secret",
        rate: 4_000,
    },
];

/// The scenario `name`, against a server whose backend has `keys`.
pub(super) fn make(name: &str, keys: &BackendKeys, seed: u64) -> Option<Box<dyn Scenario>> {
    Some(match name {
        "garbage" => Box::new(Garbage::new(keys, seed)),
        "connect-flood" => Box::new(ConnectFlood::new(keys, seed)),
        "cookie-replay" => Box::new(CookieReplay::new(keys, seed)),
        "guessed-ids" => Box::new(GuessedIds::new(seed)),
        "overspeed" => Box::new(Members::overspeed(keys, seed)),
        "half-open" => Box::new(HalfOpen::new(keys)),
        "fragments" => Box::new(Members::fragments(keys, seed)),
        "reliables" => Box::new(Members::reliables(keys, seed)),
        "bombs" => Box::new(Members::bombs(keys, seed)),
        "spoofed-migration" => Box::new(Members::spoofed_migration(keys, seed)),
        "bad-tokens" => Box::new(BadTokens::new(keys)),
        "wrong-secret" => Box::new(BadTokens::with_wrong_secrets(keys)),
        _ => return None,
    })
}

/// The entries that `name` stands for: one, or `all`.
///
/// # Errors
/// If there is none; the text lists those there are.
pub(super) fn chosen(name: &str) -> Result<Vec<Entry>, String> {
    if name == "all" {
        return Ok(ALL.to_vec());
    }
    let find = |name: &str| ALL.into_iter().find(|entry| entry.name == name);
    let found: Option<Vec<Entry>> = name.split(',').map(str::trim).map(find).collect();
    found.ok_or_else(|| {
        let names = ALL.map(|entry| entry.name).join(", ");
        format!("there is no scenario `{name}`; there are: {names}, and all")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelock::host::entropy::SeededEntropy;
    use tidelock::keys::ServerKeys;
    use tidelock::limits::DATAGRAM_MAX;
    use tidelock::time::Nanos;

    #[test]
    fn every_name_is_a_scenario_that_sends_something() {
        let keys = ServerKeys::generate(&mut SeededEntropy(1)).backend;
        for entry in ALL {
            let mut scenario = make(entry.name, &keys, 1).expect(entry.name);
            let shot = scenario.next(Nanos::from_ms(1_000), &mut [0; DATAGRAM_MAX]);
            let shot = shot.expect("somebody begins");
            assert!(shot.source.is_loopback() && shot.len <= DATAGRAM_MAX, "{}", entry.name);
        }
        assert!(make("friendship", &keys, 1).is_none());
        assert_eq!(chosen("all").expect("known").len(), ALL.len());
        assert_eq!(chosen("garbage, bombs").expect("known").len(), 2);
        assert!(chosen("garbage,friendship").expect_err("unknown").contains("half-open"));
    }
}
