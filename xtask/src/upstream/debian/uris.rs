//! Parses `apt-get --print-uris`: lines of `'URL' FILE SIZE SHA256:DIGEST` (apt-get(8)).

use crate::domain::digest::{DigestError, Sha256};

#[derive(Debug, thiserror::Error)]
pub(super) enum UrisError {
    #[error("apt printed a line without a package: `{}`", .0.escape_debug())]
    Line(String),
    #[error("apt has no SHA-256 of `{file}`")]
    Digest { file: String, source: DigestError },
}

/// A package that apt would fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) url: String,
    pub(super) sha256: Sha256,
    pub(super) size: u64,
}

pub(super) fn parse(text: &str) -> Result<Vec<Listed>, UrisError> {
    text.lines().filter(|line| line.starts_with('\'')).map(line).collect()
}

fn line(line: &str) -> Result<Listed, UrisError> {
    let bad = || UrisError::Line(line.to_owned());
    let mut words = line.split_ascii_whitespace();
    let (Some(url), Some(file), Some(size), Some(digest)) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let url = url.strip_prefix('\'').and_then(|url| url.strip_suffix('\'')).ok_or_else(bad)?;
    let digest = digest.strip_prefix("SHA256:").unwrap_or(digest);
    let sha256 = digest.parse().map_err(|source| UrisError::Digest { file: file.to_owned(), source })?;
    // The name in apt's cache has the epoch, as `%3a`; that in the archive does not.
    let mut parts = file.strip_suffix(".deb").ok_or_else(bad)?.split('_');
    let (Some(name), Some(version), Some(_arch), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    let version = unquoted(version).ok_or_else(bad)?;
    let size = size.parse().map_err(|_| bad())?;
    Ok(Listed { name: name.to_owned(), version, url: url.to_owned(), sha256, size })
}

/// Decodes a version in a file name.
fn unquoted(text: &str) -> Option<String> {
    let whole = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    // Versions have no `%`: a remaining one was no encoding.
    whole.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%').then(|| whole.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by apt 2.6.1.
    const PRINTED: &str = "\
'http://mirror.example/debian/pool/main/a/adduser/adduser_3.152_all.deb' adduser_3.152_all.deb 190932 SHA256:e50984d2e1ef6300e3fd51303839842189a077b10cb5cadff1923df10c61c493
'http://mirror.example/debian/pool/main/g/git/git-man_2.47.3-0%2bdeb13u1_all.deb' git-man_1%3a2.47.3-0+deb13u1_all.deb 2204692 SHA256:b58306b60e1dff920e1e18bc7e1e499f2ef75184190ab3d98657b165969bf7c9
";

    #[test]
    fn the_version_has_its_epoch() {
        let listed = parse(PRINTED).unwrap();
        let names: Vec<(&str, &str, u64)> =
            listed.iter().map(|one| (one.name.as_str(), one.version.as_str(), one.size)).collect();
        assert_eq!(names, [("adduser", "3.152", 190_932), ("git-man", "1:2.47.3-0+deb13u1", 2_204_692)]);
        assert!(listed[1].url.ends_with("git-man_2.47.3-0%2bdeb13u1_all.deb"));
    }

    #[test]
    fn a_line_without_a_strong_digest_or_a_name_is_refused() {
        let weak =
            PRINTED.replace("SHA256:e50984d2e1ef6300e3fd51303839842189a077b10cb5cadff1923df10c61c493", "MD5Sum:0");
        assert!(matches!(parse(&weak), Err(UrisError::Digest { .. })));
        assert!(matches!(parse("'http://x/y.deb' y.deb 1 SHA256:ab"), Err(UrisError::Digest { .. })));
        for bad in ["'http://x", "'http://x/y_1_all.deb' y_1_all.deb", "'http://x/y' y_1 1 SHA256:ab"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(unquoted("1%3a2"), Some("1:2".to_owned()));
        assert_eq!(unquoted("1%0a2"), None);
        assert_eq!(unquoted("1%3"), None);
    }
}
