//! Answers the gate's question why a player was told what: see `replicate::Explanation`.
//!
//! The question is a box that the gate made; the shard fills it at the end of the next tick, while
//! the tables are as the snapshots of that tick left them, and sends it back. At most one question
//! is under way. **Policy for a full queue:** the shard takes no mail without room for the answer.

use super::{Shard, ToGate};
use crate::connection::PathState;
use crate::replicate::Explanation;
use crate::units::EntityId;
use crate::wire::ConnectionId;

/// A question about one player, and its answer.
#[derive(Debug)]
pub struct Question {
    /// The session of the player.
    pub session: ConnectionId,
    /// The entity that is asked for; `None` for everything the player sees.
    pub entity: Option<EntityId>,
    /// How it was answered.
    pub answer: Answer,
    /// The way to the player, if it was explained.
    pub path: Option<PathState>,
    /// What was found, if it was.
    pub explanation: Explanation,
}

/// How a question was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Not yet.
    #[default]
    Open,
    /// The explanation has been filled in.
    Explained,
    /// The player has no entity in the world yet.
    NotInside,
    /// The session is not on this shard (any more).
    NotHere,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            session: ConnectionId::GATE,
            entity: None,
            answer: Answer::Open,
            path: None,
            explanation: Explanation::default(),
        }
    }
}

impl Shard {
    /// Answers the question that waits, if one does; the snapshots of the tick have been made.
    pub(super) fn answer_question(&mut self) {
        let Some(mut question) = self.question.take() else { return };
        question.answer = self.explain(&mut question);
        self.tell_gate(ToGate::Explained(question));
    }

    fn explain(&mut self, question: &mut Question) -> Answer {
        let Some(viewer) = self.sessions.find(question.session) else { return Answer::NotHere };
        let Some(row) = self.players.row(viewer) else { return Answer::NotInside };
        let (eye, budget) = (self.eye(row), self.budget(viewer));
        let member = &self.member;
        let indexes = (0..member.members()).map(|place| &member.page_of(place).index);
        question.path = self.sessions.path(viewer);
        let Question { entity, explanation, .. } = question;
        let published = member.published();
        self.replicator.explain(viewer, eye, indexes, published, *entity, explanation);
        explanation.count_packet(budget as u32);
        Answer::Explained
    }
}
