//! Connect tokens: what a backend with a fault may have sealed, and what was changed on the way.

use super::bytes::Bytes;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use tidelock::crypto::token::{
    SEALED_TOKEN_LEN, TOKEN_LEN, TokenError, TokenHead, TokenKind, open_token, seal_token,
};

const KEY: [u8; 32] = [0x42; 32];
const PROTOCOL_ID: u64 = 0x1122_3344_5566_7788;

/// A head of 14 bytes, the changes that it meets on the way, and the 256 bytes of a token.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = match bytes.u8() % 2 {
        0 => TokenKind::ConnectToken,
        _ => TokenKind::ResumeTicket,
    };
    let nonce = [bytes.u8(); 24];
    let head = TokenHead { kind, key_id: bytes.u32(), nonce, expiry_s: bytes.u64() };
    let mut changes = Bytes(bytes.take(12));
    let text: [u8; TOKEN_LEN] = bytes.array();

    let genuine = seal(&head, text);
    match open_token(&KEY, PROTOCOL_ID, &head, &genuine) {
        Ok(token) => {
            let again = seal_token(&KEY, PROTOCOL_ID, &head, &token);
            // With kind 0 nobody reads the address, so nobody writes it either.
            let mut read = text;
            if read[68] == 0 {
                read[72..88].fill(0);
            }
            assert_eq!(again, seal(&head, read), "what was read is sealed as it was");
            let point = token.spawn_point();
            assert_eq!(point.is_some(), text[132] == 1, "byte 0 of the user data says it");
            let anywhere = [[0; 16], [0xFF; 16]].iter().all(|ip| token.address.allows(ip));
            assert_eq!(anywhere, text[68] == 0, "an address binds");
        }
        Err(error) => assert_eq!(error, TokenError::Malformed, "the seal is good"),
    }
    assert_eq!(open_token(&KEY, PROTOCOL_ID, &head, &genuine).is_ok(), is_token(&text));

    // Whoever carries a token can change neither it nor what stands beside it.
    let (mut sealed, mut changed) = (genuine, head);
    let mut differs = changes.mutate(&mut sealed);
    let (key_id, later) = (changes.u8(), changes.u8());
    changed.key_id ^= u32::from(key_id);
    changed.expiry_s ^= u64::from(later);
    differs |= changed != head;
    let opened = open_token(&KEY, PROTOCOL_ID, &changed, &sealed);
    assert_eq!(opened.err() == Some(TokenError::Seal), differs);
    let elsewhere = open_token(&KEY, PROTOCOL_ID ^ 1, &head, &genuine);
    assert_eq!(elsewhere.err(), Some(TokenError::Seal));
}

/// The rules about the 256 bytes: which address kinds there are, and what must be zero.
fn is_token(text: &[u8; TOKEN_LEN]) -> bool {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
    let address = match text[68] {
        0 | 6 => true,
        4 => text[72..84] == mapped,
        _ => false,
    };
    address && text[69..72] == [0; 3] && text[129..132] == [0; 3]
}

/// As a backend in another language would, from docs/PROTOCOL.md.
fn seal(head: &TokenHead, mut text: [u8; TOKEN_LEN]) -> [u8; SEALED_TOKEN_LEN] {
    let mut aad = Vec::from(*b"tdl1 token\0\0\0\0\0\0");
    aad.extend_from_slice(&PROTOCOL_ID.to_le_bytes());
    aad.push(head.kind as u8);
    aad.extend_from_slice(&head.key_id.to_le_bytes());
    aad.extend_from_slice(&head.expiry_s.to_le_bytes());
    let cipher = XChaCha20Poly1305::new(&KEY.into());
    let nonce = (&head.nonce).into();
    let tag = cipher
        .encrypt_inout_detached(nonce, &aad, (&mut text[..]).into())
        .expect("the text is short");
    let mut sealed = [0; SEALED_TOKEN_LEN];
    sealed[..TOKEN_LEN].copy_from_slice(&text);
    sealed[TOKEN_LEN..].copy_from_slice(&tag);
    sealed
}
