//! Attacks by people who are no players: noise, floods of questions, stolen and guessed things.

use crate::attack::field::{SOURCES, Scenario, Shot, Standing};
use crate::attack::session::{Answer, Attempt, cookie_of, is_accepted, ticket};
use crate::attack::squad::FIRST_PLAYER;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use tidelock::host::entropy::SeededEntropy;
use tidelock::keys::{BackendKeys, Secret, TicketFile};
use tidelock::limits::{DATAGRAM_MAX, DATAGRAM_MIN, HEADER_LEN, SLOTS_PER_SHARD};
use tidelock::time::{Entropy, Nanos};
use tidelock::wire::{COOKIE_LEN, Channel, ConnectionId, Flags, Header};

/// Attempts that are made beforehand and sent again and again: making one takes longer than
/// sending it, and the server cannot tell.
const TEMPLATES: u32 = 64;
/// Cookies that wait to be used.
const WAITING: usize = 4_096;
/// Sources of a flood of Connects.
const FLOOD_SOURCES: u64 = 65_536;
/// A stolen cookie is replaced by a fresh one after this time.
const COOKIE_AGE: Nanos = Nanos::from_ms(1_000);

/// Who the address says it is.
fn by_address(local: Ipv4Addr) -> Standing {
    Standing::of(local).map_or(Standing::Garbage, |(standing, _)| standing)
}

fn templates(keys: &BackendKeys) -> Vec<Attempt> {
    let new = |n| Attempt::new(&ticket(keys, FIRST_PLAYER + u64::from(n)), n);
    (0..TEMPLATES).map(new).collect()
}

/// Bytes that mean nothing, and packets that are nearly right.
pub(super) struct Garbage {
    random: SeededEntropy,
    templates: Vec<Attempt>,
}

impl Garbage {
    pub(super) fn new(keys: &BackendKeys, seed: u64) -> Self {
        Self { random: SeededEntropy(seed), templates: templates(keys) }
    }
}

impl Scenario for Garbage {
    fn next(&mut self, _: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        let [kind, socket, place] = [0; 3].map(|_| self.random.next_u64());
        let mut len = (place % (DATAGRAM_MAX as u64 + 1)) as usize;
        self.random.fill(&mut out[..]);
        // Half of it for the gate and the first shard, where somebody is.
        out[0] = if socket & 1 == 0 { (socket >> 1) as u8 & 1 } else { (socket >> 8) as u8 };
        match kind % 4 {
            0 => {
                // A Connect of which one byte is wrong.
                let template = &self.templates[(kind >> 8) as usize % self.templates.len()];
                len = template.connect(&[0; COOKIE_LEN], out);
                out[(place >> 16) as usize % len] ^= 1 << (place % 8);
            }
            1 => Header::HANDSHAKE.write(out.first_chunk_mut().expect("a header fits")),
            _ => {}
        }
        let standing = Standing::Garbage;
        let source = standing.address((self.random.next_u64() % u64::from(SOURCES)) as u32);
        Some(Shot { len, source, standing })
    }

    fn answer(&mut self, _: Nanos, local: Ipv4Addr, _: &mut [u8]) -> Standing {
        by_address(local)
    }
}

/// Connects without a cookie from 65,536 sources.
pub(super) struct ConnectFlood {
    random: SeededEntropy,
    templates: Vec<Attempt>,
}

impl ConnectFlood {
    pub(super) fn new(keys: &BackendKeys, seed: u64) -> Self {
        Self { random: SeededEntropy(seed), templates: templates(keys) }
    }
}

impl Scenario for ConnectFlood {
    fn next(&mut self, _: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        let word = self.random.next_u64();
        let template = &self.templates[(word >> 32) as usize % self.templates.len()];
        let len = template.connect(&[0; COOKIE_LEN], out);
        let standing = Standing::Stranger;
        Some(Shot { len, source: standing.address((word % FLOOD_SOURCES) as u32), standing })
    }

    fn answer(&mut self, _: Nanos, local: Ipv4Addr, _: &mut [u8]) -> Standing {
        by_address(local)
    }
}

/// A genuine cookie, and with it the same Connect from other addresses, and others from its own.
pub(super) struct CookieReplay {
    random: SeededEntropy,
    protocol_id: u64,
    templates: Vec<Attempt>,
    /// Of the first template, for the thief's own address, and since when.
    cookie: Option<([u8; COOKIE_LEN], Nanos)>,
    asked: Nanos,
    accepted: u64,
}

impl CookieReplay {
    pub(super) fn new(keys: &BackendKeys, seed: u64) -> Self {
        let (random, protocol_id) = (SeededEntropy(seed), keys.protocol_id);
        let (templates, asked) = (templates(keys), Nanos(0));
        Self { random, protocol_id, templates, cookie: None, asked, accepted: 0 }
    }
}

impl Scenario for CookieReplay {
    fn next(&mut self, now: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        let standing = Standing::Stranger;
        let fresh = self.cookie.filter(|&(_, at)| now.since(at) < COOKIE_AGE);
        let Some((cookie, _)) = fresh else {
            if now < self.asked {
                return None;
            }
            self.asked = now.plus(Nanos::from_ms(100));
            let len = self.templates[0].connect(&[0; COOKIE_LEN], out);
            return Some(Shot { len, source: standing.address(0), standing });
        };
        let word = self.random.next_u64();
        // Now and then the right address, and another attempt than the cookie was made for.
        let (template, source) = match word % 1_000 {
            0 => (1 + (word >> 32) as usize % (self.templates.len() - 1), 0),
            _ => (0, 1 + (word >> 32) as u32 % (SOURCES - 1)),
        };
        let len = self.templates[template].connect(&cookie, out);
        Some(Shot { len, source: standing.address(source), standing })
    }

    fn answer(&mut self, now: Nanos, local: Ipv4Addr, payload: &mut [u8]) -> Standing {
        match cookie_of(self.protocol_id, payload) {
            Some((0, cookie)) if local == Standing::Stranger.address(0) => {
                self.cookie = Some((cookie, now));
            }
            Some(_) => {}
            None => self.accepted += 1,
        }
        by_address(local)
    }

    fn breaches(&self) -> u64 {
        self.accepted
    }
}

/// Sealed packets under ids that may be somebody's.
pub(super) struct GuessedIds {
    random: SeededEntropy,
}

impl GuessedIds {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: SeededEntropy(seed) }
    }
}

impl Scenario for GuessedIds {
    fn next(&mut self, _: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        let [id, place, sequence] = [0; 3].map(|_| self.random.next_u64());
        let len = DATAGRAM_MIN + (place % 200) as usize;
        self.random.fill(&mut out[HEADER_LEN..len]);
        // The slots that are filled first, mostly.
        let slots = if id & 1 == 0 { 256 } else { SLOTS_PER_SHARD as u64 };
        let connection =
            ConnectionId::from_parts(1, ((id >> 8) % slots) as u16, (id >> 40) as u16 & 0xFFF);
        let channel = Channel::from_wire((place >> 20) as u8 & 3).unwrap_or(Channel::Unreliable);
        let flags = Flags::SEALED.with(Flags((place >> 32) as u8 & 0x20));
        let header = Header { connection, channel, flags, sequence: 1 + sequence % 100_000 };
        header.write(out.first_chunk_mut().expect("a header fits"));
        let standing = Standing::Garbage;
        Some(Shot { len, source: standing.address((sequence >> 40) as u32), standing })
    }

    fn answer(&mut self, _: Nanos, local: Ipv4Addr, _: &mut [u8]) -> Standing {
        by_address(local)
    }
}

/// Attempts from addresses that answer cookies, with tokens that are no good.
pub(super) struct BadTokens {
    protocol_id: u64,
    templates: Vec<Attempt>,
    /// Cookies that have come: whose, of which template.
    cookies: VecDeque<(Ipv4Addr, u32, [u8; COOKIE_LEN])>,
    shots: u32,
    accepted: u64,
}

impl BadTokens {
    /// Tokens that are damaged, too old, sealed with another key, or for another world or server.
    pub(super) fn new(keys: &BackendKeys) -> Self {
        let bad = |n: u32| {
            let mut keys = keys.clone();
            match n % 6 {
                0 => keys.token_key = Secret([9; 32]),
                1 => keys.token_key_id += 1,
                2 => keys.realm += 1,
                _ => {}
            }
            let mut ticket = ticket(&keys, FIRST_PLAYER + u64::from(n));
            match n % 6 {
                3 => ticket.token_expiry -= 3_600,
                4 => ticket.sealed_token[n as usize % 272] ^= 1,
                5 => ticket.token_kind = 7,
                _ => {}
            }
            ticket
        };
        Self::with(keys, bad)
    }

    /// Good tokens of players whose secret is not known, as stolen on their way through a proxy.
    pub(super) fn with_wrong_secrets(keys: &BackendKeys) -> Self {
        Self::with(keys, |n| {
            let mut ticket = ticket(keys, FIRST_PLAYER + u64::from(n));
            ticket.psk.0[0] ^= 1;
            ticket
        })
    }

    fn with(keys: &BackendKeys, bad: impl Fn(u32) -> TicketFile) -> Self {
        Self {
            protocol_id: keys.protocol_id,
            templates: (0..TEMPLATES).map(|n| Attempt::new(&bad(n), n)).collect(),
            cookies: VecDeque::with_capacity(WAITING),
            shots: 0,
            accepted: 0,
        }
    }
}

impl Scenario for BadTokens {
    fn next(&mut self, _: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        if let Some((source, template, cookie)) = self.cookies.pop_front() {
            let len = self.templates[template as usize].connect(&cookie, out);
            return Some(Shot { len, source, standing: Standing::Known });
        }
        self.shots = self.shots.wrapping_add(1);
        let len = self.templates[(self.shots % TEMPLATES) as usize].connect(&[0; COOKIE_LEN], out);
        let standing = Standing::Stranger;
        Some(Shot { len, source: standing.address(self.shots), standing })
    }

    fn answer(&mut self, _: Nanos, local: Ipv4Addr, payload: &mut [u8]) -> Standing {
        match cookie_of(self.protocol_id, payload) {
            Some((template, cookie)) if template < TEMPLATES => {
                if self.cookies.len() < WAITING {
                    self.cookies.push_back((local, template, cookie));
                }
            }
            _ => {
                // Whoever gets this has returned a cookie. To be told no would be all right.
                self.accepted += u64::from(is_accepted(self.protocol_id, payload));
                return Standing::Known;
            }
        }
        by_address(local)
    }

    fn breaches(&self) -> u64 {
        self.accepted
    }
}

/// Good tokens and whole handshakes, and then silence.
pub(super) struct HalfOpen {
    keys: BackendKeys,
    /// Attempts that wait for their cookie; the oldest are given up.
    asking: VecDeque<(u32, Attempt)>,
    ready: VecDeque<(Ipv4Addr, Attempt, [u8; COOKIE_LEN])>,
    next: u32,
}

impl HalfOpen {
    pub(super) fn new(keys: &BackendKeys) -> Self {
        let (asking, ready) = (VecDeque::with_capacity(WAITING), VecDeque::with_capacity(WAITING));
        Self { keys: keys.clone(), asking, ready, next: 0 }
    }
}

impl Scenario for HalfOpen {
    fn next(&mut self, _: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        if let Some((source, attempt, cookie)) = self.ready.pop_front() {
            let len = attempt.connect(&cookie, out);
            return Some(Shot { len, source, standing: Standing::Known });
        }
        if self.asking.len() == WAITING {
            self.asking.pop_front();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let player = FIRST_PLAYER + u64::from(number);
        let attempt = Attempt::new(&ticket(&self.keys, player), number);
        let len = attempt.connect(&[0; COOKIE_LEN], out);
        self.asking.push_back((number, attempt));
        let standing = Standing::Stranger;
        Some(Shot { len, source: standing.address(number), standing })
    }

    fn answer(&mut self, _: Nanos, local: Ipv4Addr, payload: &mut [u8]) -> Standing {
        let Some((number, cookie)) = cookie_of(self.keys.protocol_id, payload) else {
            // The address has proven itself by its cookie.
            return Standing::Known;
        };
        let place = self.asking.iter().position(|(known, _)| *known == number);
        if let Some((_, attempt)) = place.and_then(|place| self.asking.remove(place))
            && self.ready.len() < WAITING
            && matches!(attempt.answer(payload), Answer::Cookie(_))
        {
            self.ready.push_back((local, attempt, cookie));
        }
        Standing::Stranger
    }
}
