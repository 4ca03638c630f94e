//! What fuzzing found stays found: every input of every committed corpus goes through its target
//! again, on any compiler, without libfuzzer. `scripts/fuzz.sh` looks for new ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
pub mod targets;

use targets::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_input_of_every_corpus_keeps_the_promises_of_its_target() {
    for (target, run) in TARGETS {
        let folder = fuzz().join("corpus").join(target);
        let inputs = names(&folder);
        assert!(inputs.len() >= 4, "{target}: a corpus of {} inputs", inputs.len());
        for name in inputs {
            let input = fs::read(folder.join(&name)).unwrap();
            assert!(input.len() <= 4096, "{target}/{name} is not minimised");
            // On a panic the output of the test ends with this line.
            println!("{target}/{name}: {} bytes", input.len());
            run(&input);
        }
    }
}

#[test]
fn targets_without_input_and_with_the_least_do_not_fail() {
    for (_, run) in TARGETS {
        run(&[]);
        (0..=255).for_each(|byte| run(&[byte]));
    }
}

#[test]
fn every_target_has_a_corpus_a_file_for_libfuzzer_and_a_place_in_the_manifest() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(known.len(), TARGETS.len(), "names are unique");
    assert_eq!(names(&fuzz().join("corpus")), known);
    let files: BTreeSet<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), files);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
        let file = fuzz().join("fuzz_targets").join(format!("{name}.rs"));
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("tidelock_fuzz::{name}::run")), "{name} runs another");
    }
}
