//! Tests only: the primitives against Wycheproof's cases, the handshake against `snow`.
//!
//! Every case goes through the function that the product calls, so a wrong wrapper fails like a
//! wrong library would.

use super::aead::PacketKey;
use super::kdf::{MacKey, Prk};
use super::noise::{Initiator, Responder, StaticKeys};
use super::{dh, reference};
use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::{aead, hkdf, mac, xdh};

type Seal<'a> = dyn Fn(&[u8; 32], &[u8], &[u8], &mut [u8]) -> [u8; 16] + 'a;
type Open<'a> = dyn Fn(&[u8; 32], &[u8], &[u8], &mut [u8], &[u8; 16]) -> bool + 'a;

/// Runs all cases with nonces of `nonce_len` bytes (no other length can be expressed here) and
/// returns their number.
fn run_aead(name: aead::TestName, nonce_len: usize, seal: &Seal<'_>, open: &Open<'_>) -> usize {
    let set = aead::TestSet::load(name).expect("the suite is built in");
    let mut run = 0;
    for group in set.test_groups.iter().filter(|group| group.nonce_size == nonce_len * 8) {
        for test in &group.tests {
            let key = test.key[..].try_into().expect("256-bit keys");
            let valid = test.result == TestResult::Valid;
            let mut text = test.pt.to_vec();
            let tag = seal(key, &test.nonce, &test.aad, &mut text);
            let same = text == test.ct[..] && tag == test.tag[..];
            assert_eq!(same, valid, "seal, case {}: {}", test.tc_id, test.comment);
            let mut text = test.ct.to_vec();
            let tag = test.tag[..].try_into().expect("128-bit tags");
            let opened = open(key, &test.nonce, &test.aad, &mut text, tag);
            assert_eq!(opened, valid, "open, case {}: {}", test.tc_id, test.comment);
            assert!(!opened || text == test.pt[..], "case {}: {}", test.tc_id, test.comment);
            run += 1;
        }
    }
    run
}

#[test]
fn wycheproof_chacha20_poly1305_by_the_product() {
    let nonce = |nonce: &[u8]| nonce.try_into().expect("96-bit nonces");
    let run = run_aead(
        aead::TestName::ChaCha20Poly1305,
        12,
        &|key, n, aad, text| PacketKey::new(key).seal_parts(nonce(n), aad, text),
        &|key, n, aad, text, tag| PacketKey::new(key).open_parts(nonce(n), aad, text, tag).is_ok(),
    );
    assert!(run >= 300, "{run} cases");
}

#[test]
fn wycheproof_chacha20_poly1305_by_the_definition() {
    let nonce = |nonce: &[u8]| -> [u8; 12] { nonce.try_into().expect("96-bit nonces") };
    let run = run_aead(
        aead::TestName::ChaCha20Poly1305,
        12,
        &|key, n, aad, text| reference::seal_chacha(key, &nonce(n), aad, text),
        &|key, n, aad, text, tag| reference::open_chacha(key, &nonce(n), aad, text, tag).is_ok(),
    );
    assert!(run >= 300, "{run} cases");
}

#[test]
fn wycheproof_xchacha20_poly1305() {
    let nonce = |nonce: &[u8]| -> [u8; 24] { nonce.try_into().expect("192-bit nonces") };
    let run = run_aead(
        aead::TestName::XChaCha20Poly1305,
        24,
        &|key, n, aad, text| reference::seal_xchacha(key, &nonce(n), aad, text),
        &|key, n, aad, text, tag| reference::open_xchacha(key, &nonce(n), aad, text, tag).is_ok(),
    );
    assert!(run >= 280, "{run} cases");
}

#[test]
fn wycheproof_x25519_with_zero_results_refused() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("the suite is built in");
    let (mut run, mut zero) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let secret = test.private_key[..].try_into().expect("32-byte keys");
        let public = test.public_key[..].try_into().expect("32-byte keys");
        let shared = dh::agree(secret, public).ok().map(|shared| shared.to_vec());
        let is_zero = test.shared_secret.iter().all(|&byte| byte == 0);
        let expected = (!is_zero).then(|| test.shared_secret.to_vec());
        assert_eq!(shared, expected, "case {}: {}", test.tc_id, test.comment);
        run += 1;
        zero += usize::from(is_zero);
    }
    assert!(run >= 500 && zero >= 20, "{run} cases, {zero} of them zero");
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).expect("the suite is built in");
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // The invalid cases ask for more than 255 blocks; our lengths are constants.
        if test.result == TestResult::Invalid {
            assert!(test.size > 255 * 32, "case {}: {}", test.tc_id, test.comment);
            continue;
        }
        let (bytes, prk) = Prk::extract(&test.salt, &test.ikm);
        for prk in [prk, Prk::from_bytes(&bytes)] {
            let mut out = vec![0; test.size];
            let (start, end) = test.info.split_at(test.info.len() / 2);
            prk.expand(&[start, end], &mut out);
            assert_eq!(out, test.okm[..], "case {}: {}", test.tc_id, test.comment);
        }
        run += 1;
    }
    assert!(run >= 80, "{run} cases");
}

#[test]
fn wycheproof_hmac_sha256() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).expect("the suite is built in");
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = MacKey::new(&test.key);
        let (start, end) = test.msg.split_at(test.msg.len() / 2);
        let valid = test.result == TestResult::Valid;
        let message = format!("case {}: {}", test.tc_id, test.comment);
        assert_eq!(key.verify(&[start, end], &test.tag), valid, "{message}");
        assert_eq!(key.mac(&[start, end])[..test.tag.len()] == test.tag[..], valid, "{message}");
        run += 1;
    }
    assert!(run >= 150, "{run} cases");
}

fn snow(prologue: &[u8]) -> snow::Builder<'_> {
    let name = "Noise_NKpsk0_25519_ChaChaPoly_SHA256".parse().expect("snow knows the pattern");
    snow::Builder::new(name).prologue(prologue).expect("set once")
}

/// `snow` gives its keys away only by using them: the first transport text of each direction.
fn assert_same_keys(
    mut theirs: snow::TransportState,
    initiator: bool,
    (k1, k2): (&[u8; 32], &[u8; 32]),
) {
    let (send, receive) = if initiator { (k1, k2) } else { (k2, k1) };
    let mut sealed = [0; 21];
    assert_eq!(theirs.write_message(b"hello", &mut sealed).expect("room for a tag"), 21);
    let (text, tag) = sealed.split_last_chunk_mut().expect("21 bytes");
    reference::open_chacha(send, &[0; 12], &[], text, tag).expect("sealed under the same key");
    assert_eq!(text, b"hello");
    let mut answer = *b"world----------------";
    let tag = reference::seal_chacha(receive, &[0; 12], &[], &mut answer[..5]);
    answer[5..].copy_from_slice(&tag);
    let mut text = [0; 32];
    assert_eq!(theirs.read_message(&answer, &mut text).expect("the same key"), 5);
    assert_eq!(&text[..5], b"world");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn our_client_talks_to_the_server_of_snow(
        prologue in prop::collection::vec(any::<u8>(), 0..400),
        secret in any::<[u8; 32]>(),
        psk in any::<[u8; 32]>(),
        ephemeral in any::<[u8; 32]>(),
        (offer, answer) in (any::<[u8; 16]>(), prop::array::uniform32(any::<u16>())),
    ) {
        let answer: [u8; 64] = core::array::from_fn(|i| answer[i / 2].to_le_bytes()[i % 2]);
        let public = StaticKeys::from_secret(secret).public;
        let (initiator, message1) =
            Initiator::start(&prologue, &public, &psk, ephemeral, &offer).unwrap();

        let mut server = snow(&prologue)
            .psk(0, &psk).unwrap()
            .local_private_key(&secret).unwrap()
            .build_responder().unwrap();
        let mut payload = [0; 128];
        let length = server.read_message(&message1, &mut payload).unwrap();
        prop_assert_eq!(&payload[..length], offer);
        let mut message2 = [0; 112];
        prop_assert_eq!(server.write_message(&answer, &mut message2).unwrap(), 112);

        let (keys, payload) = initiator.finish(&message2).unwrap();
        prop_assert_eq!(payload, answer);
        prop_assert_eq!(server.get_handshake_hash(), keys.hash);
        assert_same_keys(server.into_transport_mode().unwrap(), false, (&keys.k1, &keys.k2));
    }

    #[test]
    fn our_server_talks_to_the_client_of_snow(
        prologue in prop::collection::vec(any::<u8>(), 0..400),
        secret in any::<[u8; 32]>(),
        psk in any::<[u8; 32]>(),
        ephemeral in any::<[u8; 32]>(),
        (offer, answer) in (any::<[u8; 16]>(), prop::array::uniform32(any::<u16>())),
    ) {
        let answer: [u8; 64] = core::array::from_fn(|i| answer[i / 2].to_le_bytes()[i % 2]);
        let server = StaticKeys::from_secret(secret);
        let mut client = snow(&prologue)
            .psk(0, &psk).unwrap()
            .remote_public_key(&server.public).unwrap()
            .build_initiator().unwrap();
        let mut message1 = [0; 64];
        prop_assert_eq!(client.write_message(&offer, &mut message1).unwrap(), 64);

        let (responder, payload) =
            Responder::read(&prologue, &server, &psk, &message1).unwrap();
        prop_assert_eq!(payload, offer);
        let (keys, message2) = responder.reply(ephemeral, &answer).unwrap();
        let mut payload = [0; 128];
        let length = client.read_message(&message2, &mut payload).unwrap();
        prop_assert_eq!(&payload[..length], answer);
        prop_assert_eq!(client.get_handshake_hash(), keys.hash);
        assert_same_keys(client.into_transport_mode().unwrap(), true, (&keys.k1, &keys.k2));
    }
}
