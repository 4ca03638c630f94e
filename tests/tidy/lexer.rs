//! Rust source → tokens, with comments gone and string contents kept apart, so that a rule never
//! fires on prose. Knows as much of the language as the rules need and no more.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier, keyword or number; `r#move` arrives as `move`.
    Word,
    /// The contents of a string literal.
    Text,
    /// `::` or one other character.
    Mark,
}

/// One token and the line it starts on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    /// Whether this is the mark `text`.
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind == Kind::Mark && self.text == text
    }

    /// Whether this is the word `text`.
    pub(super) fn is_word(&self, text: &str) -> bool {
        self.kind == Kind::Word && self.text == text
    }
}

struct Cursor {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

/// Splits `source` into tokens.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut cursor = Cursor { chars: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while cursor.at < cursor.chars.len() {
        cursor.step();
    }
    cursor.tokens
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Cursor {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.tokens.push(Token { kind, text, line });
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.quoted(0, false),
            ('\'', _) => self.quote(),
            (c, _) if is_word_char(c) => self.word(),
            (c, _) if c.is_whitespace() => self.advance(1),
            (':', ':') => {
                self.push(Kind::Mark, "::".into(), self.line);
                self.advance(2);
            }
            (c, _) => {
                self.push(Kind::Mark, c.to_string(), self.line);
                self.advance(1);
            }
        }
    }

    fn line_comment(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.advance(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.advance(1);
                    continue;
                }
            }
            self.advance(2);
            if depth == 0 {
                return;
            }
        }
    }

    /// The cursor is on the opening quote of a string literal.
    fn quoted(&mut self, hashes: usize, raw: bool) {
        let line = self.line;
        self.advance(1);
        let mut text = String::new();
        while self.at < self.chars.len() {
            let c = self.peek(0);
            if c == '\\' && !raw {
                text.push(c);
                text.push(self.peek(1));
                self.advance(2);
            } else if c == '"' && (1..=hashes).all(|i| self.peek(i) == '#') {
                self.advance(1 + hashes);
                break;
            } else {
                text.push(c);
                self.advance(1);
            }
        }
        self.push(Kind::Text, text, line);
    }

    /// A lifetime or a character literal.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            self.advance(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.advance(1);
            }
            self.advance(1);
        } else if self.peek(2) == '\'' {
            self.advance(3);
        } else {
            self.advance(1);
            while is_word_char(self.peek(0)) {
                self.advance(1);
            }
        }
    }

    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while is_word_char(self.peek(0)) {
            text.push(self.peek(0));
            self.advance(1);
        }
        let hashes = (0..).take_while(|&i| self.peek(i) == '#').count();
        match text.as_str() {
            "r" | "br" | "cr" if self.peek(hashes) == '"' => {
                self.advance(hashes);
                self.quoted(hashes, true);
            }
            "b" | "c" if self.peek(0) == '"' => self.quoted(0, false),
            "b" if self.peek(0) == '\'' => self.quote(),
            "r" if hashes == 1 => {
                self.advance(1);
                self.word();
            }
            _ => self.push(Kind::Word, text, line),
        }
    }
}

/// Index of the token that closes the bracket at `open`, or of the last token if none does.
pub(super) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.is("{") || token.is("(") || token.is("[") {
            depth += 1;
        } else if token.is("}") || token.is(")") || token.is("]") {
            depth -= 1;
            if depth == 0 {
                return index;
            }
        }
    }
    tokens.len().saturating_sub(1)
}

/// For each token, whether it belongs to an item marked `#[cfg(test)]` or `#[test]`.
pub(super) fn test_only(tokens: &[Token]) -> Vec<bool> {
    let mut marked = vec![false; tokens.len()];
    let mut index = 0;
    while index + 1 < tokens.len() {
        if !(tokens[index].is("#") && tokens[index + 1].is("[")) {
            index += 1;
            continue;
        }
        let end = closing(tokens, index + 1);
        let attribute = &tokens[index + 2..end];
        let is_test = attribute.first().is_some_and(|t| t.is_word("test") || t.is_word("cfg"))
            && attribute.iter().any(|t| t.is_word("test"))
            && !attribute.iter().any(|t| t.is_word("not"));
        if is_test {
            let last = item_end(tokens, end + 1);
            marked[index..=last].fill(true);
            index = last;
        } else {
            index = end;
        }
        index += 1;
    }
    marked
}

/// Index of the last token of the item that starts at `start`, attributes included.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let is_use = tokens[start..].iter().take(6).any(|t| t.is_word("use"));
    let mut index = start;
    while index < tokens.len() {
        let token = &tokens[index];
        if token.is(";") {
            return index;
        }
        if token.is("{") && !is_use {
            return closing(tokens, index);
        }
        index = match token.is("(") || token.is("[") || token.is("{") {
            true => closing(tokens, index) + 1,
            false => index + 1,
        };
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect()
    }

    #[test]
    fn comments_strings_and_characters_hide_their_words() {
        let source =
            "a /* b /* c */ d */ // e\n\"f\\\"g\" r#\"h\"i\"# b\"j\" 'k' '\\'' b'l' '\\u{6d}' n";
        assert_eq!(words(source), ["a", "n"]);
        assert_eq!(words("/// doc\n//! doc\nz"), ["z"]);
    }

    #[test]
    fn string_contents_are_kept_as_text() {
        let found: Vec<_> = tokens("f(\"receive/64\", r\"a\\b\")")
            .into_iter()
            .filter(|t| t.kind == Kind::Text)
            .map(|t| t.text)
            .collect();
        assert_eq!(found, ["receive/64", "a\\b"]);
    }

    #[test]
    fn lifetimes_and_raw_names_do_not_swallow_what_follows() {
        assert_eq!(words("fn f<'a>(x: &'a str) {}"), ["fn", "f", "x", "str"]);
        assert_eq!(words("mod r#move; use r#type::x;"), ["mod", "move", "use", "type", "x"]);
        assert_eq!(words("'a: loop { break 'a }"), ["loop", "break"]);
    }

    #[test]
    fn lines_are_counted_through_every_kind_of_literal() {
        let source = "/* 1\n2 */ \"3\n4\" r\"\n5\" six";
        let last = tokens(source).pop().expect("the source ends in a word");
        assert_eq!((last.text.as_str(), last.line), ("six", 4));
    }

    #[test]
    fn test_items_are_marked_and_nothing_else() {
        let source = "fn a() {} #[cfg(test)] mod tests { fn b() {} } fn c() {}
            #[cfg(test)] use x::{d, e}; fn f() {} #[test] fn g(x: [u8; 4]) { h } fn i() {}
            #[cfg(not(test))] fn j() {} #[cfg(all(test, unix))] #[allow(x)] fn k() {} fn l() {}
            #[cfg(test)] mod m; fn n() {}";
        let tokens = tokens(source);
        let marked = test_only(&tokens);
        let outside: Vec<_> = tokens
            .iter()
            .zip(&marked)
            .filter(|(t, marked)| !**marked && t.kind == Kind::Word && t.text.len() == 1)
            .map(|(t, _)| t.text.clone())
            .collect();
        assert_eq!(outside, ["a", "c", "f", "i", "j", "l", "n"]);
    }
}
