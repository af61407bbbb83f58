//! `--mirror FROM=TO`: other addresses to fetch from, by prefix, for metadata, downloads and images.

use std::str::FromStr;

/// One prefix and its replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) from: String,
    pub(crate) to: String,
}

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a mirror: {why}")]
pub(crate) struct MirrorError {
    text: String,
    why: &'static str,
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| MirrorError { text: text.to_owned(), why };
        let expected = "expected FROM=TO, as in https://github.com=http://127.0.0.1:8080/github";
        let (from, to) = text.split_once('=').ok_or_else(|| wrong(expected))?;
        let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'));
        if from.is_empty() || to.is_empty() {
            return Err(wrong("both sides of `=` need an address or a registry"));
        }
        if from.contains("://") != to.contains("://") {
            return Err(wrong("both sides must be http(s) addresses, or both registries"));
        }
        Ok(Self { from: from.to_owned(), to: to.to_owned() })
    }
}

impl Mirror {
    /// The rewritten address, if this mirror applies. A prefix ends at a boundary, so that a mirror of
    /// `https://github.com` does not apply to `https://github.com.example`.
    fn apply(&self, address: &str) -> Option<String> {
        let rest = address.strip_prefix(&self.from)?;
        let at_boundary = rest.is_empty() || rest.starts_with(['/', ':', '@', '?']);
        // A prefix without a port does not apply to the same host with one.
        let host = self.from.split_once("://").map_or(self.from.as_str(), |(_, host)| host);
        let another_port = rest.starts_with(':') && !host.contains('/');
        (at_boundary && !another_port).then(|| format!("{}{rest}", self.to))
    }
}

/// All mirrors of one run. The longest matching prefix wins, regardless of the order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirrors(Vec<Mirror>);

impl Mirrors {
    pub(crate) fn new(mut mirrors: Vec<Mirror>) -> Self {
        mirrors.sort_by_key(|mirror| std::cmp::Reverse(mirror.from.len()));
        Self(mirrors)
    }

    pub(crate) fn rewrite(&self, address: &str) -> String {
        self.0.iter().find_map(|mirror| mirror.apply(address)).unwrap_or_else(|| address.to_owned())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mirror> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(list: &[&str]) -> Mirrors {
        Mirrors::new(list.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn the_longest_prefix_wins_and_ends_at_a_boundary() {
        let mirrors = mirrors(&[
            "https://github.com=http://127.0.0.1:1/gh",
            "https://github.com/a/b.git=git://127.0.0.1:2/b.git",
            "docker.io=127.0.0.1:5000",
        ]);
        for (from, to) in [
            ("https://github.com/x/y.zip", "http://127.0.0.1:1/gh/x/y.zip"),
            ("https://github.com/a/b.git", "git://127.0.0.1:2/b.git"),
            ("https://github.com.example/x", "https://github.com.example/x"),
            ("https://github.com:8443/x", "https://github.com:8443/x"),
            ("docker.io/library/debian:trixie-slim", "127.0.0.1:5000/library/debian:trixie-slim"),
            ("docker.io:444/library/debian", "docker.io:444/library/debian"),
            ("ghcr.io/x", "ghcr.io/x"),
        ] {
            assert_eq!(mirrors.rewrite(from), to, "{from}");
        }
    }

    #[test]
    fn tags_and_digests_of_a_mirrored_image_are_kept() {
        let mirrors = mirrors(&["docker.io/library/debian=127.0.0.1:5000/base"]);
        assert_eq!(mirrors.rewrite("docker.io/library/debian:trixie-slim"), "127.0.0.1:5000/base:trixie-slim");
        assert_eq!(mirrors.rewrite("docker.io/library/debian@sha256:ab"), "127.0.0.1:5000/base@sha256:ab");
    }

    #[test]
    fn invalid_mirrors_are_refused() {
        for (text, why) in [
            ("x", "expected FROM=TO"),
            ("=http://y", "both sides of `=` need"),
            ("docker.io=http://y", "both sides must be"),
        ] {
            let error = text.parse::<Mirror>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a mirror: {why}")), "{error}");
        }
    }
}
