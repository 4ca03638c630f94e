//! The players of a floor server: the same sources, sizes and schedule as real bots, and no more.

use super::child::{FloorChild, FloorFigures};
use std::time::Duration;
use tidelock::host::clock::{self, Clock};
use tidelock::host::cores;
use tidelock::net::{SourcedConfig, SourcedPort, Sources};
use tidelock::swarm::Schedule;
use tidelock::time::Nanos;

/// 127.1.0.0, as the bots.
const FIRST_SOURCE: u32 = 0x7F01_0000;
const SEND_BATCH: usize = 64;
/// Sends after which arrivals are looked at again.
const SENDS_PER_TURN: usize = 8 * SEND_BATCH;
const TURN: Nanos = Nanos::from_us(500);
const LATE: Nanos = Nanos::from_ms(5);

/// What the players do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloorLoad {
    pub(crate) players: u32,
    /// Datagrams of one player per second.
    pub(crate) rate: u32,
    /// Bytes of each.
    pub(crate) bytes: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
    /// Core of the players.
    pub(crate) core: usize,
}

/// One round against a floor server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FloorRound {
    /// CPU time of the server per datagram in and out, nanoseconds.
    pub(crate) ns_per_pair: f64,
    /// Pairs per second.
    pub(crate) pairs_per_s: f64,
    /// Datagrams that one side sent and the other did not receive.
    pub(crate) lost: u64,
    /// Ticks of the server that ended after the next should have begun.
    pub(crate) overruns: u64,
    /// The players, and not the server, set the limit.
    pub(crate) saturated: bool,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    received: u64,
    late: u64,
}

/// Plays one round. Called on a thread of its own: it pins itself.
pub(crate) fn drive(server: &mut FloorChild, load: FloorLoad) -> Result<FloorRound, String> {
    cores::pin_current_thread(load.core)?;
    let mut port = SourcedPort::bind(&SourcedConfig {
        sources: Sources::Loopback,
        port: 0,
        receive_buffer: (load.players as usize * 4096).max(4 << 20),
        send_slots: SEND_BATCH,
    })
    .map_err(|error| format!("cannot open the socket of the floor's players: {error}"))?;
    let clock = Clock::start();
    let mut schedule = Schedule::new(clock.now(), load.players, load.rate);
    let mut counts = Counts::default();
    let warm = Nanos(load.warm_up.as_nanos() as u64);
    play_until(warm, &mut port, server, &load, &mut schedule, &clock, &mut counts)?;
    let (before, first) = (counts, server.figures()?);
    let (began, cpu) = (clock.now(), clock::thread_cpu_ns());
    let end = warm.plus(Nanos(load.measure.as_nanos() as u64));
    play_until(end, &mut port, server, &load, &mut schedule, &clock, &mut counts)?;
    let last = server.figures()?;
    let seconds = clock.now().since(began).0 as f64 / 1e9;
    let busy = (clock::thread_cpu_ns() - cpu) as f64 / 1e9 / seconds;
    let late = (counts.late - before.late) * 100 > counts.sent - before.sent;
    Ok(round(&first, &last, &before, &counts, seconds, busy > 0.9 || late))
}

fn round(
    first: &FloorFigures,
    last: &FloorFigures,
    before: &Counts,
    after: &Counts,
    seconds: f64,
    saturated: bool,
) -> FloorRound {
    let pairs = (last.sent - first.sent) as f64;
    let (sent, received) = (after.sent - before.sent, after.received - before.received);
    // Up to a tick's worth is under way at either end of the window; only more than that is lost.
    let missing = |offered: u64, taken: u64| offered.saturating_sub(taken);
    let slack = (pairs / seconds / 30.0) as u64;
    let lost = missing(sent, last.received - first.received).saturating_sub(slack)
        + missing(last.sent - first.sent, received).saturating_sub(slack);
    FloorRound {
        ns_per_pair: (last.cpu_ns - first.cpu_ns) as f64 / pairs.max(1.0),
        pairs_per_s: pairs / seconds,
        lost,
        overruns: last.overruns - first.overruns,
        saturated,
    }
}

fn play_until(
    end: Nanos,
    port: &mut SourcedPort,
    server: &FloorChild,
    load: &FloorLoad,
    schedule: &mut Schedule,
    clock: &Clock,
    counts: &mut Counts,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the floor's players cannot go on: {error}");
    loop {
        let now = clock.now();
        if now >= end {
            return Ok(());
        }
        let mut slot = 0;
        for due in std::iter::from_fn(|| schedule.pop(now)).take(SENDS_PER_TURN) {
            let bytes = port.send_buffer(slot);
            bytes[..4].copy_from_slice(&due.client.to_le_bytes());
            let source = (FIRST_SOURCE + due.client).into();
            port.send_push(slot, load.bytes, source, server.address);
            counts.late += u64::from(now.since(due.at) > LATE);
            slot += 1;
            if slot == SEND_BATCH {
                counts.sent += port.flush().map_err(failed)?.sent;
                slot = 0;
            }
        }
        counts.sent += port.flush().map_err(failed)?.sent;
        let report = port.receive(Duration::ZERO, &mut |_| {}).map_err(failed)?;
        counts.received += report.datagrams;
        let rest = now.plus(TURN).since(clock.now());
        if !report.more && schedule.peek().at > now && rest > Nanos(0) {
            std::thread::sleep(Duration::from_nanos(rest.0));
        }
    }
}
