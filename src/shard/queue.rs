//! Bounded queues between two threads, one writing and one reading. No lock, no allocation after
//! construction. The only door to `rtrb`.

use std::fmt;

/// The writing end.
pub struct Sender<T>(rtrb::Producer<T>);

/// The reading end.
pub struct Receiver<T>(rtrb::Consumer<T>);

/// A queue of at most `capacity` items.
pub(super) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Sender(producer), Receiver(consumer))
}

impl<T> Sender<T> {
    /// Appends `item`, or gives it back if the queue is full.
    pub fn send(&mut self, item: T) -> Result<(), T> {
        self.0.push(item).map_err(|rtrb::PushError::Full(item)| item)
    }

    /// Items that can be sent now without being refused.
    pub fn room(&self) -> usize {
        self.0.slots()
    }

    /// Whether the reader is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

impl<T> Receiver<T> {
    /// Whether the writer is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    /// Items that can be taken now.
    pub fn waiting(&self) -> usize {
        self.0.slots()
    }

    /// Takes the oldest item.
    pub fn receive(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    /// Takes the oldest item if `wanted` says so.
    pub fn receive_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        if wanted(self.0.peek().ok()?) { self.receive() } else { None }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.room()).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.0.slots()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back_and_keeps_the_order() {
        let (mut sender, mut receiver) = channel(2);
        assert_eq!((sender.send(1), sender.send(2), sender.send(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!((receiver.receive(), sender.room()), (Some(1), 1));
        assert_eq!((receiver.receive(), receiver.receive()), (Some(2), None));
        drop(receiver);
        assert!(sender.is_abandoned());
    }
}
