//! The thread of one shard: pinned, with a port that was opened on it.

use super::{StartError, StopOnEnd, port_failed};
use crate::exchange::{Keeper, Member};
use crate::host::clock::Clock;
use crate::host::cores;
use crate::metrics::Counters;
use crate::net::{Backend, BoundSocket, Port, PortConfig, open_port};
use crate::shard::{self, Ended, Links, Pace, Page, Shard, ShardConfig, ShardEnd, Waiters};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// Everything the thread takes with it.
pub(super) struct ShardThread {
    pub(super) core: usize,
    pub(super) socket: BoundSocket,
    pub(super) backend: Backend,
    pub(super) port: PortConfig,
    pub(super) shard: ShardConfig,
    pub(super) member: Member<Page>,
    pub(super) links: Links,
    pub(super) company: Company,
    pub(super) pace: Pace,
    pub(super) clock: Clock,
    pub(super) mail: ShardEnd,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Arc<AtomicBool>,
}

impl ShardThread {
    /// Starts the thread and waits until it is ready. Returns the bytes the shard holds for good.
    pub(super) fn spawn(self) -> Result<(usize, JoinHandle<Result<(), StartError>>), StartError> {
        let (ready, is_ready) = mpsc::sync_channel(1);
        let name = format!("shard-{}", self.shard.socket_index);
        let handle = thread::Builder::new()
            .name(name)
            .spawn(move || self.run(&ready))
            .map_err(|error| StartError(format!("cannot start a thread: {error}")))?;
        match is_ready.recv() {
            Ok(memory) => Ok((memory, handle)),
            Err(mpsc::RecvError) => match handle.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(StartError("a shard thread died at its start".to_owned())),
            },
        }
    }

    fn run(self, ready: &mpsc::SyncSender<usize>) -> Result<(), StartError> {
        let _stop = StopOnEnd(self.stop);
        let _leave = LeaveOnEnd(&self.company);
        cores::pin_current_thread(self.core)?;
        let mut port = open_port(self.socket, self.backend, &self.port)
            .map_err(|error| StartError(format!("cannot open the network port: {error}")))?;
        let mut shard = Shard::new(self.shard, self.member, self.links, self.mail, self.counters);
        // Nobody is there to hear it only if the server gave up meanwhile.
        let _ = ready.send(shard.memory_bytes());
        let port: &mut dyn Port = &mut *port;
        // It is the gate that ends a shard, so that players are told.
        let waiters = &self.company.waiters;
        match shard::run(&mut shard, port, self.pace, waiters, &self.clock) {
            Ok(Ended::Done) => Ok(()),
            Ok(Ended::Closed) => Err(StartError("another shard ended too soon".to_owned())),
            Err(error) => Err(port_failed(&error)),
        }
    }
}

/// What a shard needs to meet the others.
#[derive(Clone)]
pub(super) struct Company {
    pub(super) keeper: Keeper,
    pub(super) waiters: Arc<Waiters>,
}

/// Closes the exchange when a shard ends, however it ends: the others must not wait for it.
struct LeaveOnEnd<'a>(&'a Company);

impl Drop for LeaveOnEnd<'_> {
    fn drop(&mut self) {
        self.0.keeper.close();
        self.0.waiters.wake();
    }
}
