//! The thread of one shard: pinned, with a port that was opened on it.

use super::supervisor::{Ties, name_of};
use super::{StartError, port_failed, say};
use crate::host::clock::Clock;
use crate::host::cores;
use crate::host::entropy::OsEntropy;
use crate::metrics::Counters;
use crate::net::{Backend, BoundSocket, Port, PortConfig, open_port};
use crate::shard::{self, Shard, ShardConfig};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// How to start the thread of a shard, the first time and after it was lost.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) core: usize,
    pub(super) socket: BoundSocket,
    pub(super) backend: Backend,
    pub(super) port: PortConfig,
    pub(super) shard: ShardConfig,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
}

/// A thread that is ready to meet the others.
struct Started {
    /// Bytes the shard holds for good.
    memory: usize,
    thread: JoinHandle<Result<(), StartError>>,
}

/// The threads of the shards of a server.
pub(super) struct ShardThreads {
    recipes: Vec<Recipe>,
    starter: Starter,
    threads: Vec<JoinHandle<Result<(), StartError>>>,
}

/// Starts threads of shards on behalf of others. A thread inherits core and priority of the one
/// that starts it, and the gate's, which finds out that a shard was lost, are not for shards.
struct Starter(mpsc::SyncSender<Order>);

struct Order {
    recipe: Recipe,
    ties: Ties,
    answer: mpsc::SyncSender<Result<Started, StartError>>,
}

impl ShardThreads {
    /// None yet; they will be made by these recipes, one per place.
    pub(super) fn new(recipes: Vec<Recipe>) -> Result<Self, StartError> {
        Ok(Self { recipes, starter: Starter::spawn()?, threads: Vec::new() })
    }

    /// Starts the thread of the shard at `place` and waits until it is ready. Returns the bytes
    /// that it holds for good.
    pub(super) fn launch(&mut self, place: usize, ties: Ties) -> Result<usize, StartError> {
        let Started { memory, thread } = self.starter.start(&self.recipes[place], ties)?;
        self.threads.push(thread);
        Ok(memory)
    }

    /// Waits for the threads that have ended. One that stands still is left alone.
    pub(super) fn join(&mut self) {
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            // How it ended was said when it did.
            let _ = thread.join();
        }
    }
}

impl Starter {
    /// A starter that passes on core and priority of the calling thread. It ends with this value.
    fn spawn() -> Result<Self, StartError> {
        let (orders, inbox) = mpsc::sync_channel::<Order>(1);
        let serve = move || {
            for Order { recipe, ties, answer } in inbox {
                // Nobody waits for the answer only if the server gave up meanwhile.
                let _ = answer.send(recipe.start(ties));
            }
        };
        thread::Builder::new()
            .name("starter".to_owned())
            .spawn(serve)
            .map_err(|error| StartError(format!("cannot start a thread: {error}")))?;
        Ok(Self(orders))
    }

    /// Starts a shard and waits until it is ready.
    fn start(&self, recipe: &Recipe, ties: Ties) -> Result<Started, StartError> {
        let (answer, result) = mpsc::sync_channel(1);
        let gone = |_| StartError("the thread that starts shards is gone".to_owned());
        let order = Order { recipe: recipe.clone(), ties, answer };
        self.0.send(order).map_err(|_| gone(mpsc::RecvError))?;
        result.recv().map_err(gone)?
    }
}

impl Recipe {
    /// Starts the thread and waits until it is ready.
    fn start(&self, ties: Ties) -> Result<Started, StartError> {
        let (ready, is_ready) = mpsc::sync_channel(1);
        let recipe = self.clone();
        let thread = thread::Builder::new()
            .name(self.name())
            .spawn(move || recipe.run(ties, &ready))
            .map_err(|error| StartError(format!("cannot start a thread: {error}")))?;
        match is_ready.recv() {
            Ok(memory) => Ok(Started { memory, thread }),
            Err(mpsc::RecvError) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(StartError("a shard thread died at its start".to_owned())),
            },
        }
    }

    fn name(&self) -> String {
        name_of(usize::from(self.shard.socket_index) - 1)
    }

    fn run(self, ties: Ties, ready: &mpsc::SyncSender<usize>) -> Result<(), StartError> {
        cores::pin_current_thread(self.core)?;
        let mut port = open_port(self.socket.clone(), self.backend, &self.port)
            .map_err(|error| StartError(format!("cannot open the network port: {error}")))?;
        let Ties { member, links, waiters, mail, pace } = ties;
        let counters = Arc::clone(&self.counters);
        let mut shard = Shard::new(self.shard, member, links, mail, counters, Box::new(OsEntropy));
        // Nobody is there to hear it only if the server gave up meanwhile.
        let _ = ready.send(shard.memory_bytes());
        let port: &mut dyn Port = &mut *port;
        // It is the gate that ends a shard, so that players are told.
        match shard::run(&mut shard, port, pace, waiters, &self.clock) {
            Ok(_) => Ok(()),
            Err(error) => {
                say(&format!("{}: the network socket failed: {error}", self.name()));
                Err(port_failed(&error))
            }
        }
    }
}
