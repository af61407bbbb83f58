//! Foreign text in messages.

/// At most `most` characters of a text, on one line, with control characters escaped.
pub(crate) fn shown(text: &str, most: usize) -> String {
    let quiet = |letter: char| {
        let plain = matches!(letter, '\'' | '"' | '\\').then_some(letter);
        let escaped = plain.is_none().then(|| letter.escape_debug());
        plain.into_iter().chain(escaped.into_iter().flatten())
    };
    text.chars().take(most).flat_map(quiet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown("it's \u{1b}[31m\nred", 9), "it's \\u{1b}[31");
    }
}
