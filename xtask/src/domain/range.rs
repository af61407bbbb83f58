//! Ranges of versions as upstreams write them (docs.npmjs.com, "semver"): `>=24.16.0 <25 || >=26.1.0`.

use std::sync::LazyLock;

use regex::Regex;
use semver::VersionReq;

use super::version::Version;

/// An operator may be followed by spaces.
static OPERATOR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(>=|<=|>|<|=|\^|~)\s+").ok());

/// Alternatives, of which one must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range(Vec<VersionReq>);

impl Range {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.split("||").map(alternative).collect::<Option<Vec<_>>>().map(Self)
    }

    pub(crate) fn contains(&self, version: &Version) -> bool {
        self.0.iter().any(|alternative| version.matches(alternative))
    }
}

fn alternative(text: &str) -> Option<VersionReq> {
    let text = OPERATOR.as_ref()?.replace_all(text.trim(), "$1");
    if let Some((from, to)) = text.split_once(" - ") {
        return VersionReq::parse(&format!(">={}, <={}", from.trim(), to.trim())).ok();
    }
    let comparators: Vec<String> = text.split_whitespace().map(comparator).collect();
    if comparators.is_empty() {
        return Some(VersionReq::STAR);
    }
    VersionReq::parse(&comparators.join(", ")).ok()
}

/// In npm, a bare version means exactly that one; in the crate, a compatible one.
fn comparator(text: &str) -> String {
    let bare = text.strip_prefix('v').unwrap_or(text);
    let is_exact = bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_exact { format!("={bare}") } else { bare.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::version::Scheme;

    #[test]
    fn ranges_mean_the_same_as_in_npm() {
        for (range, inside, outside) in [
            (
                ">=24.16.0 <25 || >=26.1.0",
                &["24.16.0", "24.99.0", "26.1.0", "27.0.0"][..],
                &["24.15.9", "25.0.0", "26.0.0"][..],
            ),
            (">= 18", &["18.0.0", "24.0.0"], &["17.9.9"]),
            ("10.28.1", &["10.28.1"], &["10.28.2", "10.29.0"]),
            ("24", &["24.1.0"], &["25.0.0", "23.0.0"]),
            ("24.x", &["24.1.0"], &["25.0.0"]),
            ("^1.2.0", &["1.9.0"], &["2.0.0", "1.1.0"]),
            ("1.0.0 - 2.0.0", &["1.5.0", "2.0.0"], &["2.0.1"]),
            ("*", &["1.0.0"], &[]),
            ("", &["1.0.0"], &[]),
        ] {
            let read = Range::parse(range).unwrap();
            let contains = |text: &&str| read.contains(&Scheme::Semver.parse(text).unwrap());
            assert!(inside.iter().all(contains), "{range}");
            assert!(!outside.iter().any(contains), "{range}");
        }
        for odd in [">=a", "latest", "1.2.3 ||| 4", ">=1 <"] {
            assert_eq!(Range::parse(odd), None, "{odd}");
        }
    }
}
