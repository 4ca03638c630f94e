//! The simulator: it replays, it finds nothing in the seeds that once found something, and enough
//! happens in it.

use std::path::{Path, PathBuf};
use tidelock::sim::{self, KeptSeed, STORM_TICKS, Sometimes};

fn kept_seeds() -> Vec<(PathBuf, KeptSeed)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of kept seeds")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seed"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a text");
        let kept = KeptSeed::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        (path, kept)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn the_same_seed_is_the_same_world_to_the_bit() {
    for seed in [3, 4] {
        println!("seed {seed}");
        let (first, second) = (sim::run(seed, Some(300)), sim::run(seed, Some(300)));
        assert_eq!(first, second);
        assert_ne!(first.hash, sim::run(seed + 100, Some(300)).hash);
    }
}

#[test]
fn seeds_that_once_found_something_find_it_no_more() {
    for (path, kept) in kept_seeds() {
        println!("{}: {kept}", path.display());
        let outcome = sim::play(kept.plan());
        assert_eq!(outcome.violation, None, "{}", path.display());
    }
}

#[test]
fn a_handful_of_seeds_holds_and_much_comes_about_in_it() {
    let mut sometimes = Sometimes::default();
    for seed in 1..=12 {
        println!("seed {seed}");
        let outcome = sim::run(seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert!(outcome.ticks > STORM_TICKS, "the calm belongs to it");
        sometimes.merge(&outcome.sometimes);
    }
    let missing = sometimes.missing();
    assert!(missing.len() < Sometimes::ALL.len() / 2, "{missing:?}");
}
