//! Turns a parser's error into a sentence: which line, and which key was probably meant.

/// One line about `error` in `text`, with a suggestion for a misspelt key.
pub(super) fn explain(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim();
    let line =
        error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    match suggestion(message) {
        Some(key) => format!("{place}{message}; did you mean `{key}`?"),
        None => format!("{place}{message}"),
    }
}

/// The known key nearest to the unknown one in a message such as "unknown field `a`, expected `b`
/// or `c`".
fn suggestion(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown"))?;
    quoted
        .map(|known| (strsim::osa_distance(unknown, known), known))
        .filter(|&(distance, known)| distance <= known.len().max(unknown.len()) / 3)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, known)| known)
}
