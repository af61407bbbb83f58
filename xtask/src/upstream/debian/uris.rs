//! Parses `apt-get --print-uris`: lines of `'URL' FILE SIZE SHA256:DIGEST` (apt-get(8)).

use anyhow::{Context as _, bail};

use crate::domain::lock::PackagePin;

/// The packages that apt would fetch, at the addresses that it would use.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<PackagePin>> {
    text.lines().filter(|line| line.starts_with('\'')).map(package).collect()
}

fn package(line: &str) -> anyhow::Result<PackagePin> {
    let bad = || format!("apt printed a line without a package: `{}`", line.escape_debug());
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [url, file, size, digest, ..] = words[..] else { bail!(bad()) };
    let url = url.strip_prefix('\'').and_then(|url| url.strip_suffix('\'')).with_context(bad)?;
    let digest = digest.strip_prefix("SHA256:").unwrap_or(digest);
    let sha256 = digest.parse().with_context(|| format!("apt has no SHA-256 of `{file}`"))?;
    // The name in apt's cache has the epoch, as `%3a`; that in the archive does not.
    let parts: Vec<&str> = file.strip_suffix(".deb").with_context(bad)?.split('_').collect();
    let [name, version, _arch] = parts[..] else { bail!(bad()) };
    let version = unquoted(version).with_context(bad)?;
    let size = size.parse().ok().with_context(bad)?;
    let url = url.parse().with_context(|| format!("apt returned the address of `{file}`"))?;
    Ok(PackagePin { name: name.to_owned(), version, url, sha256, size })
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
        assert!(listed[1].url.as_str().ends_with("git-man_2.47.3-0%2bdeb13u1_all.deb"));
    }

    #[test]
    fn a_line_without_a_strong_digest_or_a_name_is_refused() {
        let weak =
            PRINTED.replace("SHA256:e50984d2e1ef6300e3fd51303839842189a077b10cb5cadff1923df10c61c493", "MD5Sum:0");
        let digest = "a".repeat(64);
        for (bad, expected) in [
            (&*weak, "apt has no SHA-256 of `adduser_3.152_all.deb`"),
            ("'http://x/y.deb' y.deb 1 SHA256:ab", "apt has no SHA-256 of `y.deb`"),
            ("'http://x", "a line without a package"),
            ("'http://x/y_1_all.deb' y_1_all.deb", "a line without a package"),
            (&format!("'http://x/y' y_1 1 SHA256:{digest}"), "a line without a package"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert_eq!(unquoted("1%3a2"), Some("1:2".to_owned()));
        assert_eq!(unquoted("1%0a2"), None);
        assert_eq!(unquoted("1%3"), None);
    }
}
