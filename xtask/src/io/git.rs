//! git, as a program reads it: by plumbing commands and whatever a person has set for themselves, where one repository
//! is meant and no other.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::process;
use crate::error::HintExt as _;

/// A remote that says nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command in the repository of a folder, also where we were started by a hook of another one.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = process::command("git");
    command.arg("-C").arg(folder).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
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

/// The commit that is checked out.
pub(crate) async fn head(folder: &Path) -> anyhow::Result<String> {
    process::text(command(folder).args(["rev-parse", "--verify", "HEAD^{commit}"])).await
}

/// The tags that a clone has. Where it may lack some, because it is shallow or has none for which `wanted` holds, its
/// remote is asked as well.
pub(crate) async fn tags(folder: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let listed = process::text(command(folder).args(["for-each-ref", "--format=%(refname)", "refs/tags"])).await?;
    let name = |reference: &str| reference.strip_prefix("refs/tags/").map(str::to_owned);
    let mut tags: Vec<String> = listed.lines().filter_map(name).collect();
    let is_shallow = process::text(command(folder).args(["rev-parse", "--is-shallow-repository"])).await? == "true";
    if !is_shallow && tags.iter().any(|tag| wanted(tag)) {
        return Ok(tags);
    }
    let remotes = process::text(command(folder).arg("remote")).await?;
    let remote = remotes.lines().find(|remote| *remote == "origin").or(remotes.lines().next());
    let asked = match remote {
        Some(remote) => ask(folder, remote).await.with_context(|| format!("cannot ask `{remote}` for its tags")),
        None if is_shallow => Err(anyhow::anyhow!("it has no remote to ask for them")),
        // A repository that begins here.
        None => return Ok(tags),
    };
    let asked = asked.context("this clone may lack tags").hint(|| "git fetch --tags".to_owned())?;
    tags.extend(asked.lines().filter_map(|line| name(line.split_once('\t')?.1)));
    tags.sort();
    tags.dedup();
    Ok(tags)
}

async fn ask(folder: &Path, remote: &str) -> anyhow::Result<String> {
    let mut listing = command(folder);
    listing.args(["ls-remote", "--tags", "--refs", "--", remote]);
    match tokio::time::timeout(PATIENCE, process::text(&mut listing)).await {
        Ok(listed) => listed,
        Err(_) => bail!("it did not answer within {} seconds", PATIENCE.as_secs()),
    }
}
