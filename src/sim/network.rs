//! The network of the simulator: it loses, doubles, replays, corrupts, delays and reorders, clogs
//! and cuts paths, swallows what is large, and lets strangers send copies under addresses not
//! theirs.
//!
//! A path is one direction between the server and one address. Everything is decided when a
//! datagram is sent; what is under way when the weather turns fair still arrives as was decided.
//! Knows nothing of what the bytes mean. Called by `universe`.

use super::dice::Dice;
use super::plan::Weather;
use crate::time::Nanos;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// To a peer.
    Down,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) way: Way,
    /// The address of the peer, or what is claimed to be it.
    pub(crate) peer: SocketAddr,
    /// Which server, of those that were one after the other, sent it.
    pub(crate) server: usize,
    /// Whether it could only be made by somebody who gets what is sent to `peer`.
    pub(crate) proof: bool,
    pub(crate) bytes: Vec<u8>,
}

/// What is wrong with a path at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    cut_until: Nanos,
    narrow_until: Nanos,
    /// Longest datagram that gets through meanwhile.
    mtu: usize,
    clogged_until: Nanos,
    /// When what was sent before has left the queue.
    free_at: Nanos,
}

/// What the network did, for whoever has to know that enough happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deeds {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) replayed: u64,
    pub(crate) corrupted: u64,
    pub(crate) spoofed: u64,
    pub(crate) clogged: u64,
    pub(crate) cut: u64,
    pub(crate) swallowed: u64,
}

/// Datagrams kept to be replayed.
const KEPT: usize = 64;
/// Bytes per millisecond that a clogged path takes, and how long its queue may be.
const CLOGGED_RATE: u64 = 20;
const QUEUE_MAX: Nanos = Nanos::from_ms(1_500);

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    dice: Dice,
    paths: BTreeMap<(SocketAddr, Way), Path>,
    /// By arrival and order of sending.
    flying: BTreeMap<(Nanos, u64), Flying>,
    kept: VecDeque<Flying>,
    pub(crate) deeds: Deeds,
    count: u64,
}

impl Network {
    pub(crate) fn new(weather: Weather, dice: Dice) -> Self {
        Self {
            weather,
            dice,
            paths: BTreeMap::new(),
            flying: BTreeMap::new(),
            kept: VecDeque::with_capacity(KEPT),
            deeds: Deeds::default(),
            count: 0,
        }
    }

    /// The storm is over: every path is as good as new.
    pub(crate) fn clear_up(&mut self) {
        self.weather = Weather::FAIR;
        self.paths.clear();
        self.kept.clear();
    }

    /// Sends a datagram; what becomes of it is decided now.
    pub(crate) fn send(&mut self, now: Nanos, flying: Flying) {
        self.deeds.sent += 1;
        let weather = self.weather;
        let held_back = match self.pass(now, &flying) {
            Some(held_back) => held_back,
            None => return,
        };
        if flying.way == Way::Up && self.dice.percent(weather.spoofed_percent) {
            self.spoof(now, &flying);
        }
        if self.dice.percent(weather.replayed_percent) && !self.kept.is_empty() {
            let which = self.dice.below(self.kept.len() as u64) as usize;
            let late = Nanos::from_ms(self.dice.below(3_000));
            self.deeds.replayed += 1;
            self.launch(now.plus(late), self.kept[which].clone());
        }
        if weather.replayed_percent > 0 {
            self.kept.truncate(KEPT - 1);
            self.kept.push_front(flying.clone());
        }
        if self.dice.percent(weather.doubled_percent) {
            self.deeds.doubled += 1;
            self.travel(now.plus(held_back), flying.clone());
        }
        self.travel(now.plus(held_back), flying);
    }

    /// How long the path holds the datagram back; `None` if it does not get through at all.
    fn pass(&mut self, now: Nanos, flying: &Flying) -> Option<Nanos> {
        let weather = self.weather;
        let dice = &mut self.dice;
        let path = self.paths.entry((flying.peer, flying.way)).or_default();
        if dice.once_in(weather.partition_every) {
            path.cut_until = now.plus(Nanos::from_ms(dice.between(200, 20_000)));
        }
        if dice.once_in(weather.black_hole_every) {
            path.narrow_until = now.plus(Nanos::from_ms(dice.between(500, 10_000)));
            path.mtu = dice.between(300, 1_199) as usize;
        }
        if dice.once_in(weather.clog_every) {
            path.clogged_until = now.plus(Nanos::from_ms(dice.between(100, 3_000)));
        }
        if now < path.cut_until {
            self.deeds.cut += 1;
            return None;
        }
        if now < path.narrow_until && flying.bytes.len() > path.mtu {
            self.deeds.swallowed += 1;
            return None;
        }
        let mut held_back = Nanos(0);
        if now < path.clogged_until {
            self.deeds.clogged += 1;
            let takes = Nanos::from_us(flying.bytes.len() as u64 * 1_000 / CLOGGED_RATE);
            path.free_at = path.free_at.max(now).plus(takes);
            held_back = path.free_at.since(now);
        }
        if held_back > QUEUE_MAX {
            path.free_at = now.plus(QUEUE_MAX);
            self.deeds.lost += 1;
            return None;
        }
        Some(held_back)
    }

    /// One copy on its way: it may be lost or spoilt, and takes its time.
    fn travel(&mut self, now: Nanos, mut flying: Flying) {
        let weather = self.weather;
        if self.dice.percent(weather.lost_percent) {
            self.deeds.lost += 1;
            return;
        }
        if weather.corrupted_permille > 0 && self.dice.below(1_000) < weather.corrupted_permille {
            self.deeds.corrupted += 1;
            flying.proof = false;
            corrupt(&mut flying.bytes, &mut self.dice);
        }
        let delay = weather.delay_ms * 1_000 + self.dice.below(weather.jitter_ms * 1_000);
        self.launch(now.plus(Nanos::from_us(delay)), flying);
    }

    /// A stranger sends the same bytes from an address that is nobody's, or somebody else's; they
    /// may overtake the genuine ones.
    fn spoof(&mut self, now: Nanos, flying: &Flying) {
        self.deeds.spoofed += 1;
        let early = self.dice.below(2 * (self.weather.delay_ms + self.weather.jitter_ms) + 20);
        let peer = victim(self.dice.below(8) as u8);
        let copy = Flying { peer, proof: false, ..flying.clone() };
        self.launch(now.plus(Nanos::from_ms(early)), copy);
    }

    fn launch(&mut self, at: Nanos, flying: Flying) {
        self.count += 1;
        self.flying.insert((at, self.count), flying);
    }

    /// The next datagram that has arrived by now.
    pub(crate) fn arrived(&mut self, now: Nanos) -> Option<Flying> {
        let first = self.flying.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// An address that belongs to nobody who answers.
pub(crate) fn victim(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, number), 7_777))
}

/// Flips some bits, or cuts the end off.
fn corrupt(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if dice.percent(20) {
        bytes.truncate(dice.below(bytes.len() as u64) as usize);
        return;
    }
    for _ in 0..dice.between(1, 4) {
        let at = dice.below(bytes.len() as u64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << dice.below(8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flying(n: u8) -> Flying {
        let peer = SocketAddr::from(([10, 1, 0, 1], 9));
        Flying { way: Way::Up, peer, server: 0, proof: true, bytes: vec![n; 600] }
    }

    fn run(weather: Weather) -> (Vec<(u64, Flying)>, Deeds) {
        let mut network = Network::new(weather, Dice::new(3, 3));
        for n in 0..200 {
            network.send(Nanos::from_ms(n), flying(n as u8));
        }
        let mut got = Vec::new();
        for ms in 0..30_000 {
            while let Some(it) = network.arrived(Nanos::from_ms(ms)) {
                got.push((ms, it));
            }
        }
        (got, network.deeds)
    }

    #[test]
    fn fair_weather_brings_everything_once_and_soon() {
        let (got, _) = run(Weather::FAIR);
        assert_eq!(got.len(), 200);
        assert!(got.iter().all(|(ms, it)| (4..=21).contains(&(ms - u64::from(it.bytes[0])))));
    }

    #[test]
    fn each_kind_of_bad_weather_does_what_it_says_and_nothing_else() {
        let fair = Weather::FAIR;
        let (got, deeds) = run(Weather { lost_percent: 30, ..fair });
        assert!((100..180).contains(&got.len()) && deeds.lost as usize == 200 - got.len());
        let (got, deeds) = run(Weather { doubled_percent: 50, ..fair });
        assert!(got.len() == 200 + deeds.doubled as usize && deeds.doubled > 60);
        let (got, deeds) = run(Weather { replayed_percent: 50, ..fair });
        assert!(got.len() == 200 + deeds.replayed as usize && deeds.replayed > 60);
        let (got, deeds) = run(Weather { corrupted_permille: 500, ..fair });
        let spoilt = got.iter().filter(|(_, it)| it.bytes != [it.bytes[0]; 600]).count();
        assert!(deeds.corrupted > 60 && spoilt > 60 && got.len() == 200);
        assert!(got.iter().filter(|(_, it)| it.proof).count() == 200 - deeds.corrupted as usize);
        let (got, deeds) = run(Weather { spoofed_percent: 50, ..fair });
        let foreign = got.iter().filter(|(_, it)| it.peer != flying(0).peer);
        assert_eq!(foreign.filter(|(_, it)| !it.proof).count(), deeds.spoofed as usize);
        let (got, deeds) = run(Weather { clog_every: 20, ..fair });
        assert!(deeds.clogged > 50 && got.iter().any(|(ms, _)| *ms > 500));
        let (got, deeds) = run(Weather { partition_every: 50, ..fair });
        assert!(deeds.cut > 50 && got.len() + deeds.cut as usize == 200);
        let (got, deeds) = run(Weather { black_hole_every: 10, ..fair });
        assert!(deeds.swallowed > 20 && got.len() + deeds.swallowed as usize == 200);
        let (got, _) = run(Weather { jitter_ms: 200, ..fair });
        assert!(got.windows(2).any(|two| two[0].1.bytes[0] > two[1].1.bytes[0]), "reordered");
    }
}
