//! How large things may grow and which constructs may appear: ratchets, unsafe, names, unfinished
//! marks.

use super::lexer::{self, Kind};
use super::tree::{self, Source};

/// Lines of a file.
const FILE_LINES: usize = 500;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// Characters of a line.
const COLUMNS: usize = 100;

/// Functions that are longer today. An entry may only shrink, and goes when it reaches the limit.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Files that may contain `unsafe`: the kernel's batch interfaces, what shards read of each other,
/// and in tests the allocator that counts and the cells that a model checker watches.
const UNSAFE_FILES: &[&str] = &[
    "src/net/uring/mod.rs",
    "src/net/uring/buffers.rs",
    "src/net/mmsg/vector.rs",
    "src/net/steer.rs",
    "src/kernel/prefetch.rs",
    "src/exchange/columns.rs",
    "src/exchange/member.rs",
    "tests/counting/mod.rs",
    "tests/exchange_protocol.rs",
];

/// Words that say nothing about the thing they are part of.
const EMPTY_WORDS: &[&str] = &["Manager", "Helper", "Util", "Utils"];

fn file_length_findings(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let long = lines > FILE_LINES;
    long.then(|| format!("{}: {lines} lines, at most {FILE_LINES}: one thing each?", source.path))
        .into_iter()
        .collect()
}

/// Name, first line and length of every function with a body.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let named = tokens.get(index + 1).is_some_and(|next| next.kind == Kind::Word);
        if !token.is_word("fn") || !named {
            continue;
        }
        let mut at = index + 2;
        while at < tokens.len() && !tokens[at].is("{") && !tokens[at].is(";") {
            let nested = tokens[at].is("(") || tokens[at].is("[");
            at = if nested { lexer::closing(tokens, at) + 1 } else { at + 1 };
        }
        if at < tokens.len() && tokens[at].is("{") {
            let last = tokens[lexer::closing(tokens, at)].line;
            found.push((tokens[index + 1].text.clone(), token.line, last - token.line + 1));
        }
    }
    found
}

fn function_findings(source: &Source, exceptions: &[(&str, &str, usize)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, line, length) in functions(source) {
        let listed =
            exceptions.iter().find(|(path, known, _)| *path == source.path && *known == name);
        let at = format!("{}:{line}: fn {name}: {length} lines", source.path);
        match listed {
            None if length > FUNCTION_LINES => {
                findings.push(format!("{at}, at most {FUNCTION_LINES}"))
            }
            Some((.., most)) if length > *most => findings.push(format!("{at}, grew from {most}")),
            Some((.., most)) if length < *most => {
                findings.push(format!("{at}, shrank from {most}: lower or remove its entry"));
            }
            _ => {}
        }
    }
    findings
}

fn column_findings(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    // A row of a table in documentation cannot be broken.
    let is_row =
        |line: &str| line.trim_start().trim_start_matches(['/', '!', ' ']).starts_with('|');
    let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS && !is_row(line));
    long.map(|(index, _)| format!("{}:{}: more than {COLUMNS} columns", source.path, index + 1))
        .collect()
}

fn opening_findings(source: &Source) -> Vec<String> {
    let opens = source.text.starts_with("//! ") && !source.text.contains(concat!("(skel", "eton)"));
    let why = "starts with no `//!` that says what it owns, what it never does, who calls it";
    (!opens).then(|| format!("{}: {why}", source.path)).into_iter().collect()
}

fn unsafe_findings(source: &Source, allowed: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let next = source.tokens.get(index + 1);
        if token.is_word("undocumented_unsafe_blocks") {
            findings
                .push(format!("{}:{}: safety arguments stay compulsory", source.path, token.line));
        }
        let lifts =
            token.is_word("unsafe_code") && index > 1 && source.tokens[index - 2].is_word("allow");
        if (token.is_word("unsafe") || lifts) && !allowed.contains(&source.path.as_str()) {
            findings.push(format!("{}:{}: unsafe is not for this file", source.path, token.line));
        }
        if token.is_word("unsafe")
            && next.is_some_and(|next| next.is("{"))
            && !argued(source, token.line)
        {
            findings.push(format!("{}:{}: no `// SAFETY:` above", source.path, token.line));
        }
    }
    findings
}

/// Whether the comment block that ends above `line`, or the statement it belongs to, argues safety.
fn argued(source: &Source, line: usize) -> bool {
    let lines: Vec<&str> = source.text.lines().take(line).collect();
    lines.iter().rev().take(8).any(|line| line.contains("// SAFETY:"))
}

fn unfinished_findings(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for three in source.tokens.windows(3) {
        let name = three[0].text.as_str();
        let unfinished = matches!(name, "todo" | "unimplemented" | "dbg") && three[1].is("!");
        let ignored = three[0].is("#") && three[1].is("[") && three[2].is_word("ignore");
        let foreign = three[0].is_word("extern") && three[1].is_word("crate");
        if (three[0].kind == Kind::Word && unfinished) || ignored || foreign {
            let text = format!("{name}{}{}", three[1].text, three[2].text);
            findings.push(format!("{}:{}: {text}", source.path, three[0].line));
        }
    }
    for (index, line) in source.text.lines().enumerate() {
        if [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")]
            .iter()
            .any(|w| line.contains(w))
        {
            findings.push(format!("{}:{}: an unfinished mark", source.path, index + 1));
        }
    }
    findings
}

fn name_findings(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for two in source.tokens.windows(2) {
        let at = || format!("{}:{}: {} {}", source.path, two[1].line, two[0].text, two[1].text);
        let name = two[1].text.as_str();
        let declares = matches!(two[0].text.as_str(), "struct" | "enum" | "trait" | "type" | "mod");
        let is_empty = EMPTY_WORDS.iter().any(|word| name.contains(word))
            || matches!(name, "util" | "utils" | "helper" | "helpers" | "common" | "misc");
        if declares && two[0].kind == Kind::Word && is_empty {
            findings.push(format!("{}: say what it is", at()));
        }
        if two[0].is_word("fn") && name.starts_with("get_") {
            findings.push(format!("{}: a getter is named after what it returns", at()));
        }
    }
    findings
}

/// A kernel with vectors has a definition to run instead of them, and asks whether it should.
fn kernel_findings(source: &Source) -> Vec<String> {
    let words = source.tokens.iter().zip(&source.test_only);
    let names = |name: &str| words.clone().any(|(token, test)| !test && token.is_word(name));
    let lacking = source.path.starts_with("src/kernel/") && names("wide") && !names("SCALAR");
    lacking
        .then(|| format!("{}: vectors, and nothing that runs if lanes::SCALAR", source.path))
        .into_iter()
        .collect()
}

fn all(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    tree::everything().iter().flat_map(rule).collect()
}

#[test]
fn files_stay_short() {
    super::assert_clean(all(file_length_findings));
}

#[test]
fn functions_stay_short_and_the_list_of_long_ones_only_shrinks() {
    super::assert_clean(all(|source| function_findings(source, LONG_FUNCTIONS)));
    for (path, name, _) in LONG_FUNCTIONS {
        let known = functions(&Source::sample(path, &tree::read(path)));
        assert!(
            known.iter().any(|(n, ..)| n == name),
            "{path}: fn {name} is gone: remove its entry"
        );
    }
}

#[test]
fn lines_fit_a_hundred_columns() {
    super::assert_clean(all(column_findings));
}

#[test]
fn every_file_says_what_it_owns() {
    super::assert_clean(all(opening_findings));
}

#[test]
fn unsafe_is_where_it_is_allowed_and_argued() {
    super::assert_clean(all(|source| unsafe_findings(source, UNSAFE_FILES)));
    assert!(
        tree::read("src/lib.rs").contains("#![deny(unsafe_code)]"),
        "the library denies unsafe"
    );
    for main in ["src/main.rs", "loadgen/src/main.rs"] {
        assert!(tree::read(main).contains("#![forbid(unsafe_code)]"), "{main} forbids unsafe");
    }
}

#[test]
fn nothing_is_unfinished_or_switched_off() {
    super::assert_clean(all(unfinished_findings));
}

#[test]
fn names_say_what_things_are() {
    super::assert_clean(all(name_findings));
}

#[test]
fn every_kernel_can_run_its_definition() {
    super::assert_clean(all(kernel_findings));
}

#[cfg(test)]
mod proof {
    use super::*;

    fn sample(text: &str) -> Source {
        Source::sample("src/a.rs", text)
    }

    #[test]
    fn the_length_rules_count_lines() {
        assert!(file_length_findings(&sample(&"x\n".repeat(500))).is_empty());
        assert_eq!(file_length_findings(&sample(&"x\n".repeat(501))).len(), 1);
        let function =
            |lines: usize| sample(&format!("fn f(x: [u8; 4]) {{{}}}", "\n".repeat(lines - 1)));
        assert_eq!(functions(&function(70)), [("f".to_string(), 1, 70)]);
        assert!(function_findings(&function(70), &[]).is_empty());
        assert_eq!(function_findings(&function(71), &[]).len(), 1);
        assert!(function_findings(&function(80), &[("src/a.rs", "f", 80)]).is_empty());
        assert_eq!(function_findings(&function(81), &[("src/a.rs", "f", 80)]).len(), 1);
        assert_eq!(function_findings(&function(75), &[("src/a.rs", "f", 80)]).len(), 1);
        let trait_and_pointer =
            sample("trait T { fn f(x: [u8; 2]); } type F = fn(u8) -> u8; fn g() {}");
        assert_eq!(functions(&trait_and_pointer), [("g".to_string(), 1, 1)]);
    }

    #[test]
    fn the_column_rule_counts_characters_not_bytes() {
        assert!(column_findings(&sample(&"→".repeat(100))).is_empty());
        assert_eq!(column_findings(&sample(&"a".repeat(101))).len(), 1);
    }

    #[test]
    fn the_opening_rule_wants_inner_documentation() {
        assert!(opening_findings(&sample("//! Owns x.\n")).is_empty());
        assert_eq!(opening_findings(&sample("// x\n")).len(), 1);
        assert_eq!(opening_findings(&sample("use x;\n//! late\n")).len(), 1);
    }

    #[test]
    fn the_unsafe_rule_wants_an_allowed_file_and_an_argument() {
        let found = |text: &str| unsafe_findings(&sample(text), &["src/a.rs"]).len();
        assert_eq!(found("// SAFETY: the pointer is valid\nunsafe { x }"), 0);
        assert_eq!(found("unsafe { x }"), 1);
        assert_eq!(found("#![allow(clippy::undocumented_unsafe_blocks)]"), 1);
        let elsewhere = |text: &str| unsafe_findings(&sample(text), &[]).len();
        assert_eq!(elsewhere("// SAFETY: y\nunsafe { x }"), 1);
        assert_eq!(elsewhere("#![allow(unsafe_code)]"), 1);
        assert_eq!(elsewhere("#![deny(unsafe_code)] // unsafe\nf(\"unsafe\")"), 0);
    }

    #[test]
    fn the_unfinished_rule_finds_marks_and_not_words_in_strings() {
        let found = |text: &str| unfinished_findings(&sample(text)).len();
        for name in ["todo", "unimplemented", "dbg"] {
            assert_eq!(found(&format!("fn f() {{ {name}!() }}")), 1);
            assert_eq!(found(&format!("fn f() {{ {name}(); \"{name}!()\" }}")), 0);
        }
        assert_eq!(found(concat!("#[ign", "ore] fn f() {}")), 1);
        assert_eq!(found(concat!("// FIX", "ME later, one more")), 1);
        assert_eq!(found("fn ignore() {} #[allow(x)] fn g() {}"), 0);
    }

    #[test]
    fn the_kernel_rule_wants_a_choice_where_there_are_vectors() {
        let found = |path: &str, text: &str| kernel_findings(&Source::sample(path, text)).len();
        let vectors = "use wide::f32x8; #[cfg(test)] mod tests { use super::SCALAR; }";
        assert_eq!(found("src/kernel/a.rs", vectors), 1);
        assert_eq!(found("src/world/a.rs", vectors), 0);
        assert_eq!(found("src/kernel/a.rs", "use wide::f32x8; fn f() { if SCALAR {} }"), 0);
        assert_eq!(found("src/kernel/a.rs", "fn f() {}"), 0);
    }

    #[test]
    fn the_name_rule_looks_at_declarations_only() {
        let found = |text: &str| name_findings(&sample(text)).len();
        assert_eq!(found("struct SessionManager; enum PathUtil {} mod utils {}"), 3);
        assert_eq!(found("fn get_slot() {}"), 1);
        assert_eq!(found("fn f() { x.get_mut(1); let m: SessionManager; }"), 0);
    }
}
