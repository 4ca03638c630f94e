//! Benchmark: a question that the server answers with as many bytes and two readings of its clock.
//!
//! Owns both bodies. Measures nothing. Called by `connection` and `client`.

use super::cursor::{ReadError, Reader, Writer};
use super::message::{put_message, to_client, to_server};
use crate::limits::{BENCHMARK_MAX, BENCHMARK_MIN};

/// What a client asks, and the beginning of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchmarkRequest {
    /// Tells answers apart.
    pub nonce: u64,
    /// Bytes of the body, 24..=1,024; the answer has as many.
    pub length: u16,
}

impl BenchmarkRequest {
    /// Reads a message body. What fills it up may be anything.
    ///
    /// # Errors
    /// `Truncated` for less than 24 bytes, `Trailing` for more than 1,024.
    pub fn read(body: &[u8]) -> Result<Self, ReadError> {
        match body.len() {
            ..BENCHMARK_MIN => Err(ReadError::Truncated),
            BENCHMARK_MIN..=BENCHMARK_MAX => {
                Ok(Self { nonce: Reader::new(body).u64()?, length: body.len() as u16 })
            }
            _ => Err(ReadError::Trailing),
        }
    }

    /// Appends the message, length and type included.
    pub fn put(&self, writer: &mut Writer<'_>) {
        put_message(writer, to_server::BENCHMARK, |writer| {
            writer.u64(self.nonce);
            writer.zeros(usize::from(self.length).saturating_sub(8));
        });
    }
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchmarkAnswer {
    /// Of the request.
    pub nonce: u64,
    /// When the request was received, microseconds on the server's clock.
    pub received_us: u64,
    /// When the answer was made, microseconds on the server's clock.
    pub answered_us: u64,
    /// Bytes of the body, 24..=1,024.
    pub length: u16,
}

impl BenchmarkAnswer {
    /// Reads a message body. What fills it up is ignored.
    ///
    /// # Errors
    /// As `BenchmarkRequest::read`; `Value` if it was answered before it was received.
    pub fn read(body: &[u8]) -> Result<Self, ReadError> {
        let BenchmarkRequest { nonce, length } = BenchmarkRequest::read(body)?;
        let mut reader = Reader::new(&body[8..]);
        let (received_us, answered_us) = (reader.u64()?, reader.u64()?);
        if answered_us < received_us {
            return Err(ReadError::Value);
        }
        Ok(Self { nonce, received_us, answered_us, length })
    }

    /// Appends the message, length and type included.
    pub fn put(&self, writer: &mut Writer<'_>) {
        put_message(writer, to_client::BENCHMARK, |writer| {
            writer.u64(self.nonce);
            writer.u64(self.received_us);
            writer.u64(self.answered_us);
            writer.zeros(usize::from(self.length).saturating_sub(BENCHMARK_MIN));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_and_answer_round_trip_in_every_length_and_no_other() {
        for length in 0..=1_100_u16 {
            let request = BenchmarkRequest { nonce: 0x0102_0304_0506_0708, length };
            let answer =
                BenchmarkAnswer { nonce: request.nonce, received_us: 5, answered_us: 9, length };
            let mut out = [0; 1_200];
            let mut writer = Writer::new(&mut out);
            request.put(&mut writer);
            let is_legal = (24..=1_024).contains(&length);
            let end = writer.finish().expect("room");
            assert_eq!(BenchmarkRequest::read(&out[3..end]).ok(), is_legal.then_some(request));
            let mut writer = Writer::new(&mut out);
            answer.put(&mut writer);
            let end = writer.finish().expect("room");
            let read = BenchmarkAnswer::read(&out[3..end]);
            // An answer is never shorter than what it says.
            let written = BenchmarkAnswer { length: length.max(24), ..answer };
            assert_eq!(read.ok(), (length <= 1_024).then_some(written));
        }
        let mut early = [0; 24];
        early[8] = 1;
        assert_eq!(BenchmarkAnswer::read(&early), Err(ReadError::Value));
    }
}
