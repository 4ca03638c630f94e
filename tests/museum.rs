//! A museum of published bugs. Each piece is a fault that somebody shipped in a system like this
//! one, as the test that would have found it here, with its source. `scripts/mutants.sh` breaks our
//! code in the same way, and the piece must notice: a piece that cannot fail shows nothing.

mod museum {
    mod door;
    mod fragments;
    mod handshake;
    mod parsers;
    mod port;
    mod window;
}

#[path = "../fuzz/src/peer.rs"]
mod peer;
#[path = "../fuzz/src/people.rs"]
mod people;
#[path = "../fuzz/src/random.rs"]
mod random;
#[path = "../fuzz/src/server.rs"]
mod server;
