//! A network between the players and the server on simulated time: it loses, repeats, delays and
//! reorders, falls silent for a while, and sends a stretch of datagrams on a detour, so that they
//! come long after those that were sent later. Each player has a link of its own in each
//! direction.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use tidelock::host::entropy::SeededEntropy;

/// How a link treats datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost_percent: u64,
    pub(crate) repeated_percent: u64,
    /// Milliseconds that every datagram takes at least, and at most so many more.
    pub(crate) delay_ms: u64,
    pub(crate) jitter_ms: u64,
    /// One datagram in so many starts a silence in which everything is lost; 0 = none.
    pub(crate) silence_every: u64,
    /// One datagram in so many starts a detour; 0 = none.
    pub(crate) detour_every: u64,
}

impl Weather {
    /// Nothing is lost, and everything arrives before the next tick.
    pub(crate) const FAIR: Self = Self {
        lost_percent: 0,
        repeated_percent: 0,
        delay_ms: 3,
        jitter_ms: 3,
        silence_every: 0,
        detour_every: 0,
    };

    /// A storm as the seed will have it: 0 to 30 percent are lost, and a third of the seeds each
    /// have silences, detours, and hardly any reordering.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut random = SeededEntropy(seed ^ 0x5EED);
        let mut below = |limit: u64| random.next_u64() % limit;
        Self {
            lost_percent: below(31),
            repeated_percent: below(20),
            delay_ms: below(60),
            jitter_ms: [4, 40, 150][below(3) as usize],
            silence_every: [0, 120, 400][below(3) as usize],
            detour_every: [0, 120, 400][below(3) as usize],
        }
    }
}

/// Longest silence and longest detour, milliseconds: some last longer than the 63 ticks for which a
/// state can be a baseline.
const SILENCE_MS: u64 = 1_300;
const DETOUR_MS: u64 = 900;
/// For how long datagrams take the detour.
const DETOUR_LASTS_MS: u64 = 400;

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    silent_until: u64,
    detour_until: u64,
    detour_ms: u64,
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Up,
    Down,
}

/// A datagram and the player's end of its way.
pub(crate) struct Flying {
    pub(crate) way: Way,
    pub(crate) player: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Network {
    pub(crate) weather: Weather,
    random: SeededEntropy,
    links: BTreeMap<(SocketAddr, Way), Link>,
    /// By arrival in milliseconds and order of sending.
    flying: BTreeMap<(u64, u64), Flying>,
    sent: u64,
    /// Datagrams that did not arrive.
    pub(crate) lost: u64,
    /// Datagrams that were sent on a detour.
    pub(crate) detoured: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            weather,
            random: SeededEntropy(seed),
            links: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
            lost: 0,
            detoured: 0,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit.max(1)
    }

    fn starts(&mut self, every: u64) -> bool {
        every > 0 && self.below(every) == 0
    }

    pub(crate) fn send(&mut self, now_ms: u64, way: Way, player: SocketAddr, bytes: &[u8]) {
        let weather = self.weather;
        let mut link = self.links.get(&(player, way)).copied().unwrap_or_default();
        if self.starts(weather.silence_every) {
            link.silent_until = now_ms + self.below(SILENCE_MS);
        }
        if self.starts(weather.detour_every) {
            link.detour_until = now_ms + self.below(DETOUR_LASTS_MS);
            link.detour_ms = self.below(DETOUR_MS);
        }
        self.links.insert((player, way), link);
        // Faults that have begun end with the storm.
        let stormy = weather.silence_every + weather.detour_every > 0;
        let silent = stormy && now_ms < link.silent_until;
        let copies = 1 + u64::from(self.below(100) < weather.repeated_percent);
        for _ in 0..copies {
            if silent || self.below(100) < weather.lost_percent {
                self.lost += 1;
                continue;
            }
            let mut at = now_ms + weather.delay_ms + self.below(weather.jitter_ms);
            if stormy && now_ms < link.detour_until {
                at += link.detour_ms;
                self.detoured += 1;
            }
            self.sent += 1;
            self.flying.insert((at, self.sent), Flying { way, player, bytes: bytes.to_vec() });
        }
    }

    /// The next datagram that has arrived by now.
    pub(crate) fn arrived(&mut self, now_ms: u64) -> Option<Flying> {
        let first = self.flying.first_entry()?;
        (first.key().0 <= now_ms).then(|| first.remove())
    }
}
