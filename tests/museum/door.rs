//! A gate with its clocks, for the pieces about joining.

use crate::people::{BOOT_S, PROTOCOL_ID, Person, TOKEN_KEY, server_keys};
use crate::random::Counting;
use std::net::SocketAddr;
use tidelock::connection::Admission;
use tidelock::exchange::exchange;
use tidelock::gate::{Gate, GateAction, GateConfig, Moment, TokenKey};
use tidelock::limits::DATAGRAM_MAX;
use tidelock::metrics::{Counters, DropReason};
use tidelock::time::Nanos;
use tidelock::wire::{COOKIE_LEN, Reply};

pub(super) struct Door {
    pub(super) gate: Gate,
    counters: Counters,
    entropy: Counting,
    at: Moment,
}

impl Door {
    /// A gate that was started at `boot_s` and remembers so many tokens.
    pub(super) fn new(boot_s: u64, tokens: usize) -> Self {
        let config = GateConfig {
            boot_unix_ms: boot_s * 1000,
            tokens,
            ..GateConfig::new(
                PROTOCOL_ID,
                1,
                server_keys(),
                vec![TokenKey { id: 7, key: TOKEN_KEY }],
            )
        };
        let mut entropy = Counting(boot_s);
        let now = Nanos::from_ms(50);
        let (keeper, _) = exchange(1, 64, 0, &());
        Self {
            gate: Gate::new(config, keeper, now, &mut entropy),
            counters: Counters::default(),
            entropy,
            at: Moment { now, unix_s: BOOT_S + 10, tick: 600 },
        }
    }

    /// What the gate does with a datagram, and what it answers. A denial is a drop that says why.
    pub(super) fn send(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(Reply, Option<Admission>), DropReason> {
        let Self { gate, counters, entropy, at, .. } = self;
        // The limit per source is not what these pieces are about.
        at.now = at.now.plus(Nanos::from_ms(100));
        let before = DropReason::ALL.iter().map(|&reason| counters.dropped(reason));
        let before: Vec<_> = before.collect();
        let mut out = [0; DATAGRAM_MAX];
        let action = gate.handle_datagram(*at, from, datagram, counters, entropy, &mut out);
        let (length, admission) = match action {
            GateAction::Drop(reason) => return Err(reason),
            GateAction::Reply(length) => (length, None),
            GateAction::Accept { reply_len, admission, .. } => (reply_len, Some(admission)),
        };
        let reply = Reply::read(PROTOCOL_ID, &out[..length]).expect("the gate writes good packets");
        if let Reply::Denied(_) = reply {
            let grown = DropReason::ALL.iter().zip(before);
            let mut grown = grown.filter(|(reason, before)| counters.dropped(**reason) > *before);
            return Err(*grown.next().expect("a denial is counted").0);
        }
        Ok((reply, admission))
    }

    /// The cookie for the attempt of `person`, coming from `from`.
    pub(super) fn cookie(&mut self, person: &Person, from: SocketAddr) -> [u8; COOKIE_LEN] {
        match self.send(from, &person.connect(&[0; COOKIE_LEN])) {
            Ok((Reply::Cookie(packet), None)) => packet.cookie,
            other => panic!("not a cookie: {other:?}"),
        }
    }

    /// Both flights of `person` from `from`.
    pub(super) fn knock(
        &mut self,
        person: &Person,
        from: SocketAddr,
    ) -> Result<Option<Admission>, DropReason> {
        let cookie = self.cookie(person, from);
        self.send(from, &person.connect(&cookie)).map(|(_, admission)| admission)
    }

    /// `person` joins from home.
    pub(super) fn join(&mut self, person: &Person) -> Admission {
        self.knock(person, person.from).expect("let in").expect("a session")
    }
}
