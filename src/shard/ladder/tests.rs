//! The promises of the ladder, each on a server that is only arithmetic: a load, and how much of it
//! each rung leaves. `model` decides the same from the whole history and is the oracle.

mod model;

use super::*;
use crate::host::entropy::SeededEntropy;
use model::Model;

const DOCUMENT: &str = include_str!("../../../docs/OPERATIONS.md");
/// Ticks of a second and a minute at the default rate.
const SECOND: usize = 60;
const MINUTE: usize = 60 * SECOND;
const PERIOD: u64 = 16_666_666;

fn ladder() -> Ladder {
    Ladder::new(TickRate::DEFAULT)
}

/// `share` percent of the full period.
fn load(share: u64) -> Nanos {
    Nanos(PERIOD * share / 100)
}

/// Feeds the same time for `ticks` ticks and returns the steps with the ticks they came after.
fn feed(ladder: &mut Ladder, busy: Nanos, ticks: usize) -> Vec<(usize, Step)> {
    (1..=ticks).filter_map(|tick| ladder.observe(busy).map(|step| (tick, step))).collect()
}

fn at_the_floor() -> Ladder {
    let mut ladder = ladder();
    feed(&mut ladder, load(1_000), SECOND);
    assert_eq!(ladder.rung(), Rung::FLOOR);
    ladder
}

/// What a load of `full` on the lowest rung is on `rung` if every rung that sheds work leaves
/// `keeps` percent of it. The last three rungs shed no work: they give it more time.
fn plant(full: Nanos, rung: Rung, keeps: u64) -> Nanos {
    Nanos((0..rung.index().min(8)).fold(full.0, |left, _| left * keeps / 100))
}

/// Rows of the table below `heading`, without its head, cells trimmed.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = DOCUMENT.split_once(&format!("{heading}\n")).expect("the heading exists");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|c| c.trim().into()).collect();
    rows.map(cells).collect()
}

#[test]
fn the_manual_lists_the_rungs_as_they_are() {
    let share = |share: Share| match (share.of, share.parts) {
        (1, 1) => "1".to_string(),
        (of, parts) => format!("{of}/{parts}"),
    };
    let real = LADDER.iter().enumerate().map(|(index, shed)| {
        vec![
            index.to_string(),
            format!("`{}`", shed.name),
            shed.far_every.to_string(),
            share(shed.budget),
            share(shed.radius),
            shed.npc_every.to_string(),
            share(shed.pace),
        ]
    });
    let rows = table("### Rungs");
    assert!(rows.iter().all(|row| row.len() == 8 && !row[7].is_empty()), "what a player notices");
    let documented: Vec<_> = rows.into_iter().map(|row| row[..7].to_vec()).collect();
    assert_eq!(documented, real.collect::<Vec<_>>());
}

#[test]
fn the_manual_states_the_rules_as_they_are() {
    let real = [
        ("HOT_PERCENT", HOT_PERCENT),
        ("HOT_TICKS", u64::from(HOT_TICKS)),
        ("HOT_WINDOW", u64::from(HOT_WINDOW)),
        ("CLIMB_DWELL", u64::from(CLIMB_DWELL)),
        ("SEVERE_PERCENT", SEVERE_PERCENT),
        ("SEVERE_TICKS", u64::from(SEVERE_TICKS)),
        ("SEVERE_DWELL", u64::from(SEVERE_DWELL)),
        ("CALM_PERCENT", CALM_PERCENT),
        ("FIT_PERCENT", FIT_PERCENT),
        ("CALM_SETBACK", u64::from(CALM_SETBACK)),
        ("WAIT_MIN_MS", WAIT_MIN_MS),
        ("UNDONE_WITHIN_MS", UNDONE_WITHIN_MS),
        ("WAIT_MAX_MS", WAIT_MAX_MS),
        ("DECAY_MS", DECAY_MS),
    ];
    let real = real.map(|(name, value)| (format!("`{name}`"), value));
    let rows = table("### When it moves");
    let documented = rows.into_iter().map(|row| {
        let value = row[1].replace(',', "").parse().expect("the second cell is a number");
        (row[0].clone(), value)
    });
    assert_eq!(documented.collect::<Vec<(String, u64)>>(), real);
}

#[test]
fn what_is_shed_first_is_the_far_tier_and_last_the_pace_of_time() {
    // How much each kind gives, so that less means that more is shed.
    let kinds = |shed: &Shed| {
        let whole = |share: Share| 120 * u32::from(share.of) / u32::from(share.parts);
        let rate = |every: u8| 120 / u32::from(every);
        let (far, npc) = (rate(shed.far_every), rate(shed.npc_every));
        [far, whole(shed.budget), whole(shed.radius), npc, whole(shed.pace)]
    };
    assert_eq!(kinds(&LADDER[0]), [120; 5], "the lowest rung sheds nothing");
    let changed = LADDER.windows(2).map(|two| {
        let (before, after) = (kinds(&two[0]), kinds(&two[1]));
        let less: Vec<_> = (0..5).filter(|&kind| after[kind] < before[kind]).collect();
        assert!((0..5).all(|kind| after[kind] <= before[kind]), "{} restores", two[1].name);
        assert_eq!(less.len(), 1, "{} sheds one kind more", two[1].name);
        less[0]
    });
    assert_eq!(changed.collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4]);
}

#[test]
fn the_ladder_never_skips_a_rung_in_either_direction() {
    for busy in [load(1_000), Nanos(u64::MAX)] {
        let mut ladder = ladder();
        let up = feed(&mut ladder, busy, MINUTE);
        let down = feed(&mut ladder, Nanos(0), MINUTE);
        assert_eq!((up.len(), down.len()), (11, 11));
        for (index, (_, step)) in up.into_iter().enumerate() {
            let (from, to) = (Rung(index as u8), Rung(index as u8 + 1));
            assert_eq!(step, Step::Climb { from, to });
        }
        for (index, (_, step)) in down.into_iter().enumerate() {
            let (from, to) = (Rung(11 - index as u8), Rung(10 - index as u8));
            assert_eq!(step, Step::Descend { from, to });
        }
        assert_eq!(ladder.rung(), Rung::FULL);
    }
}

#[test]
fn a_spike_moves_nothing_however_high_and_however_often_it_returns() {
    let mut ladder = ladder();
    for tick in 0..10 * MINUTE {
        // Two ticks in a row of every eight: one stall across a tick boundary.
        let busy = if tick % 8 < 2 { Nanos(u64::MAX) } else { load(50) };
        assert_eq!(ladder.observe(busy), None, "tick {tick}");
    }
}

#[test]
fn a_rung_gets_time_to_show_its_effect() {
    let ticks = |busy: Nanos| -> Vec<usize> {
        feed(&mut ladder(), busy, MINUTE).into_iter().map(|(tick, _)| tick).collect()
    };
    // Up to the first rung that slows time down, where the same work fits.
    assert_eq!(ticks(load(100)), [8, 28, 48, 68, 88, 108, 128, 148, 168]);
    // The severe ones: the period of the last rungs is longer, and 450 % is more than twice any.
    assert_eq!(ticks(load(450)), [3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43]);
}

#[test]
fn a_load_between_calm_and_hot_holds_its_rung() {
    let mut climbed = ladder();
    assert_eq!(feed(&mut climbed, load(100), 8).len(), 1);
    for share in [76, 85, 95] {
        for mut ladder in [ladder(), climbed] {
            assert_eq!(feed(&mut ladder, load(share), 10 * MINUTE), [], "{share} %");
        }
    }
}

#[test]
fn the_period_that_counts_is_the_dilated_one() {
    let mut ladder = ladder();
    feed(&mut ladder, load(118), 10 * MINUTE);
    assert_eq!(ladder.shed().name, "pace_80", "118 % of the period is 94 % of five quarters");
    let mut ladder = self::ladder();
    feed(&mut ladder, load(189), 10 * MINUTE);
    assert_eq!(ladder.shed().name, "pace_50");
    // It goes on if the work would fit at the faster pace, not if it is light at the slow one.
    assert_eq!(feed(&mut ladder, load(128), MINUTE), [], "85 % of three halves is 127.5 %");
    let steps = feed(&mut ladder, load(127), MINUTE);
    assert_eq!((steps.len(), ladder.shed().name), (1, "pace_67"));
}

#[test]
fn full_service_returns_when_the_load_goes() {
    let mut ladder = at_the_floor();
    let steps = feed(&mut ladder, load(10), MINUTE);
    assert_eq!((steps.len(), ladder.rung()), (11, Rung::FULL));
    let drained = (HOT_WINDOW - HOT_TICKS) as usize;
    assert_eq!(steps[10].0, drained + 11 * 2 * SECOND, "two seconds for each rung");
    let mut ladder = at_the_floor();
    ladder.wait = 30 * SECOND as u32;
    feed(&mut ladder, load(10), 3 * MINUTE);
    assert_eq!(ladder.rung(), Rung::FULL, "three minutes if it was at its most careful");
}

#[test]
fn one_late_tick_in_a_hundred_does_not_prevent_recovery() {
    let mut ladder = at_the_floor();
    let busy = |tick: usize| if tick.is_multiple_of(100) { load(5_000) } else { load(30) };
    let steps = (0..MINUTE).filter(|&tick| ladder.observe(busy(tick)).is_some()).count();
    assert_eq!((steps, ladder.rung()), (11, Rung::FULL));
    let mut ladder = at_the_floor();
    let busy = |tick: usize| if tick.is_multiple_of(8) { load(5_000) } else { load(30) };
    assert!((0..MINUTE).all(|tick| ladder.observe(busy(tick)).is_none()), "one in eight does");
}

#[test]
fn a_descent_that_had_to_be_undone_is_tried_less_and_less_often() {
    let mut ladder = ladder();
    feed(&mut ladder, load(100), 8);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let wait = (1..).find(|_| ladder.observe(load(70)).is_some());
        waits.push(wait.expect("an endless range") / SECOND);
        assert_eq!(feed(&mut ladder, load(100), 8).len(), 1, "undone");
    }
    assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
    // Calm minutes halve it again; 80 % is no pressure, and no calm either.
    for wait in [30, 15, 7, 3, 2, 2] {
        assert_eq!(ladder.wait as usize / SECOND, wait);
        assert_eq!(feed(&mut ladder, load(80), MINUTE), []);
    }
    // A descent that lasted longer than fifteen seconds was right when it was made.
    feed(&mut ladder, load(70), 2 * SECOND);
    feed(&mut ladder, load(70), 15 * SECOND);
    feed(&mut ladder, load(100), 8);
    assert_eq!((ladder.rung(), ladder.wait as usize), (Rung(1), 2 * SECOND));
}

/// Most steps within any minute after the first two, with a load that swings around `middle` by
/// `swing` percent of the full period every `cycle` ticks, and noise.
fn steps_a_minute(middle: u64, swing: u64, cycle: usize, keeps: u64) -> usize {
    let mut random = SeededEntropy(cycle as u64);
    let mut ladder = ladder();
    let mut steps = Vec::new();
    for tick in 0..12 * MINUTE {
        // A triangle from 0 to 2 and back.
        let phase = (tick % cycle) as f64 / cycle as f64 * 4.0;
        let share = middle as f64 + swing as f64 * (phase.min(4.0 - phase) - 1.0);
        let noise = random.next_u64() % 5;
        let busy = plant(load(share as u64 + noise), ladder.rung(), keeps);
        if ladder.observe(busy).is_some() && tick > 2 * MINUTE {
            steps.push(tick);
        }
    }
    let within = |start: usize| {
        steps.iter().filter(|&&step| (start..start + MINUTE).contains(&step)).count()
    };
    steps.iter().map(|&start| within(start)).max().unwrap_or(0)
}

/// The worst of many loads and strengths of rungs that swing in cycles of so many seconds.
fn worst_steps_a_minute(seconds: impl Iterator<Item = usize>) -> usize {
    let cases = seconds.flat_map(|second| {
        let loads = [(90, 0), (95, 3), (100, 0), (100, 10), (110, 25), (125, 15), (150, 40)];
        let of_load = move |(middle, swing)| {
            let strengths = [60, 70, 80, 90, 96].into_iter();
            strengths.map(move |keeps| steps_a_minute(middle, swing, second * SECOND, keeps))
        };
        loads.into_iter().flat_map(of_load)
    });
    cases.max().expect("there are cases")
}

#[test]
fn a_load_that_swings_around_the_limit_moves_the_ladder_six_times_a_minute_at_most() {
    assert_eq!(worst_steps_a_minute(1..=10), 6, "three attempts to descend and their undoing");
    // Slower swings are changes of the load, which the ladder may follow over several rungs.
    assert!(worst_steps_a_minute([15, 20, 30, 40, 50, 60].into_iter()) <= 16);
}

#[test]
fn the_floor_holds_and_keeps_what_must_be_kept() {
    let mut ladder = at_the_floor();
    assert_eq!(feed(&mut ladder, Nanos(u64::MAX), 10 * MINUTE), [], "there is no way on");
    let shed = ladder.shed();
    assert_eq!(shed.period(Nanos(PERIOD)), Nanos(2 * PERIOD), "time never runs slower than half");
    assert_eq!(shed.budget(475, 100), 237);
    assert_eq!(shed.budget(475, 300), 300, "the encoder gets the room it needs");
    assert!(LADDER.iter().all(|shed| shed.period(Nanos(PERIOD)) <= Nanos(2 * PERIOD)));
    let factors: Vec<_> = LADDER.iter().map(Shed::radius_squared_factor).collect();
    assert_eq!(factors[4..7], [1.0, 0.5625, 0.25], "to the bit, on every shard");
}

#[test]
fn everybody_has_a_turn_and_every_tick_its_part_of_them() {
    let check = |every: u8, is_due: &dyn Fn(u16, Tick) -> bool| {
        let every = u32::from(every);
        for start in [1, 1_000] {
            for index in [0, 1, 2, 3, 4_095] {
                let turns = (start..start + every).filter(|&tick| is_due(index, tick)).count();
                assert_eq!(turns, 1, "{index} once in {every} ticks");
            }
            let due = (0..120).filter(|&index| is_due(index, start)).count();
            assert_eq!(due as u32, 120 / every, "an equal part");
        }
    };
    for shed in &LADDER {
        check(shed.npc_every, &|index, tick| shed.is_npc_due(u32::from(index), tick));
    }
}

#[test]
fn shards_that_are_told_the_same_numbers_stand_on_the_same_rung() {
    let mut random = SeededEntropy(7);
    let (mut one, mut other) = (ladder(), ladder());
    for tick in 0..10 * MINUTE {
        let busy = load(random.next_u64() % 130 + (tick / MINUTE) as u64 % 3 * 40);
        assert_eq!(one.observe(busy), other.observe(busy));
        assert_eq!(one, other, "tick {tick}");
    }
}

#[test]
fn seconds_are_seconds_at_every_rate() {
    for hz in [30, 60, 120] {
        let mut ladder = Ladder::new(TickRate::from_hz(hz).expect("a rate that exists"));
        let hot = Nanos(1_000_000_000 / u64::from(hz));
        assert_eq!(feed(&mut ladder, hot, 8).len(), 1);
        let down = feed(&mut ladder, Nanos(0), 10 * usize::from(hz));
        assert_eq!(down.iter().map(|(tick, _)| *tick).collect::<Vec<_>>(), [2 * usize::from(hz)]);
    }
}

#[test]
fn a_model_that_looks_at_the_whole_history_decides_the_same() {
    let mut seen = model::Seen::default();
    for seed in 0..24 {
        let mut random = SeededEntropy(seed);
        let mut below = |bound: u64| random.next_u64() % bound;
        let (mut ladder, mut model) = (ladder(), Model::new(TickRate::DEFAULT));
        let (mut level, mut left, mut keeps) = (0, 0, 100);
        for tick in 0..4 * MINUTE {
            if left == 0 {
                level = [below(40), 60 + below(60), below(160), below(600)][below(4) as usize];
                left = [below(30), below(600), below(2_400)][below(3) as usize] + 1;
                keeps = 75 + below(25);
            }
            left -= 1;
            let spike = if below(150) == 0 { 5_000 } else { 0 };
            let busy = plant(load(level + below(8) + spike), ladder.rung(), keeps);
            let want = model.observe(busy);
            assert_eq!(ladder.observe(busy), want, "seed {seed}, tick {tick}");
        }
        seen.add(&model);
    }
    seen.assert_everything();
}
