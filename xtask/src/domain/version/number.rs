//! Versions that are numbers: semver, dotted triples and build numbers.

/// By semver.org. The crate's message is not used: it does not know `v` and tags.
pub(super) fn semver(text: &str) -> Result<semver::Version, &'static str> {
    semver::Version::parse(text).map_err(|_| "it does not follow semver.org")
}

/// `OpenCode` Manager's tags `0.9.02`, `v0.9.03`, `v0.10.0`. Compared as integers, all 86 are in the order of their dates.
pub(super) fn dotted(text: &str) -> Result<[u64; 3], &'static str> {
    let parts: Option<Vec<u64>> = text.strip_prefix('v').unwrap_or(text).split('.').map(integer).collect();
    parts.and_then(|parts| parts.try_into().ok()).ok_or("it is not three integers of 64 bits")
}

/// llama.cpp's `bNNNN`, the number of commits up to the build (`git rev-list --count`).
pub(super) fn build(text: &str) -> Result<u64, &'static str> {
    text.strip_prefix('b').and_then(decimal).ok_or("the build number is missing or not plain")
}

/// An integer of ASCII digits without leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if text.len() > 1 && text.starts_with('0') { None } else { integer(text) }
}

/// An integer of ASCII digits. `str::parse` alone would accept `+5`.
fn integer(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use crate::domain::version::Scheme;
    use semver::VersionReq;

    #[test]
    fn semver_drops_the_v() {
        let version = Scheme::Semver.parse("v1.18.21").unwrap();
        assert_eq!(version, Scheme::Semver.parse("1.18.21").unwrap());
        assert_eq!(version.as_str(), "1.18.21");
        assert!(!version.is_prerelease());
        assert!(Scheme::Semver.parse("1.0.0-rc.1").unwrap().is_prerelease());
        for text in
            ["1.2", "1.2.3.4", "v0.9.04", "V1.2.3", "vv1.2.3", "1.2.3+linux", "1.2.3-", "99999999999999999999.0.0"]
        {
            assert!(Scheme::Semver.parse(text).is_err(), "{text}");
        }
        let message = Scheme::Semver.parse("1.2.3+linux").unwrap_err().to_string();
        assert!(message.contains("build metadata"), "{message}");
    }

    #[test]
    fn dotted_keeps_the_text_and_compares_integers() {
        let parse = |text| Scheme::Dotted.parse(text).unwrap();
        assert_eq!(parse("v0.9.04").as_str(), "v0.9.04");
        assert_eq!(parse("0.9.02").as_str(), "0.9.02");
        assert!(parse("0.9.02") < parse("v0.9.03"));
        assert!(parse("v0.9.09") < parse("v0.9.10"));
        assert!(parse("v0.9.21") < parse("v0.10.0"));
        // Different spellings of one number are different versions, next to each other.
        assert_ne!(parse("v0.9.04"), parse("v0.9.4"));
        assert!(parse("v0.9.03") < parse("v0.9.4") && parse("v0.9.4") < parse("v0.9.05"));
        for text in ["0.9", "v3.2.3.2", "0.9.x", "0.9.-1", "0.9.+1", "v", "0.9.18446744073709551616", "0.9.04-1"] {
            assert!(Scheme::Dotted.parse(text).is_err(), "{text}");
        }
        assert!(Scheme::Dotted.parse("0.9.18446744073709551615").is_ok());
    }

    #[test]
    fn builds_are_b_and_a_number() {
        assert!(Scheme::Build.parse("b9894").unwrap() < Scheme::Build.parse("b10201").unwrap());
        for text in ["master-b9b7d94", "b", "9894", "B9894", "b09894", "b-1", "v0.6.0", "b99999999999999999999"] {
            assert!(Scheme::Build.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn requirements_compare_numbers() {
        for (scheme, text, requirement, expected) in [
            (Scheme::Semver, "v24.21.0", ">=24.16.0, <25.0.0", true),
            (Scheme::Semver, "25.0.0", ">=24.16.0, <25.0.0", false),
            (Scheme::Semver, "1.0.0-rc.1", ">=0.9.0", false),
            (Scheme::Dotted, "v0.9.04", ">=0.9.4", true),
            (Scheme::Dotted, "v0.9.04", ">=0.9.5", false),
            (Scheme::Calver, "2026.9.6", ">=2026.9.1, <2027", true),
            (Scheme::Calver, "2026.7.1-2", ">=2026.7.1", true),
            (Scheme::Calver, "2026.9.1-beta.1", ">=2026.8.0", false),
            (Scheme::Calver, "2026.9.1-beta.2", ">=2026.9.1-beta.1", true),
            (Scheme::Build, "b11457", "*", false),
        ] {
            let requirement = VersionReq::parse(requirement).unwrap();
            assert_eq!(scheme.parse(text).unwrap().matches(&requirement), expected, "{text} {requirement}");
        }
    }
}
