//! Pieces about tokens, restarts and resends.

use super::door::Door;
use crate::people::{BOOT_S, people};
use crate::server::Server;
use std::net::SocketAddr;
use tidelock::metrics::DropReason;
use tidelock::wire::Reply;

/// netcode, pull request 159 (2026): a server that was stopped and started counted its packets from
/// 0 again, under keys that came in the connect token: one key and nonce for two texts. Ours come
/// from new ephemeral keys, and a token from before the start is refused.
/// <https://github.com/mas-bandwidth/netcode/pull/159>
#[test]
fn a_restarted_server_repeats_no_key_and_takes_no_earlier_token() {
    let person = &people()[0];
    let first = Door::new(BOOT_S, 32).join(person);
    let restarted = Door::new(BOOT_S + 9, 32).knock(person, person.from);
    assert_eq!(restarted.err(), Some(DropReason::TokenBeforeBoot));
    // Even if it took the token: the same Connect, byte for byte, leads to other keys.
    let second = Door::new(BOOT_S - 1, 32).join(person);
    assert_ne!(first.server_to_client, second.server_to_client);
    assert_ne!(first.client_to_server, second.client_to_server);
}

/// netcode, pull request 184 (2026): the history of used tokens forgot the oldest when it was full,
/// so that a flood of tokens made a used one good again.
/// <https://github.com/mas-bandwidth/netcode/pull/184>
#[test]
fn a_full_token_table_refuses_newcomers_and_forgets_nobody() {
    let mut door = Door::new(BOOT_S, 2);
    let used = door.join(&people()[0]);
    door.gate.confirmed(used.id);
    door.gate.closed(used.id);
    door.join(&people()[2]);
    for newcomer in [4, 5, 6, 7].map(|number| &people()[number]) {
        let refused = door.knock(newcomer, newcomer.from);
        assert_eq!(refused.err(), Some(DropReason::TokenTableFull));
    }
    // Another attempt with the used token: new keys, same token.
    let again = &people()[1];
    assert_eq!(door.knock(again, again.from).err(), Some(DropReason::TokenReplayed));
}

/// netcode, issue 84 (2019): whoever saw a connect token pass could join with it before its owner.
/// Ours is worth nothing without the secret that only its owner and the server know.
/// <https://github.com/mas-bandwidth/netcode/issues/84>
#[test]
fn a_sniffed_token_joins_nobody() {
    let mut door = Door::new(BOOT_S, 32);
    // The token of another, and not its secret.
    let thief = &people()[15];
    assert_eq!(door.knock(thief, thief.from).err(), Some(DropReason::Noise));
    // A token in use, from elsewhere.
    let owner = &people()[0];
    door.join(owner);
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], 4_000));
    let second_attempt = &people()[1];
    assert_eq!(door.knock(second_attempt, elsewhere).err(), Some(DropReason::TokenReplayed));
    // The owner may still repeat himself.
    assert!(door.knock(owner, owner.from).is_ok());
}

/// dimpl, pull request 40 (2026): the first ClientHello, which has no cookie, stayed in the
/// transcript, and the second was authenticated over another text than its sender's. Our resends
/// differ in cookie and checksum only, and these are outside of what is authenticated.
/// <https://github.com/algesten/dimpl/pull/40>
#[test]
fn every_resend_of_an_attempt_authenticates_the_same_text() {
    let (first, cookie, second) = Server::connects();
    assert_ne!(first[32..80], second[32..80], "the second has the cookie");
    assert_eq!(second[32..80], cookie);
    assert_eq!((&first[..32], &first[84..]), (&second[..32], &second[84..]));

    // The gate agrees: what was made before the cookie is good with it.
    let mut door = Door::new(BOOT_S, 32);
    let person = &people()[0];
    let (cookie, accepted) = (door.cookie(person, person.from), door.join(person));
    assert_eq!(accepted.player, person.player);
    // And another text under the same ephemeral key is nobody's.
    let mut changed = person.connect(&cookie);
    changed[397 + 32] ^= 1;
    let crc = tidelock::wire::packet_crc(crate::people::PROTOCOL_ID, &changed, 80);
    changed[80..84].copy_from_slice(&crc.to_le_bytes());
    let refused = door.send(person.from, &changed).map(|(reply, _)| reply);
    assert_eq!(refused, Err(DropReason::Noise));
    let repeated = door.send(person.from, &person.connect(&cookie)).map(|(reply, _)| reply);
    assert!(matches!(repeated, Ok(Reply::Accepted(_))), "a resend is answered again");
}
