//! A session goes from one table to another: what it takes along, what stays behind, and what a
//! stranger can make of it.

use super::*;

const OTHER: u8 = SOCKET + 1;
/// Where the session lives before and after.
const HERE: u16 = 1;
const THERE: u16 = 6;

/// Two tables, and a player who was in the world of the first.
struct Move {
    old: Bench,
    new: Bench,
    peer: Peer,
    former: ConnectionId,
    id: ConnectionId,
    /// What the old table handed on: for whom, from where, which bytes.
    forwarded: Vec<(ConnectionId, SocketAddr, Vec<u8>)>,
}

impl Move {
    /// Before the hand-over.
    fn planned() -> Self {
        let mut old = Bench::new(4);
        let new = Bench::on_socket(OTHER, 8);
        let peer = old.entered(HERE);
        for _ in 0..3 {
            old.snapshot(HERE);
        }
        let id = ConnectionId::from_parts(OTHER, THERE, 0xABC);
        Self { old, new, former: peer.id, peer, id, forwarded: Vec::new() }
    }

    /// After it; the client does not know yet.
    fn done() -> Self {
        let mut this = Self::planned();
        this.hand_over();
        this
    }

    #[track_caller]
    fn hand_over(&mut self) {
        let handed = self.old.sessions.hand_over(HERE, self.id, self.old.now);
        let handed = handed.expect("the session may go");
        assert_eq!((handed.id(), handed.former(), handed.player()), (self.id, self.former, 1_001));
        assert_eq!(self.new.sessions.vacancy(self.id), Ok(THERE));
        assert_eq!(self.new.sessions.take_over(handed, self.new.now), Ok(THERE));
    }

    fn advance_ms(&mut self, ms: u64) {
        self.old.advance_ms(ms);
        self.new.advance_ms(ms);
    }

    /// A datagram at the socket of the old table; what that hands on is kept.
    fn at_old(&mut self, from: SocketAddr, datagram: &[u8]) {
        let mut batch = Batch::default();
        batch.push(from, datagram);
        let forwarded = &mut self.forwarded;
        self.old.run(&mut batch, |to, from, bytes| forwarded.push((to, from, bytes.to_vec())));
    }

    /// A datagram that was handed on arrives at the new table.
    fn handed_on(&mut self, to: ConnectionId, from: SocketAddr, datagram: &[u8]) {
        let mut batch = Batch::default();
        batch.push_forwarded(to, from, datagram);
        self.new.run(&mut batch, |_, _, _| panic!("nothing is handed on twice"));
    }

    /// Everything that was handed on arrives.
    fn carry(&mut self) -> usize {
        let all = std::mem::take(&mut self.forwarded);
        for (to, from, bytes) in &all {
            self.handed_on(*to, *from, bytes);
        }
        all.len()
    }

    /// The client's packet on its whole way, by whichever id it knows.
    fn says(&mut self, datagram: &[u8]) {
        if datagram[0] == OTHER {
            self.new.deliver(&self.peer, datagram);
        } else {
            self.at_old(self.peer.address, datagram);
            assert_eq!(self.carry(), 1);
        }
    }

    /// What the new table sends now: under which id, and what.
    fn hears(&mut self) -> Vec<(ConnectionId, Vec<ControlMessage>)> {
        let mut out = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        let Bench { sessions, counters, sink, now } = &mut self.new;
        while let Some(transmit) = sessions.poll_control(*now, &mut out, counters, sink) {
            assert_eq!((transmit.slot, transmit.to), (THERE, self.peer.address));
            let id = Header::read(&out).expect("a header").connection;
            let peer = Peer { id, ..Peer::new(HERE) };
            all.push((id, peer.open(&out[..transmit.length]).control()));
        }
        all
    }

    fn moved(&self) -> ControlMessage {
        ControlMessage::Moved { connection: self.id }
    }

    /// The client has heard, and its next packet is under the new id.
    fn client_follows(&mut self) {
        self.peer.id = self.id;
        let packet = self.peer.input(50, 1);
        self.says(&packet);
        self.new.events();
    }
}

#[test]
fn a_session_takes_everything_along_and_leaves_no_keys() {
    let mut this = Move::planned();
    this.old.sessions.failed_opens[1] = 77;
    let bad = this.peer.packet(Channel::Unreliable, &[1, 0, 99]);
    this.at_old(this.peer.address, &bad);
    let ping = this.peer.control(ControlMessage::Ping { nonce: 5 });
    this.at_old(this.peer.address, &ping);
    let rows = |bench: &Bench, slot: u16| {
        let (s, i) = (&bench.sessions, usize::from(slot));
        let ingress =
            super::super::table::Ingress { id: ConnectionId::GATE, ..s.ingress[i].clone() };
        format!(
            "{ingress:?} {:?} {:?} {} {:?} {:?} {} {:?} {:?} {:?}",
            s.flow[i],
            s.state[i],
            s.unacked[i],
            s.pending[i],
            s.violations[i],
            s.failed_opens[i],
            s.address[i],
            s.route[i],
            (s.player(slot), s.spawn_point(slot)),
        )
    };
    let before = rows(&this.old, HERE);
    this.hand_over();
    assert_eq!(rows(&this.new, THERE), before);
    assert!(this.old.sessions.keys[1].is_none() && this.new.sessions.keys[6].is_some());
    assert_eq!((this.old.sessions.len(), this.new.sessions.len()), (0, 1));
    assert_eq!((this.old.sessions.id(HERE), this.new.sessions.id(THERE)), (None, Some(this.id)));
    assert_eq!(this.old.sessions.moved_to(this.former), Some(this.id));
    assert_eq!(this.old.events(), [], "nobody has left");
    assert_eq!(this.old.read(Counter::Closed), 0);
    let heard = this.hears();
    let clock_us = this.new.now.as_us();
    let pong = ControlMessage::Pong { nonce: 5, clock_us };
    assert_eq!(heard, [(this.former, vec![pong, this.moved()])], "the Pong was still owed");
}

#[test]
fn the_client_is_told_every_250_ms_under_the_id_it_knows_until_it_uses_the_new_one() {
    let mut this = Move::done();
    let mut told = Vec::new();
    for ms in 0..1_100 {
        for heard in this.hears() {
            assert_eq!(heard, (this.former, vec![this.moved()]));
            told.push(ms);
        }
        if ms == 700 {
            let packet = this.peer.packet(Channel::Unreliable, &[]);
            this.says(&packet);
        }
        this.advance_ms(1);
    }
    assert_eq!(told, [0, 250, 500, 750, 1_000], "packets under the former id prove nothing");
    this.client_follows();
    this.advance_ms(2_000);
    let heard = this.hears();
    assert_eq!(heard, [(this.id, vec![])], "an acknowledgment, under the new id");
    let late = this.peer.packet(Channel::Unreliable, &[]);
    this.says(&late);
    this.advance_ms(2_000);
    assert!(this.hears().is_empty());
    let mut out = [0; DATAGRAM_MAX];
    this.new.sessions.begin(THERE, Channel::Unreliable, this.new.now, &mut out).expect("a packet");
    assert_eq!(Header::read(&out).expect("a header").connection, this.id);
}

#[test]
fn packets_under_either_id_count_once_in_one_row_of_sequences() {
    let mut this = Move::done();
    let first = this.peer.input(1, 1);
    this.says(&first);
    this.peer.id = this.id;
    let third = {
        this.peer.sequence += 1;
        this.peer.input(3, 1)
    };
    this.says(&third);
    // The second was sent before the client knew, and comes late.
    this.peer.id = this.former;
    this.peer.sequence -= 2;
    let second = this.peer.input(2, 3);
    this.says(&second);
    let inputs = [Event::Input(THERE, 1, frame(1)), Event::Input(THERE, 3, frame(3))];
    assert_eq!(this.new.events(), inputs);
    assert_eq!((this.new.read(Counter::PacketsOpened), this.new.counters.dropped_total()), (3, 0));
    for datagram in [&first, &second, &third] {
        let state = (this.old.state(), this.new.state());
        this.at_old(this.peer.address, datagram);
        this.carry();
        this.new.deliver(&this.peer, datagram);
        this.handed_on(this.id, this.peer.address, datagram);
        assert_eq!((this.old.state(), this.new.state()), state, "a replay changes nothing");
    }
    assert_eq!(this.new.read(Counter::PacketsOpened), 3);
    this.peer.sequence += 1;
    let ack = this.peer.ack(1, 0);
    this.says(&ack);
    assert_eq!(this.new.events(), [Event::Acked(THERE, 1)], "what the old table sent, too");
}

#[test]
fn only_what_may_be_the_clients_is_handed_on() {
    let mut this = Move::planned();
    let seen = this.peer.input(1, 1);
    this.at_old(this.peer.address, &seen);
    this.hand_over();
    let good = this.peer.input(2, 1);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let (own, stranger) = (this.peer.address, SocketAddr::from(([203, 0, 113, 7], 9)));
    let state = this.old.state();
    for (from, bytes, reason) in [
        (own, with(&|b| b[3] ^= 0x10), DropReason::UnknownConnection),
        (own, with(&|b| b[2] ^= 0x10), DropReason::UnknownConnection),
        (own, with(&|b| b[1] ^= 1), DropReason::UnknownConnection),
        (own, with(&|b| b[0] = OTHER), DropReason::WrongSocket),
        (own, with(&|b| b[4] = 4), DropReason::Header),
        (own, with(&|b| b.truncate(29)), DropReason::Size),
        (own, with(&|b| b.resize(1_201, 0)), DropReason::Size),
        (own, seen, DropReason::Replay),
    ] {
        let before = this.old.dropped(reason);
        this.at_old(from, &bytes);
        assert_eq!(this.old.dropped(reason), before + 1, "{reason:?}");
    }
    assert!(this.forwarded.is_empty());
    this.at_old(own, &good);
    assert_eq!(this.forwarded, [(this.id, own, good.clone())], "as it was received");
    // The client may be elsewhere now, and strangers get no further than it would.
    let handed_on = |this: &mut Move| {
        this.forwarded.clear();
        (0..100).for_each(|_| this.at_old(stranger, &good));
        this.forwarded.len()
    };
    assert_eq!(handed_on(&mut this), 20);
    this.advance_ms(1_000);
    assert_eq!(handed_on(&mut this), 20);
    assert_eq!(this.old.dropped(DropReason::Address), 160);
    assert_eq!(this.old.state(), state);
}

#[test]
fn a_client_may_go_elsewhere_before_during_and_after_a_hand_over() {
    let elsewhere = SocketAddr::from(([198, 51, 100, 1], 7));
    for told_before in [true, false] {
        let mut this = Move::planned();
        let question = |bench: &mut Bench, peer: &Peer| {
            let mut out = [0; DATAGRAM_MAX];
            let Bench { sessions, counters, sink, now } = bench;
            let sent = sessions.poll_control(*now, &mut out, counters, sink).expect("a Ping");
            assert_eq!(sent.to, elsewhere);
            match peer.open(&out[..sent.length]).control()[..] {
                [ControlMessage::Ping { nonce }] => nonce,
                ref other => panic!("{other:?}"),
            }
        };
        let mut nonce = None;
        if told_before {
            let input = this.peer.input(1, 1);
            this.at_old(elsewhere, &input);
            nonce = Some(question(&mut this.old, &this.peer));
        }
        this.hand_over();
        let home = this.peer.address;
        assert_eq!(this.new.sessions.address(THERE), Some(home));
        // The client knows nothing of it and speaks by the id that it has, from where it is.
        let input = this.peer.input(2, 1);
        this.at_old(elsewhere, &input);
        assert_eq!(this.carry(), 1);
        let nonce = nonce.unwrap_or_else(|| question(&mut this.new, &this.peer));
        let pong = this.peer.control(ControlMessage::Pong { nonce, clock_us: 1 });
        this.at_old(elsewhere, &pong);
        assert_eq!(this.carry(), 1);
        assert_eq!(this.new.sessions.address(THERE), Some(elsewhere));
        assert!(this.new.events().contains(&Event::Readdressed(THERE, elsewhere)));
        // It is told its new id there, and is nobody's stray any more.
        this.peer.address = elsewhere;
        assert!(this.hears().contains(&(this.former, vec![this.moved()])));
        this.client_follows();
        for n in 0..60 {
            let input = this.peer.input(100 + n, 1);
            this.says(&input);
            this.advance_ms(17);
        }
        assert_eq!(this.new.counters.dropped_total(), 0);
        let next = ConnectionId::from_parts(9, 9, 9);
        let handed = this.new.sessions.hand_over(THERE, next, this.new.now).expect("it may go");
        let mut third = Bench::on_socket(9, 16);
        assert_eq!(third.sessions.take_over(handed, this.new.now), Ok(9));
        assert_eq!(third.sessions.address(9), Some(elsewhere));
        let Bench { sessions, counters, sink, .. } = &mut third;
        let mut out = [0; DATAGRAM_MAX];
        while sessions.poll_control(this.new.now, &mut out, counters, sink).is_some() {}
        let told = Event::Readdressed(9, elsewhere);
        assert_eq!(third.events(), [told], "what the second table said may be heard after this");
    }
}

#[test]
fn a_stranger_who_knows_the_former_id_changes_nothing() {
    let mut this = Move::done();
    let good = this.peer.input(1, 1);
    let stranger = Peer { id: this.former, address: this.peer.address, ..Peer::new(2) };
    let header = Header::read(&good).expect("a header");
    let state = (this.old.state(), this.new.state());
    let forged = stranger.seal(Header { sequence: 999, ..header }, &[]);
    this.at_old(this.peer.address, &forged);
    assert_eq!(this.carry(), 1, "the old table has no key to tell");
    // Genuine bytes under the other id do not open: the header is part of what is sealed.
    let mut renamed = good.clone();
    renamed[..4].copy_from_slice(&this.id.0.to_le_bytes());
    this.new.deliver(&this.peer, &renamed);
    assert_eq!(this.new.dropped(DropReason::Open), 2);
    // Who is not another shard cannot use the former id at the new table.
    this.new.deliver(&this.peer, &good);
    assert_eq!(this.new.dropped(DropReason::WrongSocket), 1);
    for (to, header_id) in [
        (ConnectionId(this.id.0 ^ 1 << 20), this.former),
        (ConnectionId::from_parts(OTHER, 7, 1), this.former),
        (ConnectionId::from_parts(OTHER, 4_000, 1), this.former),
        (this.id, ConnectionId(this.former.0 ^ 1 << 20)),
        (this.id, ConnectionId(this.former.0 ^ 1 << 9)),
    ] {
        let sealed = this.peer.seal(Header { connection: header_id, ..header }, &[]);
        this.handed_on(to, this.peer.address, &sealed);
    }
    let mut handshake = vec![0; 1_200];
    handshake[4] = 3;
    this.handed_on(this.id, this.peer.address, &handshake);
    assert_eq!(this.new.dropped(DropReason::UnknownConnection), 5);
    assert_eq!(this.new.dropped(DropReason::WrongSocket), 2);
    assert_eq!((this.old.state(), this.new.state()), state);
    this.says(&good);
    assert_eq!(this.new.events(), [Event::Input(THERE, 1, frame(1))]);
}

#[test]
fn what_was_handed_on_once_is_not_handed_on_again() {
    let mut this = Move::done();
    let late = this.peer.input(1, 1);
    this.client_follows();
    let next = ConnectionId::from_parts(9, 9, 9);
    this.new.sessions.hand_over(THERE, next, this.new.now).expect("its client has followed");
    this.at_old(this.peer.address, &late);
    assert_eq!(this.carry(), 1);
    assert_eq!(this.new.dropped(DropReason::UnknownConnection), 1);
}

#[test]
fn forwarding_ends_after_15_s_and_only_then_the_slot_is_free() {
    let mut this = Move::done();
    let mut other = Peer::new(HERE);
    other.id = ConnectionId::from_parts(SOCKET, HERE, 0x777);
    let mut out = [0; DATAGRAM_MAX];
    for _ in 0..150 {
        let packet = this.peer.input(1, 1);
        this.at_old(this.peer.address, &packet);
        assert_eq!(this.carry(), 1);
        let admitted = this.old.sessions.admit_session(other.admission(this.old.now));
        assert_eq!(admitted, Err(AdmissionError::SlotTaken));
        let Bench { sessions, counters, sink, now } = &mut this.old;
        assert_eq!(sessions.poll_control(*now, &mut out, counters, sink), None);
        assert_eq!(this.old.events(), []);
        this.advance_ms(100);
    }
    assert!(this.old.sessions.is_quiet(), "whoever stops does not wait for this");
    let Bench { sessions, counters, sink, now } = &mut this.old;
    assert_eq!(sessions.poll_control(*now, &mut out, counters, sink), None);
    assert_eq!(this.old.events(), [Event::Released(HERE)]);
    let packet = this.peer.input(1, 1);
    this.at_old(this.peer.address, &packet);
    assert!(this.forwarded.is_empty());
    assert_eq!(this.old.dropped(DropReason::UnknownConnection), 1);
    assert_eq!(this.old.sessions.moved_to(this.former), None);
    this.old.sessions.admit_session(other.admission(this.old.now)).expect("the slot is free");
}

#[test]
fn a_session_goes_only_when_its_player_plays_and_its_client_knows_its_id() {
    let to = ConnectionId::from_parts(OTHER, THERE, 1);
    let mut bench = Bench::new(8);
    bench.accepted(1);
    bench.confirmed(2);
    bench.entered(3);
    assert!(bench.sessions.disconnect(3, DisconnectReason::Left, &bench.counters));
    let state = bench.state();
    for slot in [0, 1, 2, 3, 8, u16::MAX] {
        assert!(!bench.sessions.can_hand_over(slot), "{slot}");
        assert!(bench.sessions.hand_over(slot, to, bench.now).is_none(), "{slot}");
    }
    assert_eq!(bench.state(), state);
    let mut this = Move::done();
    assert!(!this.old.sessions.can_hand_over(HERE), "it has gone");
    let packet = this.peer.input(1, 1);
    this.says(&packet);
    assert!(!this.new.sessions.can_hand_over(THERE), "its client does not know where it is");
    this.client_follows();
    assert!(this.new.sessions.can_hand_over(THERE));
}

#[test]
fn a_table_says_beforehand_whom_it_cannot_take() {
    let mut this = Move::planned();
    let now = this.new.now;
    let id = |socket, slot| ConnectionId::from_parts(socket, slot, 1);
    let mut taken = Peer::new(2);
    taken.id = id(OTHER, 2);
    this.new.sessions.admit_session(taken.admission(now)).expect("free");
    let handed = this.old.sessions.hand_over(HERE, id(OTHER, 2), now).expect("it may go");
    let text = format!("{handed:?}");
    assert!(text.contains("player: 1001") && !text.to_lowercase().contains("key"), "{text}");
    let state = this.new.state();
    assert_eq!(this.new.sessions.take_over(handed, now), Err(AdmissionError::SlotTaken));
    assert_eq!(this.new.state(), state);
    let vacancy = |id| this.new.sessions.vacancy(id);
    assert_eq!(vacancy(id(OTHER, 2)), Err(AdmissionError::SlotTaken));
    assert_eq!(vacancy(id(SOCKET, 3)), Err(AdmissionError::WrongSocket));
    assert_eq!(vacancy(id(OTHER, 8)), Err(AdmissionError::NoSuchSlot));
    assert_eq!(vacancy(id(OTHER, 3)), Ok(3));
}

#[test]
fn a_session_that_ends_says_goodbye_under_the_id_its_client_knows() {
    for follows in [false, true] {
        for times_out in [false, true] {
            let mut this = Move::done();
            if follows {
                this.client_follows();
            }
            let known = if follows { this.id } else { this.former };
            let reason = if times_out {
                this.advance_ms(15_000);
                DisconnectReason::TimedOut
            } else {
                assert!(this.new.sessions.disconnect(
                    THERE,
                    DisconnectReason::Full,
                    &this.new.counters
                ));
                DisconnectReason::Full
            };
            let goodbye = ControlMessage::Disconnect { reason, retry_s: reason.retry_s() };
            for _ in 0..3 {
                assert_eq!(this.hears(), [(known, vec![goodbye])]);
                this.advance_ms(50);
            }
            assert!(this.hears().is_empty() && this.new.sessions.is_quiet());
            let late = this.peer.input(60, 1);
            this.at_old(this.peer.address, &late);
            this.carry();
            assert_eq!(this.new.read(Counter::PacketsOpened), u64::from(follows));
        }
    }
}

#[test]
fn a_client_that_leaves_under_the_former_id_is_gone() {
    let mut this = Move::done();
    let leave = ControlMessage::Disconnect { reason: DisconnectReason::Left, retry_s: 0 };
    let packet = this.peer.control(leave);
    this.says(&packet);
    let closed = Event::Closed(THERE, CloseReason::Peer(DisconnectReason::Left));
    assert_eq!(this.new.events(), [closed]);
    assert!(this.new.sessions.is_empty() && this.hears().is_empty());
}
