//! Queues from every shard to every shard, each bounded, with one writer and one reader.
//!
//! What is sent in tick k is received in tick k + 1 and not before, although a shard that is
//! further may have sent already: each item says its tick.

use super::queue::{self, Receiver, Sender};
use crate::units::Tick;

/// One shard's ends of the queues to and from all shards, itself included.
#[derive(Debug)]
pub(super) struct Post<T> {
    to: Vec<Sender<(Tick, T)>>,
    from: Vec<Receiver<(Tick, T)>>,
}

/// The queues between `members` shards, each for at most `capacity` items.
pub(super) fn mesh<T>(members: usize, capacity: usize) -> Vec<Post<T>> {
    mesh_with(members, |_, _| capacity)
}

/// The same where the capacity depends on who sends to whom.
pub(super) fn mesh_with<T>(
    members: usize,
    capacity: impl Fn(usize, usize) -> usize,
) -> Vec<Post<T>> {
    let mut posts: Vec<_> = (0..members)
        .map(|_| Post { to: Vec::with_capacity(members), from: Vec::with_capacity(members) })
        .collect();
    for from in 0..members {
        for to in 0..members {
            let (sender, receiver) = queue::channel(capacity(from, to));
            posts[from].to.push(sender);
            posts[to].from.push(receiver);
        }
    }
    posts
}

impl<T> Post<T> {
    /// Sends `item` in `tick` to the shard at place `to`, or gives it back if the queue is full.
    pub(super) fn send(&mut self, to: usize, tick: Tick, item: T) -> Result<(), T> {
        self.to[to].send((tick, item)).map_err(|(_, item)| item)
    }

    /// Takes the ends to and from the shards in `places` of `other`, in the place of its own: those
    /// shards were replaced, and what was under way to them is lost.
    pub(super) fn relink(&mut self, other: Self, places: &[bool]) {
        let ends = other.to.into_iter().zip(other.from).zip(places).enumerate();
        for (place, ((to, from), _)) in ends.filter(|(_, (_, replaced))| **replaced) {
            self.to[place] = to;
            self.from[place] = from;
        }
    }

    /// Places in all.
    pub(super) fn places(&self) -> usize {
        self.to.len()
    }

    /// Items that can be sent to the shard at place `to` now.
    pub(super) fn room(&self, to: usize) -> usize {
        self.to[to].room()
    }

    /// Takes one item that was sent in `tick` or before.
    pub(super) fn receive_one(&mut self, tick: Tick) -> Option<T> {
        let mut from = self.from.iter_mut();
        from.find_map(|from| from.receive_if(|(sent, _)| *sent <= tick)).map(|(_, item)| item)
    }

    /// Items from the shard at place `from` that can be taken now.
    pub(super) fn waiting(&self, from: usize) -> usize {
        self.from[from].waiting()
    }

    /// Takes one item from the shard at place `from`, whenever it was sent.
    pub(super) fn take(&mut self, from: usize) -> Option<T> {
        self.from[from].receive().map(|(_, item)| item)
    }

    /// Takes everything that was sent in `tick` or before.
    pub(super) fn receive(&mut self, tick: Tick, mut take: impl FnMut(T)) {
        for from in &mut self.from {
            while let Some((_, item)) = from.receive_if(|(sent, _)| *sent <= tick) {
                take(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_a_tick_arrives_after_it_and_not_before() {
        let mut posts = mesh(3, 4);
        posts[0].send(2, 7, 'a').expect("room");
        posts[2].send(2, 7, 'b').expect("room");
        posts[1].send(2, 8, 'c').expect("room");
        let mut received = Vec::new();
        posts[2].receive(7, |item| received.push(item));
        assert_eq!(received, ['a', 'b']);
        posts[2].receive(8, |item| received.push(item));
        assert_eq!(received, ['a', 'b', 'c']);
        posts[0].receive(8, |_| panic!("nothing was sent there"));
    }

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let mut posts = mesh(1, 1);
        assert_eq!(posts[0].send(0, 1, 'a'), Ok(()));
        assert_eq!(posts[0].send(0, 1, 'b'), Err('b'));
    }
}
