//! git by its plumbing commands, which do not depend on a person's settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use tokio::process::Command;

use super::process;

/// The time limit for a remote.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tags of the remote cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("this clone may lack tags")]
pub(crate) struct MayLackTags(#[source] anyhow::Error);

/// git that never prompts, and ignores the repository of a hook that runs this program.
pub(crate) fn git() -> Command {
    let mut command = process::command("git");
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    command
}

/// git in a folder.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = git();
    command.arg("-C").arg(folder);
    command
}

/// All tracked and new files of a checkout, without ignored ones. `-z`, because names can have any bytes.
pub(crate) async fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = process::output(command(folder).args(listing)).await?.stdout;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut paths: Vec<PathBuf> = names.map(|name| OsString::from_vec(name.to_vec()).into()).collect();
    paths.sort();
    // During a merge, a file is listed once for each side.
    paths.dedup();
    Ok(paths)
}

/// The uncommitted changes, one a line; empty for a clean checkout.
pub(crate) async fn changes(folder: &Path) -> anyhow::Result<String> {
    process::text(command(folder).args(["status", "--porcelain", "--untracked-files=normal"])).await
}

/// The committer date of a commit, in UTC. `rev-list` reads the commit only: `show` would also fetch its tree into a clone
/// that lacks it.
pub(crate) async fn commit_moment(folder: &Path, commit: &str) -> anyhow::Result<DateTime<Utc>> {
    let list = ["rev-list", "--max-count=1", "--format=%ct", commit, "--"];
    let listed = process::text(command(folder).args(list)).await?;
    // The first line is `commit` and its id.
    let seconds = listed.lines().nth(1).and_then(|line| line.parse().ok());
    let moment = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.with_context(|| format!("commit {commit} has no date that can be read"))
}

/// The text of a file in a commit; `None` if it has no such file.
pub(crate) async fn show(folder: &Path, commit: &str, path: &str) -> anyhow::Result<Option<String>> {
    let listed = process::text(command(folder).args(["ls-tree", "--name-only", commit, "--", path])).await?;
    if listed.is_empty() {
        return Ok(None);
    }
    let shown = process::output(command(folder).args(["cat-file", "blob", &format!("{commit}:{path}")])).await?;
    Ok(Some(String::from_utf8(shown.stdout).with_context(|| format!("{path} of {commit} is not UTF-8"))?))
}

/// The commit of a name.
pub(crate) async fn commit(folder: &Path, name: &str) -> anyhow::Result<String> {
    let wanted = format!("{name}^{{commit}}");
    process::text(command(folder).args(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]))
        .await
        .with_context(|| format!("`{}` is not a commit, tag or branch of this clone", name.escape_debug()))
}

/// The remote to use: `origin`, or else the first.
pub(crate) async fn remote(folder: &Path) -> anyhow::Result<Option<String>> {
    let remotes = process::text(command(folder).arg("remote")).await?;
    Ok(remotes.lines().find(|remote| *remote == "origin").or(remotes.lines().next()).map(str::to_owned))
}

pub(crate) async fn is_shallow(folder: &Path) -> anyhow::Result<bool> {
    Ok(process::text(command(folder).args(["rev-parse", "--is-shallow-repository"])).await? == "true")
}

/// A tag and its commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) name: String,
    /// The annotated tag, or the commit of a lightweight one.
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

/// The tags of a remote.
pub(crate) async fn remote_tags(folder: &Path, remote: &str) -> anyhow::Result<Vec<Tag>> {
    let listing = ["ls-remote", "--tags", "--", remote];
    let listed = match tokio::time::timeout(PATIENCE, process::text(command(folder).args(listing))).await {
        Ok(listed) => listed.with_context(|| format!("cannot list the tags of `{remote}`"))?,
        Err(_) => bail!("`{remote}` did not list its tags within {} seconds", PATIENCE.as_secs()),
    };
    Ok(parse_tags(&listed))
}

/// Parses `git ls-remote`, which lists an annotated tag twice: the tag, and its commit with `^{}` after the name. A server
/// may list them in any order.
pub(crate) fn parse_tags(listed: &str) -> Vec<Tag> {
    let lines = || listed.lines().filter_map(|line| line.split_once("\trefs/tags/"));
    let peeled: BTreeMap<&str, &str> =
        lines().filter_map(|(commit, name)| Some((name.strip_suffix("^{}")?, commit))).collect();
    let tag = |(object, name): (&str, &str)| {
        let commit = peeled.get(name).copied().unwrap_or(object);
        Tag { name: name.to_owned(), object: object.to_owned(), commit: commit.to_owned() }
    };
    lines().filter(|(_, name)| !name.ends_with("^{}")).map(tag).collect()
}

/// The tags of a clone, and of its remote if the clone may lack some: because it is shallow, or has no `wanted` tag.
pub(crate) async fn tags(folder: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut tags: Vec<String> = local_tags(folder).await?.into_iter().map(|tag| tag.name).collect();
    let is_shallow = is_shallow(folder).await?;
    if !is_shallow && tags.iter().any(|tag| wanted(tag)) {
        return Ok(tags);
    }
    let asked = match remote(folder).await? {
        Some(remote) => remote_tags(folder, &remote).await,
        None if is_shallow => Err(anyhow::anyhow!("it has no remote")),
        // A new repository.
        None => return Ok(tags),
    };
    let asked = asked.map_err(MayLackTags)?;
    tags.extend(asked.into_iter().map(|tag| tag.name));
    tags.sort();
    tags.dedup();
    Ok(tags)
}

pub(crate) async fn fetch_tag(folder: &Path, remote: &str, name: &str) -> anyhow::Result<()> {
    let reference = format!("refs/tags/{name}:refs/tags/{name}");
    process::run(command(folder).args(["fetch", "--quiet", "--no-tags", "--", remote, &reference]))
        .await
        .with_context(|| format!("cannot fetch the tag {name} from `{remote}`"))
}

/// The message of an annotated tag; of a lightweight one, the message of its commit.
pub(crate) async fn tag_message(folder: &Path, name: &str) -> anyhow::Result<String> {
    let reference = format!("refs/tags/{name}");
    process::text(command(folder).args(["for-each-ref", "--format=%(contents)", &reference])).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotated_tag_has_its_commit() {
        let listed = "aa\trefs/tags/annotated\nbb\trefs/tags/annotated^{}\ncc\trefs/tags/light\ndd\trefs/heads/x\n";
        let tag = |name: &str, object: &str, commit: &str| Tag {
            name: name.to_owned(),
            object: object.to_owned(),
            commit: commit.to_owned(),
        };
        assert_eq!(parse_tags(listed), [tag("annotated", "aa", "bb"), tag("light", "cc", "cc")]);
        let reversed = "bb\trefs/tags/annotated^{}\naa\trefs/tags/annotated\n";
        assert_eq!(parse_tags(reversed), [tag("annotated", "aa", "bb")]);
    }
}
