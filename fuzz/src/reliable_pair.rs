//! Reliable messages in both directions, of all lengths, over a network that an input drives: each
//! arrives once, those of the ordered channel in order, and all of them once the network heals.

use super::bytes::Bytes;
use super::pair::Pair;
use tidelock::wire::Channel;

const STEPS: usize = 300;
const LENGTHS: [usize; 8] = [0, 1, 300, 1_100, 1_150, 2_500, 6_000, 16_000];

/// Steps: a message for one of the ends, or what the network does.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut pair = Pair::joined();
    for _ in 0..STEPS {
        if bytes.is_empty() || pair.has_ended() {
            break;
        }
        let kind = bytes.u8();
        if kind >= 0xC0 {
            let channel = [Channel::ReliableOrdered, Channel::ReliableUnordered];
            let channel = channel[usize::from(kind >> 4 & 1)];
            pair.give(kind & 8 == 0, channel, LENGTHS[usize::from(kind & 7)]);
        } else {
            pair.weather(kind, &mut bytes);
        }
    }
    pair.settle();
}
