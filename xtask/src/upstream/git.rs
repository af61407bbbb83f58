//! Git repositories, through the `git` command: tags and branch heads by `ls-remote`, a commit's date by a
//! fetch of that commit alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::process::Command;

use super::{Candidate, PassedOver, Resolved, Upstream, Want, hinted, not_allowed};
use crate::domain::digest::{CommitId, FileUrl};
use crate::domain::lock::{GitPin, Pin, Pinned, Published};
use crate::domain::stack::{Component, Source};
use crate::domain::version::{Scheme, Version};
use crate::io::process;

/// A server that says nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What git may be pointed at, after mirrors. Its other transports (`ext::`) run commands.
const SCHEMES: [&str; 5] = ["https://", "http://", "git://", "ssh://", "file://"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("cannot read the git repository {0}")]
    Unreadable(String),
    #[error("{repository} has no tag `{typed}`")]
    NoTag { repository: String, typed: String },
    #[error("{repository} has no branch `{branch}`")]
    NoBranch { repository: String, branch: String },
    #[error("no tag of {repository} can be taken, of the {looked} that are versions")]
    NothingFits { repository: String, looked: usize },
    #[error("{0} is no address that git is allowed to read here (https, http, git, ssh or file)")]
    Address(String),
}

/// A repository of `stack.toml`.
#[derive(Clone, Copy)]
struct Repository<'a> {
    url: &'a str,
    branch: Option<&'a str>,
}

fn repository(component: &Component) -> anyhow::Result<Repository<'_>> {
    match &component.source {
        Source::Git { repository, branch } => Ok(Repository { url: repository, branch: branch.as_deref() }),
        other => bail!("a source of type {} is no git repository", other.kind()),
    }
}

pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let component = up.stack.component(name)?;
    let repository = repository(component)?;
    match (component.scheme, want) {
        (Scheme::Commit, Want::Exactly(typed)) => {
            let version = component.scheme.parse(typed)?;
            at_commit(up, name, repository, version, None).await
        }
        (Scheme::Commit, Want::Newest) => {
            let branch = repository.branch.context("the source follows commits and has no `branch`")?;
            let commit = head(up, repository.url, branch).await?;
            let version = component.scheme.parse(commit.as_str())?;
            at_commit(up, name, repository, version, None).await
        }
        (_, want) => tagged(up, name, component, repository, want).await,
    }
}

pub(crate) fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let repository = repository(up.stack.component(name)?)?;
    let commit = candidate.commit.clone().context("the version has no commit")?;
    let repository: FileUrl = repository.url.parse()?;
    let pin = Pin {
        version: candidate.version.as_str().to_owned(),
        tag: candidate.tag.clone(),
        commit: Some(commit.clone()),
        published: candidate.published.clone(),
        pinned: Pinned::Git(GitPin { repository, commit }),
    };
    Ok(Resolved { pin, files: Vec::new() })
}

/// The newest tag by its scheme, or the one that was typed.
async fn tagged(
    up: Upstream<'_>,
    name: &str,
    component: &Component,
    repository: Repository<'_>,
    want: &Want,
) -> anyhow::Result<Candidate> {
    let wanted = match want {
        Want::Newest => None,
        Want::Exactly(typed) => Some((typed, component.scheme.parse(typed)?)),
    };
    let tags = tags(up, repository.url).await?;
    // Tags of another form (`nightly`) are no versions of this component.
    let mut versions: Vec<(Version, &String, &CommitId)> =
        tags.iter().filter_map(|(tag, commit)| Some((component.scheme.parse(tag).ok()?, tag, commit))).collect();
    versions.sort();
    versions.reverse();

    if let Some((typed, version)) = wanted {
        let found = versions.iter().find(|(_, tag, _)| *tag == typed);
        // `0.9.04` for `v0.9.04`: the `v` comes and goes in this field.
        let same_but_v = |tag: &str| tag.trim_start_matches('v') == version.as_str().trim_start_matches('v');
        let Some((version, tag, commit)) = found.or_else(|| versions.iter().find(|(_, tag, _)| same_but_v(tag))) else {
            let error = GitError::NoTag { repository: repository.url.to_owned(), typed: typed.clone() };
            let newest: Vec<&str> = versions.iter().take(3).map(|(_, tag, _)| tag.as_str()).collect();
            return Err(match newest.first() {
                None => error.into(),
                Some(first) => hinted(
                    error,
                    format!("newest tags are {}: cargo xtask bump {name} --to {first}", newest.join(", ")),
                ),
            });
        };
        if let Some(reason) = not_allowed(up.stack, name, component, version) {
            bail!("{version} is out of what stack.toml allows: {reason}");
        }
        return at_commit(up, name, repository, version.clone(), Some((tag, commit))).await;
    }

    let mut passed_over = Vec::new();
    let looked = versions.len();
    for (version, tag, commit) in versions {
        let mut pass_over = |published, reason| {
            passed_over.push(PassedOver { version: version.to_string(), published, reason });
        };
        if version.is_prerelease() {
            pass_over(None, "a prerelease".to_owned());
        } else if let Some(reason) = not_allowed(up.stack, name, component, &version) {
            pass_over(None, reason);
        } else {
            let candidate = at_commit(up, name, repository, version.clone(), Some((tag, commit))).await?;
            match too_young(component, candidate.published.as_ref(), up.now) {
                Some(reason) => pass_over(candidate.published, reason),
                None => return Ok(Candidate { passed_over, ..candidate }),
            }
        }
    }
    Err(GitError::NothingFits { repository: repository.url.to_owned(), looked }.into())
}

fn too_young(component: &Component, published: Option<&Published>, now: DateTime<Utc>) -> Option<String> {
    let asked = component.minimum_age_days;
    let published = published?.to_string().parse::<DateTime<Utc>>().ok()?;
    let age = now - published;
    (age < TimeDelta::days(asked.into()))
        .then(|| format!("out for {} of the {asked} days that stack.toml waits", age.num_days().max(0)))
}

/// A candidate at a commit, with the commit's date: kept when this very commit is pinned, fetched otherwise.
async fn at_commit(
    up: Upstream<'_>,
    name: &str,
    repository: Repository<'_>,
    version: Version,
    tag: Option<(&String, &CommitId)>,
) -> anyhow::Result<Candidate> {
    let commit = match tag {
        Some((_, commit)) => commit.clone(),
        None => version.as_str().parse()?,
    };
    let pinned = up.lock.components.get(name).filter(|pin| pin.commit.as_ref() == Some(&commit));
    let published = match pinned.and_then(|pin| pin.published.clone()) {
        Some(published) => published,
        None => committed(up, repository.url, &commit).await?,
    };
    let tag = tag.map(|(tag, _)| tag.clone());
    Ok(Candidate { version, tag, commit: Some(commit), published: Some(published), passed_over: Vec::new() })
}

/// All tags, each with the commit that it stands for.
pub(crate) async fn tags(up: Upstream<'_>, url: &str) -> anyhow::Result<BTreeMap<String, CommitId>> {
    let text = ls_remote(up, url, "refs/tags/*").await?;
    Ok(parse_refs(&text, "refs/tags/"))
}

/// The head of a branch.
pub(crate) async fn head(up: Upstream<'_>, url: &str, branch: &str) -> anyhow::Result<CommitId> {
    let text = ls_remote(up, url, &format!("refs/heads/{branch}")).await?;
    let missing = || GitError::NoBranch { repository: url.to_owned(), branch: branch.to_owned() };
    parse_refs(&text, "refs/heads/").remove(branch).ok_or_else(|| missing().into())
}

/// `<id> TAB <ref>` lines. An annotated tag has a line of its own object and one, with `^{}` behind the name,
/// of the commit (gitrevisions(7)); the commit is what counts.
fn parse_refs(text: &str, prefix: &str) -> BTreeMap<String, CommitId> {
    let mut refs = BTreeMap::new();
    for (id, name) in text.lines().filter_map(|line| line.split_once('\t')) {
        let (Some(name), Ok(id)) = (name.strip_prefix(prefix), id.parse::<CommitId>()) else { continue };
        match name.strip_suffix("^{}") {
            Some(peeled) => refs.insert(peeled.to_owned(), id),
            None => Some(refs.entry(name.to_owned()).or_insert(id).clone()),
        };
    }
    refs
}

async fn ls_remote(up: Upstream<'_>, url: &str, pattern: &str) -> anyhow::Result<String> {
    let address = address(up, url)?;
    let mut command = git();
    command.args(["ls-remote", "--", &address, pattern]);
    run(&mut command).await.with_context(|| GitError::Unreadable(url.to_owned()))
}

/// When a commit was made. Only the commit is fetched, without its files, where the server knows how to
/// leave them out; whole, but still alone, where it does not.
pub(crate) async fn committed(up: Upstream<'_>, url: &str, commit: &CommitId) -> anyhow::Result<Published> {
    let address = address(up, url)?;
    let scratch = tempfile::Builder::new().prefix("xtask-git-").tempdir()?;
    let folder = scratch.path();
    run(git().args(["init", "--quiet", "--bare", "--"]).arg(folder)).await?;
    let fetch = |filter: &'static [&'static str]| {
        let mut command = git();
        command.arg("-C").arg(folder).args(["fetch", "--quiet", "--depth=1", "--no-tags"]);
        command.args(filter).args(["--", &address, commit.as_str()]);
        command
    };
    if run(&mut fetch(&["--filter=tree:0"])).await.is_err() {
        run(&mut fetch(&[])).await.with_context(|| format!("{url} does not give commit {commit}"))?;
    }
    let date = run(git().arg("-C").arg(folder).args([
        "show",
        "--no-show-signature",
        "--no-patch",
        "--format=%cI",
        commit.as_str(),
    ]))
    .await?;
    let date = DateTime::parse_from_rfc3339(date.trim()).with_context(|| format!("commit {commit} has no date"))?;
    Ok(Published::at(date.with_timezone(&Utc)))
}

fn address(up: Upstream<'_>, url: &str) -> Result<String, GitError> {
    let address = up.http.mirrors().rewrite(url);
    if SCHEMES.iter().any(|scheme| address.starts_with(scheme)) { Ok(address) } else { Err(GitError::Address(address)) }
}

/// git that asks nobody for a password and does not see the repository that it happens to be started in.
fn git() -> Command {
    let mut command = process::command("git");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("LC_ALL", "C");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    command
}

async fn run(command: &mut Command) -> anyhow::Result<String> {
    match tokio::time::timeout(PATIENCE, process::text(command)).await {
        Ok(result) => result,
        Err(_) => bail!("git did not answer within {} seconds", PATIENCE.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotated_tag_stands_for_its_commit() {
        let (object, commit) = ("a".repeat(40), "b".repeat(40));
        let text = format!("{object}\trefs/tags/v1\n{commit}\trefs/tags/v1^{{}}\n{object}\trefs/tags/v2\n");
        let refs = parse_refs(&text, "refs/tags/");
        assert_eq!(refs["v1"].as_str(), commit);
        assert_eq!(refs["v2"].as_str(), object);
        // Whatever the order of the lines.
        let text = format!("{commit}\trefs/tags/v1^{{}}\n{object}\trefs/tags/v1\n");
        assert_eq!(parse_refs(&text, "refs/tags/")["v1"].as_str(), commit);
    }
}
