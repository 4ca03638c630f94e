//! The files of the repository as the rules see them.

use super::lexer::{self, Token};
use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(super) struct Source {
    /// Path from the root of the repository, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) tokens: Vec<Token>,
    /// For each token, whether only tests compile it.
    pub(super) test_only: Vec<bool>,
}

impl Source {
    /// A file that need not exist: rules are proven on samples.
    pub(super) fn sample(path: &str, text: &str) -> Self {
        let tokens = lexer::tokens(text);
        let whole_file = path.starts_with("tests/") || path.contains("/tests/");
        let test_only = match whole_file {
            true => vec![true; tokens.len()],
            false => lexer::test_only(&tokens),
        };
        Self { path: path.into(), text: text.into(), tokens, test_only }
    }

    /// Module path inside the crate: `src/net/uring.rs` is `[net, uring]`, `src/main.rs` is `[]`.
    pub(super) fn module(&self) -> Vec<String> {
        let inner = self.path.split_once("src/").map_or(self.path.as_str(), |(_, inner)| inner);
        let inner = inner.strip_suffix(".rs").unwrap_or(inner);
        let mut module: Vec<String> = inner.split('/').map(String::from).collect();
        if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// The module right below the root of the library, `None` for the roots themselves and other
    /// crates.
    pub(super) fn top(&self) -> Option<String> {
        self.path.strip_prefix("src/")?;
        self.module().into_iter().next()
    }
}

/// Root of the repository.
pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file of the repository; an empty text if it does not exist.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// All Rust files below `folders`, sorted by path.
pub(super) fn sources(folders: &[&str]) -> Vec<Source> {
    let mut sources: Vec<Source> = folders
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|path| path.ends_with(".rs"))
        .map(|path| Source::sample(&path, &read(&path)))
        .collect();
    mark_test_files(&mut sources);
    sources
}

/// The product: the library, its binary, the load generator.
pub(super) fn product() -> Vec<Source> {
    sources(&["src", "loadgen/src"])
}

/// Every Rust file of the repository.
pub(super) fn everything() -> Vec<Source> {
    sources(&["src", "loadgen", "tests", "benches", "examples", "fuzz"])
}

/// Paths of all files below `folder`, sorted, build output and version control left out.
pub(super) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let relative = path.strip_prefix(root()).expect("walked from the root");
        let relative = relative.to_str().expect("paths here are ASCII").to_string();
        if matches!(relative.as_str(), "target" | ".git" | "perf/out") {
            continue;
        }
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(relative),
        }
    }
}

/// A file named by `#[cfg(test)] mod name;` is test code as a whole.
fn mark_test_files(sources: &mut [Source]) {
    let mut test_files = Vec::new();
    for source in sources.iter() {
        let folder = match source.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_string(),
            _ => source.path.trim_end_matches(".rs").to_string(),
        };
        for (index, three) in source.tokens.windows(3).enumerate() {
            if three[0].is_word("mod") && three[2].is(";") && source.test_only[index] {
                let name = &three[1].text;
                test_files.push(format!("{folder}/{name}.rs"));
                test_files.push(format!("{folder}/{name}/mod.rs"));
            }
        }
    }
    for source in sources.iter_mut().filter(|source| test_files.contains(&source.path)) {
        source.test_only.fill(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_path_of_a_file_is_what_the_compiler_makes_of_it() {
        let module = |path: &str| Source::sample(path, "").module().join("::");
        assert_eq!(module("src/net/uring.rs"), "net::uring");
        assert_eq!(module("src/net/mod.rs"), "net");
        assert_eq!(module("src/limits.rs"), "limits");
        assert_eq!(module("src/main.rs"), "");
        assert_eq!(module("loadgen/src/main.rs"), "");
    }

    #[test]
    fn a_file_that_only_tests_name_is_test_code() {
        let mut sources = [
            Source::sample("src/a/mod.rs", "#[cfg(test)] mod model; mod real;"),
            Source::sample("src/a/model.rs", "x"),
            Source::sample("src/a/real.rs", "x"),
        ];
        mark_test_files(&mut sources);
        assert!(sources[1].test_only[0] && !sources[2].test_only[0]);
    }

    #[test]
    fn the_walk_finds_this_file_and_no_build_output() {
        let files = files("");
        assert!(files.iter().any(|path| path == "tests/tidy/tree.rs"));
        assert!(!files.iter().any(|path| path.starts_with("target/")));
    }
}
