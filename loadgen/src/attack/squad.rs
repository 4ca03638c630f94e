//! Attackers who are players: sessions with genuine keys and tokens, kept alive as long as the
//! server lets them be, each from an address of its own. What they say once they are in is the
//! scenario's.

use super::field::{Shot, Standing};
use super::session::{Answer, Attempt, Session, message, ticket};
use std::net::Ipv4Addr;
use tidelock::keys::BackendKeys;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::time::Nanos;
use tidelock::wire::{COOKIE_LEN, Channel, Flags, Header, control_kind, to_server};

/// Time between two Connects, and two CryptoTests.
const RESEND: Nanos = Nanos::from_ms(100);
/// An attempt that has led nowhere by then is given up.
const PATIENCE: Nanos = Nanos::from_ms(3_000);
/// Time until somebody who was thrown out comes again, as somebody else.
const COME_AGAIN: Nanos = Nanos::from_ms(1_000);
/// EnterToWorld is sent so often.
const ENTERS: u32 = 5;
/// Player ids of attackers begin here: nobody honest has them.
pub(super) const FIRST_PLAYER: u64 = 1 << 40;

enum Stage {
    Out { until: Nanos },
    Joining { attempt: Box<Attempt>, cookie: [u8; COOKIE_LEN], next: Nanos, since: Nanos },
    Proving { session: Box<Session>, next: Nanos, since: Nanos },
    In { session: Box<Session>, enters: u32, next: Nanos },
}

struct Member {
    stage: Stage,
    source: Ipv4Addr,
}

/// A fixed number of them.
pub(super) struct Squad {
    keys: BackendKeys,
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
    /// Time between two datagrams of a member that is in.
    interval: Nanos,
    next_player: u64,
}

/// What a member that is in says.
pub(super) struct Turn<'a> {
    pub(super) session: &'a mut Session,
    /// Which member.
    pub(super) number: u32,
    pub(super) source: Ipv4Addr,
}

impl Squad {
    /// `count` members who say something `per_s` times a second each.
    pub(super) fn new(keys: &BackendKeys, count: u32, per_s: u32) -> Self {
        let member = |number| Member {
            // They come one after the other.
            stage: Stage::Out { until: Nanos::from_ms(10 * u64::from(number)) },
            source: Standing::Known.address(number),
        };
        Self {
            keys: keys.clone(),
            members: (0..count).map(member).collect(),
            turn: 0,
            interval: Nanos(1_000_000_000 / u64::from(per_s.max(1))),
            next_player: FIRST_PLAYER,
        }
    }

    /// The next datagram of anybody; what those say who are in is asked of `talk`.
    pub(super) fn next(
        &mut self,
        now: Nanos,
        out: &mut [u8; DATAGRAM_MAX],
        talk: &mut dyn FnMut(Turn<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<Shot>,
    ) -> Option<Shot> {
        for _ in 0..self.members.len() {
            let number = self.turn;
            self.turn = (self.turn + 1) % self.members.len();
            let shot = self.turn_of(number, now, out, talk);
            if shot.is_some() {
                return shot;
            }
        }
        None
    }

    fn turn_of(
        &mut self,
        number: usize,
        now: Nanos,
        out: &mut [u8; DATAGRAM_MAX],
        talk: &mut dyn FnMut(Turn<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<Shot>,
    ) -> Option<Shot> {
        let Member { stage, source } = &mut self.members[number];
        let source = *source;
        let known = |len| Some(Shot { len, source, standing: Standing::Known });
        match stage {
            Stage::Out { until } if now >= *until => {
                self.next_player += 1;
                let ticket = ticket(&self.keys, self.next_player);
                let attempt = Box::new(Attempt::new(&ticket, number as u32));
                let len = attempt.connect(&[0; COOKIE_LEN], out);
                let next = now.plus(RESEND);
                *stage = Stage::Joining { attempt, cookie: [0; COOKIE_LEN], next, since: now };
                Some(Shot { len, source, standing: Standing::Stranger })
            }
            Stage::Joining { attempt, cookie, next, since } if now >= *next => {
                *next = now.plus(RESEND);
                let len = attempt.connect(cookie, out);
                let asks = *cookie == [0; COOKIE_LEN];
                if now.since(*since) > PATIENCE {
                    *stage = Stage::Out { until: now.plus(COME_AGAIN) };
                }
                let standing = if asks { Standing::Stranger } else { Standing::Known };
                Some(Shot { len, source, standing })
            }
            Stage::Proving { session, next, since } if now >= *next => {
                *next = now.plus(RESEND);
                let test = message(control_kind::CRYPTO_TEST, None, &[7; 16]);
                let len = session.say(Channel::Control, Flags(0), &test, out);
                if now.since(*since) > PATIENCE {
                    *stage = Stage::Out { until: now.plus(COME_AGAIN) };
                }
                known(len)
            }
            Stage::In { session, enters, next } if now >= *next => {
                *next = now.plus(self.interval);
                if *enters < ENTERS {
                    *enters += 1;
                    let enter = message(to_server::ENTER_TO_WORLD, None, &[0; 4]);
                    return known(session.say(Channel::Unreliable, Flags(0), &enter, out));
                }
                talk(Turn { session, number: number as u32, source }, out)
            }
            _ => None,
        }
    }

    /// The server sent `payload` to a member's address. Tells whom it answered.
    pub(super) fn answer(&mut self, now: Nanos, local: Ipv4Addr, payload: &mut [u8]) -> Standing {
        let Some((standing, number)) = Standing::of(local) else { return Standing::Garbage };
        let Some(member) = self.members.get_mut(number as usize) else { return standing };
        if standing != Standing::Known {
            return standing;
        }
        match &mut member.stage {
            Stage::Joining { attempt, cookie, next, .. } => match attempt.answer(payload) {
                Answer::Cookie(new) => {
                    (*cookie, *next) = (new, now);
                    return Standing::Stranger;
                }
                Answer::Accepted(session) => {
                    let session = Box::new(session);
                    member.stage = Stage::Proving { session, next: now, since: now };
                }
                Answer::Refused => member.stage = Stage::Out { until: now.plus(COME_AGAIN) },
                Answer::Nothing => {}
            },
            Stage::Proving { session, .. } | Stage::In { session, .. } => {
                if Header::read(payload).is_ok_and(|header| header == Header::HANDSHAKE) {
                    // A second answer to the same question.
                    return Standing::Known;
                }
                let heard = session.hear(payload);
                if heard.over {
                    member.stage = Stage::Out { until: now.plus(COME_AGAIN) };
                } else if heard.confirmed && matches!(member.stage, Stage::Proving { .. }) {
                    let out = Stage::Out { until: now };
                    if let Stage::Proving { session, .. } =
                        std::mem::replace(&mut member.stage, out)
                    {
                        member.stage = Stage::In { session, enters: 0, next: now };
                    }
                }
            }
            Stage::Out { .. } => {}
        }
        Standing::Known
    }
}
