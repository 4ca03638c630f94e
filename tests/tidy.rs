//! The rules of this repository as tests: who may name whom, how large things may grow, which words
//! the code, the metrics and the documents share. Each rule is a function from text to findings and
//! is itself tested on samples that must and must not be found, so a rule that can no longer fail
//! is noticed.
//!
//! A finding is mended in the code. A rule is changed only together with `docs/ARCHITECTURE.md`.

mod tidy {
    mod layers;
    mod lexer;
    mod paths;
    mod shape;
    mod tree;
    mod words;

    /// Fails with one finding per line.
    #[track_caller]
    fn assert_clean(findings: Vec<String>) {
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }
}
