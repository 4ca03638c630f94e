//! Answers to Benchmarks: as many bytes as were asked for, at the end of the tick.
//!
//! Owns the answer that waits, one per session. Off unless `answer_benchmarks` says so: then a
//! question is counted and dropped, which is no fault of the client's. Never sends more than it was
//! sent. Called by `decode` and `liveness`.

use super::liveness::Transmit;
use super::table::{Sessions, Slot};
use crate::limits::TAG_LEN;
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Nanos;
use crate::wire::{BenchmarkAnswer, BenchmarkRequest, Channel, ReadError, Writer};

/// A question that waits for the end of the tick, and when it came.
pub(super) type Asked = Option<(BenchmarkRequest, Nanos)>;

impl Sessions {
    /// Whether Benchmarks are answered.
    pub fn answer_benchmarks(&mut self, wanted: bool) {
        self.answers_benchmarks = wanted;
    }

    /// A Benchmark came to `slot`. Of several in a tick the last is answered.
    #[cold]
    pub(super) fn read_benchmark(
        &mut self,
        now: Nanos,
        slot: Slot,
        body: &[u8],
        counters: &Counters,
    ) -> Result<(), ReadError> {
        let request = BenchmarkRequest::read(body)?;
        if !self.answers_benchmarks {
            counters.drop(DropReason::Benchmark);
            return Ok(());
        }
        let index = usize::from(slot);
        if self.pending[index].benchmark.replace((request, now)).is_some() {
            counters.drop(DropReason::Benchmark);
        }
        self.due[index] = Nanos(0);
        Ok(())
    }

    /// The answer that waits for the living session in `index`, if one does.
    pub(super) fn answer_benchmark(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
        counters: &Counters,
    ) -> Option<Transmit> {
        let (request, received) = self.pending[index].benchmark.take()?;
        let begun = self.begin_at(index, Channel::Unreliable, now, out)?;
        let room = out.len() - TAG_LEN;
        let mut writer = Writer::new(&mut out[begun.body..room]);
        BenchmarkAnswer {
            nonce: request.nonce,
            received_us: received.as_us(),
            answered_us: now.max(received).as_us(),
            length: request.length,
        }
        .put(&mut writer);
        // A buffer without room for what the client could send is ours to mend.
        let length = writer.finish().ok()?;
        counters.add(Counter::BenchmarksAnswered, 1);
        let length = self.seal(index as Slot, out, begun.body + length);
        Some(Transmit { slot: index as Slot, to: self.address[index], length })
    }
}
