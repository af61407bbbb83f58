//! Commits, image tags, and the check for all versions.

use crate::domain::digest::is_lower_hex;
use crate::domain::text::{LONGEST_TAG, is_tag_byte};

/// The check for all schemes: versions are used in paths, URLs, templates and commands. `..` is refused, too, which the
/// grammar of tags allows.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else if text.len() > LONGEST_TAG {
        Err("it is longer than 128 bytes")
    } else if text.contains('+') {
        Err("build metadata (`+`) has no order, and image tags cannot contain it")
    } else if !text.bytes().all(is_tag_byte) {
        Err("it has a character other than A-Z a-z 0-9 . _ -")
    } else if text.contains("..") {
        Err("it has `..`")
    } else {
        Ok(())
    }
}

/// A full SHA-1 commit id; abbreviations can become ambiguous.
pub(super) fn commit(text: &str) -> Result<(), &'static str> {
    if is_lower_hex(text, 40) { Ok(()) } else { Err("it is not a full commit id") }
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution specification); [`check`] checks the rest.
pub(super) fn tag(text: &str) -> Result<(), &'static str> {
    if text.starts_with(['.', '-']) { Err("it starts with `.` or `-`") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use crate::domain::version::Scheme;

    #[test]
    fn commits_are_not_abbreviated() {
        let commit = "c56d5d5940b23921b0e817c97477293493da8d70";
        assert_eq!(Scheme::Commit.parse(commit).unwrap().as_str(), commit);
        for text in [&commit[..39], &commit[..7], &commit.to_uppercase(), &format!("{commit}0"), "main", "HEAD"] {
            assert!(Scheme::Commit.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_follow_the_grammar_of_registries() {
        for text in ["trixie-slim", "latest", "_x", "1.2.3_4-5", &"x".repeat(128)] {
            assert_eq!(Scheme::Tag.parse(text).unwrap().as_str(), text);
        }
        for text in [".x", "-x", "a/b", "a:b", "a@b", "a..b", &"x".repeat(129)] {
            assert!(Scheme::Tag.parse(text).is_err(), "{text}");
        }
    }
}
