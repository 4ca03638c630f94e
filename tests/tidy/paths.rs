//! Which names a file names: every `use` tree and every path in code, resolved to where it leads.

use super::lexer::{Kind, Token};
use super::tree::Source;

/// A path named somewhere in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Segments. `crate`, `self` and `super` are resolved: a path inside the library starts with
    /// `crate`.
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// Whether only tests compile it.
    pub(super) test_only: bool,
}

impl Named {
    /// The path with `::`.
    pub(super) fn text(&self) -> String {
        self.segments.join("::")
    }

    /// Whether the path starts with these segments.
    pub(super) fn starts_with(&self, prefix: &[&str]) -> bool {
        self.segments.len() >= prefix.len()
            && self.segments.iter().zip(prefix).all(|(segment, want)| segment == want)
    }
}

/// All paths of two or more segments in `source`, and all single names that a `use` brings in.
pub(super) fn named(source: &Source) -> Vec<Named> {
    let mut walk = Walk {
        source,
        modules: source.module().into_iter().map(|name| (name, 0)).collect(),
        depth: 1,
        found: Vec::new(),
    };
    let mut index = 0;
    while index < source.tokens.len() {
        index = walk.step(index);
    }
    walk.found
}

struct Walk<'a> {
    source: &'a Source,
    /// Enclosing modules and the brace depth inside each.
    modules: Vec<(String, usize)>,
    depth: usize,
    found: Vec<Named>,
}

const KEYWORDS: [&str; 14] = [
    "as", "dyn", "else", "fn", "for", "if", "impl", "in", "let", "match", "mut", "pub", "return",
    "where",
];

impl Walk<'_> {
    fn token(&self, index: usize) -> Option<&Token> {
        self.source.tokens.get(index)
    }

    fn is(&self, index: usize, mark: &str) -> bool {
        self.token(index).is_some_and(|token| token.is(mark))
    }

    /// Looks at the token at `index` and returns the index to go on with.
    fn step(&mut self, index: usize) -> usize {
        let token = &self.source.tokens[index];
        if token.is("{") {
            self.depth += 1;
        } else if token.is("}") {
            self.depth -= 1;
            self.modules.retain(|(_, depth)| *depth <= self.depth);
        } else if token.is_word("mod") && self.is(index + 2, "{") {
            let name = self.source.tokens[index + 1].text.clone();
            self.depth += 1;
            self.modules.push((name, self.depth));
            return index + 3;
        } else if token.is_word("use") {
            return self.tree(index + 1, &[]);
        } else if token.kind == Kind::Word && !KEYWORDS.contains(&token.text.as_str()) {
            return self.path(index);
        }
        index + 1
    }

    /// A path in code, from its first segment on.
    fn path(&mut self, start: usize) -> usize {
        let after = start > 0 && (self.is(start - 1, ".") || self.is(start - 1, "::"));
        let mut segments = vec![self.source.tokens[start].text.clone()];
        let mut index = start + 1;
        while self.is(index, "::") && self.token(index + 1).is_some_and(|t| t.kind == Kind::Word) {
            segments.push(self.source.tokens[index + 1].text.clone());
            index += 2;
        }
        // `::ring::x` starts with a `::` that nothing precedes.
        let absolute = start > 1 && self.is(start - 1, "::") && !self.continues(start - 2);
        if segments.len() > 1 && (!after || absolute) {
            self.push(start, segments);
        }
        index
    }

    /// Whether the token at `index` can stand before a `::` that continues a path.
    fn continues(&self, index: usize) -> bool {
        let token = &self.source.tokens[index];
        token.is(">") || (token.kind == Kind::Word && !KEYWORDS.contains(&token.text.as_str()))
    }

    /// A `use` tree from `start` on, below `prefix`.
    fn tree(&mut self, start: usize, prefix: &[String]) -> usize {
        let mut segments = prefix.to_vec();
        let mut index = start;
        loop {
            let Some(token) = self.token(index) else { return index };
            if token.is("::") {
                index += 1;
            } else if token.is("{") {
                index += 1;
                while index < self.source.tokens.len() && !self.is(index, "}") {
                    index = self.tree(index, &segments);
                    index += usize::from(self.is(index, ","));
                }
                return index + 1;
            } else if token.is("*") || (token.kind == Kind::Word && !token.is_word("as")) {
                segments.push(token.text.clone());
                index += 1;
                if !self.is(index, "::") {
                    self.push(start, segments);
                    // Skip `as name`.
                    let renamed = self.token(index).is_some_and(|t| t.is_word("as"));
                    return index + if renamed { 2 } else { 0 };
                }
            } else {
                return index;
            }
        }
    }

    fn push(&mut self, at: usize, mut segments: Vec<String>) {
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let modules: Vec<&str> = self.modules.iter().map(|(name, _)| name.as_str()).collect();
        self.found.push(Named {
            segments: resolve(&modules, segments),
            line: self.source.tokens[at].line,
            test_only: self.source.test_only[at],
        });
    }
}

/// Makes a path that starts with `self` or `super` start with `crate`; `tidelock` is the same crate
/// seen from its binary.
fn resolve(modules: &[&str], segments: Vec<String>) -> Vec<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let (kept, skipped) = match segments[0].as_str() {
        "self" => (modules.len(), 1),
        "super" => (modules.len().saturating_sub(supers), supers),
        "tidelock" => (0, 1),
        _ => return segments,
    };
    let inside = modules[..kept].iter().map(|name| name.to_string());
    std::iter::once("crate".to_string())
        .chain(inside)
        .chain(segments.into_iter().skip(skipped))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        named(&Source::sample(path, text)).iter().map(Named::text).collect()
    }

    #[test]
    fn use_trees_are_flattened() {
        let text = "use crate::{wire::{self, Header as H}, crypto::*}; pub use std::time::Instant;";
        let want = ["crate::wire", "crate::wire::Header", "crate::crypto::*", "std::time::Instant"];
        assert_eq!(paths("src/a.rs", text), want);
        assert_eq!(paths("src/a.rs", "use ring; fn f() {}"), ["ring"]);
        assert_eq!(paths("src/a.rs", "use {ring::aead, libc};"), ["ring::aead", "libc"]);
    }

    #[test]
    fn super_and_self_lead_to_the_same_place_as_crate() {
        let text =
            "use super::super::world::Row; use self::inner::X; mod m { use super::super::gate; }";
        let want = ["crate::world::Row", "crate::a::b::inner::X", "crate::a::gate"];
        assert_eq!(paths("src/a/b.rs", text), want);
        assert_eq!(paths("src/a/mod.rs", "use super::b::X;"), ["crate::b::X"]);
        assert_eq!(paths("src/main.rs", "tidelock::cli::run();"), ["crate::cli::run"]);
    }

    #[test]
    fn an_inline_module_ends_where_its_brace_does() {
        let text = "mod m { fn f() { { } } } fn g() { super::x::y(); }";
        assert_eq!(paths("src/a/b.rs", text), ["crate::a::x::y"]);
    }

    #[test]
    fn paths_in_code_are_seen_and_comments_and_strings_are_not() {
        let text = "fn f(x: crate::wire::Header) -> <T as crate::gate::Y>::Z {
            // crate::world::A
            let s = \"crate::world::B\";
            x.y::<crate::net::C>(); ::ring::aead::D; Vec::<u8>::new() }";
        let want = ["crate::wire::Header", "crate::gate::Y", "crate::net::C", "ring::aead::D"];
        assert_eq!(paths("src/a.rs", text), want);
    }

    #[test]
    fn visibility_is_not_a_path() {
        assert!(paths("src/a.rs", "pub(crate) fn f() {} pub(super) struct S;").is_empty());
    }

    #[test]
    fn a_path_in_test_code_says_so() {
        let text = "use a::b; #[cfg(test)] mod tests { use c::d; }";
        let marks: Vec<_> = named(&Source::sample("src/a.rs", text));
        assert_eq!(marks.iter().map(|n| n.test_only).collect::<Vec<_>>(), [false, true]);
    }
}
