//! The plan of a release, checked before anything is built or pushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};

use crate::commands::{Session, checkout, render, tag};
use crate::domain::digest::{FileUrl, OciDigest, Sha256};
use crate::domain::image_tag::{ImageTag, ImageTagTemplate, next_revision};
use crate::domain::lock::{Lock, MOMENT};
use crate::domain::promise::Promise;
use crate::domain::rules;
use crate::domain::stack::Stack;
use crate::engine::registry::Repository;
use crate::error::{self, HintExt as _};
use crate::io::{git, process};

/// How far a commit's date may be ahead of this machine's clock.
const SKEW: TimeDelta = TimeDelta::days(1);

/// The options of a release.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) repository: Repository,
    /// Existing layouts, in a folder for each architecture.
    pub(crate) layouts: Option<PathBuf>,
    /// The folder for the files of the release.
    pub(crate) dist: PathBuf,
    /// `owner/name` on GitHub.
    pub(crate) github: Option<String>,
    /// A cosign key.
    pub(crate) sign: Option<String>,
    /// Do not contact registry and remote.
    pub(crate) offline: bool,
}

#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(super) session: &'a Session,
    pub(super) stack: &'a Stack,
    pub(super) lock: &'a Lock,
    pub(crate) wanted: Wanted,
    pub(crate) tag: ImageTag,
    pub(super) revision: u32,
    pub(super) commit: String,
    /// Of `versions.lock`.
    pub(super) lock_digest: Sha256,
    /// The git remote that the tag is pushed to, if there is one.
    pub(super) remote: Option<String>,
    /// The promise in the git tag, if this commit has one: the release was started before.
    pub(super) promised: Option<Promise>,
    /// The previous tag of the same flavor.
    pub(super) previous: Option<String>,
    /// Whether there is no later revision of the flavor: only the newest one moves tags.
    pub(super) is_newest: bool,
    pub(super) annotations: BTreeMap<String, String>,
}

impl<'a> Plan<'a> {
    pub(crate) async fn new(
        session: &'a Session,
        stack: &'a Stack,
        lock: &'a Lock,
        wanted: Wanted,
    ) -> anyhow::Result<Self> {
        let root = &session.root;
        let commit = git::commit(root, "HEAD").await?;
        let moment = git::commit_moment(root, &commit).await?;
        if moment > Utc::now() + SKEW {
            return Err(anyhow::anyhow!("commit {commit} is dated {moment}, which is in the future for this machine"))
                .hint(|| "set the clock, or change the date with `git commit --amend --no-edit --date=now`");
        }
        let remote = git::remote(root).await?;
        let mut tags = git::local_tags(root).await?;
        let registered = if wanted.offline { Vec::new() } else { wanted.repository.tags().await? };
        let reachable = remote.as_deref().filter(|_| !wanted.offline);
        if let Some(remote) = reachable {
            let remote_tags = git::remote_tags(root, remote).await?;
            // The remote's tag takes precedence.
            tags.retain(|tag| remote_tags.iter().all(|other| other.name != tag.name));
            tags.extend(remote_tags);
        }
        let template = ImageTagTemplate::parse(&stack.image.tag)?;
        let flavor = &stack.image.flavor;
        let ours = |name: &str| template.parse_tag(name).ok().filter(|parts| parts.flavor == *flavor);
        let known = || tags.iter().map(|tag| tag.name.as_str()).chain(registered.iter().map(String::as_str));
        let here = tags.iter().filter(|tag| tag.commit == commit).filter_map(|tag| ours(&tag.name));
        let (begun, parts) = if let Some(parts) = here.max_by_key(|parts| parts.revision) {
            (true, parts)
        } else {
            let revision = next_revision(&template, known(), flavor);
            (false, tag::parts(&template, flavor, lock, moment.date_naive(), revision)?)
        };
        let revision = parts.revision;
        let tag = template.compose(&parts)?;
        let earlier = known().filter_map(|name| Some((ours(name)?.revision, name)));
        let previous = earlier.filter(|(other, _)| *other < revision).max().map(|(_, name)| name.to_owned());
        let is_newest = known().filter_map(ours).all(|other| other.revision <= revision);
        let promised = if begun { Some(promise(root, reachable, &tag).await?) } else { None };
        let lock_digest = Sha256::of(checkout::read_lock_text(root)?.as_bytes());
        let source = match &remote {
            Some(remote) => source(&process::text(git::command(root).args(["remote", "get-url", "--", remote])).await?),
            None => None,
        };
        let annotations = annotations(stack, &tag, &commit, moment, source.as_ref());
        let plan = Self {
            session,
            stack,
            lock,
            wanted,
            tag,
            revision,
            commit,
            lock_digest,
            remote,
            promised,
            previous,
            is_newest,
            annotations,
        };
        // Without a git tag, the image in the registry is not of this release.
        if !begun && registered.iter().any(|name| name == plan.tag.as_str()) {
            plan.registered_otherwise(None)?;
        }
        Ok(plan)
    }

    /// The error for a tag in the registry with another image.
    pub(super) fn registered_otherwise(&self, found: Option<(&OciDigest, &OciDigest)>) -> anyhow::Result<()> {
        let how = match found {
            Some((found, wanted)) => format!("is {found} and not {wanted}"),
            None => "exists, but there is no git tag for it".to_owned(),
        };
        let name = &self.wanted.repository.name;
        Err(anyhow::anyhow!("{name}:{} {how}; a released tag is never moved", self.tag)).hint(
            || "find out who pushed it; a release of another commit has another tag, so make a commit and release that",
        )
    }
}

/// Checks the checkout, for all flavors.
pub(crate) async fn check(session: &Session, stack: &Stack, lock: &Lock) -> anyhow::Result<()> {
    let violations = rules::check(stack, lock).violations;
    error::ended(violations.into_iter().map(|violation| anyhow::anyhow!(violation.message)).collect())?;
    if checkout::read_lock_text(&session.root)? != lock.to_text()? {
        return Err(anyhow::anyhow!("versions.lock was edited by hand"))
            .hint(|| "restore it with `git checkout versions.lock`");
    }
    if !render::drifts(&session.root, stack, lock)?.is_empty() {
        return Err(anyhow::anyhow!("image/ is out of date")).hint(|| "run `cargo xtask render` and commit the result");
    }
    let dirty = git::changes(&session.root).await?;
    if !dirty.is_empty() {
        return Err(anyhow::anyhow!("the checkout has uncommitted changes:\n    {}", dirty.replace('\n', "\n    ")))
            .hint(|| "commit them: a release is made from a commit");
    }
    Ok(())
}

/// Reads the promise in the git tag of this commit, and fetches the tag if needed.
async fn promise(root: &Path, remote: Option<&str>, tag: &ImageTag) -> anyhow::Result<Promise> {
    let name = tag.as_str();
    let has = git::local_tags(root).await?.iter().any(|local| local.name == name);
    if !has && let Some(remote) = remote {
        git::fetch_tag(root, remote, name).await?;
    }
    let message = git::tag_message(root, name).await?;
    Promise::parse(&message)
        .with_context(|| format!("the git tag {name} of this commit is not of a release: it has no digests"))
        .hint(|| format!("delete it (`git tag --delete {name}`, also on the remote), or release another commit"))
}

/// The address of a remote for browsers, without credentials; `None` for local paths.
fn source(remote: &str) -> Option<FileUrl> {
    let rest = remote.strip_prefix("https://").or_else(|| remote.strip_prefix("ssh://"));
    let place = match rest {
        Some(rest) => rest.rsplit_once('@').map_or(rest, |(_, place)| place).to_owned(),
        // scp's form: git@host:path.
        None => remote.split_once('@')?.1.replacen(':', "/", 1),
    };
    format!("https://{}", place.trim_end_matches('/').trim_end_matches(".git")).parse().ok()
}

/// The annotations of the index, which are of this release; the images' labels depend on the lock only.
fn annotations(
    stack: &Stack,
    tag: &ImageTag,
    commit: &str,
    moment: DateTime<Utc>,
    source: Option<&FileUrl>,
) -> BTreeMap<String, String> {
    let created = moment.format(MOMENT).to_string();
    let annotations = [
        ("title", stack.image.title.as_str()),
        ("licenses", &stack.image.license),
        ("version", tag.as_str()),
        ("revision", commit),
        ("created", &created),
    ];
    let annotations = annotations.into_iter().chain(source.map(|source| ("source", source.as_str())));
    annotations.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_no_credentials() {
        for (remote, expected) in [
            ("https://github.com/o/n.git", Some("https://github.com/o/n")),
            ("https://user:secret@github.com/o/n", Some("https://github.com/o/n")),
            ("git@github.com:o/n.git", Some("https://github.com/o/n")),
            ("ssh://git@host/o/n.git/", Some("https://host/o/n")),
            ("/srv/n.git", None),
            ("file:///srv/n.git", None),
            ("git@host:o/$(id)", None),
        ] {
            assert_eq!(source(remote).as_ref().map(FileUrl::as_str), expected, "{remote}");
        }
    }
}
