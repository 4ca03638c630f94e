//! The floor on glommio's UDP sockets: one operation per datagram, no multishot receive and no
//! batch. It is here to show with a number why the packet path does not run on it. Its socket keeps
//! the kernel's default buffer, as glommio offers no way to enlarge it: at thousands of players it
//! loses datagrams, and the report says how many.

use super::{FloorArgs, FloorCounts, Peers};
use glommio::net::UdpSocket;
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tidelock::host::clock::Clock;
use tidelock::time::Nanos;
use tidelock::units::TickRate;

/// Sends after which the receiving task gets a turn.
const SENDS_PER_TURN: usize = 32;

pub(super) fn serve(
    arguments: &FloorArgs,
    rate: TickRate,
    counts: &FloorCounts,
    announce: &dyn Fn(u16),
) -> Result<(), String> {
    let executor = LocalExecutorBuilder::new(Placement::Fixed(arguments.core))
        .name("floor")
        .make()
        .map_err(|error| {
            format!("floor: glommio does not start: {error}; it needs `ulimit -l` ≥ 512 KiB")
        })?;
    executor
        .run(run(arguments, rate, counts, announce))
        .map_err(|error| format!("floor: glommio's socket broke: {error}"))
}

async fn run(
    arguments: &FloorArgs,
    rate: TickRate,
    counts: &FloorCounts,
    announce: &dyn Fn(u16),
) -> Result<(), String> {
    let text = |error: glommio::GlommioError<()>| error.to_string();
    let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").map_err(text)?);
    announce(socket.local_addr().map_err(text)?.port());
    let peers = Rc::new(RefCell::new(Peers::new(arguments.players)));
    let received = Rc::new(RefCell::new(0u64));
    let receiver = {
        let (socket, peers, received) = (socket.clone(), peers.clone(), received.clone());
        glommio::spawn_local(async move {
            let mut buffer = [0; 1200];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                peers.borrow_mut().note(&buffer[..len], from);
                *received.borrow_mut() += 1;
                glommio::yield_if_needed().await;
            }
        })
        .detach()
    };
    let clock = Clock::start();
    let payload = vec![0; arguments.bytes];
    for tick in 1u64.. {
        let left = Nanos(rate.start_ns(tick)).since(clock.now());
        if left > Nanos(0) {
            glommio::timer::sleep(Duration::from_nanos(left.0)).await;
        }
        let known: Vec<_> = peers.borrow().known().collect();
        for (index, peer) in known.into_iter().enumerate() {
            let sent = socket.send_to(&payload, peer).await.is_ok();
            FloorCounts::add(&counts.sent, u64::from(sent));
            if index % SENDS_PER_TURN == 0 {
                glommio::executor().yield_task_queue_now().await;
            }
        }
        FloorCounts::add(&counts.received, received.replace(0));
        let late = clock.now() > Nanos(rate.start_ns(tick + 1));
        FloorCounts::add(&counts.overruns, u64::from(late));
    }
    drop(receiver);
    Ok(())
}
