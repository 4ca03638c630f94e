//! Game messages to the player other than snapshots: updates outside of them, and answers to
//! Benchmarks. Called by `machine`.

use super::error::ClientError;
use super::event::Event;
use super::world::WorldView;
use crate::time::Nanos;
use crate::wire::snapshot::{EntityUpdate, OwnUpdate};
use crate::wire::{BenchmarkAnswer, Message, to_client};

/// What a Benchmark has measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// From the question to the answer, microseconds.
    pub elapsed_us: u64,
    /// Of these, how long the server had the question: it answers at the end of a tick.
    pub held_us: u64,
    /// The server's clock when it answered, microseconds.
    pub server_us: u64,
    /// Bytes of the body, in both directions.
    pub length: u16,
}

/// Takes in `message`, which is neither a snapshot nor about the connection. `sent_input` is the
/// newest input sent.
pub(super) fn read(
    world: &mut WorldView,
    message: &Message<'_>,
    sent_input: u32,
    now: Nanos,
) -> Result<Event, ClientError> {
    match message.kind {
        to_client::UPDATE_ENTITY => {
            let update = OwnUpdate::read(message.body)?;
            let is_taken = world.update_own(&update, sent_input);
            Ok(if is_taken { Event::Updated(update.tick) } else { Event::Nothing })
        }
        to_client::UPDATE_ENTITY_QUANTIZED => {
            world.update_neighbour(&EntityUpdate::read(message.body)?);
            Ok(Event::Nothing)
        }
        to_client::BENCHMARK => {
            let answer = BenchmarkAnswer::read(message.body).map_err(|_| ClientError::Message)?;
            // The nonce is the time the question left, so nothing needs to be remembered.
            let elapsed_us = now.as_us().checked_sub(answer.nonce);
            Ok(Event::Benchmark(Echo {
                elapsed_us: elapsed_us.ok_or(ClientError::Unexpected)?,
                held_us: answer.answered_us - answer.received_us,
                server_us: answer.answered_us,
                length: answer.length,
            }))
        }
        _ => Err(ClientError::Unexpected),
    }
}
