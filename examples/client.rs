//! A whole client: joins a server on this machine, walks in a circle, predicts itself, places the
//! others, prints the line of a debug overlay every second, and leaves.
//!
//! ```sh
//! cargo run --release -- serve --dev            # in one terminal
//! cargo run --release --example client          # in another
//! ```
//!
//! Arguments: the seconds to play, and `--integrity FILE`, the keys of its build, for which a
//! server may ask (`tidelock keygen --build`).

use std::{error::Error, net::UdpSocket, sync::Arc, time::Duration};
use tidelock::client::*;
use tidelock::crypto::{integrity::KeyTable, noise::NoiseError};
use tidelock::host::{clock::Clock, clock::unix_ms, entropy::OsEntropy};
use tidelock::keys::{BackendKeys, TicketRequest, load_key_table};
use tidelock::time::{Entropy, Nanos};
use tidelock::{config::DEFAULT_PORT, server::RunDir, units::TickRate, wire::InputFrame};

struct Game {
    socket: UdpSocket,
    clock: Clock,
    client: Client,
    server: ServerClock,
    own: Prediction,
    others: Interpolation,
}

impl Game {
    /// Everything that has arrived.
    fn receive(&mut self, scratch: &mut Scratch) {
        let mut buffer = [0; 1500];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let now = self.clock.now();
            // What cannot be used is counted in `client.statistics()`.
            match self.client.handle_datagram(now, &mut buffer[..length], scratch) {
                Ok(Event::Accepted { tick_hz, .. }) => {
                    let rate = TickRate::from_hz(tick_hz).unwrap_or(TickRate::DEFAULT);
                    (self.server, self.own) = (ServerClock::new(rate), Prediction::new(rate));
                    self.others = Interpolation::new(rate);
                }
                Ok(Event::Snapshot(shown)) => {
                    self.server.observe(shown.tick, now);
                    self.own.observe(self.client.world());
                    self.others.observe(self.client.world());
                }
                Ok(Event::Advice(denied)) => println!("{}", denied.reason.text()),
                Ok(Event::RekeyRequested) => self.client.answer_rekey(OsEntropy.bytes(), now),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Who is in sight and has a name, such as the first NPCs of `serve --npcs`.
    fn names(&self) -> String {
        let all = self.client.described().filter_map(|id| self.client.description(id));
        all.map(String::from_utf8_lossy).collect::<Vec<_>>().join("; ")
    }

    /// One tick of the own player, one frame of the others, and everything that is to be sent.
    fn tick(&mut self, angle: f32) {
        if self.client.state() == State::InWorld {
            let [move_x, move_y] = [angle.cos(), angle.sin()].map(|axis| (axis * 127.0) as i8);
            let input = InputFrame { move_x, move_y, yaw: 0, buttons: 0 };
            self.own.predict(self.client.set_input(input), input);
        }
        // A game would draw `own.visible(..)` and `others.poses()` now.
        self.others.advance(self.server.advance(self.clock.now()));
        let mut out = [0; 1200];
        while let Some(length) = self.client.poll_transmit(self.clock.now(), &mut out) {
            // What does not leave is lost, as on the way.
            let _ = self.socket.send(&out[..length]);
        }
    }
}

/// A client that joins with `ticket`, and has the keys of its build if there are any.
fn join(ticket: &Ticket, table: &Option<Arc<KeyTable>>, now: Nanos) -> Result<Client, NoiseError> {
    let mut client = Client::new(ticket, OsEntropy.bytes(), now, &mut OsEntropy)?;
    table.iter().for_each(|table| client.set_key_table(Arc::clone(table)));
    Ok(client)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut seconds, mut table) = (10, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--integrity" {
            let path = arguments.next().ok_or("--integrity needs a file")?;
            table = Some(Arc::new(load_key_table(path.as_ref())?));
        } else {
            seconds = argument.parse()?;
        }
    }
    // Players get a ticket from their backend; a server for development leaves its keys here.
    let keys = BackendKeys::load(&RunDir::locate(None).dev_keys(DEFAULT_PORT))?;
    let request = TicketRequest { player: 1, spawn: None, ttl_s: 30 };
    let mut ticket = keys.mint(&request, unix_ms(), &mut OsEntropy).for_client();
    ticket.build = table.as_ref().map_or(0, |table| table.build());
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", DEFAULT_PORT))?;
    socket.set_nonblocking(true)?;
    let (clock, rate) = (Clock::start(), TickRate::DEFAULT);
    let client = join(&ticket, &table, clock.now())?;
    let (server, own) = (ServerClock::new(rate), Prediction::new(rate));
    let mut game = Game { socket, clock, client, server, own, others: Interpolation::new(rate) };
    let (mut overlay, mut scratch) = (Overlay::new(clock.now()), Scratch::default());
    let (mut next, mut ticks) = (clock.now(), 0_u32);
    loop {
        game.receive(&mut scratch);
        game.tick(ticks as f32 / 60.0);
        ticks += 1;
        let rate = game.server.rate();
        if ticks.is_multiple_of(rate.hz().into()) {
            println!("{}", overlay.update(clock.now(), &game.client, &game.server, &game.own));
            println!("known by name: {}", game.names());
        }
        if ticks == seconds * u32::from(rate.hz()) {
            game.client.leave(clock.now());
        }
        match game.client.state() {
            State::Closed(CloseReason::Left) => return Ok(()),
            State::Closed(reason) => match game.client.resume_ticket() {
                Some(ticket) if reason.may_resume() => {
                    println!("{} Coming back.", reason.text());
                    game.client = join(&ticket, &table, clock.now())?;
                }
                _ => return Err(reason.text().into()),
            },
            // After a pause the game goes on from here; it does not make up for what it missed.
            _ if clock.now().since(next) > Nanos::from_ms(250) => next = clock.now(),
            _ => next = next.plus(Nanos(rate.start_ns(1))),
        }
        std::thread::sleep(Duration::from_nanos(next.since(clock.now()).0));
    }
}
