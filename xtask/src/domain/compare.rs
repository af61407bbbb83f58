//! Links to GitHub's comparison of two versions.

use super::digest::CommitId;
use super::lock::Pin;
use super::stack::Source;

/// The git reference of a version: its tag, or its commit without one.
pub(crate) fn reference<'a>(tag: Option<&'a str>, commit: Option<&'a CommitId>) -> Option<&'a str> {
    tag.or(commit.map(CommitId::as_str))
}

/// The page that compares a pin with another version, for sources on GitHub.
pub(crate) fn link(source: &Source, old: &Pin, new: Option<&str>) -> Option<String> {
    let repo = match source {
        Source::Github { repo, .. } => repo,
        Source::Git { repository, .. } => {
            let path = repository.strip_prefix("https://github.com/")?.trim_end_matches('/');
            path.strip_suffix(".git").unwrap_or(path)
        }
        Source::Npm { .. } | Source::Oci { .. } | Source::Debian { .. } => return None,
    };
    let (old, new) = (reference(old.tag.as_deref(), old.commit.as_ref())?, new?);
    (old != new).then(|| format!("https://github.com/{repo}/compare/{old}...{new}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lock::Lock;
    use crate::domain::stack::Stack;

    #[test]
    fn only_tags_and_commits_on_github_have_a_page() {
        let stack = Stack::parse(include_str!("../../../stack.toml")).unwrap();
        let lock = Lock::parse(include_str!("../../testdata/frozen/versions.lock")).unwrap();
        let link = |name: &str, new: &str| {
            let old = &lock.components[name];
            let old_name = reference(old.tag.as_deref(), old.commit.as_ref()).unwrap_or_default().to_owned();
            link(&stack.components[name].source, old, Some(new)).map(|link| link.replace(&old_name, "OLD"))
        };
        let github = |path: &str| Some(format!("https://github.com/{path}"));
        assert_eq!(link("bun", "bun-v9"), github("oven-sh/bun/compare/OLD...bun-v9"));
        assert_eq!(link("manager", "v9"), github("chriswritescode-dev/opencode-manager/compare/OLD...v9"));
        assert_eq!(link("mission-control", "abc"), github("manish-raana/openclaw-mission-control/compare/OLD...abc"));
        assert_eq!(link("openclaw", "9"), None);
        let bun = &lock.components["bun"];
        assert_eq!(super::link(&stack.components["bun"].source, bun, bun.tag.as_deref()), None);
    }
}
