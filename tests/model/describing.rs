//! What the game says of entities (`Shard::describe`), and that players know it of those whom they
//! see, and of nobody else.

use super::{CENTRE, Run, player::Player};
use std::collections::{BTreeMap, BTreeSet};
use tidelock::metrics::Counter;
use tidelock::state::Kind;
use tidelock::units::EntityId;
use tidelock::world::{Input, buttons};

/// Ticks after a storm in which what was lost is said again: two seconds pass at most between two
/// attempts.
const SETTLES: usize = 400;

/// The truth about descriptions.
#[derive(Default)]
pub(super) struct Words {
    now: BTreeMap<EntityId, Vec<u8>>,
    /// Everything that was ever said.
    ever: BTreeSet<(EntityId, Vec<u8>)>,
    /// Times that something was said anew.
    pub(super) said: u64,
}

impl Player {
    /// What it holds was said, at some time, of that very entity.
    fn check_words(&self, words: &Words) {
        for id in self.client.described() {
            let held = self.client.description(id).expect("it is listed").to_vec();
            assert!(words.ever.contains(&(id, held)), "{}: nobody said so of {id:?}", self.who);
        }
    }

    /// It holds what is said of those whom it sees, and nothing else.
    fn knows(&self, words: &Words) -> Result<usize, String> {
        let seen = self.client.world().entities().map(|seen| seen.entity);
        let due: BTreeMap<_, _> =
            seen.filter_map(|id| Some((id, words.now.get(&id)?.as_slice()))).collect();
        let client = &self.client;
        let held: BTreeMap<_, _> =
            client.described().filter_map(|id| Some((id, client.description(id)?))).collect();
        if held == due { Ok(due.len()) } else { Err(format!("{}: {held:?} {due:?}", self.who)) }
    }
}

impl Run {
    fn describe(&mut self, id: EntityId, text: &[u8]) {
        self.server.describe(id, text);
        self.words.said += 1;
        if text.is_empty() {
            self.words.now.remove(&id);
        } else {
            self.words.now.insert(id, text.to_vec());
            self.words.ever.insert((id, text.to_vec()));
        }
    }

    /// What a game does: names for those who come, other ones now and then, and none any more for
    /// those who are gone, after a while. One name in sixteen takes several packets.
    pub(super) fn describe_some(&mut self) {
        let scene = self.truth.scene(self.truth.newest());
        let (alive, gone): (Vec<_>, Vec<_>) = (
            scene.keys().copied().collect(),
            self.words.now.keys().copied().filter(|id| !scene.contains_key(id)).collect(),
        );
        if !alive.is_empty() {
            let id = alive[self.roll(alive.len() as u64) as usize];
            let length = if self.roll(16) == 0 { 3_000 } else { 8 + self.roll(60) as usize };
            let mut text = format!("{id:?} since {}; ", self.ticks).repeat(120).into_bytes();
            text.truncate(if self.roll(5) == 0 { 0 } else { length });
            self.describe(id, &text);
        }
        if !gone.is_empty() && self.roll(8) == 0 {
            let id = gone[self.roll(gone.len() as u64) as usize];
            self.describe(id, b"");
        }
    }

    pub(super) fn check_words(&self) {
        self.players.iter().for_each(|player| player.check_words(&self.words));
    }

    /// The network is good again: everybody comes to know what there is to know, and from then on
    /// nobody is told anything any more. Returns how much all of them know together.
    pub(crate) fn settle_words(&mut self) -> usize {
        let all_know = |run: &Self| run.players.iter().all(|it| it.knows(&run.words).is_ok());
        let mut left = SETTLES;
        while !all_know(self) && left > 0 {
            self.tick(false);
            left -= 1;
        }
        let known: Result<Vec<_>, _> =
            self.players.iter().map(|player| player.knows(&self.words)).collect();
        let known = known.unwrap_or_else(|unlike| panic!("{unlike}")).into_iter().sum();
        let said = self.server.count(Counter::MessagesOut);
        for _ in 0..60 {
            self.tick(false);
            assert!(all_know(self));
        }
        assert_eq!(self.server.count(Counter::MessagesOut), said, "it was told before");
        known
    }

    /// Ticks until `done`; `cart` drives on meanwhile: its id, and where to along the first axis.
    fn until(&mut self, what: &str, cart: Option<(EntityId, i8)>, done: impl Fn(&Self) -> bool) {
        for _ in 0..1_500 {
            if done(self) {
                return;
            }
            if let Some((id, move_x)) = cart {
                let input = Input { move_x, move_y: 0, yaw: 0, buttons: buttons::SPRINT };
                self.server.steer(id, input);
            }
            self.tick(false);
            self.check_words();
        }
        panic!("{:?}: {what}", self.scenario);
    }

    /// One thing with a description among players who stand still: it is told, and it is told to
    /// forget it, once for each time that there is a reason, whoever moves from shard to shard.
    /// The cart belongs to shard 0.
    pub(crate) fn tell_of_a_cart(&mut self) {
        let players = self.scenario.players;
        self.server.bear(0, Kind::Vehicle, [CENTRE, CENTRE, 0.0]);
        let cart = |run: &Self| {
            let scene = run.truth.scene(run.truth.newest());
            let mut all = scene.values().filter(|being| being.kind == Kind::Vehicle);
            all.next().map(|being| being.id)
        };
        let sees = |run: &Self, id| -> usize {
            let sees = |player: &&Player| {
                player.client.world().entities().any(|seen| Some(seen.entity) == id)
            };
            run.players.iter().filter(sees).count()
        };
        self.until("all see it", None, |run| sees(run, cart(run)) == players);
        let id = cart(self).expect("it is there");
        let mut reasons = 0;
        let mut told = |run: &mut Self, what: &str, drive: i8, knows: bool| {
            let all_know = |run: &Self| {
                let mut all = run.players.iter();
                all.all(|it| it.client.described().any(|it| it == id) == knows)
                    && run.players.iter().all(|it| it.knows(&run.words).is_ok())
            };
            let drives = (drive != 0).then_some((id, drive));
            run.until(what, drives, all_know);
            run.server.steer(id, Input::default());
            reasons += players as u64;
            // Nothing is said again afterwards, neither here nor where the players are taken.
            for _ in 0..2 {
                for player in 0..players {
                    let session = run.players[player].client.connection().expect("it plays");
                    let to = usize::from(session.socket()) % run.scenario.shards;
                    if run.scenario.shards > 1 {
                        run.server.hand_over(session, to);
                    }
                }
                (0..90).for_each(|_| run.tick(false));
            }
            assert!(all_know(run), "{:?}, {what}: it stays so", run.scenario);
            let said = run.server.count(Counter::MessagesOut);
            assert_eq!(said, reasons, "{:?}, {what}: told once to each", run.scenario);
        };
        self.describe(id, b"a cart");
        told(self, "it has a description", 0, true);
        told(self, "it drives out of sight", 127, false);
        told(self, "it comes back", -127, true);
        self.describe(id, b"a cart with a broken wheel");
        told(self, "it has another description", 0, true);
        self.describe(id, b"");
        told(self, "the description is taken back", 0, false);
        self.describe(id, b"a wreck");
        told(self, "it has one again", 0, true);
        self.server.kill(id);
        told(self, "it is gone", 0, false);
        self.describe(id, b"");
        let moves = 2 * 7 * players as u64 * (self.scenario.shards as u64 - 1);
        // One who is still on the way is not taken anywhere else.
        assert!(2 * self.handed_over() >= moves, "{} of {moves} moves", self.handed_over());
    }
}
