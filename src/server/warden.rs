//! Serves the requests of the admin socket about the rules: collects the worst of all shards, and
//! carries out orders at the gate.
//!
//! One sheet per shard travels, so one collection is under way at a time, and everybody who asks
//! meanwhile gets its result. Called by the gate's thread; it never waits.

use crate::admin::{AdminListener, WafRequest};
use crate::connection::Scorers;
use crate::gate::Gate;
use crate::report::waf::{WafDone, WafReport};
use crate::shard::{GateEnd, ToShard};
use crate::time::Nanos;
use crate::wire::{ConnectionId, DisconnectReason};

/// How long a collection waits for shards before it goes without the rest.
const PATIENCE: Nanos = Nanos::from_ms(1_000);
/// Players that may not play, in one answer.
const LISTED_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Warden {
    /// By shard: the sheet, unless the shard has it.
    sheets: Vec<Option<Box<Scorers>>>,
    /// When the collection under way began.
    since: Option<Nanos>,
}

/// A session that is to end, and why.
pub(super) type Ending = (ConnectionId, DisconnectReason);

impl Warden {
    /// For so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { sheets: (0..shards).map(|_| Some(Box::default())).collect(), since: None }
    }

    /// A shard has filled in its sheet, late or in time.
    pub(super) fn collected(&mut self, shard: usize, sheet: Box<Scorers>) {
        self.sheets[shard] = Some(sheet);
    }

    /// The shards in `lost` were replaced, and their sheets are gone with them.
    pub(super) fn lose(&mut self, lost: &[bool]) {
        for (sheet, _) in self.sheets.iter_mut().zip(lost).filter(|(_, lost)| **lost) {
            *sheet = Some(Box::default());
        }
    }

    /// Answers what can be answered now. Returns the sessions that their shards are to end.
    pub(super) fn serve(
        &mut self,
        now: Nanos,
        admin: &mut AdminListener,
        gate: &mut Gate,
        shards: &mut [GateEnd],
    ) -> Vec<Ending> {
        let mut endings = Vec::new();
        let mut wants_list = false;
        for (ticket, request) in admin.waf_requests() {
            match carry_out(request, gate, now) {
                None => wants_list = true,
                Some(Ok((done, ended))) => {
                    admin.reply(ticket, done.to_json());
                    endings.extend(ended);
                }
                Some(Err(refusal)) => admin.refuse(ticket, &refusal),
            }
        }
        if wants_list && let Some(report) = self.collect(now, gate, shards) {
            for (ticket, _) in admin.waf_requests() {
                admin.reply(ticket, report.to_json());
            }
        }
        endings
    }

    /// Starts a collection, or ends the one under way if it is complete or has taken too long.
    fn collect(&mut self, now: Nanos, gate: &Gate, shards: &mut [GateEnd]) -> Option<WafReport> {
        let Some(since) = self.since else {
            self.since = Some(now);
            for (place, end) in self.sheets.iter_mut().zip(shards) {
                let Some(mut sheet) = place.take() else { continue };
                sheet.clear();
                if let Err(ToShard::Scores(sheet)) = end.to_shard.send(ToShard::Scores(sheet)) {
                    *place = Some(sheet);
                }
            }
            return None;
        };
        if self.sheets.iter().any(Option::is_none) && now.since(since) < PATIENCE {
            return None;
        }
        self.since = None;
        let mut report = WafReport::default();
        let (cool_downs, all) = gate.cool_downs(LISTED_MAX, now);
        report.set_cool_downs(cool_downs, all);
        for (sheet, shard) in self.sheets.iter().zip(1..) {
            sheet.iter().for_each(|sheet| report.add_worst(shard, sheet));
        }
        Some(report)
    }
}

/// What an order came to, and whose sessions end; `None` if it is none.
pub(super) fn carry_out(
    request: WafRequest,
    gate: &mut Gate,
    now: Nanos,
) -> Option<Result<(WafDone, Vec<Ending>), String>> {
    let done = |player, done: &str, endings: Vec<Ending>| {
        Ok((WafDone { player, done: done.to_owned(), sessions: endings.len() }, endings))
    };
    Some(match request {
        WafRequest::List => return None,
        WafRequest::Lift(player) if gate.lift(player, now) => done(player, "lifted", Vec::new()),
        WafRequest::Lift(player) => Err(format!(
            "player {player} neither cools down nor is banned; see `tidelock waf list`"
        )),
        WafRequest::Ban(player, seconds) => match gate.ban(player, seconds, now) {
            Ok(sessions) => {
                let banned = |id| (id, DisconnectReason::Banned);
                done(player, "banned", sessions.into_iter().flatten().map(banned).collect())
            }
            Err(_) => Err("the table of accounts that may not play is full: lift some, or raise \
                           waf.accounts"
                .to_owned()),
        },
        WafRequest::Kick(player, reason) => match gate.session_of(player) {
            Some(id) => done(player, "kicked", vec![(id, reason)]),
            None => Err(format!("player {player} is not on this server")),
        },
    })
}
