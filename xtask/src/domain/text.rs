//! Foreign text in messages, and the characters that names may have.

/// The longest tag that a registry accepts (OCI distribution specification, "Pulling manifests").
pub(super) const LONGEST_TAG: usize = 128;

/// Whether a tag of an image may contain it (OCI distribution specification, "Pulling manifests").
pub(super) fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether a text has lowercase letters, digits and the bytes in `more` only.
pub(super) fn is_lower(text: &str, more: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
}

/// Whether a text has control characters, or those in `special`.
pub(super) fn is_special(text: &str, special: &str) -> bool {
    text.chars().any(|char| char.is_control() || special.contains(char))
}

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
