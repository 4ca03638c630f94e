//! The floor: servers that receive and answer datagrams of the same sizes at the same rates as the
//! real one, and do nothing else. Neither cryptography nor a world; what they cost is what the
//! kernel costs, and no server on these sockets can be cheaper.
//!
//! A floor server is a child process of this binary (`loadgen floor-server`, hidden), so that its
//! CPU time is its own. It keeps the server's rhythm: it collects what arrives until the tick, then
//! sends one datagram to every player in one go.

mod child;
mod driver;
mod on_glommio;
mod on_port;

pub(crate) use child::FloorChild;
pub(crate) use driver::{FloorLoad, FloorRound, drive};

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tidelock::host::{clock, cores};
use tidelock::units::TickRate;

/// What moves the floor's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloorBackend {
    Uring,
    Mmsg,
    Glommio,
}

impl FloorBackend {
    pub(crate) const WORDS: [&'static str; 3] = ["uring", "mmsg", "glommio"];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
            Self::Glommio => "glommio",
        }
    }
}

impl FromStr for FloorBackend {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Uring, Self::Mmsg, Self::Glommio]
            .into_iter()
            .find(|backend| backend.name() == word)
            .ok_or_else(|| format!("`{word}` is none of {}", Self::WORDS.join(", ")))
    }
}

/// What a floor server is told on its command line.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct FloorArgs {
    /// What moves the datagrams.
    #[arg(long)]
    pub(crate) backend: FloorBackend,
    /// Core to run on.
    #[arg(long)]
    pub(crate) core: usize,
    /// Players at most.
    #[arg(long)]
    pub(crate) players: u32,
    /// Ticks per second.
    #[arg(long, default_value_t = 60)]
    pub(crate) tick_rate: u16,
    /// Bytes of each datagram to a player.
    #[arg(long)]
    pub(crate) bytes: usize,
}

/// What a floor server counts, readable from another thread.
#[derive(Debug, Default)]
pub(crate) struct FloorCounts {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) overruns: AtomicU64,
}

impl FloorCounts {
    pub(crate) fn add(cell: &AtomicU64, amount: u64) {
        cell.fetch_add(amount, Ordering::Relaxed);
    }
}

/// The players a floor server knows: a datagram starts with its sender's number.
struct Peers {
    addresses: Vec<Option<SocketAddr>>,
}

impl Peers {
    fn new(players: u32) -> Self {
        Self { addresses: vec![None; players as usize] }
    }

    fn note(&mut self, payload: &[u8], from: SocketAddr) {
        let Some(number) = payload.first_chunk::<4>() else { return };
        if let Some(address) = self.addresses.get_mut(u32::from_le_bytes(*number) as usize) {
            *address = Some(from);
        }
    }

    fn known(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().flatten().copied()
    }
}

/// Body of the child process: serves on one thread, and answers each line on standard input with
/// its figures until the input ends.
pub(crate) fn serve(arguments: FloorArgs) -> Result<(), String> {
    let rate = TickRate::from_hz(arguments.tick_rate).ok_or("the tick rate is 30, 60 or 120")?;
    let counts = Arc::new(FloorCounts::default());
    let (told, ready) = std::sync::mpsc::sync_channel::<Result<u16, String>>(1);
    let shared = Arc::clone(&counts);
    thread::spawn(move || {
        let announce = |port: u16| {
            // The parent may have gone; then the input ends and so does this process.
            let _ = told.send(Ok(port));
        };
        let result = match arguments.backend {
            FloorBackend::Uring | FloorBackend::Mmsg => cores::pin_current_thread(arguments.core)
                .and_then(|()| on_port::serve(&arguments, rate, &shared, &announce)),
            FloorBackend::Glommio => on_glommio::serve(&arguments, rate, &shared, &announce),
        };
        if let Err(error) = result {
            let _ = told.send(Err(error));
        }
    });
    let port = ready.recv().map_err(|_| "the floor server ended at once")??;
    let mut out = std::io::stdout();
    let say = |out: &mut std::io::Stdout, line: String| {
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
    };
    say(&mut out, format!("ready {port}"))?;
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let (received, sent) = (read(&counts.received), read(&counts.sent));
        let overruns = read(&counts.overruns);
        say(&mut out, format!("{} {received} {sent} {overruns}", clock::process_cpu_ns()))?;
    }
    Ok(())
}
