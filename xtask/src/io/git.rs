//! git, as a program reads it: by plumbing commands and whatever a person has set for themselves, where one repository
//! is meant and no other.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use tokio::process::Command;

use super::process;
use crate::error::HintExt as _;

/// A remote that says nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// git that asks nobody for a password and sees no repository that it was not told of: a hook may have started us.
pub(crate) fn git() -> Command {
    let mut command = process::command("git");
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    command
}

/// A command in the repository of a folder.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = git();
    command.arg("-C").arg(folder);
    command
}

/// All that git knows of a checkout: tracked and new files, none that it ignores. `-z`: names are bytes, and any byte.
pub(crate) async fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut listed = command(folder);
    listed.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = process::output(&mut listed).await?.stdout;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut paths: Vec<PathBuf> = names.map(|name| OsString::from_vec(name.to_vec()).into()).collect();
    paths.sort();
    // In the middle of a merge a file is listed once a side.
    paths.dedup();
    Ok(paths)
}

/// The uncommitted changes, one a line; none when the checkout is its commit.
pub(crate) async fn changes(folder: &Path) -> anyhow::Result<String> {
    process::text(command(folder).args(["status", "--porcelain", "--untracked-files=normal"])).await
}

/// The moment of a commit, by whoever committed it, in UTC.
pub(crate) async fn commit_moment(folder: &Path, commit: &str) -> anyhow::Result<DateTime<Utc>> {
    let seconds = process::text(command(folder).args(["show", "--no-patch", "--format=%ct", commit, "--"])).await?;
    let moment = seconds.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.with_context(|| format!("commit {commit} has no date that can be read"))
}

/// A file of a commit, or none when that has no such file.
pub(crate) async fn show(folder: &Path, commit: &str, path: &str) -> anyhow::Result<Option<String>> {
    let listed = process::text(command(folder).args(["ls-tree", "--name-only", commit, "--", path])).await?;
    if listed.is_empty() {
        return Ok(None);
    }
    let shown = process::output(command(folder).args(["cat-file", "blob", &format!("{commit}:{path}")])).await?;
    Ok(Some(String::from_utf8(shown.stdout).with_context(|| format!("{path} of {commit} is not UTF-8"))?))
}

/// The commit that a name stands for.
pub(crate) async fn commit(folder: &Path, name: &str) -> anyhow::Result<String> {
    let wanted = format!("{name}^{{commit}}");
    process::text(command(folder).args(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]))
        .await
        .with_context(|| format!("`{}` is not a commit, tag or branch of this clone", name.escape_debug()))
}

/// The remote to work with: `origin`, or the only other one.
pub(crate) async fn remote(folder: &Path) -> anyhow::Result<Option<String>> {
    let remotes = process::text(command(folder).arg("remote")).await?;
    Ok(remotes.lines().find(|remote| *remote == "origin").or(remotes.lines().next()).map(str::to_owned))
}

pub(crate) async fn is_shallow(folder: &Path) -> anyhow::Result<bool> {
    Ok(process::text(command(folder).args(["rev-parse", "--is-shallow-repository"])).await? == "true")
}

/// A tag, and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) name: String,
    /// The tag itself: the annotated tag, or the commit.
    pub(crate) object: String,
    pub(crate) commit: String,
}

/// The tags of this clone.
pub(crate) async fn local_tags(folder: &Path) -> anyhow::Result<Vec<Tag>> {
    let format = "--format=%(refname) %(objectname) %(*objectname)";
    let listed = process::text(command(folder).args(["for-each-ref", format, "refs/tags"])).await?;
    let tag = |line: &str| {
        let mut words = line.strip_prefix("refs/tags/")?.split(' ');
        let (name, object, peeled) = (words.next()?, words.next()?, words.next().unwrap_or_default());
        let commit = if peeled.is_empty() { object } else { peeled };
        Some(Tag { name: name.to_owned(), object: object.to_owned(), commit: commit.to_owned() })
    };
    Ok(listed.lines().filter_map(tag).collect())
}

/// The tags of a remote, as it tells them now.
pub(crate) async fn remote_tags(folder: &Path, remote: &str) -> anyhow::Result<Vec<Tag>> {
    let mut listing = command(folder);
    listing.args(["ls-remote", "--tags", "--", remote]);
    let listed = match tokio::time::timeout(PATIENCE, process::text(&mut listing)).await {
        Ok(listed) => listed.with_context(|| format!("cannot ask `{remote}` for its tags"))?,
        Err(_) => bail!("`{remote}` did not tell its tags within {} seconds", PATIENCE.as_secs()),
    };
    Ok(told_tags(&listed))
}

/// What `git ls-remote --tags` prints: an annotated tag stands there twice, the second time with what it leads to.
fn told_tags(listed: &str) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::new();
    for (object, name) in listed.lines().filter_map(|line| line.split_once("\trefs/tags/")) {
        match name.strip_suffix("^{}") {
            Some(name) => {
                for tag in tags.iter_mut().filter(|tag| tag.name == name) {
                    object.clone_into(&mut tag.commit);
                }
            }
            None => tags.push(Tag { name: name.to_owned(), object: object.to_owned(), commit: object.to_owned() }),
        }
    }
    tags
}

/// The tags that a clone has. Where it may lack some, because it is shallow or has none for which `wanted` holds, its
/// remote is asked as well.
pub(crate) async fn tags(folder: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut tags: Vec<String> = local_tags(folder).await?.into_iter().map(|tag| tag.name).collect();
    let is_shallow = is_shallow(folder).await?;
    if !is_shallow && tags.iter().any(|tag| wanted(tag)) {
        return Ok(tags);
    }
    let asked = match remote(folder).await? {
        Some(remote) => remote_tags(folder, &remote).await,
        None if is_shallow => Err(anyhow::anyhow!("it has no remote to ask for them")),
        // A repository that begins here.
        None => return Ok(tags),
    };
    let asked = asked.context("this clone may lack tags").hint(|| "git fetch --tags")?;
    tags.extend(asked.into_iter().map(|tag| tag.name));
    tags.sort();
    tags.dedup();
    Ok(tags)
}

/// Brings one tag of the remote here, with what it leads to.
pub(crate) async fn fetch_tag(folder: &Path, remote: &str, name: &str) -> anyhow::Result<()> {
    let reference = format!("refs/tags/{name}:refs/tags/{name}");
    process::run(command(folder).args(["fetch", "--quiet", "--no-tags", "--", remote, &reference]))
        .await
        .with_context(|| format!("cannot fetch the tag {name} from `{remote}`"))
}

/// The message of an annotated tag; of another one, that of its commit.
pub(crate) async fn tag_message(folder: &Path, name: &str) -> anyhow::Result<String> {
    let reference = format!("refs/tags/{name}");
    process::text(command(folder).args(["for-each-ref", "--format=%(contents)", &reference])).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotated_tag_of_a_remote_leads_to_its_commit() {
        let listed = "aa\trefs/tags/annotated\nbb\trefs/tags/annotated^{}\ncc\trefs/tags/light\ndd\trefs/heads/x\n";
        let tag = |name: &str, object: &str, commit: &str| Tag {
            name: name.to_owned(),
            object: object.to_owned(),
            commit: commit.to_owned(),
        };
        assert_eq!(told_tags(listed), [tag("annotated", "aa", "bb"), tag("light", "cc", "cc")]);
    }
}
