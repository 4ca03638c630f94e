//! Both Noise messages, as a stranger sends them and as somebody in the middle changes them.

use super::bytes::Bytes;
use tidelock::crypto::noise::{Initiator, Responder, StaticKeys};

const PSK: [u8; 32] = [9; 32];

/// What is changed in the prologue, in both messages and in the secrets; or whole messages.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let server = StaticKeys::from_secret([3; 32]);
    let mode = bytes.u8();
    let payload: [u8; 16] = bytes.array();
    let prologue = bytes.sized();
    let Ok((initiator, genuine)) =
        Initiator::start(prologue, &server.public, &PSK, [5; 32], &payload)
    else {
        panic!("the server's key is a key");
    };

    // Made up as a whole: nobody without the secret finds one.
    if mode & 1 == 1 {
        let message: [u8; 64] = bytes.array();
        let read = Responder::read(prologue, &server, &PSK, &message);
        assert!(read.is_ok() || message != genuine);
        if let Ok((_, said)) = read {
            // libFuzzer remembers what was compared: this is genuine, too, with another payload.
            let again = Initiator::start(prologue, &server.public, &PSK, [5; 32], &said);
            assert_eq!(again.map(|(_, message)| message), Ok(message));
        }
        let answer: [u8; 112] = bytes.array();
        assert!(initiator.finish(&answer).is_err());
        return;
    }

    let (mut message, mut other, mut psk) = (genuine, prologue.to_vec(), PSK);
    let mut differs = bytes.mutate(&mut message) | bytes.mutate(&mut other);
    differs |= bytes.mutate(&mut psk);
    let read = Responder::read(&other, &server, &psk, &message);
    // The top bit of a public key says nothing in X25519, but the transcript has it.
    assert_eq!(read.is_ok(), !differs);
    let Ok((responder, read)) = read else { return };
    assert_eq!(read, payload);
    let told: [u8; 64] = std::array::from_fn(|i| bytes.0.get(i).copied().unwrap_or(7));
    let (theirs, answer) = responder.reply([11; 32], &told).expect("the client's key is a key");
    let mut changed = answer;
    if bytes.mutate(&mut changed) {
        assert!(initiator.finish(&changed).is_err(), "a changed answer is nobody's");
    }
    let (ours, heard) = initiator.finish(&answer).expect("a forged answer ends nothing");
    assert_eq!((heard, ours.hash, ours.k1, ours.k2), (told, theirs.hash, theirs.k1, theirs.k2));
}
