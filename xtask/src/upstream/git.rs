//! Git repositories: tags and branch heads by `ls-remote`, dates by fetching a single commit.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    Candidate, Checked, Finding, Gate, PassedOver, Resolved, Upstream, Want, does_not_go_with, first_seen, not_allowed,
    not_allowed_asked,
};
use crate::domain::digest::{CommitId, FileUrl};
use crate::domain::lock::{GitPin, Pin, Pinned, Published};
use crate::domain::stack::{Component, Source, Stated};
use crate::domain::trust::Trust;
use crate::domain::version::{Scheme, Version};
use crate::error::{bump_hint, hinted};
use crate::io::{self, http, process};

/// The time limit for a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses between tries; the longer one is for throttling servers.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// The allowed transports, after mirrors. Others (`ext::`) can run commands.
const SCHEMES: [&str; 5] = ["https://", "http://", "git://", "ssh://", "file://"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("cannot read the git repository {0}")]
    Unreadable(String),
    #[error("{0} is not a git repository that has commits: is the address right, or does a proxy answer instead?")]
    Empty(String),
    #[error("{repository} has no tag `{typed}`")]
    NoTag { repository: String, typed: String },
    #[error("{repository} has no branch `{branch}`")]
    NoBranch { repository: String, branch: String },
    #[error("none of the {looked} versions among the tags of {repository} can be taken")]
    NothingFits { repository: String, looked: usize },
    #[error("git cannot read {0} with --offline")]
    Offline(String),
    #[error("{0} is not an allowed git address (https, http, git, ssh or file)")]
    Address(String),
}

/// A git source of `stack.toml`.
#[derive(Clone, Copy)]
struct GitRepository<'a> {
    url: &'a str,
    branch: Option<&'a str>,
}

fn repository(component: &Component) -> anyhow::Result<GitRepository<'_>> {
    match &component.source {
        Source::Git { repository, branch } => Ok(GitRepository { url: repository, branch: branch.as_deref() }),
        other => bail!("a source of type {} is not a git repository", other.kind()),
    }
}

pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let component = up.stack.component(name)?;
    let repository = repository(component)?;
    match (component.scheme, want) {
        (Scheme::Commit, Want::Exactly(typed)) => {
            let version = component.scheme.parse(typed)?;
            at_commit(up, name, repository, version, None, want).await
        }
        (Scheme::Commit, Want::Newest) => {
            let branch = repository.branch.context("the source follows commits and has no `branch`")?;
            newest_commit(up, name, component, repository, branch).await
        }
        (_, want) => tagged(up, name, component, repository, want).await,
    }
}

pub(crate) fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let repository = repository(up.stack.component(name)?)?;
    let commit = candidate.commit.clone().context("the version has no commit")?;
    let repository: FileUrl = repository.url.parse()?;
    Ok(candidate.pin(Pinned::Git(GitPin { repository, commit }), Trust::Stated).into())
}

/// The newest tag by its scheme, or the requested one.
async fn tagged(
    up: Upstream<'_>,
    name: &str,
    component: &Component,
    repository: GitRepository<'_>,
    want: &Want,
) -> anyhow::Result<Candidate> {
    let wanted = match want {
        Want::Newest => None,
        Want::Exactly(typed) => Some((typed, component.scheme.parse(typed)?)),
    };
    let tags = tags(up, repository.url).await?;
    // Other tags (`nightly`) are not versions of this component.
    let mut versions: Vec<(Version, &String, &CommitId)> =
        tags.iter().filter_map(|(tag, commit)| Some((component.scheme.parse(tag).ok()?, tag, commit))).collect();
    versions.sort();
    versions.reverse();

    if let Some((typed, version)) = wanted {
        let found = versions.iter().find(|(_, tag, _)| *tag == typed);
        // `0.9.04` for `v0.9.04`: some upstreams use `v` in some tags only.
        let same_but_v = |tag: &str| tag.trim_start_matches('v') == version.as_str().trim_start_matches('v');
        let Some((version, tag, commit)) = found.or_else(|| versions.iter().find(|(_, tag, _)| same_but_v(tag))) else {
            let error = GitError::NoTag { repository: repository.url.to_owned(), typed: typed.clone() };
            let newest: Vec<&str> = versions.iter().take(3).map(|(_, tag, _)| tag.as_str()).collect();
            return Err(match newest.first() {
                None => error.into(),
                Some(first) => {
                    let why = format!("newest tags are {}", newest.join(", "));
                    hinted(error, bump_hint(&why, name, first))
                }
            });
        };
        if let Some(reason) = not_allowed_asked(up.stack, name, component, version) {
            bail!("stack.toml does not allow {version}: {reason}");
        }
        if up.lock.components.get(name).is_none_or(|pin| pin.version != version.as_str())
            && let Some(reason) = does_not_fit(up, name, repository.url, version, commit).await?
        {
            bail!("{version} {reason}");
        }
        return at_commit(up, name, repository, version.clone(), Some((tag, commit)), want).await;
    }

    let mut candidate = newest_tag(up, name, component, repository, &versions).await?;
    candidate.findings = pinned_tag(up, name, repository.url, &tags);
    Ok(candidate)
}

async fn newest_tag(
    up: Upstream<'_>,
    name: &str,
    component: &Component,
    repository: GitRepository<'_>,
    versions: &[(Version, &String, &CommitId)],
) -> anyhow::Result<Candidate> {
    let pin = up.lock.components.get(name);
    let pinned = pin.and_then(|pin| pin.parsed_version(component.scheme).ok());
    let mut passed_over = Vec::new();
    let mut seen = BTreeMap::new();
    for (version, tag, commit) in versions {
        let reason = if version.is_prerelease() {
            Some((Gate::Prerelease, "a prerelease".to_owned()))
        } else if let Some(reason) = not_allowed(up.stack, name, component, version) {
            Some((Gate::Constraint, reason))
        } else if pinned.as_ref().is_some_and(|pinned| version > pinned) {
            // A commit's date can be forged.
            match first_seen(up, name, component, commit.as_str(), &mut seen) {
                Some(reason) => Some((Gate::TooFresh, reason)),
                None => does_not_fit(up, name, repository.url, version, commit)
                    .await?
                    .map(|reason| (Gate::Constraint, reason)),
            }
        } else {
            None
        };
        let Some((gate, reason)) = reason else {
            let tag = Some((*tag, *commit));
            let candidate = at_commit(up, name, repository, version.clone(), tag, &Want::Newest).await?;
            return Ok(Candidate { passed_over, seen, ..candidate });
        };
        passed_over.push(PassedOver { version: version.to_string(), published: None, gate, reason });
    }
    // If the pinned tag was deleted and all newer ones wait, the pin stays; both are reported.
    if let (Some(version), Some(Pin { tag: Some(tag), published, pinned: Pinned::Git(git), .. }), false) =
        (pinned, pin, seen.is_empty())
    {
        let (tag, commit, published) = (Some(tag.clone()), Some(git.commit.clone()), published.clone());
        let candidate = Candidate::new(version, &Want::Newest);
        return Ok(Candidate { tag, commit, published, passed_over, seen, ..candidate });
    }
    Err(GitError::NothingFits { repository: repository.url.to_owned(), looked: versions.len() }.into())
}

/// Why a version does not fit the other pins, by its own files.
async fn does_not_fit(
    up: Upstream<'_>,
    name: &str,
    url: &str,
    version: &Version,
    commit: &CommitId,
) -> anyhow::Result<Option<String>> {
    for (other, stated) in &up.stack.component(name)?.states {
        let Stated::File { file, pattern, at_least } = stated else { continue };
        let text = file_of(up, url, commit, file).await?;
        let Some(stated) = text.as_deref().and_then(|text| pattern.find(text)) else {
            up.notes.add(format!(
                "note: {file} of {version} does not state which `{other}` it needs: find out where it does, and change \
                 `states` in stack.toml"
            ));
            continue;
        };
        let range = if *at_least { format!(">={stated}") } else { stated.to_owned() };
        if let Some(reason) = does_not_go_with(up, name, other, &range) {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// The text of a file in a commit, if it has such a file.
async fn file_of(up: Upstream<'_>, url: &str, commit: &CommitId, file: &str) -> anyhow::Result<Option<String>> {
    let fetched = fetched(up, url, commit.as_str(), &["--depth=1"], Files::All).await;
    let scratch = fetched.with_context(|| format!("cannot fetch commit {commit} of {url}"))?;
    let mut show = io::git::command(scratch.path());
    Ok(run(show.args(["cat-file", "blob", &format!("{commit}:{file}")])).await.ok())
}

/// Whether the pinned tag was moved or deleted.
fn pinned_tag(up: Upstream<'_>, name: &str, url: &str, tags: &BTreeMap<String, CommitId>) -> Vec<Finding> {
    let Some(Pin { tag: Some(tag), pinned: Pinned::Git(git), .. }) = up.lock.components.get(name) else {
        return Vec::new();
    };
    let what = format!("tag {tag} of {url}");
    match tags.get(tag) {
        Some(commit) if *commit == git.commit => Vec::new(),
        Some(commit) => {
            vec![Finding::Replaced { what, pinned: git.commit.to_string(), found: commit.to_string() }]
        }
        None => vec![Finding::Deleted { what }],
    }
}

/// Whether upstream still has what is pinned.
pub(crate) async fn verify(up: Upstream<'_>, name: &str, pin: &Pin) -> anyhow::Result<Checked> {
    let stated = |findings| Checked::new(findings, Trust::Stated, "the git server, the commit by itself");
    let Pinned::Git(git) = &pin.pinned else { bail!("`{name}` is pinned as {}", pin.pinned.kind()) };
    let url = git.repository.as_str();
    if pin.tag.is_some() {
        return Ok(stated(pinned_tag(up, name, url, &tags(up, url).await?)));
    }
    // The branch may have moved on, but the commit must still be available.
    match committed(up, url, &git.commit).await {
        Ok(_) => Ok(stated(Vec::new())),
        Err(error) if is_not_there(&error) => Ok(Checked::gone(format!("commit {} of {url}", git.commit))),
        Err(error) => Err(error),
    }
}

/// Whether a server has no such commit, as opposed to not answering, by git's messages (upload-pack.c, fetch.c).
fn is_not_there(error: &anyhow::Error) -> bool {
    let message = format!("{error:#}");
    ["not our ref", "couldn't find remote ref", "unadvertised object"].iter().any(|words| message.contains(words))
}

/// The newest commit of a branch that is old enough. On a busy branch the head is always too new, so an earlier head is
/// taken that a former run has seen and that is still part of the branch.
async fn newest_commit(
    up: Upstream<'_>,
    name: &str,
    component: &Component,
    repository: GitRepository<'_>,
    branch: &str,
) -> anyhow::Result<Candidate> {
    let head = head(up, repository.url, branch).await?;
    let at = async |commit: &CommitId| {
        at_commit(up, name, repository, component.scheme.parse(commit.as_str())?, None, &Want::Newest).await
    };
    let pin = up.lock.components.get(name);
    let Some(pinned) = pin.and_then(|pin| pin.commit.as_ref()).filter(|pinned| **pinned != head) else {
        return at(&head).await;
    };
    let mut seen = BTreeMap::new();
    let Some(reason) = first_seen(up, name, component, head.as_str(), &mut seen) else { return at(&head).await };
    let waits = PassedOver { version: head.to_string(), published: None, gate: Gate::TooFresh, reason };
    let mut earlier: Vec<(&Published, CommitId)> = pin
        .iter()
        .flat_map(|pin| &pin.seen)
        .filter_map(|(commit, since)| Some((since, commit.parse::<CommitId>().ok()?)))
        .filter(|(_, commit)| *commit != head)
        .collect();
    earlier.sort_by_key(|(since, _)| since.moment());
    let mut taken = pinned.clone();
    for (since, commit) in earlier.into_iter().rev() {
        if up.clock.too_new_here(component, since.moment()).is_some() {
            seen.insert(commit.to_string(), since.clone());
        } else if is_on_branch(up, repository.url, branch, &commit).await? {
            taken = commit;
            break;
        }
    }
    let mut candidate = at(&taken).await?;
    candidate.passed_over.push(waits);
    candidate.seen = seen;
    Ok(candidate)
}

/// Whether a branch contains a commit: it may have been removed since it was seen.
async fn is_on_branch(up: Upstream<'_>, url: &str, branch: &str, commit: &CommitId) -> anyhow::Result<bool> {
    let fetched = fetched(up, url, &format!("refs/heads/{branch}"), &[], Files::Spared).await;
    let scratch = fetched.with_context(|| GitError::Unreadable(url.to_owned()))?;
    let mut is_ancestor = io::git::command(scratch.path());
    Ok(run(is_ancestor.args(["merge-base", "--is-ancestor", commit.as_str(), "FETCH_HEAD"])).await.is_ok())
}

/// A candidate at a commit, with the commit's date, which is only fetched if this commit is not pinned.
async fn at_commit(
    up: Upstream<'_>,
    name: &str,
    repository: GitRepository<'_>,
    version: Version,
    tag: Option<(&String, &CommitId)>,
    want: &Want,
) -> anyhow::Result<Candidate> {
    let commit = match tag {
        Some((_, commit)) => commit.clone(),
        None => version.as_str().parse()?,
    };
    let pinned = up.lock.components.get(name).filter(|pin| pin.commit.as_ref() == Some(&commit));
    let published = match pinned.and_then(|pin| pin.published.clone()) {
        Some(published) => Some(published),
        None => committed(up, repository.url, &commit).await?,
    };
    let tag = tag.map(|(tag, _)| tag.clone());
    Ok(Candidate { tag, commit: Some(commit), published, ..Candidate::new(version, want) })
}

/// All tags and their commits.
async fn tags(up: Upstream<'_>, url: &str) -> anyhow::Result<BTreeMap<String, CommitId>> {
    let text = ls_remote(up, url, &["HEAD", "refs/tags/*"]).await?;
    // git treats a proxy's HTML page as an empty repository.
    if !text.lines().any(|line| line.ends_with("\tHEAD")) {
        return Err(GitError::Empty(url.to_owned()).into());
    }
    Ok(parse_refs(&text, "refs/tags/"))
}

/// The head of a branch.
async fn head(up: Upstream<'_>, url: &str, branch: &str) -> anyhow::Result<CommitId> {
    let text = ls_remote(up, url, &[&format!("refs/heads/{branch}")]).await?;
    let missing = || GitError::NoBranch { repository: url.to_owned(), branch: branch.to_owned() };
    parse_refs(&text, "refs/heads/").remove(branch).ok_or_else(|| missing().into())
}

/// Parses lines of `<id> TAB <ref>`. An annotated tag has two: its object and, with `^{}` after the name, its commit,
/// which is returned (gitrevisions(7)).
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

async fn ls_remote(up: Upstream<'_>, url: &str, patterns: &[&str]) -> anyhow::Result<String> {
    let address = address(up, url)?;
    let list = || {
        let mut command = git();
        command.args(["ls-remote", "--", &address]).args(patterns);
        command
    };
    ask(list).await.with_context(|| GitError::Unreadable(url.to_owned()))
}

/// The committer date of a commit. Only the commit is fetched.
async fn committed(up: Upstream<'_>, url: &str, commit: &CommitId) -> anyhow::Result<Option<Published>> {
    let fetched = fetched(up, url, commit.as_str(), &["--depth=1"], Files::Spared).await;
    let scratch = fetched.with_context(|| format!("cannot fetch commit {commit} of {url}"))?;
    let mut show = io::git::command(scratch.path());
    show.args(["show", "--no-show-signature", "--no-patch", "--format=%cI", commit.as_str()]);
    let date = run(&mut show).await?;
    let date = DateTime::parse_from_rfc3339(date.trim()).with_context(|| format!("commit {commit} has no date"))?;
    Ok(Published::at(date.with_timezone(&Utc)))
}

/// Which files of a commit are fetched.
#[derive(PartialEq, Eq)]
enum Files {
    All,
    /// None, if the server supports that.
    Spared,
}

/// Fetches a reference into a scratch repository.
async fn fetched(
    up: Upstream<'_>,
    url: &str,
    reference: &str,
    options: &[&str],
    files: Files,
) -> anyhow::Result<TempDir> {
    let (address, scratch) = (address(up, url)?, TempDir::with_prefix("xtask-git-")?);
    run(git().args(["init", "--quiet", "--bare", "--"]).arg(scratch.path())).await?;
    let fetch = |filter: Option<&str>| {
        let mut command = git();
        command.arg("-C").arg(scratch.path()).args(["fetch", "--quiet", "--no-tags"]).args(options).args(filter);
        command.args(["--", &address, reference]);
        command
    };
    if files == Files::All || ask(|| fetch(Some("--filter=tree:0"))).await.is_err() {
        ask(|| fetch(None)).await?;
    }
    Ok(scratch)
}

fn address(up: Upstream<'_>, url: &str) -> Result<String, GitError> {
    if up.http.is_offline() {
        return Err(GitError::Offline(url.to_owned()));
    }
    let address = up.http.mirrors().rewrite(url);
    if SCHEMES.iter().any(|scheme| address.starts_with(scheme)) { Ok(address) } else { Err(GitError::Address(address)) }
}

/// git with a time limit for stalled transfers, and without prompts.
fn git() -> Command {
    let slow = format!("http.lowSpeedTime={}", http::timeout());
    let mut command = io::git::git();
    command.args(["-c", "http.lowSpeedLimit=1", "-c", &slow]).env("GIT_ASKPASS", "true");
    command
}

/// Runs a command for a server, and again after temporary failures.
async fn ask(command: impl Fn() -> Command) -> anyhow::Result<String> {
    let pause = |error: &anyhow::Error, failed: u32, _| {
        PAUSES.get(failed as usize - 1).copied().filter(|_| may_pass(&format!("{error:#}")))
    };
    let asked = http::again(|| async { run(&mut command()).await }, pause).await;
    asked.map_err(|error| {
        if format!("{error:#}").contains("error: 429") {
            hinted(error, "the server limits requests: wait and run it again")
        } else {
            error
        }
    })
}

/// Whether a failure is temporary, by the messages of git and its HTTP client.
fn may_pass(message: &str) -> bool {
    let words = ["error: 429", "error: 5", "RPC failed", "early EOF", "disconnect", "Connection reset", "Empty reply"];
    words.iter().any(|words| message.contains(words))
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
    fn an_annotated_tag_is_read_as_its_commit() {
        let (object, commit) = ("a".repeat(40), "b".repeat(40));
        let text = format!("{object}\trefs/tags/v1\n{commit}\trefs/tags/v1^{{}}\n{object}\trefs/tags/v2\n");
        let refs = parse_refs(&text, "refs/tags/");
        assert_eq!(refs["v1"].as_str(), commit);
        assert_eq!(refs["v2"].as_str(), object);
        // In any order of the lines.
        let text = format!("{commit}\trefs/tags/v1^{{}}\n{object}\trefs/tags/v1\n");
        assert_eq!(parse_refs(&text, "refs/tags/")["v1"].as_str(), commit);
    }
}
