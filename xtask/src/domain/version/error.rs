//! Why a text is not a version.

use super::Scheme;

/// Longer texts are cut in messages.
const SHOWN: usize = 60;

/// A text that its scheme does not allow, escaped to printable ASCII: safe in terminals and logs, with visible newlines
/// and look-alike digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {scheme} version: {reason} (expected {}, such as `{}`)", .scheme.described().form, .scheme.described().example)]
pub(crate) struct VersionError {
    scheme: Scheme,
    text: String,
    reason: &'static str,
}

impl VersionError {
    pub(super) fn new(scheme: Scheme, text: &str, reason: &'static str) -> Self {
        Self { scheme, text: printable(text, SHOWN), reason }
    }
}

/// `text` in printable ASCII, at most `limit` of its characters.
pub(in crate::domain) fn printable(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().take(limit).flat_map(char::escape_default).collect();
    if text.chars().nth(limit).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_scheme_text_reason_and_form() {
        let error = Scheme::Build.parse("master-b9b7d94").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`master-b9b7d94` is not a build version: the build number is missing or not plain \
             (expected `b` and a build number, such as `b11457`)"
        );
    }

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        let message = Scheme::Semver.parse("1.0.0\n\u{1b}[2J\u{202e}\u{ff11}").unwrap_err().to_string();
        assert!(message.contains(r"`1.0.0\n\u{1b}[2J\u{202e}\u{ff11}`"), "{message}");
        let message = Scheme::Tag.parse(&"x".repeat(5000)).unwrap_err().to_string();
        assert!(message.len() < 300 && message.contains("xxx..."), "{message}");
    }
}
