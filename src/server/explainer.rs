//! Carries questions of the admin socket to the shards of their players, and answers back.
//!
//! One box per shard travels, so at most one question is under way to each; the others wait in the
//! bounded list of the admin socket. A player who has gone to another shard meanwhile is asked for
//! again there. Called by the gate's thread; it never waits.

use crate::admin::{AdminListener, Ticket};
use crate::gate::Gate;
use crate::replicate::Reason;
use crate::report::explain::ExplainReport;
use crate::shard::{Answer, GateEnd, Question, ToShard};
use crate::time::Nanos;
use crate::units::EntityId;
use crate::wire::ConnectionId;

/// How long an answer may take before the asker is told that there is none.
const PATIENCE: Nanos = Nanos::from_ms(1_000);
/// Players named to somebody who asked for one that is not here.
const NAMED_MAX: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Explainer {
    tick_hz: u16,
    /// By shard.
    desks: Vec<Desk>,
    /// At most as many as may wait at the admin socket.
    asked: Vec<Asked>,
}

/// What is under way to and from one shard.
#[derive(Debug, Default)]
struct Desk {
    /// The box, unless the shard has it.
    question: Option<Box<Question>>,
    /// Whose question is in the box.
    ticket: Option<Ticket>,
}

/// Somebody who waits for an answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ticket: Ticket,
    player: u64,
    entity: Option<EntityId>,
    since: Nanos,
    /// The session that was asked for last; it makes no sense to ask for it again.
    session: Option<ConnectionId>,
    under_way: bool,
}

impl Explainer {
    /// For so many shards.
    pub(super) fn new(shards: usize, tick_hz: u16) -> Self {
        let desk = || Desk { question: Some(Box::default()), ticket: None };
        Self { tick_hz, desks: (0..shards).map(|_| desk()).collect(), asked: Vec::new() }
    }

    /// A shard has answered, late or in time.
    pub(super) fn answered(&mut self, shard: usize, question: Box<Question>) {
        self.desks[shard].question = Some(question);
    }

    /// The shards in `lost` were replaced, and their boxes are gone with them.
    pub(super) fn lose(&mut self, lost: &[bool]) {
        for (desk, _) in self.desks.iter_mut().zip(lost).filter(|(_, lost)| **lost) {
            let ticket = desk.ticket.take();
            desk.question = Some(Box::default());
            let asked = self.asked.iter_mut().find(|asked| Some(asked.ticket) == ticket);
            asked.into_iter().for_each(|asked| asked.under_way = false);
        }
    }

    /// Takes in new questions, hands out answers, and asks what can be asked now.
    pub(super) fn serve(
        &mut self,
        now: Nanos,
        admin: &mut AdminListener,
        gate: &Gate,
        shards: &mut [GateEnd],
    ) {
        for (ticket, player, entity) in admin.questions() {
            if !self.asked.iter().any(|asked| asked.ticket == ticket) {
                let (session, under_way) = (None, false);
                self.asked.push(Asked { ticket, player, entity, since: now, session, under_way });
            }
        }
        for shard in 0..self.desks.len() {
            self.hand_out(shard, admin);
        }
        let mut place = 0;
        while let Some(asked) = self.asked.get(place).copied() {
            match self.step(now, asked, gate, shards) {
                Ok(asked) => {
                    self.asked[place] = asked;
                    place += 1;
                }
                Err(refusal) => {
                    admin.refuse(asked.ticket, &refusal);
                    self.asked.swap_remove(place);
                }
            }
        }
    }

    /// Hands out the answer that a shard has sent back, if one has.
    fn hand_out(&mut self, shard: usize, admin: &mut AdminListener) {
        let desk = &mut self.desks[shard];
        let Some(question) = &desk.question else { return };
        let Some(ticket) = desk.ticket.take() else { return };
        // Whoever has lost patience is not there any more.
        let Some(place) = self.asked.iter().position(|asked| asked.ticket == ticket) else {
            return;
        };
        let asked = &mut self.asked[place];
        let player = asked.player;
        match question.answer {
            Answer::Explained => match absent(question) {
                Some(refusal) => admin.refuse(ticket, &refusal),
                None => {
                    let number = shard as u16 + 1;
                    let report = ExplainReport::new(player, number, self.tick_hz, question);
                    admin.reply(ticket, report.to_json());
                }
            },
            Answer::NotInside => admin.refuse(
                ticket,
                &format!("player {player} is connected and has no entity in the world (yet)"),
            ),
            // It has gone to another shard, or is about to be reported gone.
            Answer::Open | Answer::NotHere => {
                asked.under_way = false;
                return;
            }
        }
        self.asked.swap_remove(place);
    }

    /// Asks if it is possible now.
    ///
    /// # Errors
    /// What the asker is to be told if there will be no answer.
    fn step(
        &mut self,
        now: Nanos,
        mut asked: Asked,
        gate: &Gate,
        shards: &mut [GateEnd],
    ) -> Result<Asked, String> {
        let player = asked.player;
        if now.since(asked.since) > PATIENCE {
            return Err(format!("the shard of player {player} gives no answer; ask again"));
        }
        if asked.under_way {
            return Ok(asked);
        }
        let Some(session) = gate.session_of(player) else { return Err(unknown(player, gate)) };
        let shard = usize::from(session.socket()) - 1;
        let desk = &mut self.desks[shard];
        if asked.session == Some(session) || desk.ticket.is_some() {
            return Ok(asked);
        }
        let Some(mut question) = desk.question.take() else { return Ok(asked) };
        (question.session, question.entity) = (session, asked.entity);
        question.answer = Answer::Open;
        match shards[shard].to_shard.send(ToShard::Explain(question)) {
            Ok(()) => {
                desk.ticket = Some(asked.ticket);
                (asked.session, asked.under_way) = (Some(session), true);
            }
            Err(ToShard::Explain(question)) => desk.question = Some(question),
            Err(_) => unreachable!("a full queue gives back what it was given"),
        }
        Ok(asked)
    }
}

/// The refusal if an entity was asked for that does not exist.
fn absent(question: &Question) -> Option<String> {
    let [only] = question.explanation.entities() else { return None };
    let entity = question.entity.filter(|_| only.reason == Reason::Nowhere)?;
    Some(format!(
        "entity {}: {}. Ids are those of the table that is printed without --entity",
        entity.0, only.reason
    ))
}

/// The refusal for a player who is not here.
fn unknown(player: u64, gate: &Gate) -> String {
    let (some, all) = gate.players(NAMED_MAX);
    if some.is_empty() {
        return format!("player {player} is not on this server; nobody is");
    }
    let names: Vec<_> = some.iter().map(u64::to_string).collect();
    let more = if all > some.len() { ", …" } else { "" };
    format!("player {player} is not on this server. {all} are: {}{more}", names.join(", "))
}
