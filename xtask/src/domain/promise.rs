//! The digests in a release's git tag, which are known before anything is pushed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::arch::Arch;
use super::digest::{OciDigest, Sha256};

/// The digests of a release. They are in the message of its annotated git tag, which is pushed first. Continuing or
/// verifying the release compares with them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Promise {
    pub(crate) index: OciDigest,
    pub(crate) manifests: BTreeMap<Arch, OciDigest>,
    /// Of `versions.lock`.
    pub(crate) lock: Sha256,
    /// What built each image, if known: not promised, but a likely reason if another build differs.
    pub(crate) builders: BTreeMap<Arch, String>,
}

const INDEX: &str = "Index: ";
const MANIFEST: &str = "Manifest ";
const LOCK: &str = "Lock: sha256:";
const BUILDER: &str = "Builder ";

impl Promise {
    /// The message of the git tag.
    pub(crate) fn message(&self, tag: &str) -> String {
        let mut message = format!("Release {tag}\n\n{INDEX}{}\n", self.index);
        for (arch, digest) in self.manifests.iter().rev() {
            // Writing to a String cannot fail.
            let _ = writeln!(message, "{MANIFEST}{arch}: {digest}");
        }
        let _ = writeln!(message, "{LOCK}{}", self.lock);
        for (arch, builder) in self.builders.iter().rev() {
            let _ = writeln!(message, "{BUILDER}{arch}: {builder}");
        }
        message
    }

    /// Parses a message; `None` if it is not a complete message of a release.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let one = |prefix: &str| {
            let mut found = message.lines().filter_map(|line| line.strip_prefix(prefix));
            found.next().filter(|_| found.next().is_none())
        };
        let manifest = |arch: Arch| Some((arch, one(&format!("{MANIFEST}{arch}: "))?.parse().ok()?));
        Some(Self {
            index: one(INDEX)?.parse().ok()?,
            manifests: Arch::ALL.into_iter().map(manifest).collect::<Option<_>>()?,
            lock: one(LOCK)?.parse().ok()?,
            builders: Arch::ALL
                .into_iter()
                .filter_map(|arch| Some((arch, one(&format!("{BUILDER}{arch}: "))?.to_owned())))
                .collect(),
        })
    }

    /// The differences from `self`, which was promised, with both digests.
    pub(crate) fn differences(&self, made: &Self) -> Vec<String> {
        let manifests = self.manifests.iter().filter_map(|(arch, digest)| {
            Some((format!("the image for {arch}"), digest.clone(), made.manifests.get(arch)?.clone()))
        });
        let lock = ("the lock".to_owned(), self.lock.clone().into(), made.lock.clone().into());
        let index = ("the index".to_owned(), self.index.clone(), made.index.clone());
        let differs = manifests.chain([lock, index]).filter(|(_, promised, made)| promised != made);
        differs.map(|(what, promised, made)| format!("{what} is {made} instead of {promised}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(seed: char) -> Promise {
        let digest = |last: char| format!("sha256:{}{last}", seed.to_string().repeat(63)).parse().unwrap();
        Promise {
            index: digest('0'),
            manifests: [(Arch::X86_64, digest('1')), (Arch::Aarch64, digest('2'))].into(),
            lock: seed.to_string().repeat(64).parse().unwrap(),
            builders: [(Arch::X86_64, format!("BuildKit {seed}"))].into(),
        }
    }

    #[test]
    fn a_message_parses_to_the_same_promise() {
        let message = promise('a').message("v1");
        assert!(message.starts_with("Release v1\n\nIndex: sha256:aaa"), "{message}");
        assert_eq!(Promise::parse(&message), Some(promise('a')));
        // More lines are allowed, but no line twice.
        assert_eq!(Promise::parse(&format!("{message}\nSigned-off-by: x\n")), Some(promise('a')));
        for line in message.lines().filter(|line| line.contains("sha256:")) {
            assert_eq!(Promise::parse(&message.replace(line, "")), None, "without {line}");
            assert_eq!(Promise::parse(&format!("{message}{line}\n")), None, "twice {line}");
            assert_eq!(Promise::parse(&message.replace(line, &line[..line.len() - 1])), None, "short {line}");
        }
        assert_eq!(Promise::parse("Release v1"), None);
    }

    #[test]
    fn a_difference_names_both_digests() {
        assert_eq!(promise('a').differences(&promise('a')), [""; 0]);
        let differences = promise('a').differences(&promise('b'));
        assert_eq!(differences.len(), 4);
        assert!(
            differences.iter().all(|line| line.contains("bbb") && line.contains("instead of sha256:aaa")),
            "{differences:?}"
        );
    }
}
